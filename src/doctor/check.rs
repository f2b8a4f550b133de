//! A check: an id, what it needs, and a pure judgement of the evidence.

use super::evidence::{Evidence, Unread};
use crate::ui::escape_control;

/// One check. docs/doctor.md explains it and its repair, under its id.
#[derive(Debug)]
pub(crate) struct Check {
    /// `section.subject`; scripts rely on it.
    pub(crate) id: &'static str,
    /// A few words without a verb.
    pub(crate) title: &'static str,
    /// What it needs, if anything.
    pub(crate) needs: &'static [Need],
    /// Judges the evidence. If its evidence could not be read, the check is skipped.
    pub(crate) judge: fn(&Evidence) -> Judgement,
}

/// A requirement of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Root's privileges.
    Root,
    /// An answer of the API.
    Network,
    /// A Xen guest's xenstore.
    Xenstore,
}

impl Need {
    /// Its name in output.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Need::Root => "root",
            Need::Network => "network",
            Need::Xenstore => "xenstore",
        }
    }
}

/// The result of a judgement.
pub(crate) type Judgement = Result<Finding, Unread>;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// No problem.
    Pass,
    /// Information; nothing to do.
    Info,
    /// A possible problem.
    Warning,
    /// A problem; makes the exit code 1.
    Fail,
    /// Could not be checked.
    Skipped,
}

impl Severity {
    /// Its value in JSON. Scripts rely on it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Severity::Pass => "pass",
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Fail => "fail",
            Severity::Skipped => "skipped",
        }
    }
}

/// The finding of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Its severity.
    pub(crate) severity: Severity,
    /// One line: the fact or the cause. Empty if there is nothing to report.
    pub(crate) cause: String,
    /// One line: what to do, by a command that can be pasted into root's shell, explained behind
    /// `#`, or by a sentence, which begins with a capital letter and ends with a full stop. Empty
    /// if there is nothing to do.
    pub(crate) remedy: String,
    /// The evidence, line by line.
    pub(crate) evidence: Vec<String>,
    /// Whether it was skipped because only root can check it.
    pub(crate) needs_root: bool,
}

impl Finding {
    fn new(severity: Severity, cause: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            severity,
            cause: cause.into(),
            remedy: remedy.into(),
            evidence: Vec::new(),
            needs_root: false,
        }
    }

    /// No problem, with a line of its own.
    pub(crate) fn pass(cause: impl Into<String>) -> Finding {
        Finding::new(Severity::Pass, cause, "")
    }

    /// No problem and nothing to report. Such checks share a line.
    pub(crate) fn unremarkable() -> Finding {
        Finding::pass("")
    }

    /// Information.
    pub(crate) fn info(cause: impl Into<String>) -> Finding {
        Finding::new(Severity::Info, cause, "")
    }

    /// A possible problem.
    pub(crate) fn warning(cause: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, cause, remedy)
    }

    /// A problem.
    pub(crate) fn fail(cause: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(Severity::Fail, cause, remedy)
    }

    /// It could not be checked.
    pub(crate) fn skipped(reason: impl Into<String>) -> Finding {
        Finding::new(Severity::Skipped, reason, "")
    }

    /// It could not be checked, since something was not read.
    pub(crate) fn unread(unread: &Unread) -> Finding {
        let needs_root = matches!(unread, Unread::NeedsRoot(_));
        Finding { needs_root, ..Finding::skipped(unread.to_string()) }
    }

    /// A problem for the automation: only information once the server is DEPLOYED.
    pub(crate) fn until_deployed(evidence: &Evidence, finding: Finding) -> Judgement {
        let is_bad = matches!(finding.severity, Severity::Warning | Severity::Fail);
        if !is_bad || !evidence.is_deployed() {
            return Ok(finding);
        }
        Ok(Finding::info(finding.cause).with(finding.evidence))
    }

    /// The same with its evidence.
    pub(crate) fn with(mut self, evidence: impl IntoIterator<Item = String>) -> Finding {
        self.evidence.extend(evidence);
        self
    }
}

impl Check {
    /// Judges the evidence.
    pub(crate) fn run(&self, evidence: &Evidence) -> Finding {
        (self.judge)(evidence).unwrap_or_else(|unread| Finding::unread(&unread))
    }

    /// The section: the first word of the id.
    pub(crate) fn section(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }

    /// Whether `name` is this check's id, or the beginning of it up to a dot, such as its section.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// The id of the first of these checks that fails.
pub(crate) fn first_failed<'a>(
    checks: impl IntoIterator<Item = &'a Check>,
    evidence: &Evidence,
) -> Option<&'static str> {
    let mut checks = checks.into_iter();
    checks.find(|check| check.run(evidence).severity == Severity::Fail).map(|check| check.id)
}

/// A name as one word of a command in a remedy: no name is a command, or ends the remedy's line.
pub(crate) fn shell_word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("'{}'", escape_control(name).replace('\'', r"'\''"))
    }
}

/// The remedy of a failure that may be caused by another one.
pub(crate) fn repair_first(id: &str) -> String {
    format!("Repair {id} first.")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_was_a_command_in_a_remedy() {
        for name in
            ["br0;id", "$(id)", "`id`", "a b", "it's", "x#y", "", "~", "*", "a\\", "!1", "-x"]
        {
            let script = format!("printf %s {}", shell_word(name));
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), name);
        }
        assert_eq!(shell_word("/run/rackconnect-agent"), "/run/rackconnect-agent");
        assert_eq!(shell_word("a\nid\x1b"), "'a\\nid\\u{1b}'");
    }
}
