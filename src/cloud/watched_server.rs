//! One server of a wait: the same state machine as on a server, with results from lists.

use std::time::Duration;

use crate::api::request::Failure;
use crate::clock::BootInstant;
use crate::cloud::server::CloudServer;
use crate::duration::human;
use crate::error::Error;
use crate::exit::Exit;
use crate::model::Status;
use crate::wait::{Machine, Policy, Poll, PollResult, Step, WaitOutcome, WaitQuery};
use crate::xenstore::{Server, Snapshot};

/// How the wait for one server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerEnd {
    /// With this outcome of the machine.
    Outcome(WaitOutcome),
    /// The server no longer exists.
    Deleted,
    /// The server is in ERROR, with this fault.
    InError(Option<String>),
}

impl ServerEnd {
    /// The exit code.
    pub fn exit(&self, policy: &Policy) -> Exit {
        match self {
            ServerEnd::Outcome(outcome) => policy.exit(*outcome),
            ServerEnd::Deleted => Exit::NothingToWaitFor,
            ServerEnd::InError(_) => Exit::Failed,
        }
    }
}

/// A server that the command waits for.
pub struct WatchedServer {
    /// The server as last listed.
    pub server: CloudServer,
    machine: Machine,
    /// How its wait ended, once it has.
    pub end: Option<ServerEnd>,
    /// Whether the end was reported.
    pub is_reported: bool,
    last_logged: String,
}

impl WatchedServer {
    /// A server whose status has not been examined yet.
    pub fn new(server: CloudServer, policy: Policy, now: BootInstant) -> WatchedServer {
        let machine = Machine::new(policy, now);
        WatchedServer { server, machine, end: None, is_reported: false, last_logged: String::new() }
    }

    /// Records the server's entry in a list; none if the list does not contain it.
    pub fn observe(&mut self, seen: Option<&CloudServer>, asked: BootInstant, now: BootInstant) {
        if self.end.is_some() {
            return;
        }
        let Some(seen) = seen.filter(|seen| !seen.is_deleted()) else {
            self.end = Some(ServerEnd::Deleted);
            return;
        };
        self.server = seen.clone();
        if seen.state == "ERROR" {
            self.end = Some(ServerEnd::InError(seen.fault.clone()));
            return;
        }
        self.machine.observe(Some(&snapshot(seen)), now);
        let result = match seen.status().filter(|_| !seen.is_rebuilding()) {
            Some(status) => PollResult::Status(status),
            None => PollResult::NotFound,
        };
        self.record(result, asked, now);
    }

    /// Records that the list could not be read.
    pub fn fail(&mut self, err: &Error, asked: BootInstant, now: BootInstant) {
        if self.end.is_none() {
            self.record(PollResult::Failure(Failure::Error(err.clone())), asked, now);
        }
    }

    fn record(&mut self, result: PollResult, asked: BootInstant, now: BootInstant) {
        self.machine.record(&Poll { query: WaitQuery::Status, asked, result }, now, 0.0);
        self.check(now);
    }

    /// Ends the wait if the status or the deadline ends it.
    pub fn check(&mut self, now: BootInstant) {
        while self.end.is_none() {
            match self.machine.step(now) {
                // Cloud Servers does not know the tasks.
                Step::Ask { query: WaitQuery::Tasks, .. } => {
                    let result = PollResult::Tasks(Vec::new());
                    let poll = Poll { query: WaitQuery::Tasks, asked: now, result };
                    self.machine.record(&poll, now, 0.0);
                }
                Step::End(outcome) => self.end = Some(ServerEnd::Outcome(outcome)),
                Step::Ask { .. } | Step::Rest(_) => return,
            }
        }
    }

    /// The last known status, or nothing.
    pub fn word(&self) -> String {
        self.machine.status().map(|status| status.word().to_owned()).unwrap_or_default()
    }

    /// Its name in messages.
    pub fn label(&self) -> String {
        format!("{} ({})", self.server.name, self.server.region)
    }

    /// The current state, in a few words.
    pub fn state(&self) -> String {
        let status = match self.machine.status() {
            Some(Status::Deployed) if self.machine.waits_for_managed() => {
                let managed = self.server.managed().unwrap_or("nothing yet");
                format!("DEPLOYED; Managed Operations: {managed}")
            }
            Some(status) => status.to_string(),
            None => "no status yet".to_owned(),
        };
        let state = match self.server.state.as_str() {
            "ACTIVE" | "" => String::new(),
            other => format!(", the server is in {other}"),
        };
        let failure = self.machine.failure().map(|failure| format!(" ({})", failure.message()));
        format!("{status}{state}{}", failure.unwrap_or_default())
    }

    /// The next line for a log, if the state has changed.
    pub fn next_log_line(&mut self, elapsed: Duration) -> Option<String> {
        let state = self.state();
        if self.end.is_some() || state == self.last_logged {
            return None;
        }
        self.last_logged.clone_from(&state);
        Some(format!("after {}: {}: {state}", human(elapsed), self.label()))
    }

    /// The message about the end of its wait, once it has ended.
    pub fn end_message(&self, elapsed: Duration) -> Option<String> {
        let (label, elapsed) = (self.label(), human(elapsed));
        Some(match self.end.as_ref()? {
            ServerEnd::Deleted => format!("{label}: the server was deleted, after {elapsed}"),
            ServerEnd::InError(fault) => {
                let fault = fault.as_deref().map_or(String::new(), |fault| format!(": {fault}"));
                format!("{label}: the server is in ERROR, after {elapsed}{fault}")
            }
            ServerEnd::Outcome(WaitOutcome::Unprocessable) => {
                let reason = self.server.unprocessable_reason();
                let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
                format!("{label}: UNPROCESSABLE after {elapsed}{reason}")
            }
            ServerEnd::Outcome(WaitOutcome::ManagedFailed) => format!(
                "{label}: DEPLOYED, but the automation of Managed Operations ended in {:?}, after \
                 {elapsed}",
                self.server.managed().unwrap_or_default()
            ),
            ServerEnd::Outcome(WaitOutcome::DeadlinePassed) => match self.machine.status() {
                None if self.machine.is_unknown_server() => format!(
                    "{label}: gave up after {elapsed}: there is no rackconnect_automation_status \
                     in its metadata; perhaps the account has no RackConnect"
                ),
                _ => format!("{label}: gave up after {elapsed}: {}", self.state()),
            },
            ServerEnd::Outcome(_) => format!("{label}: {} after {elapsed}", self.state()),
        })
    }
}

/// The state of Managed Operations in the metadata, in the form in which the machine gets it from
/// xenstore. The status is not included: it is the result of a poll.
fn snapshot(server: &CloudServer) -> Snapshot {
    Snapshot {
        server: Server::Unknown("not on this server".to_owned()),
        managed_account: None,
        status: None,
        status_absent: false,
        managed: server.managed().map(str::to_owned),
        managed_absent: server.managed().is_none(),
        watched: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Goal, OkIf};

    fn server(state: &str, metadata: &serde_json::Value) -> CloudServer {
        let value = json!({"id": "1", "name": "web1", "status": state, "metadata": metadata});
        CloudServer::parse("DFW", &value).unwrap()
    }

    fn status(word: &str) -> serde_json::Value {
        json!({"rackconnect_automation_status": word})
    }

    fn at(seconds: u64) -> BootInstant {
        BootInstant::default() + Duration::from_secs(seconds)
    }

    fn watched(goal: Goal) -> WatchedServer {
        let policy = Policy {
            goal,
            interval: Duration::from_secs(10),
            deadline: Some(at(100)),
            ok_if: OkIf::default(),
            through_failed: false,
            is_watched: false,
        };
        WatchedServer::new(server("BUILD", &json!({})), policy, at(0))
    }

    fn play(goal: Goal, seen: &[Option<CloudServer>]) -> WatchedServer {
        let mut watched = watched(goal);
        for (second, seen) in seen.iter().enumerate() {
            let now = at(u64::try_from(second).unwrap());
            watched.observe(seen.as_ref(), now, now);
        }
        watched
    }

    #[test]
    fn every_end() {
        let outcome = |outcome| Some(ServerEnd::Outcome(outcome));
        let active = |word| Some(server("ACTIVE", &status(word)));
        let absent = || Some(server("BUILD", &json!({})));
        for (last, end) in [
            (active("DEPLOYED"), outcome(WaitOutcome::Reached)),
            (active("FAILED"), outcome(WaitOutcome::Failed)),
            (active("UNPROCESSABLE"), outcome(WaitOutcome::Unprocessable)),
            (active("DEPLOYING"), None),
            (absent(), None),
            (None, Some(ServerEnd::Deleted)),
            (Some(server("DELETED", &json!({}))), Some(ServerEnd::Deleted)),
            (Some(server("ERROR", &status("DEPLOYING"))), Some(ServerEnd::InError(None))),
            // A status left over from before a rebuild.
            (Some(server("REBUILD", &status("DEPLOYED"))), None),
        ] {
            let watched = play(Goal::Deployed, &[absent(), active("DEPLOYING"), last.clone()]);
            assert_eq!(watched.end, end, "{last:?}");
        }
    }

    #[test]
    fn the_deadline_says_that_the_account_may_have_no_rackconnect() {
        let mut watched = play(Goal::Deployed, &[Some(server("ACTIVE", &json!({})))]);
        watched.check(at(99));
        assert_eq!(watched.end, None);
        watched.check(at(100));
        let end_message = watched.end_message(Duration::from_secs(100)).unwrap();
        assert!(end_message.contains("perhaps the account has no RackConnect"), "{end_message}");
    }

    #[test]
    fn managed_operations_follow_deployed() {
        let seen = |managed: &str| {
            let mut metadata = status("DEPLOYED");
            metadata["rax_service_level_automation"] = json!(managed);
            Some(server("ACTIVE", &metadata))
        };
        let deploying = || Some(server("ACTIVE", &status("DEPLOYING")));
        let deployed = || Some(server("ACTIVE", &status("DEPLOYED")));
        let watched = play(Goal::Managed, &[deploying(), deployed(), seen("In Progress")]);
        assert_eq!(watched.end, None);
        let watched = play(Goal::Managed, &[deploying(), deployed(), seen("Complete")]);
        assert_eq!(watched.end, Some(ServerEnd::Outcome(WaitOutcome::Reached)));
        let watched = play(Goal::Managed, &[deploying(), deployed(), seen("Build Error")]);
        assert_eq!(watched.end, Some(ServerEnd::Outcome(WaitOutcome::ManagedFailed)));
    }
}
