//! The API: at most four requests, over one connection, and none after one that was not answered.

use super::files::Files;
use super::subject::{Addition, Subject};
use crate::api::request::{Answer, Failure, rate_limit_message};
use crate::api::response;
use crate::clock::BootInstant;
use crate::doctor::evidence::{ApiEvidence, ApiFailure, ApiReading, Evidence, LimitEvidence};
use crate::error::{Error, Kind};
use crate::model::{Format, Operation};
use crate::ratelimit::{LimitCause, RateLimited, RateLimiter};
use crate::session::Session;

/// Sends the requests.
pub(super) fn collect(
    subject: &Subject,
    files: &mut Files,
    session: &Session,
    endpoint: String,
) -> Addition {
    let mut requests =
        Requests { session, deadline: subject.step_deadline(), files, has_failed: false };
    let status = |body: &[u8]| response::status(body, Format::Text);
    let tasks = |body: &[u8]| response::details(body).map(|(_, tasks)| tasks);
    let api = ApiEvidence {
        endpoint,
        status: requests.ask(Operation::Status, Format::Text, status),
        tasks: requests.ask(Operation::Details, Format::Json, tasks),
        features: requests.ask(Operation::Features, Format::Json, response::features),
        gateway: requests.ask(Operation::Gateway, Format::Text, response::gateway),
        clock_offset: clock_offset(session),
        limit: limit(subject),
    };
    Box::new(|evidence: &mut Evidence| evidence.api = Ok(api))
}

/// How many seconds this server's clock is ahead of the API's, if a response has said so.
fn clock_offset(session: &Session) -> Option<i64> {
    session.client(BootInstant::now()).ok()?.clock_offset()
}

/// The rate limit that all processes share.
fn limit(subject: &Subject) -> Result<LimitEvidence, String> {
    let mut limiter = RateLimiter::new(subject.state_dir.clone());
    let free = limiter.free_permits(subject.deadline)?;
    let consecutive_403s = match limiter.check(subject.deadline, 0) {
        Err(RateLimited { cause: LimitCause::Forbidden(count), .. }) => Some(count),
        _ => None,
    };
    Ok(LimitEvidence { free, consecutive_403s })
}

struct Requests<'a> {
    session: &'a Session,
    deadline: BootInstant,
    files: &'a mut Files,
    /// Whether a request was not answered, so that no other one is sent.
    has_failed: bool,
}

impl Requests<'_> {
    fn ask<T>(
        &mut self,
        operation: Operation,
        format: Format,
        read: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> ApiReading<T> {
        if self.has_failed {
            return Err(ApiFailure::NotSent);
        }
        let title = format!("GET {}", operation.path_and_query(format));
        let answer = self.session.ask_once(operation, format, self.deadline);
        match answer.map_err(ApiFailure::from) {
            Ok(Answer::NotFound(_)) => {
                self.files.keep(&title, "HTTP 404");
                Ok(None)
            }
            Ok(Answer::Body(bytes)) => {
                self.files.keep(&title, &String::from_utf8_lossy(&bytes));
                read(&bytes).map(Some).map_err(|err| ApiFailure::NotUnderstood(err.message))
            }
            Err(failure) => {
                self.files.keep(&title, &failure.to_string());
                self.has_failed = !matches!(failure, ApiFailure::NotUnderstood(_));
                Err(failure)
            }
        }
    }
}

impl From<Failure> for ApiFailure {
    fn from(failure: Failure) -> ApiFailure {
        match failure {
            Failure::RateLimited { cause: cause @ LimitCause::Forbidden(_), .. } => {
                ApiFailure::Forbidden(rate_limit_message(cause))
            }
            Failure::RateLimited { cause, .. } => {
                ApiFailure::LimitUsedUp(rate_limit_message(cause))
            }
            Failure::Error(err) if err.kind == Kind::NotUnderstood => {
                ApiFailure::NotUnderstood(err.message)
            }
            Failure::LeaderSilent | Failure::Error(_) => ApiFailure::Unreachable(failure.message()),
        }
    }
}
