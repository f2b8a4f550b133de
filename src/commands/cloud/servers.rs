//! `cloud servers`: the account's servers as a table, JSON, names, or an inventory for Ansible.

use crate::cloud::{Account, CloudServer, host, inventory, select};
use crate::config::{InventoryRequest, ServersFormat, ServersSettings, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::ui::{escape_control, output};

/// Prints the servers.
pub fn run(sources: &Sources) -> Result<Exit> {
    let settings = ServersSettings::resolve(sources)?;
    let account = Account::new(settings.cloud)?;
    let mut servers = select(&account, &settings.selection)?.servers;
    if let Some(wanted) = settings.status {
        servers.retain(|server| status(server).eq_ignore_ascii_case(wanted));
    }
    match settings.format {
        ServersFormat::Table => {
            if servers.is_empty() {
                log::info!("there is no such server");
            }
            output::columns(&servers.iter().map(row).collect::<Vec<_>>())?;
        }
        ServersFormat::Json => {
            let list: serde_json::Value = servers.iter().map(CloudServer::to_json).collect();
            output::json_line(&list)?;
        }
        ServersFormat::Names => {
            servers.iter().try_for_each(|server| output::line(&escape_control(&server.name)))?;
        }
        ServersFormat::Ansible(InventoryRequest::List) => {
            output::json_line(&inventory(&servers))?;
        }
        ServersFormat::Ansible(InventoryRequest::Host(name)) => {
            output::json_line(&host(&servers, &name))?;
        }
    }
    Ok(Exit::Ok)
}

/// The automation status, `none` without one.
fn status(server: &CloudServer) -> String {
    server.status().map_or("none".to_owned(), |status| status.word().to_owned())
}

fn row(server: &CloudServer) -> [String; 7] {
    let address = |address: Option<std::net::IpAddr>| {
        address.map_or("-".to_owned(), |address| address.to_string())
    };
    [
        server.name.clone(),
        server.id.clone(),
        server.region.clone(),
        server.state.clone(),
        status(server),
        address(server.private),
        address(server.public),
    ]
}
