//! Completions, in the shells themselves.

use std::fs;
use std::process::Command;

use crate::support::{binary, ended};

fn script(shell: &str) -> String {
    let output = Command::new(binary()).args(["completions", shell]).output().unwrap();
    ended(output).expect(0).text().to_owned()
}

/// The words that bash offers for the last word of a line, sorted.
fn bash(line: &str) -> Vec<String> {
    const COMPLETE: &str = r#"eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _rackconnect; printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = Command::new("bash");
    command.args(["-c", COMPLETE, "bash", &script("bash")]).args(line.split(' '));
    sorted(ended(command.output().unwrap()).expect(0).text())
}

/// The same for fish; none if it is not installed.
fn fish(line: &str) -> Option<Vec<String>> {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("rackconnect.fish");
    fs::write(&path, script("fish")).unwrap();
    let mut command = Command::new("fish");
    command
        .args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"])
        .args([path.as_os_str(), line.as_ref()])
        .env("HOME", home.path());
    let output = ended(command.output().ok()?);
    // A description may follow a word.
    let words = output.expect(0).text().lines().filter_map(|line| line.split('\t').next());
    Some(sorted(&words.collect::<Vec<_>>().join("\n")))
}

fn sorted(text: &str) -> Vec<String> {
    let mut words: Vec<String> =
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    words.sort();
    words
}

#[track_caller]
fn assert_offers(line: &str, words: &[&str]) {
    assert_eq!(bash(line), words, "bash: {line}");
    match fish(line) {
        Some(offered) => assert_eq!(offered, words, "fish: {line}"),
        None => eprintln!("NOT RUN in fish: it is not installed"),
    }
}

/// Regression: the values of all commands were offered.
#[test]
fn the_values_of_the_command_are_offered() {
    for (line, words) in [
        ("status --format ", &["json", "text", "xml"][..]),
        ("details --format ", &["json", "table", "xml"]),
        ("gateway show --format ", &["json", "text", "xml"]),
        ("gateway check --format ", &["json", "text"]),
        ("doctor --format t", &["text"]),
        ("wait --for ", &["deployed", "gateway", "managed"]),
        ("wait --ok-if f", &["failed"]),
        #[cfg(feature = "cloud")]
        ("cloud catalog --format ", &["json", "table"]),
        #[cfg(feature = "cloud")]
        ("cloud servers --format ", &["ansible", "json", "names", "table"]),
        #[cfg(feature = "cloud")]
        ("cloud wait --for ", &["deployed", "managed"]),
    ] {
        assert_offers(&format!("rackconnect {line}"), words);
    }
    // "gateway" is short for "gateway show".
    assert_eq!(bash("rackconnect gateway --format "), ["json", "text", "xml"]);
}

#[test]
fn the_checks_of_doctor_are_offered() {
    let list = Command::new(binary()).args(["doctor", "--list"]).output().unwrap();
    let list = ended(list);
    let mut ids: Vec<&str> =
        list.expect(0).text().lines().filter_map(|line| line.split(' ').next()).collect();
    ids.sort_unstable();
    assert_offers("rackconnect doctor --explain ", &ids);
    // A section selects its checks.
    let mut server = vec!["server"];
    server.extend(ids.iter().filter(|id| id.starts_with("server.")));
    assert_offers("rackconnect doctor --only serv", &server);
}

/// Regression: nothing was offered after `--name=`. bash takes the `=` for a word of its own.
#[test]
fn a_value_is_offered_after_an_equals_sign_in_bash() {
    for (line, words) in [
        ("status --format =", &["json", "text", "xml"][..]),
        ("status --format = j", &["json"]),
        ("wait --ok-if = f", &["failed"]),
    ] {
        assert_eq!(bash(&format!("rackconnect {line}")), words, "{line}");
    }
}

#[test]
fn the_last_name_of_a_list_is_offered_in_bash() {
    for (line, words) in [
        ("wait --ok-if unprocessable,f", &["unprocessable,failed"][..]),
        ("wait --ok-if = not-rackconnect,unp", &["not-rackconnect,unprocessable"]),
        ("doctor --only network.tls,agent.un", &["network.tls,agent.units"]),
        ("status --format json,", &[]),
    ] {
        assert_eq!(bash(&format!("rackconnect {line}")), words, "{line}");
    }
}
