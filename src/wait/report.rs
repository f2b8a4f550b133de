//! What a wait tells a person: the live line on a terminal; in a log a line per change and a heartbeat a minute.

use std::time::Duration;

use super::{End, Machine};
use crate::api::client::{Failure, UNHEARD, no_place};
use crate::clock::BootInstant;
use crate::duration::human;
use crate::model::Goal;
use crate::model::NamedStatus;
use crate::xenstore::Server;

/// How often a log hears that the wait goes on.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Remembers what was said, so that nothing is said twice.
#[derive(Debug)]
pub struct Report {
    started: BootInstant,
    said: String,
    said_at: BootInstant,
    told: String,
}

impl Report {
    /// The report of a wait that begins at `now`.
    pub fn new(now: BootInstant) -> Report {
        Report { started: now, said: String::new(), said_at: now, told: String::new() }
    }

    /// The line for a log, if there is something new to say or nothing was said for a minute.
    pub fn line(&mut self, machine: &Machine, now: BootInstant) -> Option<String> {
        let state = state(machine);
        let heartbeat = now.since(self.said_at) >= HEARTBEAT;
        if state == self.said && !heartbeat {
            return None;
        }
        let elapsed = human(now.since(self.started));
        let still = if state == self.said { "still " } else { "" };
        let line = format!("after {elapsed}: {still}{state}{}", progress(machine.tasks()));
        self.said = state;
        self.said_at = now;
        Some(line)
    }

    /// What systemd is told, if it is something new.
    pub fn status(&mut self, machine: &Machine) -> Option<String> {
        let line = format!("{}{}", state(machine), progress(machine.tasks()));
        (line != self.told).then(|| {
            self.told.clone_from(&line);
            line
        })
    }

    /// When [`Report::line`] will have something to say even if nothing happens.
    pub fn heartbeat(&self) -> BootInstant {
        self.said_at + HEARTBEAT
    }

    /// The live line.
    pub fn live(&self, machine: &Machine, now: BootInstant) -> String {
        let elapsed = human(Duration::from_secs(now.since(self.started).as_secs()));
        let next = match machine.due().since(now) {
            _ if machine.deadline().is_some_and(|deadline| deadline <= machine.due()) => {
                "giving up".to_owned()
            }
            Duration::ZERO => "checking now".to_owned(),
            rest => format!("next check in {}s", rest.as_secs_f64().round().max(1.0)),
        };
        // The tasks last: a narrow terminal cuts them off.
        format!("{}, {elapsed} so far; {next}{}", state(machine), progress(machine.tasks()))
    }

    /// The last line: how it ended. The end of a sentence that begins with the program's name.
    pub fn end(&self, machine: &Machine, end: End, now: BootInstant) -> String {
        let elapsed = human(now.since(self.started));
        match end {
            End::Reached => match machine.gateway() {
                Some(address) => format!("the gateway is {address}, after {elapsed}"),
                None if machine.goal() == Goal::Managed => {
                    format!("DEPLOYED, and Managed Operations complete, after {elapsed}")
                }
                None => format!("DEPLOYED after {elapsed}{}", by_xenstore(machine)),
            },
            End::Failed(_) => {
                format!(
                    "the automation FAILED after {elapsed}{}{}",
                    by_xenstore(machine),
                    failed(machine.tasks())
                )
            }
            End::Unprocessable(_) => format!(
                "UNPROCESSABLE after {elapsed}{}: RackConnect will not automate this server, usually because it is in \
                 another region than the RackConnect configuration",
                by_xenstore(machine)
            ),
            End::NotRackConnect(_) => {
                let why = match machine.sighting().map(|sighting| &sighting.server) {
                    Some(Server::OtherProvider(name)) => {
                        format!("xenstore names the provider {name:?}")
                    }
                    Some(Server::V3) => {
                        "its roles in xenstore are those of RackConnect v3, which does nothing in \
                                         the server"
                            .to_owned()
                    }
                    _ => format!(
                        "its roles in xenstore are without RackConnect, its metadata has no automation status, and the API \
                         gave none in {elapsed}"
                    ),
                };
                format!("this is not a RackConnect v2 server: {why}")
            }
            End::NotManaged(_) => format!(
                "DEPLOYED after {elapsed}, and there is nothing more to wait for: the roles in xenstore are without \
                 Managed Operations"
            ),
            End::ManagedFailed(_) => {
                let word = machine
                    .sighting()
                    .and_then(|sighting| sighting.managed.as_deref())
                    .unwrap_or_default();
                format!(
                    "DEPLOYED, but the automation of Managed Operations ended in {word:?}, after {elapsed}"
                )
            }
            End::DeadlinePassed if machine.waits_for_managed() => {
                format!("gave up after {elapsed}: {}", state(machine))
            }
            End::DeadlinePassed => {
                let known = (machine.trouble(), machine.status());
                let missing = if machine.goal() == Goal::Gateway {
                    "no gateway is assigned yet; "
                } else {
                    ""
                };
                let last = match known {
                    (Some(trouble), Some(status)) => {
                        format!(
                            "the last status was {status}, and the last question has no answer: {}",
                            why(trouble)
                        )
                    }
                    (Some(trouble), None) => {
                        format!("the last question has no answer: {}", why(trouble))
                    }
                    (None, Some(status)) => format!("the status is {status}"),
                    (None, None) if machine.only_unknown() => {
                        "RackConnect does not know this server (404 was the \
                         only answer): perhaps it is not a RackConnect v2 server"
                            .to_owned()
                    }
                    (None, None) => "no status is known".to_owned(),
                };
                format!("gave up after {elapsed}: {missing}{last}")
            }
        }
    }
}

/// What is known now, in a few words.
fn state(machine: &Machine) -> String {
    if machine.waits_for_managed() {
        return match machine.sighting().and_then(|sighting| sighting.managed.as_deref()) {
            Some(word) if word.eq_ignore_ascii_case("complete") => {
                "DEPLOYED; that Managed Operations is complete was said before that, and is left over".to_owned()
            }
            Some(word) => format!("DEPLOYED; Managed Operations: {word}"),
            None if machine.sighting().is_none_or(|sighting| !sighting.is_clear()) => {
                "DEPLOYED; nothing from Managed Operations yet: xenstore, which would tell, cannot be read here"
                    .to_owned()
            }
            None => "DEPLOYED; nothing from Managed Operations yet".to_owned(),
        };
    }
    let status = machine.status().map(|status| match machine.is_believed() {
        true => format!("{status}, as xenstore says"),
        false => status.to_string(),
    });
    let known = match (machine.goal(), status) {
        (Goal::Deployed | Goal::Managed, status) => {
            status.unwrap_or_else(|| "no status yet".to_owned())
        }
        (Goal::Gateway, None) => "no gateway yet".to_owned(),
        (Goal::Gateway, Some(status)) => format!("no gateway yet, {status}"),
    };
    match machine.trouble() {
        Some(trouble) => format!("{known} ({})", why(trouble)),
        None if machine.status().is_none() && machine.only_unknown() => {
            "RackConnect does not know this server yet".to_owned()
        }
        None => known,
    }
}

/// Whose word it is, if it is not the API's.
fn by_xenstore(machine: &Machine) -> &'static str {
    match machine.is_believed() {
        true => {
            " (it changed to that in xenstore, and the API has not answered since: xenstore is believed)"
        }
        false => "",
    }
}

fn why(trouble: &Failure) -> String {
    match trouble {
        Failure::LimitUsedUp { why, .. } => no_place(*why),
        Failure::Unheard => UNHEARD.to_owned(),
        Failure::Error(error) => error.message.clone(),
    }
}

/// ", 3 of 7 tasks done, now: …"
fn progress(tasks: &[NamedStatus]) -> String {
    let done = tasks.iter().filter(|task| is_done(task)).count();
    let is_failed = |task: &NamedStatus| {
        ["FAILED", "ERROR"].iter().any(|word| word.eq_ignore_ascii_case(task.status.trim()))
    };
    let current = tasks.iter().find(|task| !is_done(task) && !is_failed(task));
    let current = current.map(|task| format!(", now: {}", task.name));
    match tasks.len() {
        0 => String::new(),
        all => format!(", {done} of {all} tasks done{}", current.unwrap_or_default()),
    }
}

fn failed(tasks: &[NamedStatus]) -> String {
    let names: Vec<String> = tasks
        .iter()
        .filter(|task| !is_done(task))
        .map(|task| format!("{} ({})", task.name, task.status))
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; not successful: {}", names.join(", ")),
    }
}

/// Whether a task's status is one of success. Which words a task can have is not documented.
fn is_done(task: &NamedStatus) -> bool {
    const WORDS: [&str; 8] = [
        "DEPLOYED",
        "COMPLETE",
        "COMPLETED",
        "SUCCESS",
        "SUCCESSFUL",
        "SUCCEEDED",
        "DONE",
        "FINISHED",
    ];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(task.status.trim()))
}
