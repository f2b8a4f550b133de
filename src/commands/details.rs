//! `details`: the tasks under the status.

use crate::api::request::Answer;
use crate::api::response;
use crate::config::{ListSettings, OutputFormat, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::model::{Format, Operation};
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::ui::output;

/// Asks for the details and prints them.
pub fn run(sources: &Sources) -> Result<Exit> {
    let ListSettings { one_shot, format } = ListSettings::resolve(sources, Operation::Details)?;
    let end = one_shot.end();
    let session = Session::new(one_shot.api, OnBrokenXenstore::GiveUp);
    let requested = format.requested(Format::Json);
    let bytes = match session.ask(Operation::Details, requested, end, 0)? {
        Answer::Body(bytes) => bytes,
        Answer::NotFound(not_found) => return Err(not_found.unknown_server()),
    };
    if let OutputFormat::Body(_) = format {
        output::body(&bytes)?;
    }
    let (status, tasks) = response::details(&bytes)?;
    match format {
        OutputFormat::Body(_) => {}
        OutputFormat::Table => {
            output::line(status.as_ref().map_or("(no status)", |status| status.word()))?;
            output::table(&tasks)?;
        }
        OutputFormat::Json => output::body_as_line(&bytes)?,
    }
    Ok(Exit::Ok)
}
