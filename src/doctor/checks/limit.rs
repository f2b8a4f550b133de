//! Section 2: the rate limit and its other users, proxies, and the API's responses.

use super::{network, tls};
use crate::doctor::check::{Check, Finding, Judgement, Need, Severity, first_failed, repair_first};
use crate::doctor::evidence::{ApiEvidence, ApiFailure, Evidence, ProcessInfo, Unread, known};
use crate::ratelimit::PERMITS;

/// The checks of the steps after the connection.
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

/// Text that only a client of the API has in its arguments.
const API_WORDS: [&str; 3] = ["api.rackconnect.rackspace.com", "automation_status", "gateway_ip"];

/// Programs with plug-ins that send requests to the API.
const PROGRAMS: [&str; 6] = ["ohai", "chef-client", "facter", "puppet", "rcrun", "crewchief"];

/// Programs whose arguments may name the API without a request: editors and pagers.
const READERS: [&str; 6] = ["vim", "vi", "nano", "less", "grep", "rackconnect"];

fn proxy(evidence: &Evidence) -> Judgement {
    let proxies = &known(&evidence.system)?.proxies;
    Ok(match proxies.first() {
        None => Finding::unremarkable(),
        Some(first) => {
            let name = first.split('=').next().unwrap_or(first);
            let cause = format!(
                "{name} is set, but not used: the API knows this server by its own address"
            );
            Finding::info(cause).with(proxies.iter().cloned())
        }
    })
}

/// How a process may send requests to the API.
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
        "kill {pid}  # and use rackconnect wait or rackconnect facts in its place, which share the \
         limit"
    );
    let finding = match (kind, is_forbidden(evidence)) {
        (_, true) => {
            let cause = format!(
                "the API answers with HTTP 403, and process {pid} ({name}) looks like the one that uses \
                 up the 30 requests a minute"
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
        // agent.state-directory has the remedy.
        Err(why) => {
            return Ok(Finding::info(format!(
                "the rate limit is not shared, so each process keeps to 6 requests a minute: {why}"
            )));
        }
    };
    // network.api has the remedy.
    if let Some(count) = limit.consecutive_403s {
        return Ok(Finding::info(format!(
            "HTTP 403, {count} in a row: no rackconnect process asks the API for a minute, then one \
             tries"
        )));
    }
    if limit.free == 0 {
        let cause = format!("all {PERMITS} requests of the last minute are used up");
        return Ok(Finding::warning(
            cause,
            "ps aux | grep rackconnect  # shows what asks; the limit is free again in a minute",
        ));
    }
    Ok(Finding::pass(format!("{} of {PERMITS} requests a minute are free", limit.free)))
}

/// The first request without an answer.
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
            return Ok(Finding::fail(why.clone(), "correct the setting that it names"));
        }
        Err(late @ Unread::NoAnswer(_)) => {
            return Ok(Finding::fail(format!("the API: {late}"), remedy_of_the_way(evidence)));
        }
        api => known(api)?,
    };
    let endpoint = &api.endpoint;
    Ok(match first_failure(api) {
        None if api.status == Ok(None) => Finding::warning(
            format!("{endpoint} does not know this server: HTTP 404"),
            "rackconnect wait  # waits for the automation to begin; if it does not, ask Rackspace support",
        ),
        None => Finding::pass(format!("{endpoint} answers")),
        Some(ApiFailure::Forbidden(why)) => {
            let remedy = match other_clients(evidence).is_ok_and(|it| it.severity == Severity::Fail)
            {
                true => "stop the process that network.other-clients names, then wait a minute",
                false => {
                    "ps aux | grep -E 'curl|ohai|facter|rcrun'  # shows what else may ask it: stop that, \
                     then wait a minute"
                }
            };
            Finding::fail(why.clone(), remedy)
        }
        Some(ApiFailure::LimitUsedUp(why)) => Finding::warning(
            why.clone(),
            "wait a minute, and stop the rackconnect processes that are not needed: they share the limit",
        ),
        Some(ApiFailure::Unreachable(why)) => {
            Finding::fail(why.clone(), remedy_of_the_way(evidence))
        }
        Some(ApiFailure::NotUnderstood(why)) => Finding::fail(
            why.clone(),
            "rackconnect doctor --report FILE  # writes a report for Rackspace support",
        ),
        Some(ApiFailure::NotAsked) => Finding::skipped("the API was not asked"),
    })
}

/// The remedy for an API that cannot be reached.
fn remedy_of_the_way(evidence: &Evidence) -> String {
    let way = network::CHECKS.iter().chain(tls::CHECKS);
    match first_failed(way, evidence) {
        Some(id) => repair_first(id),
        None => "rackconnect status -v  # shows each step".to_owned(),
    }
}

#[cfg(test)]
mod tests;
