//! The findings as text or JSON. Pure.

use super::check::{Check, Finding, Need, Severity};
use super::checks::SECTIONS;
use super::redact::redact;
use crate::model::Tree;
use crate::ui::escape_control;

/// A check and what it found.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The check.
    pub(crate) check: &'static Check,
    /// What it found.
    pub(crate) finding: Finding,
}

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Failures only.
    Failures,
    /// Every finding; checks with nothing to tell share a line.
    Findings,
    /// Every check, with its evidence.
    Evidence,
}

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputLine {
    /// Where it goes.
    pub(crate) stream: Stream,
    /// Without its newline.
    pub(crate) text: String,
}

/// Whether the words in brackets are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colours {
    /// On standard output.
    pub(crate) stdout: bool,
    /// On standard error.
    pub(crate) stderr: bool,
}

impl Colours {
    /// None anywhere.
    pub(crate) const NONE: Colours = Colours { stdout: false, stderr: false };

    fn on(self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// The indent of what belongs to the line above.
const INDENT: &str = "       ";

/// How many failures there are.
pub(crate) fn failures(judged: &[Judged]) -> usize {
    judged.iter().filter(|it| it.finding.severity == Severity::Fail).count()
}

/// The findings as lines, in the order of the checks.
pub(crate) fn text(judged: &[Judged], detail: Detail, colours: Colours) -> Vec<OutputLine> {
    let mut lines = Vec::new();
    for (section, _) in SECTIONS {
        let of_section = || judged.iter().filter(|it| it.check.section() == *section);
        let mut unremarkable = Vec::new();
        for Judged { check, finding } in of_section() {
            match (finding.severity, detail) {
                (Severity::Fail, _) => {}
                (_, Detail::Failures) => continue,
                (Severity::Skipped, Detail::Findings) => continue,
                (Severity::Pass, Detail::Findings) if finding.cause.is_empty() => {
                    unremarkable.push(check.title);
                    continue;
                }
                _ => {}
            }
            finding_lines(&mut lines, check, finding, detail, colours);
        }
        if !unremarkable.is_empty() {
            let text = format!("{section}: ok: {}", unremarkable.join(", "));
            push(&mut lines, Severity::Pass, &text, colours);
        }
    }
    if detail == Detail::Findings {
        lines.extend(needs_root(judged, colours));
    }
    lines.extend(hint(judged));
    lines
}

fn finding_lines(
    lines: &mut Vec<OutputLine>,
    check: &Check,
    finding: &Finding,
    detail: Detail,
    colours: Colours,
) {
    let cause = match finding.cause.as_str() {
        "" => format!("ok: {}", check.title),
        cause => redact(cause),
    };
    push(lines, finding.severity, &format!("{}: {cause}", check.id), colours);
    let stream = stream_of(finding.severity);
    let mut indented = |text: &str| {
        let text = format!("{INDENT}{}", escape_control(&redact(text)));
        lines.push(OutputLine { stream, text });
    };
    if !finding.remedy.is_empty() {
        indented(&format!("-> {}", finding.remedy));
    }
    if detail == Detail::Evidence {
        finding.evidence.iter().for_each(|line| indented(line));
    }
}

fn stream_of(severity: Severity) -> Stream {
    match severity {
        Severity::Warning | Severity::Fail => Stream::Stderr,
        Severity::Pass | Severity::Info | Severity::Skipped => Stream::Stdout,
    }
}

fn push(lines: &mut Vec<OutputLine>, severity: Severity, text: &str, colours: Colours) {
    let (word, colour) = match severity {
        Severity::Pass => ("[PASS]", "32"),
        Severity::Info => ("[INFO]", "36"),
        Severity::Warning => ("[WARNING]", "33"),
        Severity::Fail => ("[FAIL]", "31"),
        Severity::Skipped => ("[SKIP]", "2"),
    };
    let stream = stream_of(severity);
    let word = match colours.on(stream) {
        true => format!("\x1b[{colour}m{word}\x1b[0m"),
        false => word.to_owned(),
    };
    let text = format!("{word} {}", escape_control(text));
    lines.push(OutputLine { stream, text });
}

/// The checks that root could do.
fn needs_root(judged: &[Judged], colours: Colours) -> Option<OutputLine> {
    let ids: Vec<&str> = judged
        .iter()
        .filter(|it| it.finding.severity == Severity::Skipped)
        .filter(|it| it.finding.cause.ends_with("root alone"))
        .map(|it| it.check.id)
        .collect();
    if ids.is_empty() {
        return None;
    }
    let text = format!("only root can check {}: sudo rackconnect doctor", ids.join(", "));
    let mut lines = Vec::new();
    push(&mut lines, Severity::Skipped, &text, colours);
    lines.pop()
}

/// Where to read more about the first thing that is wrong.
fn hint(judged: &[Judged]) -> Option<OutputLine> {
    let first = judged.iter().find(|it| it.finding.severity == Severity::Fail)?;
    let text = format!("rackconnect doctor --explain {} tells more", first.check.id);
    Some(OutputLine { stream: Stream::Stderr, text })
}

/// The findings as one JSON object. Keys are only ever added.
pub(crate) fn json(judged: &[Judged]) -> String {
    let count = |severity| {
        let number = judged.iter().filter(|it| it.finding.severity == severity).count();
        Tree::Number(number as u64)
    };
    let safe = |value: &str| Tree::Text(redact(value));
    let checks = judged.iter().map(|Judged { check, finding }| {
        let evidence = finding.evidence.iter().map(|line| safe(line)).collect();
        map([
            ("id", Tree::Text(check.id.to_owned())),
            ("title", Tree::Text(check.title.to_owned())),
            ("severity", Tree::Text(finding.severity.word().to_owned())),
            ("cause", safe(&finding.cause)),
            ("remedy", safe(&finding.remedy)),
            ("evidence", Tree::List(evidence)),
        ])
    });
    map([
        ("agent_version", Tree::Text(env!("CARGO_PKG_VERSION").to_owned())),
        ("failures", count(Severity::Fail)),
        ("warnings", count(Severity::Warning)),
        ("checks", Tree::List(checks.collect())),
    ])
    .to_json()
}

fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    Tree::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The list of checks: id, what it needs, title.
pub(crate) fn list<'a>(checks: impl Iterator<Item = &'a Check>) -> Vec<String> {
    checks
        .map(|check| {
            let needs: Vec<&str> = check.needs.iter().map(|need: &Need| need.word()).collect();
            let needs = match needs.is_empty() {
                true => String::new(),
                false => format!(" (needs {})", needs.join(", ")),
            };
            format!("{:32} {}{needs}", check.id, check.title)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks;

    fn judged(findings: &[(&str, Finding)]) -> Vec<Judged> {
        findings
            .iter()
            .map(|(id, finding)| Judged {
                check: checks::all().find(|check| check.id == *id).unwrap(),
                finding: finding.clone(),
            })
            .collect()
    }

    fn example() -> Vec<Judged> {
        judged(&[
            ("server.region", Finding::pass("dfw")),
            ("automation.sshd.port", Finding::unremarkable().with(["22".to_owned()])),
            ("automation.sudo", Finding::skipped("/etc/sudoers can be read by root alone")),
            ("automation.selinux", Finding::fail("enforcing\x1b", "setenforce 0")),
            ("automation.bridges", Finding::warning("br0", "ip link delete br0")),
            ("automation.nfs", Finding::unremarkable()),
            ("agent.path", Finding::info("x")),
        ])
    }

    fn shown(detail: Detail) -> Vec<String> {
        let lines = text(&example(), detail, Colours::NONE).into_iter();
        lines
            .map(|line| match line.stream {
                Stream::Stdout => format!("1 {}", line.text),
                Stream::Stderr => format!("2 {}", line.text),
            })
            .collect()
    }

    #[test]
    fn findings_in_order_and_the_rest_on_one_line() {
        assert_eq!(
            shown(Detail::Findings),
            [
                "1 [PASS] server.region: dfw",
                "2 [FAIL] automation.selinux: enforcing\\u{1b}",
                "2        -> setenforce 0",
                "2 [WARNING] automation.bridges: br0",
                "2        -> ip link delete br0",
                "1 [PASS] automation: ok: SSH port, NFS mounts",
                "1 [INFO] agent.path: x",
                "1 [SKIP] only root can check automation.sudo: sudo rackconnect doctor",
                "2 rackconnect doctor --explain automation.selinux tells more",
            ]
        );
        assert_eq!(shown(Detail::Failures).len(), 3);
        let all = shown(Detail::Evidence);
        assert!(all.contains(&"1 [PASS] automation.sshd.port: ok: SSH port".to_owned()));
        assert!(all.contains(&"1        22".to_owned()));
        assert!(all.iter().any(|line| line.starts_with("1 [SKIP] automation.sudo: /etc/sudoers")));
    }

    #[test]
    fn colours_are_per_stream() {
        let lines = text(&example(), Detail::Findings, Colours { stdout: true, stderr: false });
        assert_eq!(lines[0].text, "\x1b[32m[PASS]\x1b[0m server.region: dfw");
        assert!(lines[1].text.starts_with("[FAIL]"));
    }

    #[test]
    fn the_json_object() {
        let json = json(&example()[2..4]);
        assert!(json.starts_with(r#"{"agent_version":""#), "{json}");
        assert!(json.contains(r#""failures":1,"warnings":0,"checks":[{"id":"automation.sudo","#));
        assert!(json.contains(
            r#""severity":"fail","cause":"enforcing\u001b","remedy":"setenforce 0","evidence":[]"#
        ));
    }
}
