//! `details`: the tasks under the status.

use super::once;
use crate::api::client::Answer;
use crate::api::response;
use crate::config::{OutputFormat, Settings, output_format};
use crate::error::Result;
use crate::exit::Exit;
use crate::model::{Format, Operation};
use crate::ui::output;

/// Asks for the details and prints them.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = output_format(settings, Operation::Details)?;
    let requested = format.requested(Format::Json);
    let Answer::Body(bytes) = once::ask(settings, Operation::Details, requested)? else {
        return Err(response::unknown_server());
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
