//! The next step of a wait.

use std::time::Duration;

use super::state::{LastAsked, Machine};
use crate::clock::BootInstant;
use crate::model::Goal;
use crate::wait::{WaitOutcome, WaitQuery};

/// While the gateway is waited for, one poll in this many is for the status.
const STATUS_ONE_IN: u32 = 5;

/// The shortest interval while xenstore reports changes.
pub const WATCHED_INTERVAL: Duration = Duration::from_secs(30);

/// A step of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a request at that time, with a result by `deadline` if there is one.
    Ask {
        /// What to request.
        query: WaitQuery,
        /// When.
        at: BootInstant,
        /// When a result is no longer useful.
        deadline: Option<BootInstant>,
    },
    /// Do nothing until that time: there is nothing to request, or no time left for it.
    Rest(BootInstant),
    /// Stop.
    End(WaitOutcome),
}

impl Machine {
    /// The next step.
    pub fn step(&self, now: BootInstant) -> Step {
        let passed = self.policy.deadline.filter(|deadline| *deadline <= now);
        match (self.outcome, passed) {
            // The message about FAILED names the unsuccessful tasks, if there is time to get them.
            (Some(WaitOutcome::Failed), None) if self.tasks_due => {
                Step::Ask { query: WaitQuery::Tasks, at: now, deadline: self.policy.deadline }
            }
            (Some(outcome), _) => Step::End(outcome),
            (None, Some(_)) => Step::End(WaitOutcome::DeadlinePassed),
            (None, None) => self.open_step(now),
        }
    }

    /// The next step while the outcome is open.
    fn open_step(&self, now: BootInstant) -> Step {
        let by_deadline = |at: BootInstant| self.policy.deadline.map_or(at, |end| end.min(at));
        // The tasks must not delay the next poll about the goal.
        if self.tasks_due && now < self.due {
            let deadline = Some(by_deadline(self.due));
            return Step::Ask { query: WaitQuery::Tasks, at: now, deadline };
        }
        if self.is_past_deployed() {
            return Step::Rest(by_deadline(now + self.interval()));
        }
        match self.policy.deadline {
            Some(deadline) if deadline <= self.due => Step::Rest(deadline),
            deadline => Step::Ask { query: self.query(), at: self.due, deadline },
        }
    }

    fn query(&self) -> WaitQuery {
        match self.policy.goal {
            Goal::Deployed | Goal::Managed => WaitQuery::Status,
            Goal::Gateway if self.asked % STATUS_ONE_IN == 1 => WaitQuery::Status,
            Goal::Gateway => WaitQuery::Gateway,
        }
    }

    /// The time between two polls.
    pub fn interval(&self) -> Duration {
        if self.is_told_of_changes() {
            self.policy.interval.max(WATCHED_INTERVAL)
        } else {
            self.policy.interval
        }
    }

    /// Recalculates when the next poll is due.
    pub(super) fn schedule(&mut self, now: BootInstant) {
        let next = match self.last {
            Some(_) if self.local.polls_now => now,
            Some(LastAsked { at, jitter }) => {
                at + self.interval() + self.policy.interval.mul_f64(0.1 * jitter)
            }
            None => self.due,
        };
        self.due = next.max(self.blocked_until);
    }
}
