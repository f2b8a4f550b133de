//! When a one-shot command tries again: it makes at most two attempts, a second apart, within one
//! request timeout. Only the rate limit is waited for longer, up to the command's deadline.

use std::time::Duration;

use crate::api::request::{Failure, LEADER_SILENT, rate_limit_message};
use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::{Error, Kind};
use crate::ratelimit::LimitCause;

/// How long after a failure the second attempt begins.
const BACKOFF: Duration = Duration::from_secs(1);

/// The attempts at one request.
pub(super) struct Attempts {
    request_timeout: Duration,
    deadline: BootInstant,
    /// When the attempt that failed first began, unless the rate limit was waited for since.
    first_failed: Option<BootInstant>,
    /// Whether any attempt has failed.
    has_failed: bool,
    /// The cause of the rate limit, if that was the last failure.
    limited: Option<LimitCause>,
    announced: Announced,
}

/// What was last logged about the rate limit, so that it is not repeated.
#[derive(Default)]
struct Announced {
    cause: Option<LimitCause>,
    until: BootInstant,
}

impl Attempts {
    pub(super) fn new(request_timeout: Duration, deadline: BootInstant) -> Attempts {
        Attempts {
            request_timeout,
            deadline,
            first_failed: None,
            has_failed: false,
            limited: None,
            announced: Announced::default(),
        }
    }

    /// The deadline of an attempt that begins at `now`.
    pub(super) fn deadline_of(&self, now: BootInstant) -> BootInstant {
        self.deadline.min(self.first_failed.unwrap_or(now) + self.request_timeout)
    }

    /// When to try again after a failure of an attempt that began at `asked`.
    ///
    /// # Errors
    /// No further attempt would help.
    pub(super) fn after(
        &mut self,
        failure: &Failure,
        asked: BootInstant,
        now: BootInstant,
    ) -> Result<BootInstant, Error> {
        match failure {
            Failure::RateLimited { until, cause } => self.after_limit(*until, *cause, now),
            // The leader may be silent because it waits for the rate limit.
            Failure::LeaderSilent => Err(match self.limited {
                Some(cause) => Error::new(
                    Kind::RateLimited,
                    format!("{}, up to the deadline (--deadline)", rate_limit_message(cause)),
                ),
                None => Error::new(Kind::Unreachable, LEADER_SILENT),
            }),
            Failure::Error(err) => self.after_error(err, asked, now),
        }
    }

    fn after_limit(
        &mut self,
        until: BootInstant,
        cause: LimitCause,
        now: BootInstant,
    ) -> Result<BootInstant, Error> {
        if until >= self.deadline {
            let message = format!(
                "{}; the next attempt would be in {}, after the deadline (--deadline)",
                rate_limit_message(cause),
                human(until.since(now))
            );
            return Err(Error::new(Kind::RateLimited, message));
        }
        self.first_failed = None;
        self.limited = Some(cause);
        let again = until.max(now);
        self.announced.announce(cause, again, now);
        Ok(again)
    }

    fn after_error(
        &mut self,
        err: &Error,
        asked: BootInstant,
        now: BootInstant,
    ) -> Result<BootInstant, Error> {
        self.limited = None;
        let is_first = !self.has_failed;
        self.has_failed = true;
        self.first_failed.get_or_insert(asked);
        let again = now + BACKOFF;
        // With less time left than the backoff took, a second attempt would only hide this error.
        let has_time = again + BACKOFF <= self.deadline_of(now);
        if !is_first || err.kind != Kind::Unreachable || !has_time {
            return Err(err.clone());
        }
        log::debug!("{err}: trying once more");
        Ok(again)
    }
}

impl Announced {
    fn announce(&mut self, cause: LimitCause, until: BootInstant, now: BootInstant) {
        let is_later = cause != LimitCause::Locked && until > self.until + 2 * BACKOFF;
        if self.cause != Some(cause) || is_later {
            let wait = match cause {
                // The lock may be released at any time.
                LimitCause::Locked => "trying again".to_owned(),
                _ => format!("waiting for {}", human(until.since(now))),
            };
            log::info!("{}: {wait}", rate_limit_message(cause));
        }
        self.cause = Some(cause);
        self.until = self.until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant(Duration::from_millis(millis))
    }

    fn attempts() -> Attempts {
        Attempts::new(Duration::from_secs(10), at(70_000))
    }

    fn failure(kind: Kind) -> Failure {
        Failure::Error(Error::new(kind, "refused"))
    }

    #[test]
    fn two_attempts_within_one_request_timeout() {
        let mut attempts = attempts();
        assert_eq!(attempts.deadline_of(at(0)), at(10_000));
        assert_eq!(attempts.after(&failure(Kind::Unreachable), at(0), at(500)), Ok(at(1_500)));
        assert_eq!(attempts.deadline_of(at(1_500)), at(10_000));
        assert!(attempts.after(&failure(Kind::Unreachable), at(1_500), at(2_000)).is_err());
    }

    #[test]
    fn no_second_attempt_without_time_or_after_another_error() {
        assert!(attempts().after(&failure(Kind::Unreachable), at(0), at(9_000)).is_err());
        assert!(attempts().after(&failure(Kind::NotUnderstood), at(0), at(10)).is_err());
    }

    /// The second attempt began just before the deadline and hid the first error.
    #[test]
    fn a_second_attempt_just_before_the_deadline_hid_the_first_error() {
        let mut attempts = Attempts::new(Duration::from_secs(10), at(2_000));
        let err = attempts.after(&failure(Kind::Unreachable), at(0), at(900)).unwrap_err();
        assert_eq!(err.message, "refused");
    }

    #[test]
    fn the_rate_limit_is_waited_for_up_to_the_deadline() {
        let mut attempts = attempts();
        let used_up = |until| Failure::RateLimited { until: at(until), cause: LimitCause::UsedUp };
        assert_eq!(attempts.after(&used_up(60_000), at(0), at(10)), Ok(at(60_000)));
        assert_eq!(attempts.deadline_of(at(60_000)), at(70_000));
        // A failure after that has a request timeout of its own.
        assert_eq!(
            attempts.after(&failure(Kind::Unreachable), at(60_000), at(60_010)),
            Ok(at(61_010))
        );
        // But two attempts that fail are enough, whatever was waited for between them.
        assert!(attempts.after(&failure(Kind::Unreachable), at(61_010), at(61_020)).is_err());
        let err = attempts.after(&used_up(70_000), at(61_010), at(61_020)).unwrap_err();
        assert_eq!(err.kind, Kind::RateLimited);
    }
}
