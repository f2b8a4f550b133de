//! Completions for bash, zsh and fish, from the tables of `options`.

use std::fmt::Write;

use super::{COMMANDS, CommandSpec, OPTIONS, Opt};

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

/// The commands behind one first word.
fn behind(word: &str) -> impl Iterator<Item = &'static CommandSpec> {
    COMMANDS.iter().filter(move |spec| first_word(spec) == word)
}

/// The second words behind one first word: `show` behind `gateway`.
fn second_words(word: &str) -> Vec<&'static str> {
    behind(word).filter_map(|spec| spec.name.split_once(' ')).map(|(_, second)| second).collect()
}

fn options_of(word: &str) -> impl Iterator<Item = &'static Opt> {
    OPTIONS
        .iter()
        .copied()
        .filter(move |option| behind(word).any(|spec| option.is_on(spec.command)))
}

/// bash, without bash-completion's help: a cloud image may not have it.
pub fn bash() -> String {
    let mut out = String::from(
        "# bash completion for rackconnect\n\
         _rackconnect() {\n\
         \x20   local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word i\n\
         \x20   for ((i = 1; i < COMP_CWORD; i++)); do\n\
         \x20       word=${COMP_WORDS[i]}\n\
         \x20       if [[ $word == -- ]]; then COMPREPLY=($(compgen -c -- \"$cur\")); return; fi\n\
         \x20       if [[ -z $command && $word != -* ]]; then\n\
         \x20           case $word in ",
    );
    out.push_str(&first_words().join("|"));
    out.push_str(") command=$word;; esac\n        fi\n    done\n    case $prev in\n");
    for option in OPTIONS.iter().filter(|option| option.value.is_some()) {
        let reply = match (option.words, option.is_file()) {
            (_, true) => "COMPREPLY=($(compgen -f -- \"$cur\"))".to_owned(),
            ([], false) => "COMPREPLY=()".to_owned(),
            (words, false) => {
                format!("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", words.join(" "))
            }
        };
        let _ = writeln!(out, "        --{}) {reply}; return;;", option.long);
    }
    out.push_str("    esac\n    case $command in\n");
    let _ = writeln!(out, "        '') word='{} --help --version';;", first_words().join(" "));
    for word in first_words() {
        let options: Vec<String> =
            options_of(word).map(|option| format!("--{}", option.long)).collect();
        let operands =
            if word == "completions" { SHELLS.to_owned() } else { second_words(word).join(" ") };
        let _ = writeln!(out, "        {word}) word='{operands} {}';;", options.join(" "));
    }
    out.push_str(
        "    esac\n    COMPREPLY=($(compgen -W \"$word\" -- \"$cur\"))\n}\n\
         complete -o bashdefault -o default -F _rackconnect rackconnect\n",
    );
    out
}

/// zsh.
pub fn zsh() -> String {
    let mut out = String::from(
        "#compdef rackconnect\n\n_rackconnect() {\n    local context state state_descr line\n    typeset -A opt_args\n    \
         _arguments -C '1:command:->command' '*::argument:->argument' && return\n    case $state in\n    command)\n        \
         local -a commands=(\n",
    );
    for word in first_words() {
        let help = behind(word).next().map_or("", |spec| spec.help);
        let _ = writeln!(out, "            '{word}:{}'", quote(help));
    }
    out.push_str(
        "        )\n        _describe command commands\n        ;;\n    argument)\n        case $words[1] in\n",
    );
    for word in first_words() {
        let _ = writeln!(out, "        {word})\n            _arguments \\");
        for option in options_of(word) {
            let help =
                quote(option.help).replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
            let action = match (option.value, option.words) {
                (None, _) => String::new(),
                (Some(value), []) if option.is_file() => format!(":{value}:_files"),
                (Some(value), []) => format!(":{value}: "),
                (Some(value), words) => format!(":{value}:({})", words.join(" ")),
            };
            let _ = writeln!(out, "                '--{}[{help}]{action}' \\", option.long);
        }
        let operand = match (word, second_words(word).join(" ")) {
            ("completions", _) => format!("'1:shell:({SHELLS})'"),
            ("wait", _) => "'*::command:_normal'".to_owned(),
            (_, second) if !second.is_empty() => format!("'1:what:({second})'"),
            _ => "'*: :'".to_owned(),
        };
        let _ = writeln!(out, "                {operand}\n            ;;");
    }
    out.push_str("        esac\n        ;;\n    esac\n}\n\n");
    // Both when it is autoloaded from fpath and when it is sourced.
    out.push_str(
        "if [[ $funcstack[1] == _rackconnect ]]; then _rackconnect \"$@\"; else compdef _rackconnect rackconnect; fi\n",
    );
    out
}

/// fish.
pub fn fish() -> String {
    let mut out = String::from("# fish completion for rackconnect\ncomplete -c rackconnect -f\n");
    let first = first_words().join(" ");
    for word in first_words() {
        let help = behind(word).next().map_or("", |spec| spec.help);
        let _ = writeln!(
            out,
            "complete -c rackconnect -n 'not __fish_seen_subcommand_from {first}' -a {word} -d '{}'",
            quote(help)
        );
        let operands =
            if word == "completions" { SHELLS.to_owned() } else { second_words(word).join(" ") };
        if !operands.is_empty() {
            let _ = writeln!(
                out,
                "complete -c rackconnect -n '__fish_seen_subcommand_from {word}; and not __fish_seen_subcommand_from \
                 {operands}' -a '{operands}'"
            );
        }
    }
    for option in OPTIONS {
        let on: Vec<&str> = first_words()
            .into_iter()
            .filter(|word| options_of(word).any(|other| other.long == option.long))
            .collect();
        let _ = write!(
            out,
            "complete -c rackconnect -n '__fish_seen_subcommand_from {}' -l {}",
            on.join(" "),
            option.long
        );
        if let Some(short) = option.short {
            let _ = write!(out, " -s {short}");
        }
        match (option.value, option.words) {
            (None, _) => {}
            (Some(_), []) if option.is_file() => out.push_str(" -r -F"),
            (Some(_), []) => out.push_str(" -x"),
            (Some(_), words) => {
                let _ = write!(out, " -x -a '{}'", words.join(" "));
            }
        }
        let _ = writeln!(out, " -d '{}'", quote(option.help));
    }
    out
}

/// For the inside of single quotes in any of the three shells: none of the texts has one, and none may get one.
fn quote(text: &str) -> String {
    text.replace('\'', "’")
}
