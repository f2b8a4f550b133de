//! The wait: until the automation is done, or until it is certain that it never will be.
//!
//! `machine` decides what to request next and when, what follows from a result, and when to stop;
//! it is passed the time. `report` writes the messages. `run` is the loop over a [`Source`], in
//! which it also sleeps. `source` is the real one: the API, shared with other processes, and
//! xenstore. `program` is the COMMAND that replaces this process.

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

/// A request of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitQuery {
    /// The status.
    Status,
    /// The gateway's address.
    Gateway,
    /// The tasks, which are shown to people; nothing is decided by them.
    Tasks,
}

/// The result of a poll.
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
    /// No request was sent, because the endpoint is not known yet.
    NoEndpoint {
        /// When to try again.
        until: BootInstant,
        /// What is missing.
        err: Error,
    },
    /// There is no response, or it cannot be understood.
    Failure(Failure),
}

/// A poll and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// What was requested.
    pub query: WaitQuery,
    /// When the request began.
    pub asked: BootInstant,
    /// The result.
    pub result: PollResult,
}

/// Why [`Source::rest`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// The time has passed.
    Timeout,
    /// The result of a request that another process needed.
    Poll(Poll),
    /// xenstore may have changed.
    LocalChange,
}

/// The source of results, and the clock that passes between them.
pub trait Source {
    /// Sends a request and returns by `deadline`. The result may be that of another query.
    ///
    /// # Errors
    /// A setting is wrong, so that waiting would never succeed.
    fn ask(&mut self, query: WaitQuery, deadline: BootInstant) -> Result<Poll>;

    /// Sleeps until something happens, until `until` at most.
    fn rest(&mut self, until: BootInstant) -> Wakeup;

    /// The current values in xenstore, if it is available.
    fn snapshot(&mut self) -> Option<Snapshot> {
        None
    }

    /// Sets how often a result is needed from now on.
    fn set_interval(&mut self, _interval: Duration) {}
}
