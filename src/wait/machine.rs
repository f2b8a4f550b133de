//! The decisions of a wait, as a state machine over time that is passed in. No clock, no network, no chance.
//!
//! Its law: while the goal is not reached, a question about it follows the last one after at most 1.1 intervals (after
//! a 403 or without a place in the request limit: when that allows); nothing else ever delays it. It ends with the goal,
//! with a status that allows no other end, or at the deadline, and never by an answer that was not understood.

use std::net::IpAddr;
use std::time::Duration;

use super::{Goal, News, OkIf, Question};
use crate::api::body::Named;
use crate::api::client::Failure;
use crate::api::status::Status;
use crate::clock::Moment;

/// How often the tasks are asked for while a person watches.
const TASKS_EVERY: Duration = Duration::from_secs(15);

/// While the gateway is waited for, one question in so many is for the status.
const STATUS_ONE_IN: u32 = 5;

/// What the user wants.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What is waited for.
    pub goal: Goal,
    /// How long to let pass from one question to the next.
    pub interval: Duration,
    /// When to give up; none: never.
    pub deadline: Option<Moment>,
    /// Other ends that are a success.
    pub ok_if: OkIf,
    /// Whether to go on after FAILED.
    pub through_failed: bool,
    /// Whether a person watches, and wants to see the tasks.
    pub watched: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask at that moment, and have the answer by `deadline` if there is one.
    Ask {
        /// What.
        question: Question,
        /// Not before.
        at: Moment,
        /// When an answer is of no use any more.
        deadline: Option<Moment>,
    },
    /// Do nothing until the deadline of the wait, that moment.
    Rest(Moment),
    /// Stop.
    End(End),
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The goal is reached.
    Reached,
    /// FAILED; whether that is a success.
    Failed(bool),
    /// UNPROCESSABLE; whether that is a success.
    Unprocessable(bool),
    /// The deadline passed.
    DeadlinePassed,
}

/// The state of a wait.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    /// When the next question about the goal is due.
    due: Moment,
    /// How many questions about the goal were asked.
    asked: u32,
    /// How it ends, once that is known.
    end: Option<End>,
    /// Whether the tasks are asked for next.
    tasks_due: bool,
    /// When they were last asked for.
    tasks_asked: Option<Moment>,
    status: Option<Status>,
    gateway: Option<IpAddr>,
    tasks: Vec<Named>,
    /// Why the last question has no answer; none if it has one.
    trouble: Option<Failure>,
    /// Whether anything but 404 was ever heard.
    ever_known: bool,
    /// Whether 404 was ever heard.
    ever_unknown: bool,
}

impl Machine {
    /// A wait that begins at `now`.
    pub fn new(policy: Policy, now: Moment) -> Machine {
        Machine {
            policy,
            due: now,
            asked: 0,
            end: None,
            tasks_due: false,
            tasks_asked: None,
            status: None,
            gateway: None,
            tasks: Vec::new(),
            trouble: None,
            ever_known: false,
            ever_unknown: false,
        }
    }

    /// What to do next.
    pub fn step(&self, now: Moment) -> Step {
        let past = self.policy.deadline.filter(|deadline| *deadline <= now);
        match (self.end, past) {
            // FAILED names the tasks that did not succeed, unless the deadline is here as well.
            (Some(End::Failed(_)), None) if self.tasks_due => {
                Step::Ask { question: Question::Tasks, at: now, deadline: self.policy.deadline }
            }
            (Some(end), _) => Step::End(end),
            (None, Some(_)) => Step::End(End::DeadlinePassed),
            // The tasks must not delay the next question about the goal.
            (None, None) if self.tasks_due && now < self.due => {
                let deadline = self.policy.deadline.map_or(self.due, |deadline| deadline.min(self.due));
                Step::Ask { question: Question::Tasks, at: now, deadline: Some(deadline) }
            }
            (None, None) => match self.policy.deadline {
                Some(deadline) if deadline <= self.due => Step::Rest(deadline),
                deadline => Step::Ask { question: self.question(), at: self.due, deadline },
            },
        }
    }

    fn question(&self) -> Question {
        match self.policy.goal {
            Goal::Deployed => Question::Status,
            Goal::Gateway if self.asked % STATUS_ONE_IN == 1 => Question::Status,
            Goal::Gateway => Question::Gateway,
        }
    }

    /// Takes in what came of `question`, which was asked at `asked`. `chance`, from 0 to 1, is what the jitter is made of.
    pub fn hear(&mut self, question: Question, asked: Moment, now: Moment, news: &News, chance: f64) {
        if question == Question::Tasks {
            self.tasks_due = false;
            self.tasks_asked = Some(now);
            if let News::Tasks(tasks) = news {
                self.tasks.clone_from(tasks);
            }
            return;
        }
        self.asked += 1;
        let jitter = self.policy.interval.mul_f64(0.1 * chance.clamp(0.0, 1.0));
        self.due = asked + self.policy.interval + jitter;
        self.trouble = None;
        match news {
            News::Status(status) => self.hear_status(status, now),
            News::Gateway(address) => {
                self.ever_known = true;
                self.gateway = Some(*address);
                self.end = Some(End::Reached);
            }
            // For the gateway, 404 means "not assigned yet" and says nothing of the server.
            News::NotKnownYet => self.ever_unknown |= question == Question::Status,
            News::Failure(failure) => {
                if let Failure::LimitUsedUp { until, .. } = failure {
                    self.due = self.due.max(*until);
                }
                self.trouble = Some(failure.clone());
            }
            News::Tasks(_) => {}
        }
    }

    fn hear_status(&mut self, status: &Status, now: Moment) {
        let Policy { goal, ok_if, through_failed, watched, .. } = self.policy;
        let changed = self.status.as_ref() != Some(status);
        self.ever_known = true;
        self.status = Some(status.clone());
        if changed {
            // They belong to the status before.
            self.tasks.clear();
        }
        self.end = match (status, goal) {
            (Status::Deployed, Goal::Deployed) => Some(End::Reached),
            (Status::Failed, _) if !through_failed => Some(End::Failed(ok_if.failed)),
            (Status::Unprocessable, _) => Some(End::Unprocessable(ok_if.unprocessable)),
            _ => None,
        };
        let stale = self.tasks_asked.is_none_or(|asked| now.since(asked) >= TASKS_EVERY);
        self.tasks_due = match self.end {
            Some(End::Failed(_)) => true,
            Some(_) => false,
            None => *status != Status::Deployed && (changed || (watched && stale)),
        };
    }

    /// What is waited for.
    pub fn goal(&self) -> Goal {
        self.policy.goal
    }

    /// When it gives up.
    pub fn deadline(&self) -> Option<Moment> {
        self.policy.deadline
    }

    /// The last status known.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The gateway, once known.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// The tasks that were last heard of.
    pub fn tasks(&self) -> &[Named] {
        &self.tasks
    }

    /// Why the last question has no answer, if it has none.
    pub fn trouble(&self) -> Option<&Failure> {
        self.trouble.as_ref()
    }

    /// Whether nothing but 404 was ever the answer.
    pub fn only_unknown(&self) -> bool {
        self.ever_unknown && !self.ever_known
    }

    /// When the next question is due.
    pub fn due(&self) -> Moment {
        self.due
    }
}

#[cfg(test)]
mod tests;
