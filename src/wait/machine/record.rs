//! The effect of a poll's result on the state of a wait.

use std::time::Duration;

use super::state::{LastAsked, Machine, Silence};
use crate::api::request::Failure;
use crate::clock::BootInstant;
use crate::model::{Goal, Status};
use crate::ratelimit::LimitCause;
use crate::wait::{Poll, PollResult, WaitOutcome, WaitQuery};

/// How often the tasks are requested while a person watches.
const TASKS_INTERVAL: Duration = Duration::from_secs(15);

impl Machine {
    /// Records the result of a poll. `jitter`, from 0 to 1, delays the next one.
    pub fn record(&mut self, poll: &Poll, now: BootInstant, jitter: f64) {
        match &poll.result {
            _ if poll.query == WaitQuery::Tasks => self.record_tasks(&poll.result, now),
            // No request was sent, or it has to be sent again: it does not count as a poll.
            PollResult::Failure(failure @ Failure::RateLimited { until, cause }) => {
                self.blocked_until = *until;
                if *cause != LimitCause::ProcessLocal {
                    self.failure = Some(failure.clone());
                }
            }
            PollResult::NoEndpoint { until, err } => {
                self.blocked_until = *until;
                self.failure = Some(Failure::Error(err.clone()));
            }
            _ => self.record_result(poll, now, jitter),
        }
        self.schedule(now);
    }

    fn record_tasks(&mut self, result: &PollResult, now: BootInstant) {
        self.tasks_due = false;
        self.tasks_asked = Some(now);
        if let PollResult::Tasks(tasks) = result {
            self.tasks.clone_from(tasks);
        }
    }

    /// Records the result of a poll about the goal whose request was sent.
    fn record_result(&mut self, poll: &Poll, now: BootInstant, jitter: f64) {
        self.asked += 1;
        self.last = Some(LastAsked { at: poll.asked, jitter: jitter.clamp(0.0, 1.0) });
        self.failure = None;
        let is_failure = matches!(poll.result, PollResult::Failure(_));
        let is_after_change = self.local.record_poll(poll.asked, is_failure);
        match &poll.result {
            PollResult::Status(status) => {
                self.api_status = Some(status.clone());
                self.local.is_believed = false;
                self.set_status(status, now);
            }
            PollResult::Gateway(address) => {
                self.was_ever_known = true;
                self.gateway = Some(*address);
                self.outcome = Some(WaitOutcome::Reached);
            }
            PollResult::NotFound if poll.query == WaitQuery::Status => {
                self.was_ever_unknown = true;
                self.local.was_seen_running = true;
                self.record_silence(poll.asked);
            }
            // For the gateway, 404 means "not assigned yet" and says nothing about the server.
            PollResult::NotFound => {}
            PollResult::Failure(failure) => {
                self.failure = Some(failure.clone());
                self.record_failure(poll, failure, is_after_change, now);
            }
            PollResult::Tasks(_) | PollResult::NoEndpoint { .. } => {}
        }
    }

    fn record_failure(
        &mut self,
        poll: &Poll,
        failure: &Failure,
        is_after_change: bool,
        now: BootInstant,
    ) {
        // Other failures say nothing about the API.
        let Failure::Error(_) = failure else { return };
        if poll.query == WaitQuery::Status {
            self.record_silence(poll.asked);
        }
        if is_after_change && let Some(status) = self.local.count_failure() {
            self.set_status(&status, now);
        }
    }

    /// Records a poll for the status that got none.
    fn record_silence(&mut self, asked: BootInstant) {
        let silence = self.silence.get_or_insert(Silence { first: asked, last: asked, count: 0 });
        silence.last = asked;
        silence.count += 1;
    }

    fn set_status(&mut self, status: &Status, now: BootInstant) {
        let has_changed = self.status.as_ref() != Some(status);
        self.was_ever_known = true;
        if *status == Status::Deploying {
            self.local.was_seen_running = true;
        }
        self.status = Some(status.clone());
        if has_changed {
            // They belong to the previous status.
            self.tasks.clear();
        }
        self.outcome = match (status, self.policy.goal) {
            (Status::Deployed, Goal::Deployed) => Some(WaitOutcome::Reached),
            (Status::Failed, _) if !self.policy.through_failed => Some(WaitOutcome::Failed),
            (Status::Unprocessable, _) => Some(WaitOutcome::Unprocessable),
            _ => None,
        };
        self.tasks_due = self.needs_tasks(status, has_changed, now);
        self.conclude();
    }

    /// Whether the tasks are requested next.
    fn needs_tasks(&self, status: &Status, has_changed: bool, now: BootInstant) -> bool {
        // Then the API is not responding.
        if self.local.is_believed {
            return false;
        }
        match self.outcome {
            Some(WaitOutcome::Failed) => true,
            Some(_) => false,
            None if *status == Status::Deployed => false,
            None => {
                let is_due =
                    self.tasks_asked.is_none_or(|asked| now.since(asked) >= TASKS_INTERVAL);
                // While xenstore saves requests, only a person who watches needs the tasks.
                (has_changed && !self.is_told_of_changes()) || (self.policy.is_watched && is_due)
            }
        }
    }
}
