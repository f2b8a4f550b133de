//! Arguments to an [`Invocation`], by lexopt and the tables of `definitions`.

use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt};

use super::definitions::{self, COMMANDS, Command, CommandSpec, OPTIONS, Opt};
use crate::error::{Error, Result};

/// What the user asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run a command.
    Run(Arguments),
    /// Print the help: of one command or of all, in short or in full.
    Help {
        /// The command.
        command: Option<Command>,
        /// Whether `--help` was asked for rather than `-h`.
        full: bool,
    },
    /// Print the version.
    Version,
}

/// A command and what was said with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Arguments {
    /// The command.
    pub command: Command,
    /// Its operand: the SHELL of `completions`, the DIR of `hooks`.
    pub operand: Option<String>,
    /// What came after `--`.
    pub program: Vec<OsString>,
    /// The options with their values (empty for a switch), in their order.
    pub options: Vec<(&'static str, String)>,
}

impl Arguments {
    /// The value of an option; of several the last.
    pub fn get(&self, option: &Opt) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(long, _)| *long == option.long)
            .map(|(_, value)| value.as_str())
    }

    /// How often a switch is given.
    pub fn count(&self, option: &Opt) -> usize {
        self.options.iter().filter(|(long, _)| *long == option.long).count()
    }
}

/// Reads the arguments, the program's name not among them.
///
/// # Errors
/// What is wrong with them, and what to type instead.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = match arguments.iter().position(|argument| argument == "--") {
        Some(dashes) => {
            let program = arguments.split_off(dashes + 1);
            arguments.pop();
            Some(program)
        }
        None => None,
    };
    let mut parser = Parser::from_args(arguments);
    let mut words = Vec::new();
    let mut found = Vec::new();
    let mut help = None;
    while let Some(argument) = parser.next().map_err(usage)? {
        let option = match argument {
            Arg::Value(word) => {
                words.push(word.string().map_err(usage)?);
                continue;
            }
            Arg::Long(name) => by_name(name)?,
            Arg::Short(letter) => {
                OPTIONS.iter().find(|option| option.short == Some(letter)).ok_or_else(|| {
                    Error::usage(format!("there is no option -{letter}: see rackconnect --help"))
                })?
            }
        };
        match option.long {
            "help" => help = Some(matches!(argument, Arg::Long(_))),
            "version" => return Ok(Invocation::Version),
            _ => {}
        }
        let value = match option.value {
            Some(name) => parser
                .value()
                .map_err(|_| {
                    Error::usage(format!("--{} needs a value: --{0} {name}", option.long))
                })?
                .string()
                .map_err(usage)?,
            None => String::new(),
        };
        found.push((*option, value));
    }
    // "help wait" is "wait --help".
    while words.first().is_some_and(|word| word == "help") {
        words.remove(0);
        help = help.or(Some(true));
    }
    let spec = command(&words, help.is_some())?;
    if let Some(full) = help {
        return Ok(Invocation::Help { command: spec.map(|(spec, _)| spec.command), full });
    }
    let Some((spec, rest)) = spec else {
        return Err(Error::usage("no command is given: see rackconnect --help"));
    };
    let command = spec.command;
    if let Some((option, _)) = found.iter().find(|(option, _)| !option.is_on(command)) {
        return Err(Error::usage(format!(
            "{} does not take --{}{}",
            spec.name,
            option.long,
            belongs(option)
        )));
    }
    let operand = operand(spec, rest)?;
    let program = match (command, program) {
        (Command::Wait, Some(program)) if program.is_empty() => {
            return Err(Error::usage(
                "no COMMAND follows the --: rackconnect wait -- COMMAND [ARG]...",
            ));
        }
        (Command::Wait, program) => program.unwrap_or_default(),
        (_, None) => Vec::new(),
        (_, Some(_)) => return Err(Error::usage(format!("{} takes no --", spec.name))),
    };
    let options = found.into_iter().map(|(option, value)| (option.long, value)).collect();
    Ok(Invocation::Run(Arguments { command, operand, program, options }))
}

/// The command that the words name, and the words after it.
fn command(words: &[String], helping: bool) -> Result<Option<(&'static CommandSpec, &[String])>> {
    let Some(first) = words.first() else { return Ok(None) };
    let two = words.get(..2).map(|words| words.join(" "));
    let named = |name: &str| COMMANDS.iter().find(|spec| spec.name == name);
    if let Some(spec) = two.as_deref().and_then(named) {
        return Ok(Some((spec, &words[2..])));
    }
    if let Some(spec) = named(first) {
        return Ok(Some((spec, &words[1..])));
    }
    // "gateway" alone is "gateway show".
    if first == "gateway" && (words.len() == 1 || helping) {
        return Ok(named("gateway show").map(|spec| (spec, &words[1..])));
    }
    let typed = two.filter(|_| first == "gateway").unwrap_or_else(|| first.clone());
    let names = COMMANDS.iter().map(|spec| spec.name);
    Err(Error::usage(format!("there is no command {typed:?}{}", hint(&typed, names, ""))))
}

fn operand(spec: &CommandSpec, rest: &[String]) -> Result<Option<String>> {
    match (spec.command, rest) {
        (Command::Completions, [shell]) => Ok(Some(shell.clone())),
        (Command::Completions, []) => {
            Err(Error::usage("completions needs a SHELL: bash, zsh or fish"))
        }
        (Command::Hooks, [folder]) => Ok(Some(folder.clone())),
        (Command::Wait, [word, ..]) => Err(Error::usage(format!(
            "wait does not know what to do with {word:?}: COMMAND goes after --: rackconnect wait -- COMMAND"
        ))),
        (_, []) => Ok(None),
        (_, [.., word]) => Err(Error::usage(match spec.operands.trim_matches(['[', ']']) {
            "" => format!("{} takes options alone, and {word:?} is none", spec.name),
            one => format!("{} takes one {one}, and {word:?} is one too many", spec.name),
        })),
    }
}

fn by_name(name: &str) -> Result<&'static &'static Opt> {
    OPTIONS.iter().find(|option| option.long == name).ok_or_else(|| {
        let names = OPTIONS.iter().map(|option| option.long);
        Error::usage(format!("there is no option --{name}{}", hint(name, names, "--")))
    })
}

/// ": did you mean …?" where something is spelt alike.
fn hint(typed: &str, names: impl Iterator<Item = &'static str>, dashes: &str) -> String {
    match alike(typed, names) {
        Some(name) => format!(": did you mean {dashes}{name}?"),
        None => ": see rackconnect --help".to_owned(),
    }
}

/// The name that is spelt most like what was typed, if one is spelt alike.
pub fn alike(typed: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let alike = names
        .map(|name| (strsim::jaro_winkler(typed, name), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    alike.filter(|(likeness, _)| *likeness > 0.8).map(|(_, name)| name)
}

fn belongs(option: &Opt) -> String {
    let names: Vec<&str> = COMMANDS
        .iter()
        .filter(|spec| option.on.contains(&spec.command))
        .map(|spec| spec.name)
        .collect();
    format!(": it belongs to {}", crate::ui::and(&names))
}

/// lexopt's sentences begin with a small letter and name the argument.
fn usage(why: lexopt::Error) -> Error {
    Error::usage(why.to_string())
}

/// Whether the arguments ask for quiet or for more, in front of everything else: errors are already said that way.
pub fn verbosity(arguments: &Arguments) -> crate::ui::Verbosity {
    match (arguments.count(&definitions::QUIET), arguments.count(&definitions::VERBOSE)) {
        (0, 0) => crate::ui::Verbosity::Default,
        (0, 1) => crate::ui::Verbosity::More,
        (0, _) => crate::ui::Verbosity::Everything,
        _ => crate::ui::Verbosity::Quiet,
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
        assert_eq!(parsed.get(&definitions::REGION), Some("iad"));
        assert_eq!(parsed.count(&definitions::CHECK), 1);
        assert_eq!(parsed.count(&definitions::VERBOSE), 2);
        assert_eq!(arguments("status -vv").count(&definitions::VERBOSE), 2);
    }

    #[test]
    fn gateway_alone_is_gateway_show() {
        assert_eq!(arguments("gateway").command, Command::GatewayShow);
        assert_eq!(arguments("gateway show --format xml").command, Command::GatewayShow);
        assert_eq!(arguments("gateway --format xml").command, Command::GatewayShow);
    }

    #[test]
    fn what_follows_the_dashes_is_nobodys_option() {
        let parsed = arguments("wait --interval 4s -- sh -c --help -- -q");
        assert_eq!(parsed.program, ["sh", "-c", "--help", "--", "-q"].map(OsString::from));
        assert_eq!(parsed.options, [("interval", "4s".to_owned())]);
    }

    #[test]
    fn help_in_every_place() {
        let help = |command, full| Ok(Invocation::Help { command, full });
        assert_eq!(run("--help"), help(None, true));
        assert_eq!(run("help"), help(None, true));
        assert_eq!(run("-h"), help(None, false));
        assert_eq!(run("wait -h"), help(Some(Command::Wait), false));
        assert_eq!(run("help wait"), help(Some(Command::Wait), true));
        assert_eq!(run("gateway --help"), help(Some(Command::GatewayShow), true));
        assert_eq!(run("status --version"), Ok(Invocation::Version));
    }

    #[test]
    fn errors_say_what_to_type() {
        for (line, says) in [
            ("", "no command"),
            ("statsu", "did you mean status?"),
            ("gateway shwo", "did you mean gateway show?"),
            ("xyzzy", "see rackconnect --help"),
            ("status --intervall 5s", "did you mean --interval?"),
            ("status -x", "no option -x"),
            (
                "status --timeout 5s",
                "status does not take --timeout: it belongs to gateway set and wait",
            ),
            ("wait --timeout", "--timeout needs a value: --timeout DURATION"),
            ("wait --through-failed=yes", "through-failed"),
            ("wait true", "goes after --"),
            ("wait --", "no COMMAND follows"),
            ("status --", "takes no --"),
            ("status now", "status takes options alone, and \"now\" is none"),
            ("hooks /a b", "hooks takes one DIR, and \"b\" is one too many"),
            ("completions bash zsh", "completions takes one SHELL, and \"zsh\" is one too many"),
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
