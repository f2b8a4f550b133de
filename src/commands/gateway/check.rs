//! `gateway check`: compares the kernel's default route with the API's gateway.

use super::{SettingsApi, journal_to_read};
use crate::cli::options;
use crate::config::{Settings, unsupported_format};
use crate::error::Result;
use crate::exit::Exit;
use crate::gateway::check::Comparison;
use crate::gateway::lookup::Schedule;
use crate::ui::{escape_control, output};

/// Compares, and changes nothing.
pub fn run(settings: &Settings) -> Result<Exit> {
    let is_json = match settings.flag(&options::FORMAT) {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => return Err(unsupported_format(other, &["text", "json"])),
    };
    let interface = settings.interface()?;
    journal_to_read(settings)?;
    let answer = SettingsApi::new(settings).lookup(Schedule::Once)?.gateway();
    let comparison = Comparison::new(answer.as_ref().ok().copied(), interface)?;
    if is_json {
        output::line(&comparison.to_json())?;
    } else {
        comparison.lines().iter().try_for_each(|line| output::line(&escape_control(line)))?;
    }
    // What the kernel does is of use even if the API does not answer.
    let gateway = answer?;
    if comparison.matches() {
        return Ok(Exit::Ok);
    }
    log::error!("{}", escape_control(&comparison.mismatch(gateway)));
    Ok(Exit::NotTheGateway)
}
