//! `gateway show`: the address that the API has assigned.

use std::net::IpAddr;
use std::path::Path;

use super::super::once;
use super::{ask, set, store_to_look_at};
use crate::api::client::Answer;
use crate::api::response;
use crate::cli::options;
use crate::config::{Settings, api_format};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::export::{self, Facts, Manager};
use crate::gateway::journal::Store;
use crate::gateway::{interface, kernel};
use crate::model::{Format, Operation};
use crate::netlink::INET;
use crate::ui::output;

/// Asks for the gateway and prints it.
pub fn run(settings: &Settings) -> Result<Exit> {
    let format = api_format(settings, Operation::Gateway)?;
    let manager = settings.flag(&options::AS).and_then(Manager::named);
    if format.is_some() && manager.is_some() {
        return Err(Error::usage("--as cannot be combined with --format"));
    }
    let named = settings.interface()?;
    let store = store_to_look_at(settings)?;
    let Answer::Body(bytes) =
        once::ask(settings, Operation::Gateway, format.unwrap_or(Format::Text))?
    else {
        return Err(ask::not_assigned());
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let address = response::gateway(&bytes)?;
    match manager {
        Some(manager) => {
            let text = facts(address, named.as_deref(), &store)
                .and_then(|facts| export::write(manager, &facts));
            output::write(text.map_err(|why| Error::new(Kind::Other, why))?.as_bytes())?;
        }
        None if format.is_none() => output::line(&address.to_string())?,
        None => {}
    }
    Ok(Exit::Ok)
}

/// What the configuration is made of.
fn facts(gateway: IpAddr, named: Option<&str>, store: &Store) -> Result<Facts, String> {
    let IpAddr::V4(v4) = gateway else {
        return Err(format!("{gateway} is an IPv6 address, which is never set"));
    };
    let mut netlink = kernel::open().map_err(|why| why.message)?;
    let network = kernel::network(&mut netlink, INET).map_err(|why| why.message)?;
    let link = interface::interface(&network, gateway, named, &set::service_net)?;
    let ours = network
        .addresses
        .iter()
        .find(|address| address.interface == link.index && address.covers(gateway));
    let address = ours.and_then(|address| match address.local {
        IpAddr::V4(local) => Some((local, address.prefix)),
        IpAddr::V6(_) => None,
    });
    // What was replaced is gone from the kernel, but not from what configures it.
    let before = store.read().map(|record| record.plan.before).unwrap_or_default();
    let (mut others, mut replaced) = (Vec::new(), Vec::new());
    for route in network.routes.iter().chain(&before).filter(|route| route.is_default()) {
        let Some(name) = route.interface.map(|index| network.name(index)) else { continue };
        if name != link.name {
            others.push(name);
        } else if let Some(IpAddr::V4(old)) = route.gateway
            && old != v4
        {
            replaced.push(old);
        }
    }
    others.sort();
    others.dedup();
    replaced.sort();
    replaced.dedup();
    Ok(Facts {
        interface: link.name.clone(),
        gateway: v4,
        address: address.ok_or("the interface lost its address")?,
        network_file: export::manager(Path::new("/"), link).and_then(|(_, file)| file),
        others,
        replaced,
    })
}
