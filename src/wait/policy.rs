//! The goal of a wait, and its possible outcomes.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::exit::Exit;
use crate::model::{Goal, OkIf};

/// The user's settings for a wait.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What is waited for.
    pub goal: Goal,
    /// The time between two requests.
    pub interval: Duration,
    /// When to give up; `None`: never.
    pub deadline: Option<BootInstant>,
    /// Other outcomes that count as success.
    pub ok_if: OkIf,
    /// Whether to go on after FAILED.
    pub through_failed: bool,
    /// Whether a person watches the live line and wants to see the tasks.
    pub is_watched: bool,
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The goal is reached.
    Reached,
    /// FAILED.
    Failed,
    /// UNPROCESSABLE.
    Unprocessable,
    /// This is not a RackConnect v2 server.
    NotRackConnect,
    /// DEPLOYED, and the account has no Managed Operations.
    NotManaged,
    /// DEPLOYED, and the automation of Managed Operations failed.
    ManagedFailed,
    /// The deadline passed.
    DeadlinePassed,
}

impl Policy {
    /// The exit code of an outcome.
    pub fn exit(&self, outcome: WaitOutcome) -> Exit {
        let (is_ok, exit) = match outcome {
            WaitOutcome::Reached => (true, Exit::Ok),
            WaitOutcome::Failed | WaitOutcome::ManagedFailed => (self.ok_if.failed, Exit::Failed),
            WaitOutcome::Unprocessable => (self.ok_if.unprocessable, Exit::NothingToWaitFor),
            WaitOutcome::NotRackConnect => (self.ok_if.not_rackconnect, Exit::NothingToWaitFor),
            WaitOutcome::NotManaged => (self.ok_if.not_managed, Exit::NothingToWaitFor),
            WaitOutcome::DeadlinePassed => (false, Exit::DeadlinePassed),
        };
        if is_ok { Exit::Ok } else { exit }
    }
}
