//! Section 2: the rate limit and its other users, proxies, and the API's responses.

use super::{network, tls};
use crate::doctor::check::{Check, Finding, Judgement, Need, Severity, first_failed, repair_first};
use crate::doctor::evidence::{ApiEvidence, ApiFailure, Evidence, ProcessInfo, Unread, known};
use crate::doctor::redact::redact;
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

/// Shells, which run loops around clients.
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ksh", "zsh"];

fn client_kind(process: &ProcessInfo) -> Option<ClientKind> {
    // The second one is the script of an interpreter.
    let names = [process.name.as_str(), process.file_name(0), process.file_name(1)];
    let is_one_of = |programs: &[&str]| names.iter().any(|name| programs.contains(name));
    if is_one_of(&READERS) {
        return None;
    }
    let words = process.arguments.join(" ");
    if API_WORDS.iter().any(|word| words.contains(word)) {
        return Some(ClientKind::Direct);
    }
    is_one_of(&PROGRAMS).then_some(ClientKind::ByPlugin)
}

/// Whether a process is a shell that runs a script, and not one that a person types in.
fn is_script(process: &ProcessInfo) -> bool {
    let mut arguments = process.arguments.iter().skip(1);
    SHELLS.contains(&process.file_name(0)) && arguments.any(|argument| !argument.starts_with('-'))
}

/// The script that started a client, and will start the next one.
fn script_of<'a>(client: &ProcessInfo, processes: &'a [ProcessInfo]) -> Option<&'a ProcessInfo> {
    let parent = processes.iter().find(|process| Some(process.pid) == client.parent)?;
    (!is_script(client) && is_script(parent)).then_some(parent)
}

/// The most of a command line that is shown.
const MAX_SHOWN: usize = 120;

/// A process with its name and user.
fn describe(process: &ProcessInfo) -> String {
    let user = process.user.as_ref().map_or_else(String::new, |user| format!(", user {user}"));
    format!("process {} ({}{user})", process.pid, process.name)
}

/// The beginning of a command line. Secrets are removed first: half a key is not recognized as one.
fn command_line(process: &ProcessInfo) -> String {
    let whole = redact(&process.arguments.join(" "));
    match whole.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{} ...", &whole[..end]),
        None => whole,
    }
}

fn is_forbidden(evidence: &Evidence) -> bool {
    let Ok(api) = &evidence.api else { return false };
    matches!(first_failure(api), Some(ApiFailure::Forbidden(_)))
}

fn other_clients(evidence: &Evidence) -> Judgement {
    let processes = known(&evidence.processes)?;
    let clients: Vec<(&ProcessInfo, ClientKind)> =
        processes.iter().filter_map(|process| Some((process, client_kind(process)?))).collect();
    let lines: Vec<String> = clients
        .iter()
        .map(|(process, _)| format!("{} {}", process.pid, process.arguments.join(" ")))
        .collect();
    let direct = clients.iter().find(|(_, kind)| *kind == ClientKind::Direct);
    let Some((process, kind)) = direct.or(clients.first()) else {
        return Ok(Finding::unremarkable());
    };
    let script = match kind {
        ClientKind::Direct => script_of(process, processes),
        ClientKind::ByPlugin => None,
    };
    let command = match script {
        Some(script) => format!("{}, which runs {}", command_line(script), command_line(process)),
        None => command_line(process),
    };
    let process = script.unwrap_or(process);
    let who = describe(process);
    let remedy = format!(
        "ps -fp {0}  # shows it; if it is not needed: kill {0}, or its parent (PPID) if it comes \
         back; use rackconnect wait or rackconnect facts instead, which share the rate limit",
        process.pid
    );
    let finding = match (kind, is_forbidden(evidence)) {
        (_, true) => {
            let cause = format!(
                "the API answers with HTTP 403 (too many requests); {who} probably uses up the 30 \
                 requests a minute: {command}"
            );
            Finding::fail(cause, remedy)
        }
        (ClientKind::Direct, false) => {
            Finding::warning(format!("{who} sends its own requests to the API: {command}"), remedy)
        }
        (ClientKind::ByPlugin, false) => Finding::info(format!(
            "{who} may send requests to the API, which count towards the same rate limit: \
             {command}"
        )),
    };
    Ok(finding.with(lines))
}

fn rate_limit(evidence: &Evidence) -> Judgement {
    let limit = match &known(&evidence.api)?.limit {
        Ok(limit) => limit,
        // agent.state-directory has the remedy.
        Err(reason) => {
            return Ok(Finding::info(format!(
                "the rate limit is not shared, so each process is limited to 6 requests a \
                 minute: {reason}"
            )));
        }
    };
    // network.api has the remedy.
    if let Some(count) = limit.consecutive_403s {
        let times = match count {
            0 | 1 => String::new(),
            count => format!(" ({count} times in a row)"),
        };
        return Ok(Finding::info(format!(
            "the API answered with HTTP 403{times}, so no rackconnect process sends a request \
             for a minute; then one of them tries again"
        )));
    }
    if limit.free == 0 {
        let cause = format!("all {PERMITS} requests of the last minute are used up");
        return Ok(Finding::warning(
            cause,
            "ps -ef | grep rackconnect  # shows what uses it; wait a minute",
        ));
    }
    Ok(Finding::pass(format!("{} of {PERMITS} requests a minute are free", limit.free)))
}

/// The failure of the first request that failed.
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
        Err(Unread::Failed(reason)) => {
            return Ok(Finding::fail(reason.clone(), "Correct that setting."));
        }
        Err(late @ Unread::NoAnswer(_)) => {
            return Ok(Finding::fail(format!("the API: {late}"), unreachable_remedy(evidence)));
        }
        api => known(api)?,
    };
    let endpoint = &api.endpoint;
    Ok(match first_failure(api) {
        None if api.status == Ok(None) => Finding::warning(
            format!("{endpoint} does not know this server (yet): HTTP 404"),
            "rackconnect wait  # waits for the automation to begin; if it does not, ask Rackspace \
             support",
        ),
        None => Finding::pass(format!("{endpoint} answers")),
        Some(ApiFailure::Forbidden(reason)) => {
            let remedy = if other_clients(evidence)
                .is_ok_and(|finding| finding.severity == Severity::Fail)
            {
                "Stop the process that network.other-clients names, then wait a minute."
            } else {
                "ps -ef | grep -E 'curl|ohai|facter|rcrun'  # shows likely causes: stop the \
                 process, then wait a minute"
            };
            Finding::fail(reason.clone(), remedy)
        }
        Some(ApiFailure::LimitUsedUp(reason)) => Finding::warning(
            reason.clone(),
            "Wait a minute, and stop the rackconnect processes that are not needed: they share the \
             limit.",
        ),
        Some(ApiFailure::Unreachable(reason)) => {
            Finding::fail(reason.clone(), unreachable_remedy(evidence))
        }
        Some(ApiFailure::NotUnderstood(reason)) => Finding::fail(
            reason.clone(),
            "rackconnect doctor --report doctor.txt  # writes a report for Rackspace support",
        ),
        Some(ApiFailure::NotSent) => Finding::skipped("the API was not asked"),
    })
}

/// The remedy for an API that cannot be reached.
fn unreachable_remedy(evidence: &Evidence) -> String {
    let way = network::CHECKS.iter().chain(tls::CHECKS);
    match first_failed(way, evidence) {
        Some(id) => repair_first(id),
        None => "rackconnect status -v  # shows each step".to_owned(),
    }
}

#[cfg(test)]
mod tests;
