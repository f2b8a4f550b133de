//! What processes share: the response to a request.

use crate::api::request::{Failure, Reply};
use crate::clock::BootInstant;
use crate::model::{Format, Operation};

/// What came of a request, whichever process sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// What was asked for.
    pub operation: Operation,
    /// In which format.
    pub format: Format,
    /// When the request began.
    pub asked: BootInstant,
    /// The HTTP status code and the body, not what follows from them.
    pub reply: Reply,
}

impl Response {
    /// No response, because the leader did not respond.
    pub(super) fn leader_silent(
        operation: Operation,
        format: Format,
        asked: BootInstant,
    ) -> Response {
        Response { operation, format, asked, reply: Err(Failure::LeaderSilent) }
    }
}

/// What ends a wait.
#[derive(Debug)]
pub enum Event {
    /// A response.
    Response(Response),
    /// The time is over.
    Timeout,
    /// The leader ended.
    Disconnected,
    /// The other file that was waited for can be read.
    Wake,
}
