//! Section 3: RackConnect's information about this server, compared with the server itself.

use std::net::IpAddr;
use std::time::Duration;

use crate::doctor::check::{Check, Finding, Judgement, Need, Severity, repair_first, shell_word};
use crate::doctor::evidence::{ApiEvidence, ApiReading, Evidence, KernelEvidence, Unread, known};
use crate::duration::human;
use crate::gateway::names::{InterfaceNames, describe_route};
use crate::gateway::policy::{self, NetworkStack};
use crate::model::{NamedStatus, Status};

/// The checks of this section.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "rackconnect.status",
        title: "automation status",
        needs: &[Need::Network],
        judge: status,
    },
    Check {
        id: "rackconnect.features",
        title: "features",
        needs: &[Need::Network],
        judge: features,
    },
    Check {
        id: "rackconnect.gateway",
        title: "default gateway",
        needs: &[Need::Network],
        judge: gateway,
    },
    Check {
        id: "rackconnect.default-routes",
        title: "other default routes",
        needs: &[],
        judge: default_routes,
    },
    Check {
        id: "rackconnect.managed",
        title: "Managed Operations",
        needs: &[Need::Root, Need::Xenstore],
        judge: managed,
    },
    Check {
        id: "rackconnect.next",
        title: "what wait and gateway set would do",
        needs: &[Need::Network],
        judge: next,
    },
];

/// How long the automation may take before it is a finding. A hundred servers take 40 minutes.
const USUAL_DEPLOYMENT: Duration = Duration::from_secs(60 * 60);

/// An answer of the API, or why there is none.
fn answer<T>(
    evidence: &Evidence,
    pick: fn(&ApiEvidence) -> &ApiReading<T>,
) -> Result<Option<&T>, Unread> {
    let api = known(&evidence.api)?;
    match pick(api) {
        Ok(found) => Ok(found.as_ref()),
        Err(reason) => Err(Unread::NotTried(reason.to_string())),
    }
}

fn is_done(task: &NamedStatus) -> bool {
    ["deployed", "complete", "completed", "success", "done"]
        .iter()
        .any(|word| task.status.eq_ignore_ascii_case(word))
}

/// The first task that is not done, as the end of a sentence.
fn open_task(evidence: &Evidence) -> String {
    let tasks = answer(evidence, |api| &api.tasks).ok().flatten();
    let open = tasks.and_then(|tasks| tasks.iter().find(|task| !is_done(task)));
    open.map_or_else(String::new, |task| format!("; not done: {} ({})", task.name, task.status))
}

fn status(evidence: &Evidence) -> Judgement {
    let tasks = answer(evidence, |api| &api.tasks).ok().flatten();
    let lines = tasks.into_iter().flatten().map(|task| format!("{}  {}", task.status, task.name));
    let source = match answer(evidence, |api| &api.status) {
        Ok(_) => "",
        Err(_) if evidence.status().is_some() => " (from xenstore; not confirmed by the API)",
        Err(unread) => return Err(unread),
    };
    let open = open_task(evidence);
    let uptime = known(&evidence.system).ok().and_then(|system| system.uptime);
    let finding = match evidence.status() {
        None => Finding::info("the API does not know this server (yet): HTTP 404"),
        Some(Status::Deployed) => Finding::pass(format!("DEPLOYED{source}")),
        Some(Status::Deploying) => match uptime.filter(|uptime| *uptime > USUAL_DEPLOYMENT) {
            Some(uptime) => Finding::warning(
                format!("still DEPLOYING {} after the boot{source}{open}", human(uptime)),
                "rackconnect details  # shows the tasks; if no check below fails, tell Rackspace \
                 support which task is not done",
            ),
            None => Finding::info(format!("DEPLOYING{source}{open}")),
        },
        Some(Status::Failed) => Finding::fail(
            format!("the automation FAILED{source}{open}"),
            "rackconnect details  # shows the tasks; repair what fails below, and tell Rackspace \
             support, which has opened a ticket; to wait for the repair: rackconnect wait \
             --through-failed",
        ),
        Some(Status::Unprocessable) => Finding::fail(
            format!("UNPROCESSABLE{source}: {}", unprocessable_reason(evidence)),
            "Build a new server in the region of the RackConnect configuration: RackConnect will \
             never automate this one.",
        ),
        Some(Status::Unknown(word)) => {
            Finding::info(format!("{word}{source}, a status that this program does not know{open}"))
        }
    };
    Ok(finding.with(lines))
}

fn unprocessable_reason(evidence: &Evidence) -> &str {
    let reason =
        evidence.xenstore().ok().and_then(|xenstore| xenstore.unprocessable_reason.as_deref());
    reason.unwrap_or("RackConnect does not automate this server, normally because of its region")
}

fn features(evidence: &Evidence) -> Judgement {
    let (features, source) = evidence.features();
    if features.is_empty() {
        answer(evidence, |api| &api.features)?;
        return Ok(Finding::unremarkable());
    }
    let list: Vec<String> =
        features.iter().map(|feature| format!("{} {}", feature.name, feature.status)).collect();
    let list = format!("{} ({source})", list.join(", "));
    Ok(match NetworkStack::of(features) {
        NetworkStack::Manual => Finding::info(format!(
            "{list}; RackConnect does not set the gateway of this server: rackconnect gateway set \
             does"
        )),
        NetworkStack::Automated | NetworkStack::Unclear => Finding::pass(list),
    })
}

/// Whether every packet for the internet goes through `gateway`.
fn is_used(kernel: &KernelEvidence, gateway: IpAddr) -> bool {
    kernel.internet.and_then(|hop| hop.gateway) == Some(gateway) && !kernel.is_split
}

fn gateway(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let Some(gateway) = answer(evidence, |api| &api.gateway)?.copied() else {
        return Ok(Finding::info("RackConnect has assigned no gateway to this server (yet)"));
    };
    let hop = kernel.describe(kernel.internet);
    let lines = default_lines(kernel);
    if is_used(kernel, gateway) {
        return Ok(Finding::pass(format!(
            "packets for the internet go {hop}, RackConnect's gateway"
        ))
        .with(lines));
    }
    let cause = match kernel.internet.and_then(|hop| hop.gateway) {
        Some(used) if used == gateway => format!(
            "not every packet goes through {gateway}: there are several next hops, or several default \
             routes of one metric"
        ),
        None if kernel.internet.is_none() => {
            format!("this server has no route to the internet; RackConnect's gateway is {gateway}")
        }
        _ => format!("packets for the internet go {hop}, but RackConnect's gateway is {gateway}"),
    };
    let finding = match refusal(evidence) {
        None => Finding::fail(
            cause,
            "rackconnect gateway set  # add --dry-run to see the plan first; the change is undone \
             if the gateway or the API does not answer afterwards; to keep the gateway from then \
             on, also after a reboot: systemctl enable --now rackconnect-gateway",
        ),
        Some(_) => Finding::info(format!("{cause}; the automation may be setting it")),
    };
    Ok(finding.with(lines))
}

fn default_lines(kernel: &KernelEvidence) -> Vec<String> {
    let names = InterfaceNames::of(&kernel.links);
    kernel.defaults.iter().map(|route| describe_route(route, &names)).collect()
}

fn default_routes(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let lines = default_lines(kernel);
    let [_, first, ..] = lines.as_slice() else { return Ok(Finding::unremarkable().with(lines)) };
    let gateway_is_wrong =
        || gateway(evidence).is_ok_and(|finding| finding.severity == Severity::Fail);
    Ok(if kernel.is_split {
        let remedy = if gateway_is_wrong() {
            repair_first("rackconnect.gateway")
        } else {
            let names = InterfaceNames::of(&kernel.links);
            let words = names.iter().map(|(index, name)| (index, shell_word(name)));
            let route = describe_route(&kernel.defaults[1], &words.collect());
            format!("ip route del {route}  # if this is the wrong one of the two")
        };
        let cause = format!(
            "there is another default route of the same metric, and packets may take either: \
             {first}"
        );
        Finding::warning(cause, remedy)
    } else {
        Finding::info(format!("there is another default route, not in use: {first}"))
    }
    .with(lines))
}

fn managed(evidence: &Evidence) -> Judgement {
    let snapshot = &evidence.xenstore()?.snapshot;
    let Some(state) = snapshot.managed.as_deref() else {
        return Ok(match snapshot.managed_account {
            Some(true) => {
                Finding::info("the account has Managed Operations, which has not started here yet")
            }
            _ => Finding::unremarkable(),
        });
    };
    let state_is = |word: &str| state.eq_ignore_ascii_case(word);
    Ok(if state_is("Complete") {
        Finding::pass("Complete")
    } else if state_is("Build Error") || state_is("Authentication Error") {
        Finding::fail(
            format!("the automation of Managed Operations ended with {state:?}"),
            "Ask Rackspace support to repair it; rackconnect wait --for managed --through-failed \
             waits until that is done.",
        )
    } else {
        Finding::info(format!("{state}; rackconnect wait --for managed waits for it"))
    })
}

/// Why `gateway set` would refuse now.
fn refusal(evidence: &Evidence) -> Option<policy::Refusal> {
    let stack = NetworkStack::of(evidence.features().0);
    policy::check(evidence.status().cloned(), stack).err()
}

fn next(evidence: &Evidence) -> Judgement {
    let wait = match evidence.status() {
        None => {
            answer(evidence, |api| &api.status)?;
            "rackconnect wait would wait: the API does not know this server yet".to_owned()
        }
        Some(Status::Deployed) => "rackconnect wait would end at once: DEPLOYED".to_owned(),
        Some(Status::Failed) => {
            "rackconnect wait would end at once with exit code 4: FAILED".to_owned()
        }
        Some(Status::Unprocessable) => {
            "rackconnect wait would end at once with exit code 5: UNPROCESSABLE".to_owned()
        }
        Some(status) => format!("rackconnect wait would wait: {status}"),
    };
    let kernel = known(&evidence.kernel)?;
    let gateway = answer(evidence, |api| &api.gateway);
    let is_set = matches!(gateway, Ok(Some(gateway)) if is_used(kernel, *gateway));
    let set = match (gateway, refusal(evidence)) {
        (Err(_), _) => "gateway set would fail: the API gives no gateway".to_owned(),
        (Ok(None), _) => "gateway set would fail: no gateway is assigned".to_owned(),
        (Ok(Some(_)), _) if is_set => "gateway set would have nothing to do".to_owned(),
        (Ok(Some(_)), Some(refusal)) => format!("gateway set would refuse: {refusal}"),
        (Ok(Some(gateway)), None) => format!("gateway set would set {gateway}"),
    };
    let text = format!("{wait}; {set}");
    Ok(if evidence.is_deployed() && is_set { Finding::pass(text) } else { Finding::info(text) })
}

#[cfg(test)]
mod tests;
