//! The effect of xenstore's values on the state of a wait.

use std::time::Duration;

use super::state::Machine;
use crate::clock::BootInstant;
use crate::model::{Goal, Status};
use crate::wait::WaitOutcome;
use crate::xenstore::{Server, Snapshot};

/// For how long, and in how many polls at least, the API has to give no status before a server
/// without RackConnect in its roles and metadata counts as not a RackConnect v2 server.
const SILENCE_TIME: Duration = Duration::from_secs(60);
const SILENT_POLLS: u32 = 2;

impl Machine {
    /// Records xenstore's current values; `None` if xenstore is unavailable.
    pub fn observe(&mut self, snapshot: Option<&Snapshot>, now: BootInstant) {
        self.local.snapshot = snapshot.cloned();
        if let Some(snapshot) = snapshot {
            // An unreadable value is neither a status nor its absence, so it is not a change.
            if snapshot.is_status_known() {
                if self.is_past_deployed() {
                    self.local.status = Some(snapshot.status.clone())
                } else {
                    self.local.observe_status(snapshot, now)
                }
            }
            if snapshot.managed.is_some() || snapshot.managed_absent {
                self.local.observe_managed(snapshot);
            }
            self.conclude();
        }
        self.schedule(now);
    }

    /// Sets the outcome if it follows from xenstore: from its current values, and from an API that
    /// has given no status.
    pub(super) fn conclude(&mut self) {
        let Some(snapshot) = &self.local.snapshot else { return };
        if self.outcome.is_some() {
            return;
        }
        if self.api_status.is_none() && !self.local.is_believed {
            let has_no_role = snapshot.server == Server::NoRole && snapshot.status_absent;
            if snapshot.server.is_certainly_another() || (has_no_role && self.is_api_silent()) {
                self.outcome = Some(WaitOutcome::NotRackConnect);
            }
        }
        if self.is_past_deployed() {
            self.outcome = self.local.managed_outcome(snapshot, self.policy.through_failed);
        }
    }

    fn is_api_silent(&self) -> bool {
        self.silence.is_some_and(|silence| {
            silence.last.since(silence.first) >= SILENCE_TIME && silence.count >= SILENT_POLLS
        })
    }

    /// Whether the goal is Managed Operations, and RackConnect's own automation is done.
    pub(super) fn is_past_deployed(&self) -> bool {
        self.policy.goal == Goal::Managed && self.status == Some(Status::Deployed)
    }

    /// Whether xenstore will report the next change. It reports neither that the API is back or has
    /// caught up with xenstore, nor a gateway, nor a status that only the API has.
    pub(super) fn is_told_of_changes(&self) -> bool {
        let reports = |snapshot: &&Snapshot| snapshot.watched && snapshot.is_status_known();
        let Some(snapshot) = self.local.snapshot.as_ref().filter(reports) else { return false };
        if self.is_past_deployed() {
            return true;
        }
        let agrees = snapshot.status == self.api_status;
        let has_answer = self.last.is_some() && self.failure.is_none();
        self.policy.goal != Goal::Gateway && has_answer && agrees
    }
}
