//! The messages of a wait: the live line on a terminal; in a log a line for each change and a
//! heartbeat a minute.

use std::time::Duration;

use super::{Machine, WaitOutcome};
use crate::clock::BootInstant;
use crate::duration::human;
use crate::model::{Goal, NamedStatus};
use crate::xenstore::Server;

/// How often a log says that the wait goes on.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Remembers what was logged, so that it is not repeated.
#[derive(Debug)]
pub struct Report {
    started: BootInstant,
    last_state: String,
    last_line_at: BootInstant,
    last_status: String,
}

impl Report {
    /// The report of a wait that begins at `now`.
    pub fn new(now: BootInstant) -> Report {
        Report {
            started: now,
            last_state: String::new(),
            last_line_at: now,
            last_status: String::new(),
        }
    }

    /// The line for a log, if the state has changed or nothing was logged for a minute.
    pub fn line(&mut self, machine: &Machine, now: BootInstant) -> Option<String> {
        let state = state(machine);
        let is_new = state != self.last_state;
        if !is_new && now < self.heartbeat() {
            return None;
        }
        let elapsed = human(now.since(self.started));
        let still = if is_new { "" } else { "still " };
        let line = format!("after {elapsed}: {still}{state}{}", progress(machine.tasks()));
        self.last_state = state;
        self.last_line_at = now;
        Some(line)
    }

    /// The text of systemd's STATUS=, if it has changed.
    pub fn status(&mut self, machine: &Machine) -> Option<String> {
        let line = format!("{}{}", state(machine), progress(machine.tasks()));
        if line == self.last_status {
            return None;
        }
        self.last_status.clone_from(&line);
        Some(line)
    }

    /// When [`Report::line`] returns a line even if nothing has changed.
    pub fn heartbeat(&self) -> BootInstant {
        self.last_line_at + HEARTBEAT
    }

    /// The live line.
    pub fn live(&self, machine: &Machine, now: BootInstant) -> String {
        let elapsed = human(Duration::from_secs(now.since(self.started).as_secs()));
        let deadline = machine.policy().deadline;
        let next = match machine.due().since(now) {
            _ if deadline.is_some_and(|deadline| deadline <= machine.due()) => {
                "giving up".to_owned()
            }
            Duration::ZERO => "checking now".to_owned(),
            left => format!("next check in {}s", left.as_secs_f64().round().max(1.0)),
        };
        // The tasks last: a narrow terminal cuts them off.
        format!("{}, {elapsed} so far; {next}{}", state(machine), progress(machine.tasks()))
    }

    /// The last line: how the wait ended.
    pub fn end(&self, machine: &Machine, outcome: WaitOutcome, now: BootInstant) -> String {
        let elapsed = human(now.since(self.started));
        match outcome {
            WaitOutcome::Reached => reached(machine, &elapsed),
            WaitOutcome::Failed => format!(
                "the automation FAILED after {elapsed}{}{}",
                by_xenstore(machine),
                unsuccessful(machine.tasks())
            ),
            WaitOutcome::Unprocessable => format!(
                "UNPROCESSABLE after {elapsed}{}: RackConnect will not automate this server, \
                 usually because it is in another region than the RackConnect configuration",
                by_xenstore(machine)
            ),
            WaitOutcome::NotRackConnect => not_rackconnect(machine, &elapsed),
            WaitOutcome::NotManaged => format!(
                "DEPLOYED after {elapsed}, and there is nothing more to wait for: the roles in \
                 xenstore do not include Managed Operations"
            ),
            WaitOutcome::ManagedFailed => {
                let snapshot = machine.snapshot();
                let word = snapshot.and_then(|it| it.managed.as_deref()).unwrap_or_default();
                format!(
                    "DEPLOYED, but the automation of Managed Operations ended in {word:?}, after \
                     {elapsed}"
                )
            }
            WaitOutcome::DeadlinePassed => gave_up(machine, &elapsed),
        }
    }
}

fn reached(machine: &Machine, elapsed: &str) -> String {
    match machine.gateway() {
        Some(address) => format!("the gateway is {address}, after {elapsed}"),
        None if machine.policy().goal == Goal::Managed => {
            format!("DEPLOYED, and Managed Operations complete, after {elapsed}")
        }
        None => format!("DEPLOYED after {elapsed}{}", by_xenstore(machine)),
    }
}

fn not_rackconnect(machine: &Machine, elapsed: &str) -> String {
    let reason = match machine.snapshot().map(|snapshot| &snapshot.server) {
        Some(Server::OtherProvider(name)) => format!("xenstore names the provider {name:?}"),
        Some(Server::V3) => "its roles in xenstore are those of RackConnect v3, which does \
                             nothing in the server"
            .to_owned(),
        _ => format!(
            "its roles in xenstore do not include RackConnect, its metadata has no automation \
             status, and the API gave none within {elapsed}"
        ),
    };
    format!("this is not a RackConnect v2 server: {reason}")
}

fn gave_up(machine: &Machine, elapsed: &str) -> String {
    if machine.waits_for_managed() {
        return format!("gave up after {elapsed}: {}", state(machine));
    }
    let missing = match machine.policy().goal {
        Goal::Gateway => "no gateway is assigned yet; ",
        Goal::Deployed | Goal::Managed => "",
    };
    let failure = machine.failure().map(|failure| failure.message());
    let last = match (failure, machine.status()) {
        (Some(failure), Some(status)) => {
            format!("the last status was {status}, and the last attempt failed: {failure}")
        }
        (Some(failure), None) => format!("the last attempt failed: {failure}"),
        (None, Some(status)) => format!("the status is {status}"),
        (None, None) if machine.is_unknown_server() => "RackConnect does not know this server \
                                                        (404 was the only answer): perhaps it is \
                                                        not a RackConnect v2 server"
            .to_owned(),
        (None, None) => "no status is known".to_owned(),
    };
    format!("gave up after {elapsed}: {missing}{last}")
}

/// The current state, in a few words.
fn state(machine: &Machine) -> String {
    if machine.waits_for_managed() {
        return managed_state(machine);
    }
    let status = machine.status().map(|status| {
        if machine.is_believed() {
            format!("{status}, as xenstore says")
        } else {
            status.to_string()
        }
    });
    let known = match (machine.policy().goal, status) {
        (Goal::Deployed | Goal::Managed, status) => {
            status.unwrap_or_else(|| "no status yet".to_owned())
        }
        (Goal::Gateway, None) => "no gateway yet".to_owned(),
        (Goal::Gateway, Some(status)) => format!("no gateway yet, {status}"),
    };
    match machine.failure() {
        Some(failure) => format!("{known} ({})", failure.message()),
        None if machine.status().is_none() && machine.is_unknown_server() => {
            "RackConnect does not know this server yet".to_owned()
        }
        None => known,
    }
}

/// The current state while Managed Operations are waited for.
fn managed_state(machine: &Machine) -> String {
    let snapshot = machine.snapshot();
    match snapshot.and_then(|snapshot| snapshot.managed.as_deref()) {
        Some(word) if word.eq_ignore_ascii_case("complete") => {
            "DEPLOYED; ignoring the earlier \"complete\" of Managed Operations in xenstore"
                .to_owned()
        }
        Some(word) => format!("DEPLOYED; Managed Operations: {word}"),
        None if snapshot.is_none_or(|snapshot| !snapshot.is_status_known()) => {
            "DEPLOYED; nothing from Managed Operations yet: xenstore cannot be read here".to_owned()
        }
        None => "DEPLOYED; nothing from Managed Operations yet".to_owned(),
    }
}

/// The source of a status, if it is not the API.
fn by_xenstore(machine: &Machine) -> &'static str {
    if machine.is_believed() {
        " (it changed to that in xenstore, and the API has not answered since: xenstore is \
         believed)"
    } else {
        ""
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

fn unsuccessful(tasks: &[NamedStatus]) -> String {
    let tasks = tasks.iter().filter(|task| !is_done(task));
    let names: Vec<String> = tasks.map(|task| format!("{} ({})", task.name, task.status)).collect();
    if names.is_empty() { String::new() } else { format!("; not successful: {}", names.join(", ")) }
}

/// Whether a task's status means success. The possible words are not documented.
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
