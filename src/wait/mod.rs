//! The wait: until the automation is done, or until it is certain that it never will be.
//!
//! `machine` decides, over times that are passed in: what to ask next and when, what to make of
//! the result, when to stop. `report` writes the sentences for people. `run` is the loop, which
//! asks a [`Source`] and sleeps in it. `source` is the real one: the API, shared with other
//! processes, and xenstore. `program` is the COMMAND that takes the place of this process.

mod machine;
mod policy;
mod program;
mod report;
mod run;
mod source;

use std::net::IpAddr;
use std::time::Duration;

pub use machine::{Machine, Step};
pub use policy::{Policy, WaitOutcome};
pub use program::Program;
pub use run::{WaitEnd, run};
pub use source::ApiAndXenstore;

use crate::api::request::Failure;
use crate::clock::BootInstant;
use crate::error::{Error, Result};
use crate::model::{NamedStatus, Status};
use crate::xenstore::Snapshot;

/// What a wait asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitQuery {
    /// The status.
    Status,
    /// The gateway's address.
    Gateway,
    /// The tasks, which are shown to people; nothing is decided by them.
    Tasks,
}

/// What came of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollResult {
    /// The status.
    Status(Status),
    /// The gateway's address.
    Gateway(IpAddr),
    /// The tasks, in their order.
    Tasks(Vec<NamedStatus>),
    /// 404.
    NotFound,
    /// Nothing was sent, because it is not known yet which API to ask.
    NoEndpoint {
        /// When to try again.
        until: BootInstant,
        /// What is missing.
        err: Error,
    },
    /// There is no answer, or one that is not understood.
    Failure(Failure),
}

/// A poll and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The poll.
    pub query: WaitQuery,
    /// When it was asked.
    pub asked: BootInstant,
    /// The result.
    pub result: PollResult,
}

/// What ended a rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// The time is over.
    Timeout,
    /// A result that was not asked for from here.
    Poll(Poll),
    /// What the server itself knows may have changed.
    LocalChange,
}

/// Where results come from, and how time passes.
pub trait Source {
    /// Asks, and returns by `deadline`. The result may be that of another poll.
    ///
    /// # Errors
    /// A setting is wrong, so that waiting would never succeed.
    fn ask(&mut self, query: WaitQuery, deadline: BootInstant) -> Result<Poll>;

    /// Sleeps until then, or until something happens.
    fn rest(&mut self, until: BootInstant) -> Wakeup;

    /// What the server itself knows now; none if it knows nothing. Costs no request.
    fn look(&mut self) -> Option<Snapshot> {
        None
    }

    /// From now on a result is needed that often.
    fn set_interval(&mut self, _interval: Duration) {}
}
