//! Section 2: the rate limit and who else uses it, proxies, and what the API answers.

use crate::doctor::check::{Check, Finding, Judgement, Need};
use crate::doctor::evidence::{ApiEvidence, ApiFailure, Evidence, ProcessInfo, Unread, known};
use crate::ratelimit::PERMITS;

/// The checks of what comes after the connection.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "network.proxy", title: "proxies", needs: &[], judge: proxy },
    Check {
        id: "network.other-clients",
        title: "other clients of the API",
        needs: &[],
        judge: other_clients,
    },
    Check {
        id: "network.rate-limit",
        title: "rate limit",
        needs: &[Need::Network],
        judge: rate_limit,
    },
    Check { id: "network.api", title: "answer of the API", needs: &[Need::Network], judge: api },
];

/// What only a client of the API has in its arguments.
const API_WORDS: [&str; 3] = ["api.rackconnect.rackspace.com", "automation_status", "gateway_ip"];

/// Programs whose plug-ins ask the API.
const PROGRAMS: [&str; 6] = ["ohai", "chef-client", "facter", "puppet", "rcrun", "crewchief"];

/// Programs that take arguments of others for their own: editors and pagers.
const READERS: [&str; 6] = ["vim", "vi", "nano", "less", "grep", "rackconnect"];

fn proxy(evidence: &Evidence) -> Judgement {
    let proxies = &known(&evidence.system)?.proxies;
    Ok(match proxies.first() {
        None => Finding::unremarkable(),
        Some(first) => {
            let name = first.split('=').next().unwrap_or(first);
            let cause = format!("{name} is set and ignored: the API knows a server by its address");
            Finding::info(cause).with(proxies.iter().cloned())
        }
    })
}

/// How a process asks the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientKind {
    /// Its arguments name the API.
    Direct,
    /// It may have a plug-in that does.
    ByPlugin,
}

fn client_kind(process: &ProcessInfo) -> Option<ClientKind> {
    let program = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let names: Vec<String> = process.arguments.iter().take(2).map(|word| program(word)).collect();
    let is_one_of =
        |list: &[&str]| list.iter().any(|it| process.name == *it || names.iter().any(|n| n == it));
    if is_one_of(&READERS) {
        return None;
    }
    let words = process.arguments.join(" ");
    if API_WORDS.iter().any(|word| words.contains(word)) {
        return Some(ClientKind::Direct);
    }
    is_one_of(&PROGRAMS).then_some(ClientKind::ByPlugin)
}

fn is_forbidden(evidence: &Evidence) -> bool {
    let Ok(api) = &evidence.api else { return false };
    matches!(first_failure(api), Some(ApiFailure::Forbidden(_)))
}

fn other_clients(evidence: &Evidence) -> Judgement {
    let processes = known(&evidence.processes)?;
    let clients: Vec<(&ProcessInfo, ClientKind)> =
        processes.iter().filter_map(|process| Some((process, client_kind(process)?))).collect();
    let lines: Vec<String> =
        clients.iter().map(|(it, _)| format!("{} {}", it.pid, it.arguments.join(" "))).collect();
    let direct = clients.iter().find(|(_, kind)| *kind == ClientKind::Direct);
    let Some((process, kind)) = direct.or(clients.first()) else {
        return Ok(Finding::unremarkable());
    };
    let (name, pid) = (&process.name, process.pid);
    let remedy = format!(
        "stop it (kill {pid}), and use instead: rackconnect wait, or rackconnect facts; they share the \
         limit"
    );
    let finding = match (kind, is_forbidden(evidence)) {
        (_, true) => {
            let cause = format!(
                "the API answers with HTTP 403, and process {pid} ({name}) looks like the one that uses \
                 the rate limit up"
            );
            Finding::fail(cause, remedy)
        }
        (ClientKind::Direct, false) => {
            Finding::warning(format!("process {pid} ({name}) asks the API by itself"), remedy)
        }
        (ClientKind::ByPlugin, false) => Finding::info(format!(
            "process {pid} ({name}) may ask the API too, and uses the same rate limit"
        )),
    };
    Ok(finding.with(lines))
}

fn rate_limit(evidence: &Evidence) -> Judgement {
    let limit = match &known(&evidence.api)?.limit {
        Ok(limit) => limit,
        Err(why) => {
            let cause =
                format!("the rate limit is not shared, so each process keeps to 6 a minute: {why}");
            return Ok(Finding::warning(
                cause,
                "see agent.state-directory below; as root: rackconnect \
                status",
            ));
        }
    };
    if let Some(count) = limit.consecutive_403s {
        let cause = format!(
            "HTTP 403, {count} in a row: all rackconnect processes pause for a minute, then one asks"
        );
        return Ok(Finding::warning(cause, "stop what else asks the API, and wait a minute"));
    }
    if limit.free == 0 {
        let cause = format!("all {PERMITS} requests of the last minute are used up");
        return Ok(Finding::warning(
            cause,
            "wait a minute; see who asks: ps aux | grep rackconnect",
        ));
    }
    Ok(Finding::pass(format!("{} of {PERMITS} requests a minute are free", limit.free)))
}

/// The first question that was not answered.
fn first_failure(api: &ApiEvidence) -> Option<&ApiFailure> {
    let failures = [
        api.status.as_ref().err(),
        api.tasks.as_ref().err(),
        api.features.as_ref().err(),
        api.gateway.as_ref().err(),
    ];
    failures.into_iter().flatten().next()
}

fn api(evidence: &Evidence) -> Judgement {
    let api = match &evidence.api {
        Err(Unread::Failed(why)) => {
            return Ok(Finding::fail(why.clone(), "correct the setting"));
        }
        Err(late @ Unread::NoAnswer(_)) => {
            return Ok(Finding::fail(format!("the API: {late}"), "see: rackconnect status -v"));
        }
        api => known(api)?,
    };
    let endpoint = &api.endpoint;
    Ok(match first_failure(api) {
        None if api.status == Ok(None) => Finding::warning(
            format!("{endpoint} does not know this server: HTTP 404"),
            "wait for the automation to begin: rackconnect wait; if it never does, ask Rackspace support",
        ),
        None => Finding::pass(format!("{endpoint} answers")),
        Some(ApiFailure::Forbidden(why)) => Finding::fail(
            format!("the API answers with HTTP 403: {why}"),
            "find what asks it, and stop it: ps aux | grep -E 'curl|ohai|facter|rcrun'",
        ),
        Some(ApiFailure::LimitUsedUp(why)) => Finding::warning(
            why.clone(),
            "wait a minute; rackconnect processes share the limit, so stop those that are not needed",
        ),
        Some(ApiFailure::Unreachable(why)) => {
            Finding::fail(why.clone(), "repair what is wrong above; then: rackconnect status -v")
        }
        Some(ApiFailure::NotUnderstood(why)) => Finding::fail(
            why.clone(),
            "report it: rackconnect doctor --report FILE; see also: rackconnect status --format json",
        ),
        Some(ApiFailure::NotAsked) => Finding::skipped("the API was not asked"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Severity::{Fail, Info, Pass, Warning};
    use crate::doctor::checks::prepared::{assert_found, healthy};
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
    fn proxies_are_ignored_but_said() {
        assert_found(&healthy(), "network.proxy", Pass, "");
        let mut evidence = healthy();
        evidence.system.as_mut().unwrap().proxies =
            vec!["https_proxy=http://proxy:3128".to_owned()];
        assert_found(&evidence, "network.proxy", Info, "https_proxy is set and ignored");
    }

    /// A curl loop used the limit up, and every client of this program got a 403.
    #[test]
    fn other_clients_are_named() {
        let id = "network.other-clients";
        assert_found(&healthy(), id, Pass, "");
        let url = "https://dfw.api.rackconnect.rackspace.com/v1/automation_status";
        let mut curl = with_process(&["curl", url]);
        assert_found(&curl, id, Warning, "process 77 (curl) asks the API by itself");
        assert_found(&with_process(&["rackconnect", "wait", "--endpoint", url]), id, Pass, "");
        assert_found(&with_process(&["vim", "automation_status"]), id, Pass, "");
        let ohai = with_process(&["ruby", "/usr/bin/ohai"]);
        assert_found(&ohai, id, Info, "process 77 (ruby) may ask");
        curl.api.as_mut().unwrap().status = Err(ApiFailure::Forbidden("403".to_owned()));
        let found = assert_found(&curl, id, Fail, "process 77 (curl) looks like");
        assert!(found.remedy.contains("kill 77"));
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
        assert_found(&with(Ok(forbidden)), id, Warning, "2 in a row");
        assert_found(&with(Err("belongs to user 1".to_owned())), id, Warning, "belongs to user 1");
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
        let why = || "why".to_owned();
        for (failure, severity) in [
            (ApiFailure::Forbidden(why()), Fail),
            (ApiFailure::LimitUsedUp(why()), Warning),
            (ApiFailure::Unreachable(why()), Fail),
            (ApiFailure::NotUnderstood(why()), Fail),
        ] {
            assert_found(&with_status(Err(failure)), id, severity, "why");
        }
    }
}
