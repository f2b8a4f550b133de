//! Completions for bash, zsh and fish: one template each, filled in from the tables of commands and
//! options. For another shell, add a template and a function like `bash`.

use std::fmt::Write;

use super::commands::{COMMANDS, CommandSpec};
use super::options::{EXPLAIN, ONLY, OptionSpec, option_specs};

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

/// The help of the first command that begins with this word.
fn help_of(first: &str) -> &'static str {
    COMMANDS.iter().find(|spec| first_word(spec) == first).map_or("", |spec| spec.help)
}

/// The second words of a group: `show`, `check` … of `gateway`; empty for a plain command.
fn second_words(first: &str) -> Vec<&'static str> {
    let members = COMMANDS.iter().filter(|spec| first_word(spec) == first);
    members.filter_map(|spec| spec.name.split_once(' ')).map(|(_, second)| second).collect()
}

fn options_of(spec: &CommandSpec) -> impl Iterator<Item = OptionSpec> {
    let options = option_specs().filter(|it| it.applies_to(spec.command) && it.is_shown());
    options.map(|option| option.for_command(spec.command))
}

/// The words that are offered for the value of an option. `checks`: the ids of doctor's checks.
fn values_of(option: &OptionSpec, checks: &[&str]) -> String {
    if option.long == EXPLAIN.long {
        return checks.join(" ");
    }
    if option.long != ONLY.long {
        return option.possible_values.join(" ");
    }
    // The first word of an id selects its section.
    let (mut words, mut section) = (String::new(), "");
    for id in checks {
        let first = id.split('.').next().unwrap_or(id);
        if first != section {
            section = first;
            words = words + section + " ";
        }
        words = words + id + " ";
    }
    words
}

fn long_options(spec: &CommandSpec) -> String {
    let names: Vec<String> = options_of(spec).map(|option| format!("--{}", option.long)).collect();
    names.join(" ")
}

/// Makes text safe in single quotes. The shells escape a quote differently, so it is replaced.
fn quote(text: &str) -> String {
    text.replace('\'', "’")
}

/// The completion script of a shell; none if the shell is not supported. `checks`: the ids of
/// doctor's checks.
pub fn of_shell(shell: &str, checks: &[&str]) -> Option<String> {
    match shell {
        "bash" => Some(bash(checks)),
        "zsh" => Some(zsh(checks)),
        "fish" => Some(fish(checks)),
        _ => None,
    }
}

fn bash(checks: &[&str]) -> String {
    let names: Vec<String> = first_words()
        .into_iter()
        .chain(COMMANDS.iter().map(|spec| spec.name).filter(|name| name.contains(' ')))
        .map(|name| format!("'{name}'"))
        .collect();
    let mut values = String::new();
    for option in option_specs().filter(|it| it.value_name.is_some() && it.is_shown()) {
        bash_values(&mut values, option, checks);
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

/// Writes a line for each command that has its own values of an option, and one for all others.
fn bash_values(out: &mut String, option: &OptionSpec, checks: &[&str]) {
    let mut line = |before: &str, words: &str| {
        let reply = match (option.is_path(), words) {
            (true, _) => "$(compgen -f -- \"$cur\")".to_owned(),
            (false, "") => String::new(),
            (false, words) => format!("$(compgen -P \"$list\" -W '{words}' -- \"$cur\")"),
        };
        let _ =
            writeln!(out, "        {before} --{}') COMPREPLY=({reply}); return ;;", option.long);
    };
    let general = values_of(option, checks);
    for spec in COMMANDS.iter().filter(|spec| option.applies_to(spec.command)) {
        let own = values_of(&option.for_command(spec.command), checks);
        if own != general {
            line(&format!("'{}", spec.name), &own);
        }
    }
    line("*'", &general);
}

fn zsh(checks: &[&str]) -> String {
    let mut commands = String::new();
    for first in first_words() {
        let _ = writeln!(commands, "            '{first}:{}'", quote(help_of(first)));
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
            let _ = writeln!(arguments, "                '{}' \\", zsh_option(&option, checks));
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

fn zsh_option(option: &OptionSpec, checks: &[&str]) -> String {
    let help = quote(option.help).replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
    let value = option.value_name.map(|name| name.replace(':', "\\:"));
    let words = values_of(option, checks);
    let action = match value {
        None => String::new(),
        Some(value) if option.is_path() => format!(":{value}:_files"),
        Some(value) if words.is_empty() => format!(":{value}: "),
        Some(value) => format!(":{value}:({words})"),
    };
    format!("--{}[{help}]{action}", option.long)
}

fn fish(checks: &[&str]) -> String {
    let first = first_words().join(" ");
    let mut commands = String::new();
    for word in first_words() {
        let _ = writeln!(
            commands,
            "complete -c rackconnect -n 'not __fish_seen_subcommand_from {first}' -a {word} -d '{}'",
            quote(help_of(word))
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
    let is_group = |first: &&str| !second_words(first).is_empty();
    let groups = first_words().into_iter().filter(is_group).collect::<Vec<_>>().join(" ");
    for spec in COMMANDS {
        let words = spec.name.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}"));
        let mut condition = words.collect::<Vec<_>>().join("; and ");
        if !spec.name.contains(' ') {
            // "wait" is not "cloud wait".
            let _ = write!(condition, "; and not __fish_seen_subcommand_from {groups}");
        }
        for option in options_of(spec) {
            let _ = writeln!(
                options,
                "complete -c rackconnect -n '{condition}' {}",
                fish_option(&option, checks)
            );
        }
    }
    FISH.replace("@COMMANDS@\n", &commands).replace("@OPTIONS@\n", &options)
}

fn fish_option(option: &OptionSpec, checks: &[&str]) -> String {
    let mut text = format!("-l {}", option.long);
    if let Some(short) = option.short {
        let _ = write!(text, " -s {short}");
    }
    let words = values_of(option, checks);
    match option.value_name {
        None => {}
        Some(_) if option.is_path() => text.push_str(" -r -F"),
        Some(_) if words.is_empty() => text.push_str(" -x"),
        Some(_) => {
            let _ = write!(text, " -x -a '{words}'");
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
            let text = of_shell(shell, &[]).unwrap_or_default();
            assert!(text.contains("through-failed"), "{text}");
            for placeholder in ["NAMES", "VALUES", "WORDS", "COMMANDS", "ARGUMENTS", "OPTIONS"] {
                assert!(!text.contains(&format!("@{placeholder}@")), "{shell}: {placeholder}");
            }
        }
    }

    /// zsh took what is behind the colon for a command that completes the value.
    #[test]
    fn a_colon_in_the_name_of_a_value_is_escaped() {
        assert!(zsh(&[]).contains(":HOST[\\:PORT]: "), "{}", zsh(&[]));
    }

    /// The completion of `gateway set` offered the options of `gateway show`.
    #[test]
    fn a_subcommand_is_offered_its_own_options_only() {
        let text = bash(&[]);
        let line = text.lines().find(|line| line.contains("'gateway set')")).unwrap_or_default();
        assert!(line.contains("--confirm") && !line.contains("--as") && !line.contains("--format"));
    }
}
