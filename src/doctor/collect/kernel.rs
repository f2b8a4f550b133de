//! Interfaces and routes, by netlink.

use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{Evidence, KernelEvidence, Reading, Unread};
use crate::error::Result;
use crate::gateway::kernel as routes;
use crate::gateway::names::describe_route;
use crate::netlink::INET;

/// Asks the kernel.
pub(super) fn collect(_: &Subject, files: &mut Files) -> Addition {
    let kernel: Reading<KernelEvidence> = read(files).map_err(|err| Unread::Failed(err.message));
    Box::new(|evidence: &mut Evidence| evidence.kernel = kernel)
}

fn read(files: &mut Files) -> Result<KernelEvidence> {
    let mut netlink = routes::open()?;
    let network = routes::network(&mut netlink, INET)?;
    let kernel = KernelEvidence {
        links: network.links,
        addresses: network.addresses,
        defaults: routes::defaults4(&mut netlink)?,
        internet: routes::internet(&mut netlink, INET)?,
    };
    let names = routes::interface_names(&mut netlink);
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
    files.keep("kernel", &lines);
    Ok(kernel)
}
