use super::*;
use crate::doctor::check::Severity::{Fail, Info, Pass, Warning};
use crate::doctor::checks::fixtures::{assert_found, healthy};
use crate::doctor::evidence::LimitEvidence;

fn with_process(arguments: &[&str]) -> Evidence {
    let process = ProcessInfo {
        pid: 77,
        name: arguments[0].to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..ProcessInfo::default()
    };
    Evidence { processes: Ok(vec![process]), ..healthy() }
}

#[test]
fn proxies_are_ignored_but_reported() {
    assert_found(&healthy(), "network.proxy", Pass, "");
    let mut evidence = healthy();
    evidence.system.as_mut().unwrap().proxies = vec!["https_proxy=http://proxy:3128".to_owned()];
    assert_found(&evidence, "network.proxy", Info, "https_proxy is set, but not used");
}

/// A curl loop used the limit up, and every client of this program got a 403.
#[test]
fn other_clients_are_named() {
    let id = "network.other-clients";
    assert_found(&healthy(), id, Pass, "");
    let url = "https://dfw.api.rackconnect.rackspace.com/v1/automation_status";
    let mut curl = with_process(&["curl", url]);
    assert_found(&curl, id, Warning, "process 77 (curl) sends its own requests to the API");
    assert_found(&with_process(&["rackconnect", "wait", "--endpoint", url]), id, Pass, "");
    assert_found(&with_process(&["vim", "automation_status"]), id, Pass, "");
    let ohai = with_process(&["ruby", "/usr/bin/ohai"]);
    assert_found(&ohai, id, Info, "process 77 (ruby) may send");
    curl.api.as_mut().unwrap().status = Err(ApiFailure::Forbidden("403".to_owned()));
    let found = assert_found(&curl, id, Fail, "process 77 (curl) probably uses up");
    assert!(found.cause.ends_with(&format!(": curl {url}")), "{}", found.cause);
    let commands = "ps -fp 77  # shows it; if it is not needed: kill 77, or its parent";
    assert!(found.remedy.starts_with(commands), "{}", found.remedy);
}

/// The client itself is gone when it is to be stopped, and the next one runs.
#[test]
fn the_script_that_starts_the_client_is_named() {
    let mut evidence = with_process(&["curl", "https://x/v1/automation_status"]);
    let shell = |arguments: &[&str]| ProcessInfo {
        pid: 76,
        name: "wait.sh".to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ..ProcessInfo::default()
    };
    let processes = evidence.processes.as_mut().unwrap();
    processes[0].parent = Some(76);
    processes.push(shell(&["/bin/bash", "/root/wait.sh"]));
    let says = "process 76 (wait.sh) sends its own requests to the API: /bin/bash /root/wait.sh, \
                which runs curl https://x/v1/automation_status";
    let found = assert_found(&evidence, "network.other-clients", Warning, says);
    assert!(found.remedy.starts_with("ps -fp 76  # "), "{}", found.remedy);
    // A person's shell is not to be killed.
    for typed in [&["-bash"][..], &["bash", "-l"]] {
        evidence.processes.as_mut().unwrap()[1] = shell(typed);
        assert_found(&evidence, "network.other-clients", Warning, "process 77 (curl) sends");
    }
}

#[test]
fn a_client_is_shown_with_its_user_and_the_beginning_of_its_command_line() {
    let mut loop_of_app = with_process(&["sh", "-c", "curl automation_status; sleep 1; "]);
    let process = &mut loop_of_app.processes.as_mut().unwrap()[0];
    process.user = Some("app".to_owned());
    process.arguments.push("\u{e9}".repeat(200));
    let says = "process 77 (sh, user app) sends its own requests to the API: sh -c curl \
                automation_status; ";
    let found = assert_found(&loop_of_app, "network.other-clients", Warning, says);
    let end = format!(" {} ...", "\u{e9}".repeat(80));
    assert!(found.cause.ends_with(&end), "{}", found.cause);
}

#[test]
fn the_rate_limit() {
    let id = "network.rate-limit";
    let with = |limit| {
        let mut evidence = healthy();
        evidence.api.as_mut().unwrap().limit = limit;
        evidence
    };
    assert_found(&healthy(), id, Pass, "26 of 30");
    let used_up = LimitEvidence { free: 0, consecutive_403s: None };
    assert_found(&with(Ok(used_up)), id, Warning, "used up");
    let forbidden = LimitEvidence { free: 0, consecutive_403s: Some(2) };
    assert_found(&with(Ok(forbidden)), id, Info, "HTTP 403 (2 times in a row), so no");
    let once = LimitEvidence { free: 0, consecutive_403s: Some(1) };
    assert_found(&with(Ok(once)), id, Info, "answered with HTTP 403, so no rackconnect process");
    assert_found(&with(Err("belongs to user 1".to_owned())), id, Info, "belongs to user 1");
}

#[test]
fn the_answer() {
    let id = "network.api";
    assert_found(&healthy(), id, Pass, "answers");
    let with_status = |status| {
        let mut evidence = healthy();
        evidence.api.as_mut().unwrap().status = status;
        evidence
    };
    assert_found(&with_status(Ok(None)), id, Warning, "HTTP 404");
    let late =
        Evidence { api: Err(Unread::NoAnswer(std::time::Duration::from_secs(9))), ..healthy() };
    assert_found(&late, id, Fail, "no answer within 9s");
    let reason = || "why".to_owned();
    for (failure, severity) in [
        (ApiFailure::Forbidden(reason()), Fail),
        (ApiFailure::LimitUsedUp(reason()), Warning),
        (ApiFailure::Unreachable(reason()), Fail),
        (ApiFailure::NotUnderstood(reason()), Fail),
    ] {
        assert_found(&with_status(Err(failure)), id, severity, "why");
    }
    let mut unreachable = with_status(Err(ApiFailure::Unreachable(reason())));
    let found = assert_found(&unreachable, id, Fail, "why");
    assert!(found.remedy.starts_with("rackconnect status -v"), "{}", found.remedy);
    unreachable.path.as_mut().unwrap().lookup = Err("timed out".to_owned());
    let found = assert_found(&unreachable, id, Fail, "why");
    assert_eq!(found.remedy, "Repair network.name first.");
}

#[test]
fn a_key_is_removed_before_the_command_line_is_cut() {
    let header = format!("X-Key: {}0123456789abcdef0123456789abcdef", "x ".repeat(40));
    let found = assert_found(
        &with_process(&["curl", "-H", &header, "https://x/v1/gateway_ip"]),
        "network.other-clients",
        Warning,
        "process 77 (curl) sends its own requests to the API: curl -H",
    );
    assert!(!found.cause.contains("01234567"), "{}", found.cause);
}
