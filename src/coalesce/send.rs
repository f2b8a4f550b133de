//! Sends a request, solo or as a leader.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::leader::Leader;
use super::response::Response;
use crate::api::request::{BeforeSend, Reply, Request};
use crate::clock::BootInstant;
use crate::model::{Format, Operation};

/// The shortest grace period: how much longer than the request timeout a leader may be silent.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Sends the requests of this process.
pub trait RequestSender {
    /// A number that identifies the request among the processes of this server.
    fn topic(&self, operation: Operation, format: Format) -> u64;

    /// How long a request takes at most.
    fn request_timeout(&self) -> Duration;

    /// Sends a request; `before_send` is called just before its first byte.
    ///
    /// # Errors
    /// See [`Failure`](crate::api::request::Failure).
    fn request(&self, request: Request, before_send: Option<BeforeSend>) -> Reply;

    /// Records the response to a request that this process sent, by `deadline`.
    fn record(&self, response: &Response, deadline: BootInstant);
}

impl<R: RequestSender + ?Sized> RequestSender for &R {
    fn topic(&self, operation: Operation, format: Format) -> u64 {
        (**self).topic(operation, format)
    }

    fn request_timeout(&self) -> Duration {
        (**self).request_timeout()
    }

    fn request(&self, request: Request, before_send: Option<BeforeSend>) -> Reply {
        (**self).request(request, before_send)
    }

    fn record(&self, response: &Response, deadline: BootInstant) {
        (**self).record(response, deadline);
    }
}

/// Sends a request. Just before its first byte, the followers that have connected to `leader` are
/// accepted: they asked before the request was sent.
pub(super) fn send(
    sender: &dyn RequestSender,
    request: Request,
    leader: Option<Leader>,
) -> (Response, Option<Leader>) {
    let asked = BootInstant::now();
    let Request { operation, format, .. } = request;
    let response = |reply| Response { operation, format, asked, reply };
    let Some(leader) = leader else {
        return (response(sender.request(request, None)), None);
    };
    let shared = Arc::new(Mutex::new(leader));
    let admit: BeforeSend = {
        let shared = shared.clone();
        Box::new(move |deadline| {
            shared.lock().unwrap_or_else(PoisonError::into_inner).accept(deadline);
        })
    };
    let reply = sender.request(request, Some(admit));
    // The sender drops the callback at the end of the request.
    let leader = Arc::into_inner(shared);
    let leader = leader.map(|mutex| mutex.into_inner().unwrap_or_else(PoisonError::into_inner));
    (response(reply), leader)
}
