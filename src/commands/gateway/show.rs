//! `gateway show`: the address that the API has assigned.

use super::journal_to_read;
use crate::api::request::Answer;
use crate::api::response;
use crate::config::{ShowFormat, ShowSettings, Sources};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::export;
use crate::gateway::export_facts::collect;
use crate::model::{Format, Operation};
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::ui::output;

/// Asks for the gateway and prints it.
pub fn run(sources: &Sources) -> Result<Exit> {
    let ShowSettings { one_shot, format, interface } = ShowSettings::resolve(sources)?;
    let journal = journal_to_read(&one_shot.api.state_dir.value);
    let end = one_shot.end();
    let session = Session::new(one_shot.api, OnBrokenXenstore::GiveUp);
    let requested = match format {
        ShowFormat::Body(format) => format,
        ShowFormat::Address | ShowFormat::Export(_) => Format::Text,
    };
    let bytes = match session.ask(Operation::Gateway, requested, end, 0)? {
        Answer::Body(bytes) => bytes,
        Answer::NotFound(not_found) => return Err(not_found.no_gateway()),
    };
    if let ShowFormat::Body(_) = format {
        output::body(&bytes)?;
    }
    let address = response::gateway(&bytes)?;
    match format {
        ShowFormat::Body(_) => {}
        ShowFormat::Address => output::line(&address.to_string())?,
        ShowFormat::Export(manager) => {
            let named = interface.as_ref().map(|interface| interface.value.as_str());
            let facts = collect(address, named, &journal, end)?;
            let text =
                export::write(manager, &facts).map_err(|err| Error::new(Kind::Other, err))?;
            output::write(text.as_bytes())?;
        }
    }
    Ok(Exit::Ok)
}
