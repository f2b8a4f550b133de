//! The state of a wait.

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

/// The polls for the status without a status from the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    pub(super) first: BootInstant,
    pub(super) last: BootInstant,
    pub(super) count: u32,
}

/// The state machine of a wait.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) policy: Policy,
    /// When the next poll about the goal is due.
    pub(super) due: BootInstant,
    pub(super) last: Option<LastAsked>,
    /// No request is sent before this time: rate limited, or the endpoint is not known yet.
    pub(super) blocked_until: BootInstant,
    /// How many polls about the goal there were.
    pub(super) asked: u32,
    /// How the wait ends, once that is known.
    pub(super) outcome: Option<WaitOutcome>,
    /// Whether the tasks are requested next.
    pub(super) tasks_due: bool,
    /// When they were last requested.
    pub(super) tasks_asked: Option<BootInstant>,
    pub(super) status: Option<Status>,
    pub(super) gateway: Option<IpAddr>,
    pub(super) tasks: Vec<NamedStatus>,
    /// Why the last poll failed; `None` if it did not.
    pub(super) failure: Option<Failure>,
    /// Whether a status or a gateway was ever known.
    pub(super) was_ever_known: bool,
    /// Whether a request for the status ever got a 404.
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

    /// Why the last poll failed; `None` if it did not.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Whether the API's only responses were 404.
    pub fn is_unknown_server(&self) -> bool {
        self.was_ever_unknown && !self.was_ever_known
    }

    /// Whether the status comes from xenstore, because the API has not answered since it changed
    /// there.
    pub fn is_believed(&self) -> bool {
        self.local.is_believed
    }

    /// The last values in xenstore.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.local.snapshot.as_ref()
    }

    /// Whether the wait is only for the automation of Managed Operations by now.
    pub fn waits_for_managed(&self) -> bool {
        self.is_past_deployed() && self.outcome.is_none()
    }

    /// When the next poll is due.
    pub fn due(&self) -> BootInstant {
        self.due
    }
}
