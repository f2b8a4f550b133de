//! What the API is asked before the gateway is touched.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::super::once;
use crate::api::client::Answer;
use crate::api::status::Status;
use crate::api::{Format, Operation, body};
use crate::clock::Moment;
use crate::error::{Error, Kind, Result};
use crate::gateway::rules::{self, NetworkStack};
use crate::settings::Settings;

/// The gateway that is assigned.
///
/// # Errors
/// [`Kind::NotYet`] if none is; else why it is not known.
pub fn gateway(settings: &Settings) -> Result<IpAddr> {
    match once::ask(settings, Operation::Gateway, Format::Text)? {
        Answer::Body(bytes) => body::gateway(&bytes),
        Answer::NotFound => Err(Error::new(Kind::NotYet, "no gateway is assigned to this server yet: HTTP 404")),
    }
}

/// Why the gateway must not be set now; none if it may. With whether waiting could end that.
///
/// # Errors
/// It is not known.
pub fn refusal(settings: &Settings) -> Result<Option<(String, bool)>> {
    let status = match once::ask(settings, Operation::Status, Format::Text)? {
        Answer::Body(bytes) => Some(body::status(&bytes, Format::Text)?),
        Answer::NotFound => None,
    };
    // Then it may be set whatever the features are.
    if status == Some(Status::Deployed) {
        return Ok(None);
    }
    let stack = match once::ask(settings, Operation::Features, Format::Json) {
        Ok(Answer::NotFound) => NetworkStack::Unclear,
        Ok(Answer::Body(bytes)) => match body::features(&bytes) {
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
    Ok(rules::refusal(status.as_ref(), stack).map(|why| (why, rules::is_passing(status.as_ref()))))
}

/// The patience of `--wait`.
pub struct Patience {
    interval: Duration,
    deadline: Option<Moment>,
    said: String,
}

impl Patience {
    /// The patience that the settings allow.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn of(settings: &Settings) -> Result<Patience> {
        let deadline = settings.wait_timeout()?.map(|timeout| Moment::now() + timeout);
        Ok(Patience { interval: settings.wait_interval()?, deadline, said: String::new() })
    }

    /// Waits for the next try. False if the deadline does not allow one.
    pub fn wait(&mut self, why: &str) -> bool {
        if self.said != why {
            log::info!("waiting: {why}");
            why.clone_into(&mut self.said);
        }
        let next = Moment::now() + self.interval;
        let until = self.deadline.map_or(next, |deadline| deadline.min(next));
        thread::sleep(until.since(Moment::now()));
        self.deadline.is_none_or(|deadline| Moment::now() < deadline)
    }
}
