//! Interfaces and routes, by netlink.

use std::net::IpAddr;

use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{Evidence, KernelEvidence, Reading, RouteSample, Unread};
use crate::doctor::servicenet::{ROUTE_PREFIXES, SERVICENET, sample_address};
use crate::error::Result;
use crate::gateway::kernel as routes;
use crate::gateway::names::{InterfaceNames, describe_route};
use crate::netlink::{INET, Route};

/// Whether a route may be one of ServiceNet's.
fn is_wide(route: &Route) -> bool {
    let is_private = |destination: IpAddr| match destination {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(_) => false,
    };
    ROUTE_PREFIXES.contains(&route.prefix) && route.destination.is_some_and(is_private)
}

/// Queries the kernel.
pub(super) fn collect(_: &Subject, files: &mut Files) -> Addition {
    let kernel: Reading<KernelEvidence> = read().map_err(|err| Unread::Failed(err.message));
    if let Ok(kernel) = &kernel {
        files.keep("kernel", &describe(kernel));
    }
    Box::new(|evidence: &mut Evidence| evidence.kernel = kernel)
}

fn read() -> Result<KernelEvidence> {
    let mut netlink = routes::open()?;
    let network = routes::network(&mut netlink, INET)?;
    let wide = netlink
        .routes(INET, is_wide)
        .map_err(|err| routes::error("cannot read the kernel's routes", err))?;
    let mut samples = Vec::new();
    for network in SERVICENET {
        let hop = netlink
            .next_hop(sample_address(network).into(), None)
            .map_err(|err| routes::error("cannot ask the kernel for a route", err))?;
        samples.push(RouteSample { network, hop });
    }
    Ok(KernelEvidence {
        links: network.links,
        addresses: network.addresses,
        defaults: routes::defaults4(&mut netlink)?,
        routes: wide,
        internet: routes::internet(&mut netlink, INET)?,
        is_split: routes::is_split(&mut netlink, INET)?,
        samples,
    })
}

/// The text for the report: interfaces with their addresses, and routes.
fn describe(kernel: &KernelEvidence) -> String {
    let names = InterfaceNames::of(&kernel.links);
    let mut lines = String::new();
    for link in &kernel.links {
        let state = if link.is_up() { "up" } else { "down" };
        let addresses: Vec<String> = kernel
            .addresses
            .iter()
            .filter(|address| address.interface == link.index)
            .map(|address| format!("{}/{}", address.local, address.prefix))
            .collect();
        lines.push_str(&format!("{} {state} {}\n", link.name, addresses.join(" ")));
    }
    for route in &kernel.defaults {
        lines.push_str(&format!("{}\n", describe_route(route, &names)));
    }
    for route in &kernel.routes {
        if let (Some(to), Some(index)) = (route.destination, route.interface) {
            let hop = route.gateway.map_or_else(String::new, |gateway| format!("via {gateway} "));
            lines.push_str(&format!("{to}/{} {hop}dev {}\n", route.prefix, names.name(index)));
        }
    }
    for sample in &kernel.samples {
        lines.push_str(&format!("to {}: {}\n", sample.network, kernel.describe(sample.hop)));
    }
    lines
}
