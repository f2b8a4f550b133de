//! `cloud status` and `cloud facts`.

use serde_json::json;

use crate::cloud::{Account, CloudServer, select};
use crate::config::{NamedServersSettings, Sources};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::ui::output;

fn servers(sources: &Sources, operands: &[String]) -> Result<Vec<CloudServer>> {
    let settings = NamedServersSettings::resolve(sources, operands)?;
    let account = Account::new(settings.cloud)?;
    select(&account, &settings.selection).map(|found| found.servers)
}

/// Prints the status of one server, or a line for each.
pub fn run(sources: &Sources, operands: &[String]) -> Result<Exit> {
    let servers = servers(sources, operands)?;
    let word = |server: &CloudServer| server.status().map(|status| status.word().to_owned());
    if let [server] = &servers[..] {
        let word = word(server).ok_or_else(|| no_status(server))?;
        return output::line(&word).map(|()| Exit::Ok);
    }
    let rows = servers.iter().map(|server| {
        let word = word(server).unwrap_or_else(|| "none".to_owned());
        [word, server.name.clone(), server.region.clone()]
    });
    let printed = output::columns(&rows.collect::<Vec<_>>());
    let missing = servers.iter().find(|server| server.status().is_none());
    output::outcome(printed, missing.map_or(Ok(Exit::Ok), |server| Err(no_status(server))))
}

/// Prints everything known about a server.
pub fn facts(sources: &Sources, operands: &[String]) -> Result<Exit> {
    let servers = servers(sources, operands)?;
    for server in &servers {
        let mut facts = server.to_json();
        facts["agent_version"] = json!(env!("CARGO_PKG_VERSION"));
        output::json_line(&facts)?;
    }
    Ok(Exit::Ok)
}

fn no_status(server: &CloudServer) -> Error {
    let message = format!(
        "{} ({}) has no rackconnect_automation_status in its metadata: the automation has not \
         started, or the account has no RackConnect",
        server.name, server.region
    );
    Error::new(Kind::NotYet, message)
}
