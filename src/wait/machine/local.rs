//! The use of xenstore in a wait.
//!
//! While xenstore reports changes as they happen and agrees with an API that responds, the interval
//! is at least `WATCHED_INTERVAL`. A change of xenstore's status is the signal to poll the API
//! immediately, and the API's response counts. xenstore's own status counts only if this wait saw
//! it change and [`FAILURES_TO_BELIEVE`] consecutive requests since then have failed. A value that
//! was there when the wait began may be left over from any time.

use crate::clock::BootInstant;
use crate::model::Status;
use crate::wait::WaitOutcome;
use crate::xenstore::Snapshot;

/// How many requests have to fail after a change in xenstore before it is believed.
const FAILURES_TO_BELIEVE: u32 = 2;

/// The part of a wait's state that comes from xenstore.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    /// The last snapshot, if xenstore is available.
    pub(super) snapshot: Option<Snapshot>,
    /// The last known status in xenstore; `Some(None)` if it was known to have none.
    pub(super) status: Option<Option<Status>>,
    /// The same of Managed Operations' state.
    pub(super) managed: Option<Option<String>>,
    /// The last change of the status during this wait.
    pub(super) change: Option<Change>,
    /// Whether the wait's status comes from xenstore.
    pub(super) is_believed: bool,
    /// Whether the next poll is due immediately, because of a change.
    pub(super) polls_now: bool,
    /// Whether Managed Operations' state changed during this wait.
    pub(super) has_managed_changed: bool,
    /// Whether RackConnect's automation was seen running. Managed Operations' automation runs after
    /// it, so a state from that time is left over.
    pub(super) was_seen_running: bool,
}

/// A change of xenstore's status.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The new status.
    pub(super) status: Option<Status>,
    /// When it was seen.
    at: BootInstant,
    /// How many consecutive requests that were sent after it have failed.
    failures: u32,
}

impl Local {
    /// Records a poll. Returns whether its request was sent after the last change; if not, the poll
    /// says nothing about the change.
    pub(super) fn record_poll(&mut self, asked: BootInstant, is_failure: bool) -> bool {
        let is_after = self.change.as_ref().is_none_or(|change| change.at <= asked);
        self.polls_now &= !is_after;
        // Only consecutive failures count.
        if let Some(change) = self.change.as_mut().filter(|_| !is_failure) {
            change.failures = 0;
        }
        is_after
    }

    /// Counts a failed request that was sent after the last change. Returns xenstore's status if it
    /// counts now.
    pub(super) fn count_failure(&mut self) -> Option<Status> {
        let change = self.change.as_mut()?;
        change.failures += 1;
        let believed = change.status.clone().filter(|_| change.failures >= FAILURES_TO_BELIEVE);
        self.is_believed |= believed.is_some();
        believed
    }

    pub(super) fn observe_status(&mut self, snapshot: &Snapshot, now: BootInstant) {
        let before = self.status.replace(snapshot.status.clone());
        if before.is_some_and(|before| before != snapshot.status) {
            let status = snapshot.status.clone();
            self.change = Some(Change { status, at: now, failures: 0 });
            self.polls_now = true;
        }
    }

    pub(super) fn observe_managed(&mut self, snapshot: &Snapshot) {
        let before = self.managed.replace(snapshot.managed.clone());
        self.has_managed_changed |= before.is_some_and(|before| before != snapshot.managed);
    }

    /// The outcome that follows from Managed Operations' state, if it is a final one.
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
