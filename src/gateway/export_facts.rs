//! Reads the input of an export: the interface, its address, and the default routes to replace.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::export::{self, ExportFacts};
use super::interface;
use super::journal::Journal;
use super::kernel;
use super::names::InterfaceNames;
use super::resolve::{KernelAndXenstore, ResolveError};
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::netlink::{INET, Route};

/// Reads the input, by `deadline`. `named`: the interface given by the user.
///
/// # Errors
/// The gateway is on no interface of this server, or the kernel does not respond.
pub(crate) fn collect(
    gateway: IpAddr,
    named: Option<&str>,
    journal: &Journal,
    deadline: BootInstant,
) -> Result<ExportFacts> {
    let error = |message: String| Error::new(Kind::Other, message);
    let v4 = match gateway {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => return Err(error(ResolveError::Ipv6(v6).to_string())),
    };
    let mut netlink = kernel::open_until(deadline)?;
    let network = kernel::network(&mut netlink, INET)?;
    let names = InterfaceNames::of(&network.links);
    let defaults = kernel::defaults4(&mut netlink)?;
    let mut service_net = KernelAndXenstore { netlink: &mut netlink, deadline: Some(deadline) };
    let link = interface::choose(&network, gateway, named, &mut service_net)
        .map_err(|err| error(err.to_string()))?;
    let own = network
        .addresses
        .iter()
        .find(|address| address.interface == link.index && address.covers(gateway));
    let address = own.and_then(|address| match address.local {
        IpAddr::V4(local) => Some((local, address.prefix)),
        IpAddr::V6(_) => None,
    });
    // A replaced route is gone from the kernel, but not from the configuration that made it.
    let before = journal.read().map(|record| record.plan.before).unwrap_or_default();
    let (on_link, elsewhere): (Vec<&Route>, Vec<&Route>) =
        defaults.iter().chain(&before).partition(|route| route.interface == Some(link.index));
    let others =
        elsewhere.iter().filter_map(|route| route.interface).map(|index| names.name(index));
    let replaced = on_link.iter().filter_map(|route| match route.gateway {
        Some(IpAddr::V4(old)) if old != v4 => Some(old),
        _ => None,
    });
    let (others, replaced) = (sorted(others), sorted(replaced));
    Ok(ExportFacts {
        interface: link.name.clone(),
        gateway: v4,
        address: address.ok_or_else(|| error(format!("{} lost its address", link.name)))?,
        network_file: export::manager(Path::new("/"), link).and_then(|(_, file)| file),
        others,
        replaced,
    })
}

/// The values in order, each once.
fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.collect::<BTreeSet<T>>().into_iter().collect()
}
