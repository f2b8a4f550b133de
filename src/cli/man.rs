//! The manual page, in man(7)'s roff, from the tables of commands and options.

use std::fmt::Write;

use super::help::{ABOUT, sentences};
use super::{COMMANDS, OptionSpec, option_specs};
use crate::exit;
use crate::ui::enumerate;

/// The day on which the page last changed.
const DATE: &str = "2026-11-29";

/// The page, with a name in braces for each part that is generated.
const TEMPLATE: &str = include_str!("man.template");

/// The page.
pub fn page() -> String {
    let keys: Vec<&str> =
        option_specs().filter_map(|option| option.key).map(|(key, _)| key).collect();
    [
        ("{date}", DATE.to_owned()),
        ("{version}", env!("CARGO_PKG_VERSION").to_owned()),
        ("{about}", escape(ABOUT)),
        ("{commands}", commands()),
        ("{options}", options()),
        ("{exit_status}", exit_status()),
        ("{environment}", environment()),
        ("{keys}", escape(&enumerate(&keys))),
    ]
    .into_iter()
    .fold(TEMPLATE.to_owned(), |page, (name, text)| page.replacen(name, &text, 1))
}

fn commands() -> String {
    let mut out = String::new();
    for spec in COMMANDS {
        let (name, operands) = (escape(spec.name), escape(spec.operands));
        let _ = writeln!(out, ".TP\n\\fB{name}\\fR {operands}\n{}.", escape(spec.help));
        for paragraph in spec.long_help.split("\n\n") {
            let _ = writeln!(out, ".IP\n{}", escape(paragraph));
        }
    }
    out
}

fn options() -> String {
    let mut out = String::new();
    for option in option_specs().filter(|option| option.is_shown()) {
        let (text, commands) = (escape(&sentences(option)), escape(&applies_to(option)));
        let _ = writeln!(out, ".TP\n{}\n{text}{commands}", name(option));
    }
    out
}

fn exit_status() -> String {
    let mut out = String::new();
    for (code, meaning) in exit::MEANINGS {
        let _ = writeln!(out, ".TP\n.B {}\n{}", escape(code), escape(meaning));
    }
    out
}

fn environment() -> String {
    let mut out = String::new();
    for option in option_specs() {
        for variable in option.env {
            let flag = escape(option.long);
            let _ = writeln!(out, ".TP\n.B {variable}\nThe same as \\fB\\-\\-{flag}\\fR.");
        }
    }
    out
}

fn name(option: &OptionSpec) -> String {
    let short = option.short.map_or(String::new(), |short| format!("\\fB\\-{short}\\fR, "));
    let value = option.value_name.map_or(String::new(), |value| format!(" \\fI{value}\\fR"));
    format!("{short}\\fB\\-\\-{}\\fR{value}", escape(option.long))
}

fn applies_to(option: &OptionSpec) -> String {
    let names: Vec<&str> = COMMANDS
        .iter()
        .filter(|spec| option.belongs_to(spec.command))
        .map(|spec| spec.name)
        .collect();
    if names.is_empty() { String::new() } else { format!(" (For {}.)", enumerate(&names)) }
}

/// Escapes text for roff: a control character at the beginning, backslashes and hyphens.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_option_and_no_accidental_roff_request() {
        let page = page();
        for option in option_specs().filter(|option| option.is_shown()) {
            assert!(page.contains(&format!("\\-\\-{}", escape(option.long))), "{}", option.long);
        }
        const REQUESTS: [&str; 8] = [".TH", ".SH", ".TP", ".IP", ".PP", ".B", ".I", ".RI"];
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(REQUESTS.contains(&line.split(' ').next().unwrap()), "{line}");
        }
    }
}
