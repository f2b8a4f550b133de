//! Parses arguments into an [`Invocation`], with lexopt and the tables of commands and options.

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use super::commands::{COMMANDS, CloudCommand, Command, CommandSpec};
use super::options::{self, OptionSpec, option_specs};
use crate::error::{Error, Result};
use crate::ui::{self, Verbosity};

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run a command.
    Run(Arguments),
    /// Print help.
    Help(HelpTopic, HelpLength),
    /// There are no arguments: print the usage and fail.
    Usage,
    /// Print the version.
    Version,
}

/// What the help is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelpTopic {
    /// The program.
    Program,
    /// The commands that begin with this word.
    Group(&'static str),
    /// One command.
    Command(Command),
}

/// How much help is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelpLength {
    /// `-h`
    Short,
    /// `--help`
    Full,
}

/// A command and its arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The command.
    pub command: Command,
    /// Its operands: the SHELL of `completions`, the DIR of `hooks`, the SERVERs of `cloud`.
    pub operands: Vec<String>,
    /// The COMMAND after `--`, with its arguments.
    pub program: Vec<OsString>,
    /// The options with their values (empty for a switch), in the order given.
    pub options: Vec<(&'static str, String)>,
}

impl Arguments {
    /// The value of an option; the last one if it was given several times.
    pub fn get<'a>(&'a self, option: &OptionSpec) -> Option<&'a str> {
        self.all(option).last()
    }

    /// All values of an option.
    pub fn all<'a>(&'a self, option: &OptionSpec) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = option.long;
        let given = self.options.iter().filter(move |(long, _)| *long == name);
        given.map(|(_, value)| value.as_str())
    }

    /// How often a switch is given.
    pub fn count(&self, option: &OptionSpec) -> usize {
        self.all(option).count()
    }
}

/// Parses the arguments, without the program's name.
///
/// # Errors
/// The arguments are wrong; the message says what to type instead.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.is_empty() {
        return Ok(Invocation::Usage);
    }
    let program = split_program(&mut arguments);
    let mut words = Words::read(arguments)?;
    if words.version {
        return Ok(Invocation::Version);
    }
    // "help wait" is "wait --help".
    while words.positional.first().is_some_and(|word| word == "help") {
        words.positional.remove(0);
        words.help = words.help.or(Some(HelpLength::Full));
    }
    if let Some(length) = words.help {
        return Ok(Invocation::Help(help_topic(&words.positional)?, length));
    }
    let (spec, rest) = find_command(&words.positional)?;
    // Before the options are checked: in `wait ls --list`, the option belongs to the COMMAND.
    let operands = operands(spec, rest)?;
    for (option, _) in &words.options {
        check_applies(spec, option)?;
    }
    let program = program_of(spec, program)?;
    let options = words.options.into_iter().map(|(option, value)| (option.long, value)).collect();
    Ok(Invocation::Run(Arguments { command: spec.command, operands, program, options }))
}

/// Removes `--` and what follows from the arguments, and returns what follows.
fn split_program(arguments: &mut Vec<OsString>) -> Option<Vec<OsString>> {
    let dashes = arguments.iter().position(|argument| argument == "--")?;
    let program = arguments.split_off(dashes + 1);
    arguments.pop();
    Some(program)
}

/// The arguments before `--`, by kind.
#[derive(Default)]
struct Words {
    positional: Vec<String>,
    options: Vec<(&'static OptionSpec, String)>,
    help: Option<HelpLength>,
    version: bool,
}

impl Words {
    fn read(arguments: Vec<OsString>) -> Result<Words> {
        let mut parser = Parser::from_args(arguments);
        let mut words = Words::default();
        while let Some(argument) = parser.next().map_err(usage)? {
            let (option, length) = match argument {
                Arg::Value(word) => {
                    words.positional.push(word.string().map_err(usage)?);
                    continue;
                }
                Arg::Long(name) => (by_name(name, &words.positional), HelpLength::Full),
                Arg::Short(letter) => (by_letter(letter, &words.positional), HelpLength::Short),
            };
            let option = option.or_else(|err| check_built(&words.positional).and(Err(err)))?;
            match option.long {
                "help" => words.help = Some(length),
                "version" => words.version = true,
                _ => {}
            }
            let value = match option.value_name {
                Some(name) => value_of(&mut parser, option, name)?,
                None => String::new(),
            };
            words.options.push((option, value));
        }
        Ok(words)
    }
}

fn value_of(parser: &mut Parser, option: &OptionSpec, name: &str) -> Result<String> {
    let missing = |_| Error::usage(format!("--{0} needs a value: --{0} {name}", option.long));
    parser.value().map_err(missing)?.string().map_err(usage)
}

fn by_name(name: &str, words: &[String]) -> Result<&'static OptionSpec> {
    option_specs().find(|option| option.long == name).ok_or_else(|| {
        match similar(name, option_specs().map(|option| option.long)) {
            Some(known) => {
                Error::usage(format!("unknown option --{name}; did you mean --{known}?"))
            }
            None => unknown_option(&format!("--{name}"), words),
        }
    })
}

fn by_letter(letter: char, words: &[String]) -> Result<&'static OptionSpec> {
    option_specs()
        .find(|option| option.short == Some(letter))
        .ok_or_else(|| unknown_option(&format!("-{letter}"), words))
}

/// The error for an unknown option. In `wait sh -c …` it belongs to a COMMAND without `--`.
fn unknown_option(option: &str, words: &[String]) -> Error {
    let (before, command) = match words {
        [wait, command, ..] if wait == "wait" => ("wait".to_owned(), command),
        // At least one SERVER comes before a COMMAND.
        [cloud, wait, _, .., command] if cloud == "cloud" && wait == "wait" => {
            (words[..words.len() - 1].join(" "), command)
        }
        _ => return Error::usage(format!("unknown option {option}{}", see_help_of(words))),
    };
    Error::usage(format!(
        "unexpected argument {command:?}; COMMAND goes after \"--\": rackconnect {before} -- \
         {command} ..."
    ))
}

/// A reference to the help of the command or group that the words name, or of the program.
fn see_help_of(words: &[String]) -> String {
    let topic = match help_topic(words) {
        Ok(HelpTopic::Group(group)) => Some(group),
        Ok(HelpTopic::Command(command)) => CommandSpec::of(command).map(|spec| spec.name),
        Ok(HelpTopic::Program) | Err(_) => None,
    };
    match topic {
        Some(topic) => format!(" (see rackconnect {topic} --help)"),
        None => " (see rackconnect --help)".to_owned(),
    }
}

/// The topic that the words before or after `--help` name.
fn help_topic(words: &[String]) -> Result<HelpTopic> {
    let Some(first) = words.first() else { return Ok(HelpTopic::Program) };
    let group = COMMANDS.iter().find_map(|spec| {
        let (group, _) = spec.name.split_once(' ')?;
        (group == first).then_some(group)
    });
    match (group, words.len()) {
        (Some(group), 1) => Ok(HelpTopic::Group(group)),
        _ => Ok(HelpTopic::Command(find_command(words)?.0.command)),
    }
}

/// The command that the words name, and the words after it.
fn find_command(words: &[String]) -> Result<(&'static CommandSpec, &[String])> {
    let Some(first) = words.first() else {
        return Err(Error::usage("no command given (see rackconnect --help)"));
    };
    let named = |name: &str| COMMANDS.iter().find(|spec| spec.name == name);
    let two = words.get(..2).map(|words| words.join(" "));
    if let Some(spec) = two.as_deref().and_then(named) {
        return Ok((spec, &words[2..]));
    }
    if let Some(spec) = named(first) {
        return Ok((spec, &words[1..]));
    }
    if first == "cloud" && words.len() == 1 && cfg!(feature = "cloud") {
        return Err(Error::usage("cloud needs a command (see rackconnect cloud --help)"));
    }
    if first == "gateway"
        && words.len() == 1
        && let Some(spec) = CommandSpec::of(Command::GatewayShow)
    {
        return Ok((spec, &words[1..]));
    }
    check_built(words)?;
    Err(unknown_command(words))
}

/// Checks that the words do not name a cloud command in a build without them, which does not know
/// their options either.
fn check_built(words: &[String]) -> Result<()> {
    if cfg!(not(feature = "cloud")) && words.first().is_some_and(|first| first == "cloud") {
        return Err(Error::usage(
            "this build has no cloud commands: they are for workstations, and left out of the \
             packages for servers",
        ));
    }
    Ok(())
}

fn unknown_command(words: &[String]) -> Error {
    let (first, second) = match words {
        [first, second, ..] => (first.as_str(), second.as_str()),
        [first] => (first.as_str(), ""),
        [] => ("", ""),
    };
    // Within a group only the second word counts: "cloud " alone would make any two names similar.
    let members = COMMANDS.iter().filter_map(|spec| spec.name.split_once(' '));
    let mut members = members.filter(|(group, _)| *group == first).map(|(_, name)| name).peekable();
    let is_group = members.peek().is_some();
    let known = if is_group {
        similar(second, members).map(|name| format!("{first} {name}"))
    } else {
        similar(first, COMMANDS.iter().map(|spec| spec.name)).map(str::to_owned)
    };
    let typed = if is_group { format!("{first} {second}") } else { first.to_owned() };
    let hint = match known {
        Some(known) => format!("; did you mean {known}?"),
        None => see_help_of(&words[..words.len().min(usize::from(is_group))]),
    };
    Error::usage(format!("unknown command {typed:?}{hint}"))
}

fn check_applies(spec: &CommandSpec, option: &OptionSpec) -> Result<()> {
    if option.applies_to(spec.command) {
        return Ok(());
    }
    let time_limits: [(&OptionSpec, &OptionSpec); 2] =
        [(&options::TIMEOUT, &options::DEADLINE), (&options::DEADLINE, &options::TIMEOUT)];
    for (given, own) in time_limits {
        if option.long == given.long && own.applies_to(spec.command) {
            return Err(Error::usage(format!(
                "{} does not take --{}; its time limit is --{}",
                spec.name, given.long, own.long
            )));
        }
    }
    let is_cloud = |spec: &CommandSpec| matches!(spec.command, Command::Cloud(_));
    let commands = || COMMANDS.iter().filter(|spec| option.belongs_to(spec.command));
    // Only commands on the same side, of the server or of the cloud, if any has the option.
    let same_side: Vec<&str> = commands()
        .filter(|other| is_cloud(other) == is_cloud(spec))
        .map(|spec| spec.name)
        .collect();
    let names =
        if same_side.is_empty() { commands().map(|spec| spec.name).collect() } else { same_side };
    Err(Error::usage(format!(
        "{} does not take --{}; it is an option of {}",
        spec.name,
        option.long,
        ui::enumerate(&names)
    )))
}

fn operands(spec: &CommandSpec, rest: &[String]) -> Result<Vec<String>> {
    match (spec.command, rest) {
        (Command::Completions, [_]) | (Command::Hooks, [_]) => Ok(rest.to_vec()),
        (Command::Completions, []) => {
            Err(Error::usage("completions needs a SHELL: bash, zsh or fish"))
        }
        (Command::Wait, [word, ..]) => Err(Error::usage(format!(
            "unexpected argument {word:?}; COMMAND goes after \"--\": rackconnect wait -- {}",
            rest.join(" ")
        ))),
        (
            Command::Cloud(
                CloudCommand::Status | CloudCommand::Facts | CloudCommand::Wait | CloudCommand::Api,
            ),
            operands,
        ) => Ok(operands.to_vec()),
        (_, []) => Ok(Vec::new()),
        (_, [.., word]) => Err(Error::usage(format!("unexpected argument {word:?}"))),
    }
}

/// The COMMAND after `--`, if the command takes one.
fn program_of(spec: &CommandSpec, program: Option<Vec<OsString>>) -> Result<Vec<OsString>> {
    match (spec.command, program) {
        (_, None) => Ok(Vec::new()),
        (Command::Wait | Command::Cloud(CloudCommand::Wait), Some(program))
            if !program.is_empty() =>
        {
            Ok(program)
        }
        (Command::Wait | Command::Cloud(CloudCommand::Wait), Some(_)) => Err(Error::usage(
            format!("no COMMAND after \"--\": rackconnect {} -- COMMAND [ARG]...", spec.name),
        )),
        (_, Some(_)) => Err(Error::usage(format!("{} does not take \"--\"", spec.name))),
    }
}

/// The name that is most similar to `typed`, if one is similar enough.
pub fn similar(typed: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let typed = typed.to_ascii_lowercase();
    let rated = names.map(|name| (strsim::jaro_winkler(&typed, name), name));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(similarity, _)| *similarity > 0.8).map(|(_, name)| name)
}

/// lexopt's messages name the argument, and begin with a small letter like ours.
fn usage(err: lexopt::Error) -> Error {
    Error::usage(err.to_string())
}

/// How much is logged.
pub fn verbosity(arguments: &Arguments) -> Verbosity {
    let mut verbose = arguments.count(&options::VERBOSE);
    if arguments.command == Command::Doctor {
        // It prints its findings itself, and with -v the evidence; -vv and more are for the log.
        match verbose {
            0 | 1 => return Verbosity::Quiet,
            _ => verbose -= 1,
        }
    }
    match (arguments.count(&options::QUIET), verbose) {
        (0, 0) => Verbosity::Default,
        (0, 1) => Verbosity::More,
        (0, _) => Verbosity::Everything,
        _ => Verbosity::Quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Invocation> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn arguments(line: &str) -> Arguments {
        match run(line) {
            Ok(Invocation::Run(arguments)) => arguments,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_before_and_after_the_command() {
        let parsed = arguments("--region dfw status -v --region=iad --check -v");
        assert_eq!(parsed.command, Command::Status);
        assert_eq!(parsed.get(&options::REGION), Some("iad"));
        assert_eq!(parsed.count(&options::CHECK), 1);
        assert_eq!(parsed.count(&options::VERBOSE), 2);
        assert_eq!(arguments("status -vv").count(&options::VERBOSE), 2);
    }

    #[test]
    fn gateway_without_a_subcommand_is_gateway_show() {
        assert_eq!(arguments("gateway").command, Command::GatewayShow);
        assert_eq!(arguments("gateway show --format xml").command, Command::GatewayShow);
        assert_eq!(arguments("gateway --format xml").command, Command::GatewayShow);
    }

    #[test]
    fn options_after_the_dashes_belong_to_the_command() {
        let parsed = arguments("wait --interval 4s -- sh -c --help -- -q");
        assert_eq!(parsed.program, ["sh", "-c", "--help", "--", "-q"].map(OsString::from));
        assert_eq!(parsed.options, [("interval", "4s".to_owned())]);
    }

    #[test]
    fn help_in_every_place() {
        use HelpLength::{Full, Short};
        let help = |topic, length| Ok(Invocation::Help(topic, length));
        assert_eq!(run("--help"), help(HelpTopic::Program, Full));
        assert_eq!(run("help"), help(HelpTopic::Program, Full));
        assert_eq!(run("-h"), help(HelpTopic::Program, Short));
        assert_eq!(run("wait -h"), help(HelpTopic::Command(Command::Wait), Short));
        assert_eq!(run("help wait"), help(HelpTopic::Command(Command::Wait), Full));
        assert_eq!(run("gateway --help"), help(HelpTopic::Group("gateway"), Full));
        assert_eq!(run("gateway set -h"), help(HelpTopic::Command(Command::GatewaySet), Short));
        assert_eq!(run(""), Ok(Invocation::Usage));
        assert_eq!(run("status --version"), Ok(Invocation::Version));
    }

    #[cfg(not(feature = "cloud"))]
    #[test]
    fn options_of_a_cloud_command_hid_that_this_build_has_none() {
        for line in [
            "cloud wait a b sh -c true",
            "cloud wait a --intervall 5s",
            "cloud servers --xyzzy",
            "cloud servers",
            "cloud",
            "help cloud",
        ] {
            let error = run(line).expect_err(line);
            assert!(error.message.starts_with("this build has no cloud commands"), "{error}");
        }
    }

    #[test]
    fn errors_say_what_to_type() {
        for (line, says) in [
            ("-v", "no command"),
            ("statsu", "did you mean status?"),
            ("gateway shwo", "did you mean gateway show?"),
            ("xyzzy", "see rackconnect --help"),
            ("status --intervall 5s", "did you mean --interval?"),
            ("status -x", "unknown option -x (see rackconnect status --help)"),
            ("gateway -x set", "unknown option -x (see rackconnect gateway --help)"),
            ("--xyzzy", "unknown option --xyzzy (see rackconnect --help)"),
            ("STATUS", "did you mean status?"),
            ("gateway xyzzy", "\"gateway xyzzy\" (see rackconnect gateway --help)"),
            ("status --wait", "status does not take --wait; it is an option of gateway set"),
            ("status --timeout 5s", "status does not take --timeout; its time limit is --deadline"),
            ("wait --deadline 5s", "wait does not take --deadline; its time limit is --timeout"),
            ("wait --timeout", "--timeout needs a value: --timeout DURATION"),
            ("wait --through-failed=yes", "through-failed"),
            ("wait sh -c true", "rackconnect wait -- sh ..."),
            ("wait ls --list", "COMMAND goes after \"--\": rackconnect wait -- ls"),
            #[cfg(feature = "cloud")]
            ("cloud wait a b sh -c true", "\"--\": rackconnect cloud wait a b -- sh ..."),
            #[cfg(feature = "cloud")]
            ("cloud wait a -c", "unknown option -c (see rackconnect cloud wait --help)"),
            ("wait true now", "COMMAND goes after \"--\": rackconnect wait -- true now"),
            ("wait --", "no COMMAND after"),
            ("status --", "does not take \"--\""),
            ("status now", "unexpected argument \"now\""),
            ("hooks /a b", "unexpected argument \"b\""),
            ("completions bash zsh", "unexpected argument \"zsh\""),
            ("completions", "bash, zsh or fish"),
        ] {
            let error = run(line).expect_err(line);
            assert!(error.message.contains(says), "{line}: {}", error.message);
        }
        use std::os::unix::ffi::OsStringExt;
        let broken = OsString::from_vec(vec![0xff]);
        assert!(parse([OsString::from("status"), OsString::from("--region"), broken]).is_err());
    }
}
