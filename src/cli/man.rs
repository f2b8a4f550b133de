//! The manual page, in man(7)'s roff, from the tables of commands and options.

use std::fmt::Write;

use super::help::{ABOUT, sentences};
use super::{COMMANDS, OPTIONS, OptionSpec};
use crate::exit;
use crate::ui::enumerate;

/// The day on which what the page says last changed.
const DATE: &str = "2026-11-29";

/// The page.
pub fn page() -> String {
    let mut out = format!(
        ".TH RACKCONNECT 1 \"{DATE}\" \"rackconnect {}\" \"User Commands\"\n.SH NAME\nrackconnect \\- on-server agent for \
         Rackspace RackConnect v2.0\n.SH SYNOPSIS\n.B rackconnect\n.I COMMAND\n.RI [ OPTION ]...\n.SH DESCRIPTION\n{}\n\
         .PP\nStandard output carries the answer and nothing else; messages go to standard error.\n\
         .SH COMMANDS\n",
        env!("CARGO_PKG_VERSION"),
        escape(ABOUT),
    );
    for spec in COMMANDS {
        let _ = writeln!(
            out,
            ".TP\n\\fB{}\\fR {}\n{}.",
            escape(spec.name),
            escape(spec.operands),
            escape(spec.help)
        );
        for paragraph in spec.long_help.split("\n\n") {
            let _ = writeln!(out, ".IP\n{}", escape(paragraph));
        }
    }
    out.push_str(".SH OPTIONS\nA \\fIDURATION\\fR is 90, 90s, 2.5s, 15m or 1h30m.\n");
    for option in OPTIONS.iter().filter(|option| option.is_shown()) {
        let _ = writeln!(
            out,
            ".TP\n{}\n{}{}",
            name(option),
            escape(&sentences(option)),
            escape(&applies_to(option))
        );
    }
    out.push_str(".SH EXIT STATUS\n");
    for (code, meaning) in exit::MEANINGS {
        let _ = writeln!(out, ".TP\n.B {}\n{}", escape(code), escape(meaning));
    }
    out.push_str(".SH ENVIRONMENT\n");
    for option in OPTIONS {
        for variable in option.env {
            let _ = writeln!(
                out,
                ".TP\n.B {variable}\nThe same as \\fB\\-\\-{}\\fR.",
                escape(option.long)
            );
        }
    }
    out.push_str(
        ".TP\n.B RACKCONNECT_LOG\nWhat is logged, in env_logger's filter syntax, where neither \\fB\\-q\\fR nor \
         \\fB\\-v\\fR is given.\n.TP\n.B XENSTORED_PATH\nThe socket or device of xenstore, in place of /dev/xen/xenbus, \
         /proc/xen/xenbus and /run/xenstored/socket; Xen's own tools take it, too. It has to belong to root or to the user \
         that runs the program: what others offer is not read.\n.PP\nAn empty variable is one that is not set. Proxies in the environment are never used: \
         the API knows a server by its address.\n.SH FILES\n.TP\n.I /etc/rackconnect-agent/config.toml\nThe configuration \
         file, in TOML. A flag wins over the environment, the environment over this file. Its keys:\n",
    );
    let keys: Vec<&str> =
        OPTIONS.iter().filter_map(|option| option.key).map(|(key, _)| key).collect();
    let _ = writeln!(out, "{}.", escape(&enumerate(&keys)));
    out.push_str(
        ".SH EXAMPLES\n.TP\nWait, then install:\n.B rackconnect wait \\-\\-timeout 30m \\-\\- /root/install.sh\n.TP\nGo on \
         where there is nothing to wait for:\n.B rackconnect wait \\-\\-ok\\-if unprocessable\n",
    );
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
    match names.is_empty() {
        true => String::new(),
        false => format!(" (For {}.)", enumerate(&names)),
    }
}

/// Text as roff takes it: no line that begins with a control character, no hyphen that is not one.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_in_it_and_no_line_is_an_accidental_request() {
        let page = page();
        for option in OPTIONS.iter().filter(|option| option.is_shown()) {
            assert!(page.contains(&format!("\\-\\-{}", escape(option.long))), "{}", option.long);
        }
        const REQUESTS: [&str; 8] = [".TH", ".SH", ".TP", ".IP", ".PP", ".B", ".I", ".RI"];
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(REQUESTS.contains(&line.split(' ').next().unwrap()), "{line}");
        }
    }
}
