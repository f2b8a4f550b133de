//! The facts that the API knows.

use std::net::IpAddr;

use super::fact::{Fact, statuses, text};
use crate::api::request::{Answer, Failure};
use crate::api::response;
use crate::clock::BootInstant;
use crate::error::{Kind, Result};
use crate::model::{Format, Operation};
use crate::session::Session;

/// The name of the API as a source.
const API: &str = "api";

/// The API as a source of facts. After a request that failed it is not asked again, unless only the
/// body could not be understood.
pub(super) struct ApiFacts<'a> {
    session: &'a Session,
    end: BootInstant,
    /// Why no request is sent, or none any more.
    obstacle: Option<String>,
    has_answered: bool,
}

impl ApiFacts<'_> {
    /// The API. Requests end by `end`; with an `obstacle` none is sent.
    pub(super) fn new(
        session: &Session,
        end: BootInstant,
        obstacle: Option<String>,
    ) -> ApiFacts<'_> {
        ApiFacts { session, end, obstacle, has_answered: false }
    }

    /// Whether there was any response.
    pub(super) fn has_answered(&self) -> bool {
        self.has_answered
    }

    fn ask<T>(
        &mut self,
        operation: Operation,
        format: Format,
        read: fn(&[u8]) -> Result<T>,
    ) -> Result<T, String> {
        if let Some(obstacle) = &self.obstacle {
            return Err(obstacle.clone());
        }
        let answer = self.session.ask_once(operation, format, self.end);
        self.has_answered |= answer.is_ok();
        match answer {
            Ok(Answer::Body(bytes)) => read(&bytes).map_err(|err| err.message),
            Ok(Answer::NotFound(_)) => Err("the API answers with HTTP 404".to_owned()),
            Err(failure) => {
                let has_bad_body =
                    matches!(&failure, Failure::Error(err) if err.kind == Kind::NotUnderstood);
                if !has_bad_body {
                    self.obstacle = Some(failure.message());
                }
                Err(failure.message())
            }
        }
    }

    /// The status.
    pub(super) fn status(&mut self) -> Fact {
        let read = |bytes: &[u8]| response::status(bytes, Format::Text);
        let status = self.ask(Operation::Status, Format::Text, read)?;
        Ok((text(status.word()), API.to_owned()))
    }

    /// The features.
    pub(super) fn features(&mut self) -> Fact {
        let features = self.ask(Operation::Features, Format::Json, response::features)?;
        Ok((statuses(features), API.to_owned()))
    }

    /// The gateway.
    pub(super) fn gateway(&mut self) -> Fact {
        let gateway: IpAddr = self.ask(Operation::Gateway, Format::Text, response::gateway)?;
        Ok((text(&gateway.to_string()), API.to_owned()))
    }
}
