//! What a wait knows.

use std::net::IpAddr;

use super::local::Local;
use crate::api::request::Failure;
use crate::clock::BootInstant;
use crate::model::{NamedStatus, Status};
use crate::wait::{Policy, WaitOutcome};
use crate::xenstore::Snapshot;

/// The last poll about the goal.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastAsked {
    pub(super) at: BootInstant,
    /// From 0 to 1: how much of the jitter the next poll gets.
    pub(super) jitter: f64,
}

/// As long as the API has given no status: the polls for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    pub(super) first: BootInstant,
    pub(super) last: BootInstant,
    pub(super) count: u32,
}

/// The state of a wait.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) policy: Policy,
    /// When the next poll about the goal is due.
    pub(super) due: BootInstant,
    pub(super) last: Option<LastAsked>,
    /// Nothing is asked before that: the rate limit, or an endpoint that is not known yet.
    pub(super) blocked_until: BootInstant,
    /// How many polls about the goal were asked.
    pub(super) asked: u32,
    /// How the wait ends, once that is known.
    pub(super) outcome: Option<WaitOutcome>,
    /// Whether the tasks are asked for next.
    pub(super) tasks_due: bool,
    /// When they were last asked for.
    pub(super) tasks_asked: Option<BootInstant>,
    pub(super) status: Option<Status>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) tasks: Vec<NamedStatus>,
    /// Why the last poll has no answer; none if it has one.
    pub(super) failure: Option<Failure>,
    /// Whether anything but 404 was ever received.
    pub(super) was_ever_known: bool,
    /// Whether 404 was ever received.
    pub(super) was_ever_unknown: bool,
    /// The status that the API gave last, if it ever did.
    pub(super) api_status: Option<Status>,
    pub(super) silence: Option<Silence>,
    pub(super) local: Local,
}

impl Machine {
    /// A wait that begins at `now`.
    pub fn new(policy: Policy, now: BootInstant) -> Machine {
        Machine {
            policy,
            due: now,
            last: None,
            blocked_until: now,
            asked: 0,
            outcome: None,
            tasks_due: false,
            tasks_asked: None,
            status: None,
            gateway: None,
            tasks: Vec::new(),
            failure: None,
            was_ever_known: false,
            was_ever_unknown: false,
            api_status: None,
            silence: None,
            local: Local::default(),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The last known status.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The gateway, once known.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// The last known tasks.
    pub fn tasks(&self) -> &[NamedStatus] {
        &self.tasks
    }

    /// Why the last poll has no answer; none if it has one.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether nothing but 404 was ever received.
    pub fn is_unknown_server(&self) -> bool {
        self.was_ever_unknown && !self.was_ever_known
    }

    /// Whether the status comes from xenstore, because the API has not answered since it changed
    /// there.
    pub fn is_believed(&self) -> bool {
        self.local.is_believed
    }

    /// What xenstore said last.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.local.snapshot.as_ref()
    }

    /// Whether all that is left to wait for is the automation of Managed Operations.
    pub fn waits_for_managed(&self) -> bool {
        self.is_past_deployed() && self.outcome.is_none()
    }

    /// When the next poll is due.
    pub fn due(&self) -> BootInstant {
        self.due
    }
}
