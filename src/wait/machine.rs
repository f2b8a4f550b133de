//! The decisions of a wait, as a state machine over time that is passed in. No clock, no network, no chance.
//!
//! Its law: while the goal is not reached, a question about it follows the last one after at most 1.1 intervals (after
//! a 403 or without a place in the request limit: when that allows); nothing else ever delays it. It ends with the goal,
//! with a status that allows no other end, or at the deadline, and never by an answer that was not understood.
//!
//! xenstore is a second source, and a lesser one. While it tells of changes as they happen, agrees with the API, and the
//! API answers, the interval is at least [`WATCHED_INTERVAL`]. A change of its status is the signal to ask the API at
//! once, and the API's answer counts. xenstore's status counts in its place only if this wait saw it change, and only
//! after [`FAILURES_TO_BELIEVE`] requests since then have failed. What was there when the wait began is left over from
//! nobody knows when.

use std::net::IpAddr;
use std::time::Duration;

use super::{News, Question};
use crate::api::client::Failure;
use crate::clock::BootInstant;
use crate::model::NamedStatus;
use crate::model::Status;
use crate::model::{Goal, OkIf};
use crate::ratelimit::LimitCause as Why;
use crate::xenstore::{Server, Snapshot};

/// How often the tasks are asked for while a person watches.
const TASKS_EVERY: Duration = Duration::from_secs(15);

/// While the gateway is waited for, one question in so many is for the status.
const STATUS_ONE_IN: u32 = 5;

/// The interval while changes are told as they happen.
pub const WATCHED_INTERVAL: Duration = Duration::from_secs(30);

/// How many requests have to fail after a change in xenstore before it is believed.
const FAILURES_TO_BELIEVE: u32 = 2;

/// How long the API has to give no status, and at how many questions at least, before a server whose roles and metadata
/// have no RackConnect is said to be none of its.
const SILENCE: (Duration, u32) = (Duration::from_secs(60), 2);

/// What the user wants.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What is waited for.
    pub goal: Goal,
    /// How long to let pass from one question to the next.
    pub interval: Duration,
    /// When to give up; none: never.
    pub deadline: Option<BootInstant>,
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
        at: BootInstant,
        /// When an answer is of no use any more.
        deadline: Option<BootInstant>,
    },
    /// Do nothing until that moment: there is nothing to ask, or no time left for it.
    Rest(BootInstant),
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
    /// No RackConnect v2 server; whether that is a success.
    NotRackConnect(bool),
    /// DEPLOYED, and the account has no Managed Operations; whether that is a success.
    NotManaged(bool),
    /// DEPLOYED, and Managed Operations' automation failed; whether that is a success.
    ManagedFailed(bool),
    /// The deadline passed.
    DeadlinePassed,
}

/// The state of a wait.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    /// When the next question about the goal is due.
    due: BootInstant,
    /// When the last one was asked, with the chance that its jitter is made of.
    last: Option<(BootInstant, f64)>,
    /// Before this nothing is asked: the request limit.
    held: BootInstant,
    /// How many questions about the goal were asked.
    asked: u32,
    /// How it ends, once that is known.
    end: Option<End>,
    /// Whether the tasks are asked for next.
    tasks_due: bool,
    /// When they were last asked for.
    tasks_asked: Option<BootInstant>,
    status: Option<Status>,
    gateway: Option<IpAddr>,
    tasks: Vec<NamedStatus>,
    /// Why the last question has no answer; none if it has one.
    trouble: Option<Failure>,
    /// Whether anything but 404 was ever heard.
    ever_known: bool,
    /// Whether 404 was ever heard.
    ever_unknown: bool,
    /// The status that the API gave last, if it ever did.
    heard: Option<Status>,
    /// When the status was first asked for, when last, and how often, as long as the API has given none.
    silence: Option<(BootInstant, BootInstant, u32)>,
    local: Local,
}

/// What xenstore has to do with it.
#[derive(Clone, Debug, Default)]
struct Local {
    /// What it said last; none while there is none.
    sighting: Option<Snapshot>,
    /// The status that it was last seen to have, or not to have.
    status: Option<Option<Status>>,
    /// The word of Managed Operations that it was last seen to have, or not to have.
    managed: Option<Option<String>>,
    /// What the status changed to under the eyes of this wait, and how many requests have failed since.
    change: Option<Change>,
    /// Whether the status comes from here.
    believed: bool,
    /// Whether the next question is asked without regard to the interval.
    ask_now: bool,
    /// Whether the word of Managed Operations changed under the eyes of this wait.
    managed_changed: bool,
    /// Whether the automation was seen before it was done: what Managed Operations said by then is left over, because its
    /// automation runs after RackConnect's.
    seen_running: bool,
}

/// A change of xenstore's status that the wait saw.
#[derive(Clone, Debug)]
struct Change {
    /// What to.
    status: Option<Status>,
    /// When it was seen.
    at: BootInstant,
    /// How many requests in a row failed that were sent after it.
    failures: u32,
}

impl Machine {
    /// A wait that begins at `now`.
    pub fn new(policy: Policy, now: BootInstant) -> Machine {
        Machine {
            policy,
            due: now,
            last: None,
            held: now,
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
            heard: None,
            silence: None,
            local: Local::default(),
        }
    }

    /// What to do next.
    pub fn step(&self, now: BootInstant) -> Step {
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
                let deadline =
                    self.policy.deadline.map_or(self.due, |deadline| deadline.min(self.due));
                Step::Ask { question: Question::Tasks, at: now, deadline: Some(deadline) }
            }
            (None, None) if self.is_past_deployed() => {
                let again = now + self.interval();
                Step::Rest(self.policy.deadline.map_or(again, |deadline| deadline.min(again)))
            }
            (None, None) => match self.policy.deadline {
                Some(deadline) if deadline <= self.due => Step::Rest(deadline),
                deadline => Step::Ask { question: self.question(), at: self.due, deadline },
            },
        }
    }

    fn question(&self) -> Question {
        match self.policy.goal {
            Goal::Deployed | Goal::Managed => Question::Status,
            Goal::Gateway if self.asked % STATUS_ONE_IN == 1 => Question::Status,
            Goal::Gateway => Question::Gateway,
        }
    }

    /// Takes in what came of `question`, which was asked at `asked`. `chance`, from 0 to 1, is what the jitter is made of.
    pub fn hear(
        &mut self,
        question: Question,
        asked: BootInstant,
        now: BootInstant,
        news: &News,
        chance: f64,
    ) {
        if question == Question::Tasks {
            self.tasks_due = false;
            self.tasks_asked = Some(now);
            if let News::Tasks(tasks) = news {
                self.tasks.clone_from(tasks);
            }
            return;
        }
        if let News::Failure(failure @ Failure::LimitUsedUp { until, why }) = news {
            // Nothing was asked, or it is to be asked again: then, whatever the interval.
            self.held = *until;
            if *why != Why::Alone {
                self.trouble = Some(failure.clone());
            }
            self.schedule(now);
            return;
        }
        self.asked += 1;
        self.last = Some((asked, chance.clamp(0.0, 1.0)));
        self.trouble = None;
        // What was asked before a change says nothing about it.
        let is_after = self.local.change.as_ref().is_none_or(|change| change.at <= asked);
        self.local.ask_now &= !is_after;
        // Whoever answers is believed; two failures in a row have to follow before anybody else is.
        if let Some(change) =
            self.local.change.as_mut().filter(|_| !matches!(news, News::Failure(_)))
        {
            change.failures = 0;
        }
        match news {
            News::Status(status) => {
                self.heard = Some(status.clone());
                self.local.believed = false;
                self.hear_status(status, now);
            }
            News::Gateway(address) => {
                self.ever_known = true;
                self.gateway = Some(*address);
                self.end = Some(End::Reached);
            }
            News::NotKnownYet if question == Question::Status => {
                self.ever_unknown = true;
                self.local.seen_running = true;
                self.hear_silence(asked);
            }
            // For the gateway, 404 means "not assigned yet" and says nothing of the server.
            News::NotKnownYet => {}
            News::Failure(failure) => {
                self.trouble = Some(failure.clone());
                match failure {
                    // It says nothing of the API.
                    Failure::LimitUsedUp { .. } | Failure::Unheard => {}
                    Failure::Error(_) => {
                        if question == Question::Status {
                            self.hear_silence(asked);
                        }
                        if is_after {
                            self.hear_failure(now);
                        }
                    }
                }
            }
            News::Tasks(_) => {}
        }
        self.schedule(now);
    }

    /// Takes in what xenstore says now; none if there is none (any more).
    pub fn hear_local(&mut self, sighting: Option<&Snapshot>, now: BootInstant) {
        let Some(sighting) = sighting else {
            self.local.sighting = None;
            self.schedule(now);
            return;
        };
        // What cannot be read is no value, no absence of one, and no change of it either.
        if sighting.is_clear() {
            let before = self.local.status.replace(sighting.status.clone());
            if before.is_some_and(|before| before != sighting.status) && !self.is_past_deployed() {
                self.local.change =
                    Some(Change { status: sighting.status.clone(), at: now, failures: 0 });
                self.local.ask_now = true;
            }
        }
        if sighting.managed.is_some() || sighting.managed_absent {
            let before = self.local.managed.replace(sighting.managed.clone());
            self.local.managed_changed |= before.is_some_and(|before| before != sighting.managed);
        }
        self.local.sighting = Some(sighting.clone());
        self.conclude();
        self.schedule(now);
    }

    /// A question after which the API gave no status.
    fn hear_silence(&mut self, asked: BootInstant) {
        let (first, count) = self.silence.map_or((asked, 0), |(first, _, count)| (first, count));
        self.silence = Some((first, asked, count + 1));
    }

    /// A request that failed.
    fn hear_failure(&mut self, now: BootInstant) {
        let Some(change) = &mut self.local.change else { return };
        change.failures += 1;
        if change.failures >= FAILURES_TO_BELIEVE
            && let Some(status) = change.status.clone()
        {
            self.local.believed = true;
            self.hear_status(&status, now);
        }
    }

    /// Ends that follow from what the server itself knows. They need its latest word, and the API's silence.
    fn conclude(&mut self) {
        let Some(sighting) = &self.local.sighting else { return };
        let Policy { goal, ok_if, through_failed, .. } = self.policy;
        if self.end.is_some() {
            return;
        }
        if self.heard.is_none() && !self.local.believed {
            let is_silent =
                sighting.server == Server::NoRole && sighting.status_absent && self.was_silent();
            if sighting.server.is_certainly_another() || is_silent {
                self.end = Some(End::NotRackConnect(ok_if.not_rackconnect));
            }
        }
        if goal != Goal::Managed || !self.is_past_deployed() {
            return;
        }
        let is_new = self.local.managed_changed || !self.local.seen_running;
        let word = sighting.managed.as_deref().filter(|_| is_new).map(str::to_ascii_lowercase);
        self.end = match word.as_deref() {
            Some("complete") => Some(End::Reached),
            Some("build error" | "authentication error") if !through_failed => {
                Some(End::ManagedFailed(ok_if.failed))
            }
            None if sighting.managed_absent && sighting.managed_account == Some(false) => {
                Some(End::NotManaged(ok_if.not_managed))
            }
            _ => None,
        };
    }

    fn was_silent(&self) -> bool {
        self.silence.is_some_and(|(first, last, count)| {
            last.since(first) >= SILENCE.0 && count >= SILENCE.1
        })
    }

    /// Whether all that is left to wait for is Managed Operations.
    fn is_past_deployed(&self) -> bool {
        self.policy.goal == Goal::Managed && self.status == Some(Status::Deployed)
    }

    /// How long to let pass from one question to the next.
    pub fn interval(&self) -> Duration {
        match self.is_quiet() {
            true => self.policy.interval.max(WATCHED_INTERVAL),
            false => self.policy.interval,
        }
    }

    /// Whether the news comes by itself. That the API is back, or has caught up with xenstore, does not; nor does a
    /// gateway, which xenstore does not know; nor does a status that the API has and xenstore has not.
    fn is_quiet(&self) -> bool {
        let told = |sighting: &&Snapshot| sighting.watched && sighting.is_clear();
        let Some(sighting) = self.local.sighting.as_ref().filter(told) else { return false };
        if self.is_past_deployed() {
            return true;
        }
        let agrees = sighting.status == self.heard;
        self.policy.goal != Goal::Gateway && self.last.is_some() && self.trouble.is_none() && agrees
    }

    /// Says anew when the next question is due.
    fn schedule(&mut self, now: BootInstant) {
        let next = match self.last {
            Some(_) if self.local.ask_now => now,
            Some((asked, chance)) => {
                asked + self.interval() + self.policy.interval.mul_f64(0.1 * chance)
            }
            None => self.due,
        };
        self.due = next.max(self.held);
    }

    fn hear_status(&mut self, status: &Status, now: BootInstant) {
        let Policy { goal, ok_if, through_failed, watched, .. } = self.policy;
        let changed = self.status.as_ref() != Some(status);
        self.ever_known = true;
        self.local.seen_running |= *status == Status::Deploying;
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
            Some(End::Failed(_)) => !self.local.believed,
            Some(_) => false,
            // Where requests are spared, the tasks are asked for only if somebody looks at them.
            None if self.local.believed => false,
            None => {
                *status != Status::Deployed && ((changed && !self.is_quiet()) || (watched && stale))
            }
        };
        self.conclude();
    }

    /// What is waited for.
    pub fn goal(&self) -> Goal {
        self.policy.goal
    }

    /// When it gives up.
    pub fn deadline(&self) -> Option<BootInstant> {
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
    pub fn tasks(&self) -> &[NamedStatus] {
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

    /// Whether the status comes from xenstore, because the API has not answered since it changed there.
    pub fn is_believed(&self) -> bool {
        self.local.believed
    }

    /// What xenstore said last.
    pub fn sighting(&self) -> Option<&Snapshot> {
        self.local.sighting.as_ref()
    }

    /// Whether all that is left to wait for is Managed Operations' automation.
    pub fn waits_for_managed(&self) -> bool {
        self.is_past_deployed() && self.end.is_none()
    }

    /// When the next question is due.
    pub fn due(&self) -> BootInstant {
        self.due
    }
}

#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod tests;
