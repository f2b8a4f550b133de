//! `status`: the automation status, one word.

use super::{format, once, unknown_server};
use crate::api::client::Answer;
use crate::api::status::Status;
use crate::api::{Format, Operation, body};
use crate::cli::options;
use crate::error::Result;
use crate::exit::Exit;
use crate::output;
use crate::settings::Settings;

/// Asks for the status and prints it.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = format(settings, Operation::Status)?;
    let Answer::Body(bytes) = once::ask(settings, Operation::Status, format.unwrap_or(Format::Text))? else {
        return Err(unknown_server());
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let status = body::status(&bytes, format.unwrap_or(Format::Text))?;
    if format.is_none() {
        output::line(status.word())?;
    }
    Ok(match settings.has(&options::CHECK) {
        true => checked(&status),
        false => Exit::Ok,
    })
}

/// The exit code under `--check`.
fn checked(status: &Status) -> Exit {
    match status {
        Status::Deployed => Exit::Ok,
        Status::Deploying | Status::Unknown(_) => Exit::NotYet,
        Status::Failed => Exit::Failed,
        Status::Unprocessable => Exit::NothingToWaitFor,
    }
}
