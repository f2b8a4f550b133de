//! Asking once, for the commands that answer at once: two tries at most, a second apart, within one request timeout. The
//! request limit alone is waited for longer, up to the command's deadline.

use std::thread;
use std::time::Duration;

use crate::api::client::{Answer, Client, Failure, UNHEARD, no_place};
use crate::api::tls;
use crate::clock::BootInstant;
use crate::coalesce;
use crate::config::Settings;
use crate::duration::human;
use crate::error::{Error, Kind, Result};
use crate::model::{Format, Operation};
use crate::ratelimit::LimitCause as Why;

/// How long after a failure the second try comes.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks the API for `operation` in `format`, by the deadline of the command.
///
/// # Errors
/// Wrong settings; no answer; no place in the request limit before the deadline.
pub fn ask(settings: &Settings, operation: Operation, format: Format) -> Result<Answer> {
    ask_by(settings, operation, format, settings.began() + settings.deadline()?, 0)
}

/// Asks the API for `operation` in `format` by `deadline`, leaving `reserve` places of the request limit to others.
///
/// # Errors
/// Wrong settings; no answer; no place in the request limit before the deadline.
pub fn ask_by(
    settings: &Settings,
    operation: Operation,
    format: Format,
    deadline: BootInstant,
    reserve: usize,
) -> Result<Answer> {
    let client = client(settings, reserve)?;
    ask_with(&client, settings.request_timeout()?, operation, format, deadline, reserve)
}

/// The same with a client that may have been used before, and may still have a connection.
///
/// # Errors
/// As for [`ask_by`].
pub fn ask_with(
    client: &Client,
    request_timeout: Duration,
    operation: Operation,
    format: Format,
    deadline: BootInstant,
    reserve: usize,
) -> Result<Answer> {
    let mut tries =
        Tries { request_timeout, deadline, first_failed: None, failed_once: false, held: None };
    let (mut said, mut said_until) = (None, BootInstant::default());
    loop {
        let began = BootInstant::now();
        let heard = coalesce::ask_now(
            client,
            operation,
            format,
            reserve,
            &|now| tries.deadline_of(now),
            tries.deadline,
        );
        let failure = match client.judge(operation, format, heard.reply) {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let now = BootInstant::now();
        // Others may have begun earlier.
        match tries.after(&failure, heard.asked.max(began), now) {
            Next::TryAgain(at) => {
                match failure {
                    Failure::LimitUsedUp { why, .. } => {
                        if why == Why::Locked {
                            client.heard_locked();
                        }
                        let rest = match why {
                            // It may be given back at any time.
                            Why::Locked => "trying on".to_owned(),
                            _ => format!("waiting for {}", human(at.since(now))),
                        };
                        if said != Some(why) || (why != Why::Locked && at > said_until + 2 * PAUSE)
                        {
                            log::info!("{}: {rest}", no_place(why));
                        }
                        said = Some(why);
                        said_until = said_until.max(at);
                    }
                    // That is the end.
                    Failure::Unheard => {}
                    Failure::Error(why) => log::debug!("{why}: trying once more"),
                }
                thread::sleep(at.since(now));
            }
            Next::GiveUp(error) => return Err(error),
        }
    }
}

/// The client of a command, which leaves `reserve` places of the request limit to others.
///
/// # Errors
/// Wrong settings.
pub fn client(settings: &Settings, reserve: usize) -> Result<Client> {
    let endpoint = settings.endpoint()?;
    let ca_file = settings.ca_file()?;
    let roots =
        tls::roots(ca_file.as_ref().map(|(path, origin)| (path.as_path(), origin.as_str())))?;
    let (connect_timeout, request_timeout) =
        (settings.connect_timeout()?, settings.request_timeout()?);
    let client = Client::new(
        endpoint,
        roots,
        connect_timeout,
        request_timeout,
        reserve,
        settings.state_dir()?,
    );
    // Only status.json needs it, so xenstore is not asked for it.
    Ok(client.of(settings.region_so_far()?))
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    TryAgain(BootInstant),
    GiveUp(Error),
}

/// The law of the tries.
struct Tries {
    request_timeout: Duration,
    deadline: BootInstant,
    /// When the try began that failed first, if nothing was waited for since.
    first_failed: Option<BootInstant>,
    /// Whether one has failed, ever.
    failed_once: bool,
    /// What the limit said, if that was the last that was heard.
    held: Option<Why>,
}

impl Tries {
    /// The deadline of a try that begins at `now`.
    fn deadline_of(&self, now: BootInstant) -> BootInstant {
        self.deadline.min(self.first_failed.unwrap_or(now) + self.request_timeout)
    }

    fn after(&mut self, failure: &Failure, started: BootInstant, now: BootInstant) -> Next {
        match failure {
            Failure::LimitUsedUp { until, why } => {
                if *until < self.deadline {
                    self.first_failed = None;
                    self.held = Some(*why);
                    return Next::TryAgain((*until).max(now));
                }
                let (why, until) = (no_place(*why), human(until.since(now)));
                let message = format!(
                    "{why}; the next try would be in {until}, after the deadline (--deadline)"
                );
                Next::GiveUp(Error::new(Kind::LimitUsedUp, message))
            }
            Failure::Unheard => Next::GiveUp(match self.held {
                // Whoever asks for all waits for the limit, too.
                Some(why) => Error::new(
                    Kind::LimitUsedUp,
                    format!("{}, up to the deadline (--deadline)", no_place(why)),
                ),
                None => Error::new(Kind::Unreachable, UNHEARD),
            }),
            Failure::Error(error) => {
                self.held = None;
                let again = now + PAUSE;
                let first = !self.failed_once;
                self.failed_once = true;
                self.first_failed.get_or_insert(started);
                match first && error.kind == Kind::Unreachable && again < self.deadline_of(now) {
                    true => Next::TryAgain(again),
                    false => Next::GiveUp(error.clone()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant(Duration::from_millis(millis))
    }

    fn tries() -> Tries {
        Tries {
            request_timeout: Duration::from_secs(10),
            deadline: at(70_000),
            first_failed: None,
            failed_once: false,
            held: None,
        }
    }

    fn failure(kind: Kind) -> Failure {
        Failure::Error(Error::new(kind, "why"))
    }

    #[test]
    fn two_tries_within_one_request_timeout() {
        let mut tries = tries();
        assert_eq!(tries.deadline_of(at(0)), at(10_000));
        assert_eq!(
            tries.after(&failure(Kind::Unreachable), at(0), at(500)),
            Next::TryAgain(at(1_500))
        );
        assert_eq!(tries.deadline_of(at(1_500)), at(10_000));
        assert!(matches!(
            tries.after(&failure(Kind::Unreachable), at(1_500), at(2_000)),
            Next::GiveUp(_)
        ));
    }

    #[test]
    fn no_second_try_where_it_has_no_time_or_no_sense() {
        assert!(matches!(
            tries().after(&failure(Kind::Unreachable), at(0), at(9_000)),
            Next::GiveUp(_)
        ));
        assert!(matches!(
            tries().after(&failure(Kind::NotUnderstood), at(0), at(10)),
            Next::GiveUp(_)
        ));
    }

    #[test]
    fn the_limit_is_waited_for_up_to_the_deadline() {
        let mut tries = tries();
        let used_up = |until| Failure::LimitUsedUp { until: at(until), why: Why::UsedUp };
        assert_eq!(tries.after(&used_up(60_000), at(0), at(10)), Next::TryAgain(at(60_000)));
        assert_eq!(tries.deadline_of(at(60_000)), at(70_000));
        // A failure after the wait has a request timeout of its own.
        assert_eq!(
            tries.after(&failure(Kind::Unreachable), at(60_000), at(60_010)),
            Next::TryAgain(at(61_010))
        );
        // But two tries that fail are enough, however much was waited for between them.
        assert!(matches!(
            tries.after(&failure(Kind::Unreachable), at(61_010), at(61_020)),
            Next::GiveUp(_)
        ));
        let Next::GiveUp(error) = tries.after(&used_up(70_000), at(61_010), at(61_020)) else {
            panic!()
        };
        assert_eq!(error.kind, Kind::LimitUsedUp);
    }
}
