//! `status`: the automation status, one word.

use crate::api::request::Answer;
use crate::api::response;
use crate::config::{OneShotSettings, Sources, StatusSettings, StatusSource};
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
    let exit = |status| if settings.check { check(&status) } else { Exit::Ok };
    let format = match settings.source {
        StatusSource::Api(format) => format,
        StatusSource::Xenstore => {
            return match status_in_xenstore(settings.one_shot.end())? {
                StatusInXenstore::Status(status) => {
                    output::outcome(output::line(status.word()), Ok(exit(status)))
                }
                StatusInXenstore::OtherServer(reason) => {
                    log::error!("this is not a RackConnect v2 server: {reason}");
                    Ok(Exit::NothingToWaitFor)
                }
            };
        }
    };
    let requested = format.unwrap_or(Format::Text);
    let body = ask_api(settings.one_shot, requested)?;
    let status = response::status(&body, requested);
    let printed = match &status {
        _ if format.is_some() => output::body(&body),
        Ok(status) => output::line(status.word()),
        Err(_) => Ok(()),
    };
    output::outcome(printed, status.map(exit))
}

fn ask_api(settings: OneShotSettings, format: Format) -> Result<Vec<u8>> {
    let end = settings.end();
    let session = Session::new(settings.api, OnBrokenXenstore::GiveUp);
    match session.ask(Operation::Status, format, end, 0)? {
        Answer::Body(body) => Ok(body),
        Answer::NotFound(not_found) => Err(not_found.unknown_server()),
    }
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
