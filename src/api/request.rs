//! A request to the API, and its possible results.

use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::{Error, Kind};
use crate::model::{Format, Operation};
use crate::ratelimit::LimitCause;

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The operation.
    pub operation: Operation,
    /// The format of the response.
    pub format: Format,
    /// When the response has to be complete.
    pub deadline: BootInstant,
    /// How many permits of the rate limit are left to others.
    pub reserved: usize,
}

/// A callback that is called with the request's deadline, just before the first byte of the request
/// is sent; once more if the request is sent again over a new connection.
pub type BeforeSend = Box<dyn FnMut(BootInstant) + Send>;

/// The HTTP status code and the body of a response, or why there is none.
pub type Reply = Result<(u16, Vec<u8>), Failure>;

/// A result of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, with its body.
    Body(Vec<u8>),
    /// 404: not assigned yet, or a server that RackConnect does not know (yet).
    NotFound(NotFound),
}

/// The URL of a 404, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// The URL.
    pub url: String,
}

impl NotFound {
    /// The error of a command that asks for the status, the details or the features.
    pub fn unknown_server(&self) -> Error {
        self.error("RackConnect does not know this server (yet)")
    }

    /// The error of a command that asks for the gateway.
    pub fn no_gateway(&self) -> Error {
        self.error("no gateway is assigned to this server yet, or RackConnect does not know it")
    }

    fn error(&self, meaning: &str) -> Error {
        let url = &self.url;
        // The path of every operation begins with /v1.
        let hint = if url.contains("/v1/v1/") { "; give --endpoint without /v1" } else { "" };
        Error::new(Kind::NotYet, format!("{meaning}: HTTP 404 from {url}{hint}"))
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No request was sent, because there is no permit; or the response was a 403.
    RateLimited {
        /// When to try again.
        until: BootInstant,
        /// Why.
        cause: LimitCause,
    },
    /// The process that sends the request for this one too did not respond in time.
    LeaderSilent,
    /// Anything else: [`Kind::Unreachable`] or [`Kind::NotUnderstood`].
    Error(Error),
}

impl Failure {
    /// The message.
    pub fn message(&self) -> String {
        match self {
            Failure::RateLimited { cause, .. } => rate_limit_message(*cause),
            Failure::LeaderSilent => LEADER_SILENT.to_owned(),
            Failure::Error(err) => err.message.clone(),
        }
    }
}

/// The message of [`Failure::LeaderSilent`].
pub const LEADER_SILENT: &str =
    "another rackconnect process sends the request for this one too, and did not respond in time";

/// The message of [`Failure::RateLimited`].
pub fn rate_limit_message(cause: LimitCause) -> String {
    const USED_UP: &str = "the rate limit of this server is used up";
    match cause {
        LimitCause::UsedUp => USED_UP.to_owned(),
        LimitCause::Forbidden(0..=1) => {
            format!("{USED_UP} (HTTP 403): something else on this server sends requests too")
        }
        LimitCause::Forbidden(consecutive) => format!(
            "{USED_UP} (HTTP 403, {consecutive} times in a row with a minute's pause between them): \
             something else on this server keeps sending requests; look for curl in a loop, Ohai \
             or Chef, Facter or Puppet, rcrun"
        ),
        LimitCause::ProcessLocal => {
            "the few requests of a process that cannot share the rate limit are used up".to_owned()
        }
        LimitCause::Locked => "another process holds the lock of the rate limit".to_owned(),
    }
}

/// Interprets an HTTP status code and a body.
///
/// # Errors
/// See [`Failure`].
pub fn interpret(reply: Reply, url: &str) -> Result<Answer, Failure> {
    let (status_code, body) = reply?;
    match status_code {
        200 => Ok(Answer::Body(body)),
        404 => Ok(Answer::NotFound(NotFound { url: url.to_owned() })),
        500.. => Err(Failure::Error(Error::new(
            Kind::Unreachable,
            format!("HTTP status {status_code} from {url}: the API has a problem"),
        ))),
        _ => Err(Failure::Error(Error::new(
            Kind::NotUnderstood,
            format!("unexpected HTTP status {status_code} from {url}"),
        ))),
    }
}

/// The message of a request that has no complete response after `elapsed`.
pub(super) fn timeout_message(url: &str, elapsed: std::time::Duration, activity: &str) -> String {
    format!("no complete response from {url} within {}, while {activity}", human(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_found(url: &str) -> String {
        match interpret(Ok((404, Vec::new())), url) {
            Ok(Answer::NotFound(not_found)) => not_found.unknown_server().message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_404_names_the_url_and_the_likely_mistake() {
        assert_eq!(
            not_found("https://api.example/v1/automation_status"),
            "RackConnect does not know this server (yet): HTTP 404 from \
             https://api.example/v1/automation_status"
        );
        let message = not_found("https://api.example/v1/v1/automation_status");
        assert!(message.ends_with("; give --endpoint without /v1"), "{message}");
    }
}
