//! Completions for bash, zsh and fish: one template each, filled in from the tables of commands and
//! options. For another shell, add a template and a function like `bash`.

use std::fmt::Write;

use super::commands::{COMMANDS, CommandSpec};
use super::options::{OptionSpec, option_specs};

const BASH: &str = include_str!("rackconnect.bash");
const ZSH: &str = include_str!("rackconnect.zsh");
const FISH: &str = include_str!("rackconnect.fish");

/// The values for the operand of `completions`.
const SHELLS: &str = "bash zsh fish";

/// The first words of all commands, each once.
fn first_words() -> Vec<&'static str> {
    let mut words: Vec<&str> = COMMANDS.iter().map(first_word).collect();
    words.dedup();
    words
}

fn first_word(spec: &CommandSpec) -> &'static str {
    spec.name.split(' ').next().unwrap_or(spec.name)
}

/// The second words of a group: `show`, `check` … of `gateway`; empty for a plain command.
fn second_words(first: &str) -> Vec<&'static str> {
    let members = COMMANDS.iter().filter(|spec| first_word(spec) == first);
    members.filter_map(|spec| spec.name.split_once(' ')).map(|(_, second)| second).collect()
}

fn options_of(spec: &CommandSpec) -> impl Iterator<Item = &'static OptionSpec> {
    option_specs().filter(|option| option.applies_to(spec.command) && option.is_shown())
}

fn long_options(spec: &CommandSpec) -> String {
    let names: Vec<String> = options_of(spec).map(|option| format!("--{}", option.long)).collect();
    names.join(" ")
}

/// Escapes text for single quotes, in a way that suits all three shells.
fn quote(text: &str) -> String {
    text.replace('\'', "’")
}

/// The completion script of a shell; none if the shell is not supported.
pub fn of_shell(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn bash() -> String {
    let names: Vec<String> = first_words()
        .into_iter()
        .chain(COMMANDS.iter().map(|spec| spec.name).filter(|name| name.contains(' ')))
        .map(|name| format!("'{name}'"))
        .collect();
    let mut values = String::new();
    for option in option_specs().filter(|it| it.value_name.is_some() && it.is_shown()) {
        let reply = match (option.possible_values, option.is_path()) {
            (_, true) => "COMPREPLY=($(compgen -f -- \"$cur\"))".to_owned(),
            ([], false) => "COMPREPLY=()".to_owned(),
            (words, false) => {
                format!("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", words.join(" "))
            }
        };
        let _ = writeln!(values, "        --{}) {reply}; return ;;", option.long);
    }
    let mut words = String::new();
    let _ = writeln!(words, "        '') word='{} --help --version' ;;", first_words().join(" "));
    for first in first_words() {
        let second = second_words(first).join(" ");
        if !second.is_empty() {
            let _ = writeln!(words, "        {first}) word='{second} --help' ;;");
        }
    }
    for spec in COMMANDS {
        let operands = if spec.name == "completions" { SHELLS } else { "" };
        let _ =
            writeln!(words, "        '{}') word='{operands} {}' ;;", spec.name, long_options(spec));
    }
    BASH.replace("@NAMES@", &names.join(" | "))
        .replace("@VALUES@\n", &values)
        .replace("@WORDS@\n", &words)
}

fn zsh() -> String {
    let mut commands = String::new();
    for first in first_words() {
        let help =
            COMMANDS.iter().find(|spec| first_word(spec) == first).map_or("", |spec| spec.help);
        let _ = writeln!(commands, "            '{first}:{}'", quote(help));
    }
    let mut arguments = String::new();
    for spec in COMMANDS {
        // The second word is a part of the name only in a group.
        let pattern = if spec.name.contains(' ') {
            format!("'{}'", spec.name)
        } else {
            format!("'{} '*", spec.name)
        };
        let _ = writeln!(arguments, "        {pattern})\n            _arguments \\");
        for option in options_of(spec) {
            let _ = writeln!(arguments, "                '{}' \\", zsh_option(option));
        }
        let operand = match spec.name {
            "completions" => format!("'1:shell:({SHELLS})'"),
            "wait" => "'*::command:_normal'".to_owned(),
            _ => "'*: :'".to_owned(),
        };
        let _ = writeln!(arguments, "                {operand}\n            ;;");
    }
    for first in first_words() {
        let second = second_words(first).join(" ");
        if !second.is_empty() {
            let _ = writeln!(
                arguments,
                "        '{first} '*)\n            _arguments '1:command:({second})'\n            ;;"
            );
        }
    }
    ZSH.replace("@COMMANDS@\n", &commands).replace("@ARGUMENTS@\n", &arguments)
}

fn zsh_option(option: &OptionSpec) -> String {
    let help = quote(option.help).replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let value = option.value_name.map(|name| name.replace(':', "\\:"));
    let action = match (value, option.possible_values) {
        (None, _) => String::new(),
        (Some(value), []) if option.is_path() => format!(":{value}:_files"),
        (Some(value), []) => format!(":{value}: "),
        (Some(value), words) => format!(":{value}:({})", words.join(" ")),
    };
    format!("--{}[{help}]{action}", option.long)
}

fn fish() -> String {
    let first = first_words().join(" ");
    let mut commands = String::new();
    for word in first_words() {
        let help =
            COMMANDS.iter().find(|spec| first_word(spec) == word).map_or("", |spec| spec.help);
        let _ = writeln!(
            commands,
            "complete -c rackconnect -n 'not __fish_seen_subcommand_from {first}' -a {word} -d '{}'",
            quote(help)
        );
        let operands = match word {
            "completions" => SHELLS.to_owned(),
            word => second_words(word).join(" "),
        };
        if !operands.is_empty() {
            let _ = writeln!(
                commands,
                "complete -c rackconnect -n '__fish_seen_subcommand_from {word}; and not \
                 __fish_seen_subcommand_from {operands}' -a '{operands}'"
            );
        }
    }
    let mut options = String::new();
    for spec in COMMANDS {
        let words = spec.name.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}"));
        let condition = words.collect::<Vec<_>>().join("; and ");
        for option in options_of(spec) {
            let _ = writeln!(
                options,
                "complete -c rackconnect -n '{condition}' {}",
                fish_option(option)
            );
        }
    }
    FISH.replace("@COMMANDS@\n", &commands).replace("@OPTIONS@\n", &options)
}

fn fish_option(option: &OptionSpec) -> String {
    let mut text = format!("-l {}", option.long);
    if let Some(short) = option.short {
        let _ = write!(text, " -s {short}");
    }
    match (option.value_name, option.possible_values) {
        (None, _) => {}
        (Some(_), []) if option.is_path() => text.push_str(" -r -F"),
        (Some(_), []) => text.push_str(" -x"),
        (Some(_), words) => {
            let _ = write!(text, " -x -a '{}'", words.join(" "));
        }
    }
    let _ = write!(text, " -d '{}'", quote(option.help));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left() {
        for shell in SHELLS.split(' ') {
            let text = of_shell(shell).unwrap_or_default();
            assert!(text.contains("through-failed"), "{text}");
            for placeholder in ["NAMES", "VALUES", "WORDS", "COMMANDS", "ARGUMENTS", "OPTIONS"] {
                assert!(!text.contains(&format!("@{placeholder}@")), "{shell}: {placeholder}");
            }
        }
    }

    /// zsh took what is behind the colon for a command that completes the value.
    #[test]
    fn a_colon_in_the_name_of_a_value_is_escaped() {
        assert!(zsh().contains(":HOST[\\:PORT]: "), "{}", zsh());
    }

    /// The completion of `gateway set` offered the options of `gateway show`.
    #[test]
    fn a_subcommand_is_offered_its_own_options_only() {
        let text = bash();
        let line = text.lines().find(|line| line.contains("'gateway set')")).unwrap_or_default();
        assert!(line.contains("--confirm") && !line.contains("--as") && !line.contains("--format"));
    }
}
