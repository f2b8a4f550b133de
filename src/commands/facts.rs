//! `facts`: everything known about this server, one JSON object.

use crate::config::{FactsSettings, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::facts;
use crate::ui::{self, output};

/// Prints the object. With wrong settings every fact is missing for that reason, and the command
/// fails.
pub fn run(sources: Result<Sources>) -> Result<Exit> {
    match sources.and_then(|sources| FactsSettings::resolve(&sources)) {
        Ok(settings) => {
            ui::limit_output(settings.end);
            output::line(&facts::collect(settings).to_json()).map(|()| Exit::Ok)
        }
        Err(err) => {
            let printed = output::line(&facts::unavailable(&err.message).to_json());
            output::outcome(printed, Err(err))
        }
    }
}
