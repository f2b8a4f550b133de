//! The wait: until the automation is done, or until it can be said that it never will be.
//!
//! `machine` decides, over times that are passed in: what to ask next and when, what to make of it, when to stop.
//! `report` words what a person is told. `run` is the edge, which sleeps, asks a [`Source`] and speaks.

mod machine;
mod report;
mod run;

use std::net::IpAddr;
use std::time::Duration;

pub use machine::{End, Machine, Policy, Step};
pub use run::run;

use crate::api::client::Failure;
use crate::clock::BootInstant;
use crate::model::NamedStatus;
use crate::model::Status;
use crate::xenstore::Snapshot;

/// What a wait asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The status.
    Status,
    /// The gateway's address.
    Gateway,
    /// The tasks; for people alone, nothing is decided by them.
    Tasks,
}

/// What it hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The status.
    Status(Status),
    /// The gateway's address.
    Gateway(IpAddr),
    /// The tasks, in their order.
    Tasks(Vec<NamedStatus>),
    /// 404.
    NotKnownYet,
    /// No answer, or one that cannot be understood.
    Failure(Failure),
}

/// News, and to which question it is the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What was asked.
    pub question: Question,
    /// When.
    pub asked: BootInstant,
    /// The answer.
    pub news: News,
}

/// What a rest brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rested {
    /// Nothing.
    Nothing,
    /// An answer that was not asked for from here.
    Heard(Heard),
    /// There may be something new in what the server itself knows.
    Look,
}

/// Where statuses come from, and how time passes.
pub trait Source {
    /// Asks, and answers by `deadline`; or hears in the meantime what another question brought.
    fn ask(&mut self, question: Question, deadline: BootInstant) -> Heard;

    /// Sleeps until then, or until it brings something.
    fn rest(&mut self, until: BootInstant) -> Rested;

    /// What the server itself knows at this moment; none if it knows nothing. Costs no request.
    fn look(&mut self) -> Option<Snapshot> {
        None
    }

    /// From now on an answer is wanted that often.
    fn want(&mut self, _every: Duration) {}
}
