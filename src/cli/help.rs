//! The help: `-h` in short, `--help` in full, of the program or of one command.

use std::fmt::Write;

use super::{COMMANDS, Command, CommandSpec, OPTIONS, Opt};
use crate::exit;

/// The width that lines are broken at.
const WIDTH: usize = 100;

/// One sentence about the program.
pub const ABOUT: &str = "The on-server agent for Rackspace RackConnect v2.0: asks for the automation status, waits for it, \
                         shows, sets and keeps the gateway.";

/// The help's text.
pub fn text(command: Option<Command>, full: bool) -> String {
    match command.and_then(|command| COMMANDS.iter().find(|spec| spec.command == command)) {
        Some(spec) => of_command(spec, full),
        None => of_program(full),
    }
}

fn of_program(full: bool) -> String {
    let mut out =
        format!("{}\n\nUsage: rackconnect COMMAND [OPTION]...\n\nCommands:\n", wrapped(ABOUT, 0));
    for spec in COMMANDS {
        let name = [spec.name, spec.operands].join(" ");
        let _ = writeln!(out, "  {:28}{}", name.trim_end(), spec.help);
    }
    out.push_str("\nOptions:\n");
    if full {
        options(&mut out, OPTIONS.iter().copied(), true);
    } else {
        options(&mut out, OPTIONS.iter().copied().filter(|option| option.on.is_empty()), false);
    }
    if full {
        out.push_str("\nA DURATION is 90, 90s, 2.5s, 15m or 1h30m.\n\nExit codes:\n");
        for (code, meaning) in exit::MEANINGS {
            let _ = writeln!(out, "  {code:10}{}", wrapped(meaning, 12).trim_start());
        }
    } else {
        out.push_str(
            "\nEach command has its own help: rackconnect COMMAND --help. --help here says all, exit codes included.\n",
        );
    }
    out
}

fn of_command(spec: &CommandSpec, full: bool) -> String {
    let operands =
        if spec.operands.is_empty() { String::new() } else { format!(" {}", spec.operands) };
    let mut out =
        format!("{}\n\nUsage: rackconnect {} [OPTION]...{operands}\n", spec.help, spec.name);
    if full {
        for paragraph in spec.more.split("\n\n") {
            let _ = write!(out, "\n{}\n", wrapped(paragraph, 0));
        }
    }
    let own = OPTIONS.iter().copied().filter(|option| option.is_on(spec.command));
    out.push_str("\nOptions:\n");
    options(&mut out, own, full);
    out
}

fn options<'a>(out: &mut String, options: impl Iterator<Item = &'a Opt>, full: bool) {
    for option in options {
        let short = option.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        let value = option.value.map_or(String::new(), |value| format!(" {value}"));
        let name = format!("{short}--{}{value}", option.long);
        if full {
            let _ = write!(out, "  {name}\n{}\n", wrapped(&sentences(option), 10));
        } else {
            let _ = writeln!(out, "  {name:32}{}", wrapped(option.help, 34).trim_start());
        }
    }
}

/// Everything about an option, in sentences.
pub fn sentences(option: &Opt) -> String {
    let mut text = format!("{}.", option.help);
    if !option.more.is_empty() {
        let _ = write!(text, " {}", option.more);
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

/// Breaks a paragraph into lines, each indented.
fn wrapped(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.iter().map(|line| format!("{margin}{line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_nothing_is_left_out() {
        let whole = text(None, true);
        for option in OPTIONS {
            assert!(whole.contains(&format!("--{}", option.long)), "{}", option.long);
            assert!(option.env.iter().all(|name| whole.contains(name)), "{}", option.long);
        }
        for (code, _) in exit::MEANINGS {
            assert!(whole.contains(&format!("\n  {code} ")), "{code}");
        }
        for spec in COMMANDS {
            assert!(whole.contains(&format!("\n  {}", spec.name)));
            for full in [false, true] {
                for line in text(Some(spec.command), full).lines().chain(whole.lines()) {
                    assert!(line.chars().count() <= WIDTH, "{line}");
                }
            }
        }
    }
}
