//! A response, as processes share it.

use crate::api::request::{Failure, Reply};
use crate::clock::BootInstant;
use crate::model::{Format, Operation};

/// The result of a request, whichever process sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The operation that was requested.
    pub operation: Operation,
    /// The format that was requested.
    pub format: Format,
    /// When the request began.
    pub asked: BootInstant,
    /// The HTTP status code and the body, not interpreted yet.
    pub reply: Reply,
}

impl Response {
    /// The result if the leader did not respond.
    pub(super) fn leader_silent(
        operation: Operation,
        format: Format,
        asked: BootInstant,
    ) -> Response {
        Response { operation, format, asked, reply: Err(Failure::LeaderSilent) }
    }
}

/// Why a process stopped waiting for a response.
#[derive(Debug)]
pub enum Event {
    /// A response.
    Response(Response),
    /// The time has passed.
    Timeout,
    /// The leader ended.
    Disconnected,
    /// The other file is readable.
    Wake,
}
