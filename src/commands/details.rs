//! `details`: the tasks under the status.

use super::{format, once, print_table, unknown_server};
use crate::api::client::Answer;
use crate::api::response;
use crate::config::Settings;
use crate::error::Result;
use crate::exit::Exit;
use crate::model::{Format, Operation};
use crate::ui::output;

/// Asks for the details and prints them.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = format(settings, Operation::Details)?;
    let Answer::Body(bytes) =
        once::ask(settings, Operation::Details, format.unwrap_or(Format::Json))?
    else {
        return Err(unknown_server());
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let (status, tasks) = response::details(&bytes)?;
    match format {
        Some(_) => {}
        None if output::is_terminal() => {
            output::line(status.as_ref().map_or("(no status)", |status| status.word()))?;
            print_table(&tasks)?;
        }
        None => output::body(&bytes)?,
    }
    Ok(Exit::Ok)
}
