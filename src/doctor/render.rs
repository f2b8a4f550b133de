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

/// The amount of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Failures only.
    Failures,
    /// Every finding; checks with nothing to report share a line.
    Findings,
    /// Every check, with its evidence.
    Evidence,
}

/// The stream of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line and its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputLine {
    /// Its stream.
    pub(crate) stream: Stream,
    /// Without its newline.
    pub(crate) text: String,
}

/// The streams on which the words in brackets are coloured.
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

/// The indentation of the lines that belong to the line above.
const INDENT: &str = "       ";

/// The most checks with nothing to tell that are named in their line.
const MAX_NAMED: usize = 6;

/// How many findings have this severity.
pub(crate) fn count(judged: &[Judged], severity: Severity) -> usize {
    judged.iter().filter(|judged| judged.finding.severity == severity).count()
}

/// The findings as lines, in the order of the checks.
pub(crate) fn text(judged: &[Judged], detail: Detail, colours: Colours) -> Vec<OutputLine> {
    let mut lines = Vec::new();
    for (section, _) in SECTIONS {
        let of_section = || judged.iter().filter(|judged| judged.check.section() == *section);
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
            let text = match unremarkable.len() {
                0..=MAX_NAMED => format!("{section}: no problems: {}", unremarkable.join(", ")),
                number => format!("{section}: no problems in {number} checks (-v shows them)"),
            };
            lines.push(finding_line(Severity::Pass, &text, colours));
        }
    }
    if detail == Detail::Findings {
        lines.extend(needs_root(judged, colours));
    }
    lines
}

/// What follows the findings: where to read more and, unless only failures are shown, how many
/// there are of each kind. Information counts as passed.
pub(crate) fn closing(judged: &[Judged], detail: Detail) -> Vec<OutputLine> {
    let of = |severity| count(judged, severity);
    let (failed, warnings) = (of(Severity::Fail), of(Severity::Warning));
    let (passed, skipped) = (of(Severity::Pass) + of(Severity::Info), of(Severity::Skipped));
    let plural = if warnings == 1 { "" } else { "s" };
    // With -v their lines are there.
    let hint_of_skipped =
        if skipped > 0 && detail == Detail::Findings { " (-v shows why)" } else { "" };
    let summary = format!(
        "{failed} failed, {warnings} warning{plural}, {passed} passed, {skipped} \
         skipped{hint_of_skipped}"
    );
    let summary = (detail != Detail::Failures).then_some(summary);
    let texts = hint(judged, detail).into_iter().chain(summary);
    texts.map(|text| OutputLine { stream: Stream::Stderr, text }).collect()
}

fn finding_lines(
    lines: &mut Vec<OutputLine>,
    check: &Check,
    finding: &Finding,
    detail: Detail,
    colours: Colours,
) {
    let cause = match finding.cause.as_str() {
        "" => format!("no problem: {}", check.title),
        cause => redact(cause),
    };
    lines.push(finding_line(finding.severity, &format!("{}: {cause}", check.id), colours));
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

/// The line that begins with the severity in brackets.
fn finding_line(severity: Severity, text: &str, colours: Colours) -> OutputLine {
    let (word, colour) = match severity {
        Severity::Pass => ("[PASS]", "32"),
        Severity::Info => ("[INFO]", "36"),
        Severity::Warning => ("[WARNING]", "33"),
        Severity::Fail => ("[FAIL]", "31"),
        Severity::Skipped => ("[SKIP]", "2"),
    };
    let stream = stream_of(severity);
    let word =
        if colours.on(stream) { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
    OutputLine { stream, text: format!("{word} {}", escape_control(text)) }
}

/// The checks that need root.
fn needs_root(judged: &[Judged], colours: Colours) -> Option<OutputLine> {
    let ids: Vec<&str> = judged
        .iter()
        .filter(|judged| judged.finding.needs_root)
        .map(|judged| judged.check.id)
        .collect();
    if ids.is_empty() {
        return None;
    }
    let text = format!("only root can check {}: sudo rackconnect doctor", ids.join(", "));
    Some(finding_line(Severity::Skipped, &text, colours))
}

/// Where to start and to read more: the first failure or, without one, the first warning. A repair
/// can reveal or remove other failures.
fn hint(judged: &[Judged], detail: Detail) -> Option<String> {
    let first = |severity| judged.iter().find(|judged| judged.finding.severity == severity);
    let explain = |judged: &Judged| format!("rackconnect doctor --explain {}", judged.check.id);
    if let Some(failure) = first(Severity::Fail) {
        return Some(format!(
            "repair {} first, then run rackconnect doctor again; more about it: {}",
            failure.check.id,
            explain(failure)
        ));
    }
    let warning = first(Severity::Warning).filter(|_| detail != Detail::Failures)?;
    Some(format!("more about the first warning: {}", explain(warning)))
}

/// The findings as one JSON object. Keys are only ever added.
pub(crate) fn json(judged: &[Judged]) -> String {
    let count = |severity| Tree::Number(count(judged, severity) as u64);
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
            let needs = if needs.is_empty() {
                String::new()
            } else {
                format!(" (needs {})", needs.join(", "))
            };
            format!("{:32} {}{needs}", check.id, check.title)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks;
    use crate::doctor::evidence::Unread;

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
            ("automation.sudo", Finding::unread(&Unread::NeedsRoot("/etc/sudoers".to_owned()))),
            ("automation.tools", Finding::skipped("read by root alone")),
            ("automation.selinux", Finding::fail("enforcing\x1b", "setenforce 0")),
            ("automation.bridges", Finding::warning("br0", "ip link delete br0")),
            ("automation.nfs", Finding::unremarkable()),
            ("agent.path", Finding::info("x")),
        ])
    }

    fn shown(detail: Detail) -> Vec<String> {
        let judged = example();
        let mut lines = text(&judged, detail, Colours::NONE);
        lines.extend(closing(&judged, detail));
        lines
            .into_iter()
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
                "1 [PASS] automation: no problems: SSH port, NFS mounts",
                "1 [INFO] agent.path: x",
                "1 [SKIP] only root can check automation.sudo: sudo rackconnect doctor",
                "2 repair automation.selinux first, then run rackconnect doctor again; more about \
                 it: rackconnect doctor --explain automation.selinux",
                "2 1 failed, 1 warning, 4 passed, 2 skipped (-v shows why)",
            ]
        );
        assert_eq!(shown(Detail::Failures).len(), 3);
        let all = shown(Detail::Evidence);
        assert!(all.contains(&"1 [PASS] automation.sshd.port: no problem: SSH port".to_owned()));
        assert!(all.contains(&"1        22".to_owned()));
        assert!(all.iter().any(|line| {
            line.starts_with("1 [SKIP] automation.sudo: only root can read /etc/sudoers")
        }));
    }

    /// A line of fifteen titles was not read by anybody.
    #[test]
    fn many_checks_are_counted_and_not_named() {
        let of_section = |check: &&Check| check.section() == "automation";
        let checks: Vec<Judged> = checks::all()
            .filter(of_section)
            .map(|check| Judged { check, finding: Finding::unremarkable() })
            .collect();
        let lines = text(&checks, Detail::Findings, Colours::NONE);
        let expected =
            format!("[PASS] automation: no problems in {} checks (-v shows them)", checks.len());
        assert_eq!((lines.len(), lines[0].text.as_str()), (1, expected.as_str()));
    }

    /// The first warning is explained where nothing failed.
    #[test]
    fn the_lines_after_the_findings() {
        let warning = judged(&[("automation.bridges", Finding::warning("br0", "x"))]);
        let lines = |detail| -> Vec<String> {
            closing(&warning, detail).into_iter().map(|line| line.text).collect()
        };
        assert_eq!(
            lines(Detail::Findings),
            [
                "more about the first warning: rackconnect doctor --explain automation.bridges",
                "0 failed, 1 warning, 0 passed, 0 skipped"
            ]
        );
        assert_eq!(lines(Detail::Failures), [""; 0]);
    }

    #[test]
    fn colours_are_per_stream() {
        let lines = text(&example(), Detail::Findings, Colours { stdout: true, stderr: false });
        assert_eq!(lines[0].text, "\x1b[32m[PASS]\x1b[0m server.region: dfw");
        assert!(lines[1].text.starts_with("[FAIL]"));
    }

    #[test]
    fn the_json_object() {
        let json = json(&example()[2..5]);
        assert!(json.starts_with(r#"{"agent_version":""#), "{json}");
        assert!(json.contains(r#""failures":1,"warnings":0,"checks":[{"id":"automation.sudo","#));
        assert!(json.contains(
            r#""severity":"fail","cause":"enforcing\u001b","remedy":"setenforce 0","evidence":[]"#
        ));
    }
}
