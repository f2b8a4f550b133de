//! The help, short (`-h`) or full (`--help`), of the program, of a group of commands such as
//! `gateway`, or of one command.

use std::fmt::Write;

use super::commands::{COMMANDS, Command, CommandSpec, WAIT_OUTCOMES};
use super::options::{OptionSpec, option_specs};
use super::parser::{HelpLength, HelpTopic};
use crate::exit;

/// The narrowest and the widest text. Between them the text is as wide as the terminal.
const MIN_WIDTH: usize = 40;
const MAX_WIDTH: usize = 100;

/// The column in which the texts beside names begin.
const TEXT_COLUMN: usize = 28;

/// One sentence about the program.
pub const ABOUT: &str = "The on-server agent for Rackspace RackConnect v2.0: shows the automation status, waits for the \
     automation, and sets the default gateway.";

/// The help, for a terminal of `width` columns.
pub fn text(topic: HelpTopic, length: HelpLength, width: usize) -> String {
    let mut help = Help { out: String::new(), width: width.clamp(MIN_WIDTH, MAX_WIDTH) };
    match topic {
        HelpTopic::Program => help.program(length),
        HelpTopic::Group(group) => help.group(group),
        HelpTopic::Command(command) => match CommandSpec::of(command) {
            Some(spec) => help.command(spec, length),
            None => help.program(length),
        },
    }
    help.out
}

/// The short help of the program, for a call without arguments.
pub fn usage(width: usize) -> String {
    text(HelpTopic::Program, HelpLength::Short, width)
}

struct Help {
    out: String,
    width: usize,
}

impl Help {
    fn program(&mut self, length: HelpLength) {
        self.paragraph(ABOUT, 0);
        self.out.push_str("\nUsage: rackconnect COMMAND [OPTION]...\n\nCommands:\n");
        self.commands(COMMANDS.iter());
        match length {
            HelpLength::Short => {
                self.out.push_str("\nOptions of every command:\n");
                for option in shown().filter(|option| option.is_general()) {
                    self.option(option, HelpLength::Short);
                }
                self.out.push('\n');
                self.paragraph(
                    "\"rackconnect COMMAND --help\" explains a command and its options; \"rackconnect \
                     --help\" lists the options of all commands and the exit codes.",
                    0,
                );
            }
            HelpLength::Full => {
                self.options_by_command();
                self.out.push_str("\nA DURATION is 90, 90s, 2.5s, 15m or 1h30m.\n\nExit codes:\n");
                for (code, meaning) in exit::MEANINGS {
                    self.entry(code, 10, meaning);
                }
            }
        }
    }

    /// Every command with its own options, then the options that many commands take, and then those
    /// of every command.
    fn options_by_command(&mut self) {
        for spec in COMMANDS {
            let is_own =
                |option: &&OptionSpec| option.belongs_to(spec.command) && !option.is_common();
            let own: Vec<_> = shown().filter(is_own).collect();
            if own.is_empty() {
                continue;
            }
            let _ = write!(self.out, "\n{}:\n", spec.name);
            for option in own {
                self.option(&option.for_command(spec.command), HelpLength::Short);
            }
        }
        self.out.push_str("\nOptions of many commands (see rackconnect COMMAND -h):\n");
        for option in shown().filter(|option| option.is_common()) {
            self.option(option, HelpLength::Short);
        }
        self.out.push_str("\nOptions of every command:\n");
        for option in shown().filter(|option| option.is_general()) {
            self.option(option, HelpLength::Short);
        }
    }

    fn group(&mut self, group: &str) {
        let members = || COMMANDS.iter().filter(|spec| spec.name.split(' ').next() == Some(group));
        let _ = write!(self.out, "Usage: rackconnect {group} COMMAND [OPTION]...\n\nCommands:\n");
        self.commands(members());
        self.out.push('\n');
        if group == "gateway" {
            self.paragraph("\"rackconnect gateway\" is short for \"rackconnect gateway show\".", 0);
        }
        self.paragraph(
            &format!("\"rackconnect {group} COMMAND --help\" explains a command and its options."),
            0,
        );
    }

    fn command(&mut self, spec: &CommandSpec, length: HelpLength) {
        self.paragraph(spec.help, 0);
        let operands = [" ", spec.operands].concat();
        let operands = operands.trim_end();
        let _ = write!(self.out, "\nUsage: rackconnect {} [OPTION]...{operands}\n", spec.name);
        if length == HelpLength::Full {
            for paragraph in spec.long_help.split("\n\n") {
                self.out.push('\n');
                self.paragraph(paragraph, 0);
            }
        }
        self.out.push_str("\nOptions:\n");
        for option in shown().filter(|option| option.applies_to(spec.command)) {
            self.option(&option.for_command(spec.command), length);
        }
        if spec.command == Command::Wait {
            self.out.push_str("\nOutcomes and exit codes:\n");
            for (code, outcome) in WAIT_OUTCOMES {
                self.entry(code, 10, outcome);
            }
        }
    }

    fn commands<'a>(&mut self, commands: impl Iterator<Item = &'a CommandSpec>) {
        for spec in commands {
            let name = format!("{} {}", spec.name, spec.operands);
            self.entry(name.trim_end(), TEXT_COLUMN - 2, spec.help);
        }
    }

    fn option(&mut self, option: &OptionSpec, length: HelpLength) {
        let short = option.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let value = option.value_name.map_or(String::new(), |value| format!(" {value}"));
        let name = format!("{short}--{}{value}", option.long);
        match length {
            HelpLength::Short => self.entry(&name, TEXT_COLUMN - 2, option.help),
            HelpLength::Full => {
                let _ = writeln!(self.out, "  {name}");
                self.paragraph(&sentences(option), 10);
            }
        }
    }

    /// A name with its text beside it, or below it if the name is too long.
    fn entry(&mut self, name: &str, width: usize, text: &str) {
        let _ = write!(self.out, "  {name}");
        let indent = (width + 2).min(self.width / 2);
        let used = name.chars().count() + 2;
        let mut lines = wrap(text, self.width - indent).into_iter();
        if used + 1 < indent {
            let first = lines.next().unwrap_or_default();
            let _ = write!(self.out, "{:1$}{first}", "", indent - used);
        }
        self.out.push('\n');
        for line in lines {
            let _ = writeln!(self.out, "{:1$}{line}", "", indent);
        }
    }

    fn paragraph(&mut self, text: &str, indent: usize) {
        for line in wrap(text, self.width - indent) {
            let _ = writeln!(self.out, "{:1$}{line}", "", indent);
        }
    }
}

/// The options that are shown.
fn shown() -> impl Iterator<Item = &'static OptionSpec> {
    option_specs().filter(|option| option.is_shown())
}

/// The full description of an option, as sentences.
pub fn sentences(option: &OptionSpec) -> String {
    let mut text = format!("{}.", option.help);
    if !option.long_help.is_empty() {
        let _ = write!(text, " {}", option.long_help);
    }
    if !option.default.is_empty() {
        let _ = write!(text, " Default: {}.", option.default);
    }
    let env = option.env.iter().map(|name| format!("${name}"));
    let key = option.key.map(|(key, _)| format!("{key} in the configuration file"));
    let also: Vec<String> = env.chain(key).collect();
    if !also.is_empty() {
        let _ = write!(text, " Also: {}.", also.join(", "));
    }
    text
}

/// Breaks a text into lines between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> impl Iterator<Item = HelpTopic> {
        let commands = COMMANDS.iter().map(|spec| HelpTopic::Command(spec.command));
        [HelpTopic::Program, HelpTopic::Group("gateway")].into_iter().chain(commands)
    }

    #[test]
    fn lines_fit_the_terminal_and_break_between_words() {
        for topic in topics() {
            for length in [HelpLength::Short, HelpLength::Full] {
                let wide = text(topic, length, 1_000);
                for width in [64, 80, 100] {
                    let narrow = text(topic, length, width);
                    // Usage lines are not wrapped.
                    let long = narrow
                        .lines()
                        .filter(|line| line.chars().count() > width && !line.starts_with("Usage:"));
                    assert_eq!(long.collect::<Vec<_>>(), [""; 0], "{topic:?}");
                    let words =
                        |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                    assert_eq!(words(&narrow), words(&wide), "{topic:?} at {width}");
                }
            }
        }
    }

    #[test]
    fn the_full_help_has_every_option_command_and_exit_code() {
        let whole = text(HelpTopic::Program, HelpLength::Full, 80);
        for option in shown() {
            assert!(whole.contains(&format!("--{}", option.long)), "{}", option.long);
        }
        for option in option_specs().filter(|option| !option.is_shown()) {
            assert!(!whole.contains(&format!("--{}", option.long)), "{}", option.long);
        }
        for (code, _) in exit::MEANINGS {
            assert!(whole.contains(&format!("\n  {code} ")), "{code}");
        }
        for spec in COMMANDS {
            assert!(whole.contains(&format!("\n  {}", spec.name)), "{}", spec.name);
        }
    }

    /// Texts of the `cloud` commands had long runs of spaces, which the manual showed.
    #[test]
    fn texts_have_single_spaces() {
        let commands = COMMANDS.iter().flat_map(|spec| [spec.help, spec.long_help]);
        let options = option_specs().flat_map(|option| [option.help, option.long_help]);
        for text in commands.chain(options) {
            assert!(!text.contains("  "), "{text}");
        }
    }

    #[test]
    fn the_help_of_gateway_lists_all_its_commands() {
        let group = text(HelpTopic::Group("gateway"), HelpLength::Short, 80);
        for name in ["show", "check", "set", "confirm", "rollback", "keep"] {
            assert!(group.contains(&format!("gateway {name} ")), "{group}");
        }
    }

    /// The help of a command was about the defaults and the formats of other commands, too.
    #[test]
    fn the_help_of_a_command_is_about_this_command() {
        let others = [
            "cloud commands",
            "cloud wait",
            "details and features",
            "of facts",
            "doctor never",
            "gateway check",
        ];
        let is_on_a_server = |spec: &&CommandSpec| !matches!(spec.command, Command::Cloud(_));
        for spec in COMMANDS.iter().filter(is_on_a_server) {
            let help = text(HelpTopic::Command(spec.command), HelpLength::Full, 80);
            let options = help.split_once("\nOptions:\n").map_or("", |(_, options)| options);
            let found = others.iter().find(|text| options.contains(**text));
            assert_eq!(found, None, "{}", spec.name);
        }
    }

    #[test]
    fn options_that_many_commands_take_are_listed_once() {
        let whole = text(HelpTopic::Program, HelpLength::Full, 80);
        for option in shown().filter(|option| option.is_common() || option.is_general()) {
            let line = format!(" --{} ", option.long);
            let lines = whole.lines().filter(|text| format!("{text} ").contains(&line));
            assert_eq!(lines.filter(|text| text.starts_with("  ")).count(), 1, "{}", option.long);
        }
    }

    #[test]
    fn the_help_of_a_command_has_only_its_own_options() {
        let region = text(HelpTopic::Command(Command::Region), HelpLength::Full, 80);
        assert!(region.contains("--region") && !region.contains("--deadline"), "{region}");
        let wait = text(HelpTopic::Command(Command::Wait), HelpLength::Short, 80);
        assert!(wait.contains("\n  124       the deadline"), "{wait}");
    }
}
