//! What the API is asked before the gateway is touched.

use std::net::IpAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::super::once;
use crate::api::client::Answer;
use crate::api::response;
use crate::cli::{Command, options};
use crate::clock::BootInstant;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::gateway::policy::{self, NetworkStack};
use crate::model::Status;
use crate::model::{Format, Operation};
use crate::ratelimit::RESERVE;

/// How old the features may be that a wait goes by: they hardly change, and each question is a request.
const FRESH: Duration = Duration::from_secs(60);

/// What a wait knows of the features, and since when.
static STACK: Mutex<Option<(BootInstant, NetworkStack)>> = Mutex::new(None);

/// Whether it asks over and over.
fn waits(settings: &Settings) -> bool {
    settings.has(&options::WAIT) || settings.command() == Command::GatewayKeep
}

/// By when a question has to be answered, and how many places of the request limit it leaves to others. What waits has
/// as long for each, but ends in time.
fn terms(settings: &Settings) -> Result<(BootInstant, usize)> {
    let deadline = settings.deadline()?;
    if !waits(settings) {
        return Ok((settings.began() + deadline, 0));
    }
    let end = if settings.has(&options::WAIT) { settings.wait_timeout()? } else { None };
    let deadline = BootInstant::now() + deadline;
    Ok((end.map_or(deadline, |timeout| deadline.min(settings.began() + timeout)), RESERVE))
}

/// The gateway that is assigned.
///
/// # Errors
/// [`Kind::NotYet`] if none is; else why it is not known.
pub fn gateway(settings: &Settings) -> Result<IpAddr> {
    let (deadline, reserve) = terms(settings)?;
    match once::ask_by(settings, Operation::Gateway, Format::Text, deadline, reserve)? {
        Answer::Body(bytes) => response::gateway(&bytes),
        Answer::NotFound => Err(not_assigned()),
    }
}

/// Why the gateway must not be set now; none if it may. With whether waiting could end that.
///
/// # Errors
/// It is not known.
pub fn refusal(settings: &Settings) -> Result<Option<(String, bool)>> {
    let (deadline, reserve) = terms(settings)?;
    let status = match once::ask_by(settings, Operation::Status, Format::Text, deadline, reserve)? {
        Answer::Body(bytes) => Some(response::status(&bytes, Format::Text)?),
        Answer::NotFound => None,
    };
    // Then it may be set whatever the features are.
    if status == Some(Status::Deployed) {
        return Ok(None);
    }
    let known = STACK.lock().ok().and_then(|known| *known);
    let known =
        known.filter(|(since, _)| waits(settings) && BootInstant::now().since(*since) < FRESH);
    let stack = match known {
        Some((_, stack)) => stack,
        None => network_stack(settings, deadline, reserve)?,
    };
    Ok(policy::refusal(status.as_ref(), stack)
        .map(|why| (why, policy::is_passing(status.as_ref()))))
}

/// What the features say now.
fn network_stack(
    settings: &Settings,
    deadline: BootInstant,
    reserve: usize,
) -> Result<NetworkStack> {
    let stack = match once::ask_by(settings, Operation::Features, Format::Json, deadline, reserve) {
        Ok(Answer::NotFound) => NetworkStack::Unclear,
        Ok(Answer::Body(bytes)) => match response::features(&bytes) {
            Ok(features) => NetworkStack::of(&features),
            Err(why) => {
                log::warn!("{why}");
                NetworkStack::Unclear
            }
        },
        Err(why) if why.kind == Kind::NotUnderstood => {
            log::warn!("{why}");
            NetworkStack::Unclear
        }
        Err(why) => return Err(why),
    };
    if let Ok(mut known) = STACK.lock() {
        *known = Some((BootInstant::now(), stack));
    }
    Ok(stack)
}

/// The patience of `--wait`.
pub struct Patience {
    interval: Duration,
    deadline: Option<BootInstant>,
    said: String,
}

impl Patience {
    /// The patience that the settings allow.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn of(settings: &Settings) -> Result<Patience> {
        let deadline = settings.wait_timeout()?.map(|timeout| BootInstant::now() + timeout);
        Ok(Patience { interval: settings.wait_interval()?, deadline, said: String::new() })
    }

    /// Waits for the next try. False if the deadline does not allow one.
    pub fn wait(&mut self, why: &str) -> bool {
        if self.said != why {
            log::info!("waiting: {why}");
            why.clone_into(&mut self.said);
        }
        let next = BootInstant::now() + self.interval;
        let until = self.deadline.map_or(next, |deadline| deadline.min(next));
        thread::sleep(until.since(BootInstant::now()));
        self.deadline.is_none_or(|deadline| BootInstant::now() < deadline)
    }
}

/// What a 404 means.
pub fn not_assigned() -> Error {
    Error::new(
        Kind::NotYet,
        "no gateway is assigned to this server yet, or RackConnect does not know it: HTTP 404",
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{Invocation, parse};

    fn terms_of(line: &str) -> [(BootInstant, usize); 2] {
        let Ok(Invocation::Run(arguments)) = parse(line.split(' ').map(OsString::from)) else {
            panic!("{line}")
        };
        let settings = Settings::load(&arguments).unwrap();
        let first = terms(&settings).unwrap();
        thread::sleep(Duration::from_millis(2));
        [first, terms(&settings).unwrap()]
    }

    #[test]
    fn one_deadline_for_the_command_and_one_for_each_question_of_a_wait() {
        let [first, second] = terms_of("gateway set --config /dev/null");
        assert_eq!((first, first.1), (second, 0));
        for line in ["gateway keep --config /dev/null", "gateway set --wait --config /dev/null"] {
            let [first, second] = terms_of(line);
            assert!(first.0 < second.0 && first.1 == RESERVE && second.1 == RESERVE, "{line}");
        }
        let [first, second] = terms_of("gateway set --wait --timeout 1s --config /dev/null");
        assert_eq!(first, second);
    }
}
