//! `gateway show`: the address that the API has assigned.

use super::{SettingsApi, journal_to_read};
use crate::api::client::Answer;
use crate::api::response;
use crate::cli::options;
use crate::config::{Settings, api_format};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::export::{self, Manager};
use crate::gateway::export_facts::collect;
use crate::gateway::lookup::{GatewayApi, not_assigned};
use crate::model::{Format, Operation};
use crate::ui::output;

/// Asks for the gateway and prints it.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = api_format(settings, Operation::Gateway)?;
    let manager = settings.flag(&options::AS).map(manager).transpose()?;
    if format.is_some() && manager.is_some() {
        return Err(Error::usage("--as cannot be combined with --format"));
    }
    if manager.is_none() && settings.flag(&options::INTERFACE).is_some() {
        return Err(Error::usage(
            "--interface has no effect on the address; give it with --as, or to gateway check or \
             gateway set",
        ));
    }
    let interface = settings.interface()?;
    let journal = journal_to_read(settings)?;
    let deadline = settings.began() + settings.deadline()?;
    let Answer::Body(bytes) = SettingsApi::new(settings).ask(
        Operation::Gateway,
        format.unwrap_or(Format::Text),
        deadline,
        0,
    )?
    else {
        return Err(not_assigned());
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let address = response::gateway(&bytes)?;
    if let Some(manager) = manager {
        let facts = collect(address, interface.as_deref(), &journal)?;
        let text = export::write(manager, &facts).map_err(|err| Error::new(Kind::Other, err))?;
        output::write(text.as_bytes())?;
    } else if format.is_none() {
        output::line(&address.to_string())?;
    }
    Ok(Exit::Ok)
}

fn manager(name: &str) -> Result<Manager> {
    Manager::named(name).ok_or_else(|| {
        let names = Manager::NAMES.join(", ");
        Error::usage(format!("--as: {name:?} is not supported here ({names})"))
    })
}
