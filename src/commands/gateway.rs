//! `gateway show`: the address that the API has assigned.

use super::{format, once};
use crate::api::client::Answer;
use crate::api::{Format, Operation, body};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::output;
use crate::settings::Settings;

/// Asks for the gateway and prints it.
pub fn show(settings: &Settings) -> Result<Exit> {
    let format = format(settings, Operation::Gateway)?;
    let Answer::Body(bytes) = once::ask(settings, Operation::Gateway, format.unwrap_or(Format::Text))? else {
        return Err(Error::new(Kind::NotYet, "no gateway is assigned to this server yet: HTTP 404"));
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let address = body::gateway(&bytes)?;
    if format.is_none() {
        output::line(&address.to_string())?;
    }
    Ok(Exit::Ok)
}
