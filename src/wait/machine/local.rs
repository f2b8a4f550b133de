//! What xenstore has to do with a wait.
//!
//! While xenstore tells of changes as they happen, agrees with the API, and the API answers, the
//! interval is at least `WATCHED_INTERVAL`. A change of its status is
//! the signal to ask the API at once, and the API's answer counts. xenstore's status counts in its
//! place only if this wait saw it change, and only after [`FAILURES_TO_BELIEVE`] requests since
//! then have failed. What was there when the wait began may be left over from any time.

use crate::clock::BootInstant;
use crate::model::Status;
use crate::wait::WaitOutcome;
use crate::xenstore::Snapshot;

/// How many requests have to fail after a change in xenstore before it is believed.
const FAILURES_TO_BELIEVE: u32 = 2;

/// What this wait knows from xenstore.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    /// The last snapshot, if xenstore is available.
    pub(super) snapshot: Option<Snapshot>,
    /// The status that it was last seen to have, or not to have.
    pub(super) status: Option<Option<Status>>,
    /// The word of Managed Operations that it was last seen to have, or not to have.
    pub(super) managed: Option<Option<String>>,
    /// The last change of the status during this wait.
    pub(super) change: Option<Change>,
    /// Whether the status comes from here.
    pub(super) is_believed: bool,
    /// Whether the next poll does not wait for the interval.
    pub(super) asks_now: bool,
    /// Whether the word of Managed Operations changed during this wait.
    pub(super) has_managed_changed: bool,
    /// Whether the automation was seen before it was done: the automation of Managed Operations
    /// runs after RackConnect's, so what it said by then is left over.
    pub(super) was_seen_running: bool,
}

/// A change of xenstore's status.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// What to.
    pub(super) status: Option<Status>,
    /// When it was seen.
    at: BootInstant,
    /// How many requests in a row failed that were sent after it.
    failures: u32,
}

/// Whether xenstore's status counts in the API's place.
pub(super) enum Believed {
    /// It does not.
    No,
    /// It does.
    Status(Status),
}

impl Local {
    /// Whether a poll was asked after the last change. One asked before says nothing about it.
    pub(super) fn is_after_change(&mut self, asked: BootInstant, is_failure: bool) -> bool {
        let is_after = self.change.as_ref().is_none_or(|change| change.at <= asked);
        self.asks_now &= !is_after;
        // Failures have to follow each other.
        if let Some(change) = self.change.as_mut().filter(|_| !is_failure) {
            change.failures = 0;
        }
        is_after
    }

    /// A request failed that was sent after the last change.
    pub(super) fn count_failure(&mut self) -> Believed {
        let Some(change) = &mut self.change else { return Believed::No };
        change.failures += 1;
        match &change.status {
            Some(status) if change.failures >= FAILURES_TO_BELIEVE => {
                self.is_believed = true;
                Believed::Status(status.clone())
            }
            _ => Believed::No,
        }
    }

    pub(super) fn observe_status(&mut self, snapshot: &Snapshot, now: BootInstant) {
        let before = self.status.replace(snapshot.status.clone());
        if before.is_some_and(|before| before != snapshot.status) {
            let status = snapshot.status.clone();
            self.change = Some(Change { status, at: now, failures: 0 });
            self.asks_now = true;
        }
    }

    pub(super) fn observe_managed(&mut self, snapshot: &Snapshot) {
        let before = self.managed.replace(snapshot.managed.clone());
        self.has_managed_changed |= before.is_some_and(|before| before != snapshot.managed);
    }

    /// The outcome that the word of Managed Operations is, if it is one.
    pub(super) fn managed_outcome(
        &self,
        snapshot: &Snapshot,
        through_failed: bool,
    ) -> Option<WaitOutcome> {
        let is_current = self.has_managed_changed || !self.was_seen_running;
        let word = snapshot.managed.as_deref().filter(|_| is_current).map(str::to_ascii_lowercase);
        match word.as_deref() {
            Some("complete") => Some(WaitOutcome::Reached),
            Some("build error" | "authentication error") if !through_failed => {
                Some(WaitOutcome::ManagedFailed)
            }
            None if snapshot.managed_absent && snapshot.managed_account == Some(false) => {
                Some(WaitOutcome::NotManaged)
            }
            _ => None,
        }
    }
}
