//! `status`: the automation status, one word.

use crate::api::request::Answer;
use crate::api::response;
use crate::config::{Sources, StatusSettings, StatusSource};
use crate::error::Result;
use crate::exit::Exit;
use crate::model::{Format, Operation, Status};
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::ui::output;
use crate::xenstore::{StatusInXenstore, status_in_xenstore};

/// Asks for the status and prints it.
pub fn run(sources: &Sources) -> Result<Exit> {
    let settings = StatusSettings::resolve(sources)?;
    let (printed, status) = match settings.source {
        StatusSource::Api(format) => ask_api(&settings, format)?,
        StatusSource::Xenstore => match status_in_xenstore(settings.one_shot.end())? {
            StatusInXenstore::Status(status) => (output::line(status.word()), Ok(status)),
            StatusInXenstore::OtherServer(reason) => {
                log::error!("this is not a RackConnect v2 server: {reason}");
                return Ok(Exit::NothingToWaitFor);
            }
        },
    };
    let exit = |status| if settings.check { check(&status) } else { Exit::Ok };
    output::outcome(printed, status.map(exit))
}

/// Prints the body in `format`, or the status without one. Returns whether that succeeded, and the
/// status.
fn ask_api(
    settings: &StatusSettings,
    format: Option<Format>,
) -> Result<(Result<()>, Result<Status>)> {
    let session = Session::new(settings.one_shot.api.clone(), OnBrokenXenstore::GiveUp);
    let requested = format.unwrap_or(Format::Text);
    let end = settings.one_shot.end();
    let bytes = match session.ask(Operation::Status, requested, end, 0)? {
        Answer::Body(bytes) => bytes,
        Answer::NotFound(not_found) => return Err(not_found.unknown_server()),
    };
    let status = response::status(&bytes, requested);
    let printed = match &status {
        _ if format.is_some() => output::body(&bytes),
        Ok(status) => output::line(status.word()),
        Err(_) => Ok(()),
    };
    Ok((printed, status))
}

/// The exit code with `--check`.
fn check(status: &Status) -> Exit {
    match status {
        Status::Deployed => Exit::Ok,
        Status::Deploying | Status::Unknown(_) => Exit::NotYet,
        Status::Failed => Exit::Failed,
        Status::Unprocessable => Exit::NothingToWaitFor,
    }
}
