//! The services' error responses.
//!
//! In JSON a fault has one root element, named by its kind, with `code` and `message`. Front ends
//! answer with HTML or plain text and the same status codes.

use std::time::Duration;

use serde_json::Value;

use super::response::CloudResponse;
use crate::error::{Error, Kind};

/// The longest text of a fault that a message shows.
const MAX_MESSAGE_CHARS: usize = 200;

/// Why a request to a service failed.
#[derive(Clone, Debug)]
pub enum CloudError {
    /// The account is rate limited.
    RateLimited {
        /// How long to wait before the next request.
        retry_after: Duration,
        /// The error.
        err: Error,
    },
    /// Anything else.
    Failed(Error),
}

impl From<Error> for CloudError {
    fn from(err: Error) -> CloudError {
        CloudError::Failed(err)
    }
}

impl From<CloudError> for Error {
    fn from(err: CloudError) -> Error {
        match err {
            CloudError::RateLimited { err, .. } | CloudError::Failed(err) => err,
        }
    }
}

/// How long to wait after a 413 or 429 without `Retry-After`.
pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The error of a response, and how long to wait if it is the rate limit.
pub fn cloud_error(response: &CloudResponse) -> CloudError {
    let err = fault_of(response);
    match response.status_code {
        413 | 429 => {
            let retry_after = response.retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
            CloudError::RateLimited { retry_after, err }
        }
        _ => CloudError::Failed(err),
    }
}

/// The error of a response.
pub fn fault_of(response: &CloudResponse) -> Error {
    let kind = match response.status_code {
        401 | 403 => Kind::Usage,
        404 => Kind::NotYet,
        413 | 429 => Kind::RateLimited,
        500..=599 => Kind::Unreachable,
        _ => Kind::NotUnderstood,
    };
    let reason = message(&response.body).map_or(String::new(), |message| format!(": {message}"));
    let message = format!("HTTP {} from {}{reason}", response.status_code, response.url());
    Error::new(kind, message)
}

/// Whether the kind of a fault means the rate limit.
pub fn is_over_limit(body: &[u8]) -> bool {
    let fault: Option<Value> = serde_json::from_slice(body).ok();
    fault.is_some_and(|fault| fault["overLimit"].is_object())
}

/// The message of a fault.
pub fn message(body: &[u8]) -> Option<String> {
    let fault: Value = serde_json::from_slice(body).ok()?;
    let (_, inner) = fault.as_object()?.iter().next()?;
    let message = inner.get("message")?.as_str()?.trim();
    Some(message.chars().take(MAX_MESSAGE_CHARS).collect()).filter(|text: &String| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_any_kind_of_fault() {
        let fault = br#"{"itemNotFound": {"code": 404, "message": "Instance could not be found"}}"#;
        assert_eq!(message(fault).as_deref(), Some("Instance could not be found"));
        for body in ["", "<html>", "{}", "[]", "{\"a\": 1}", "{\"a\": {\"message\": 2}}"] {
            assert_eq!(message(body.as_bytes()), None, "{body}");
        }
    }
}
