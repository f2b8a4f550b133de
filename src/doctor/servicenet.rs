//! ServiceNet on a server: its networks, its interface, its routes. Pure.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use super::evidence::KernelEvidence;
use crate::netlink::{Link, Route};

/// The networks of ServiceNet beyond a server's own subnet. Source: the RackConnect documentation
/// of a server's routes.
pub(crate) const SERVICENET: [Ipv4Addr; 2] =
    [Ipv4Addr::new(10, 176, 0, 0), Ipv4Addr::new(10, 208, 0, 0)];

/// The prefix length of both networks.
pub(crate) const PREFIX: u8 = 12;

/// The prefix lengths of a route that may lead to them. Routes have 12 on servers, and 13 in the
/// documentation's example.
pub(crate) const ROUTE_PREFIXES: RangeInclusive<u8> = 8..=16;

/// Whether the first bits of two addresses are equal.
fn has_prefix(address: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix.into()
}

/// Whether an address is on ServiceNet.
pub(crate) fn contains(address: Ipv4Addr) -> bool {
    SERVICENET.iter().any(|network| has_prefix(address, *network, PREFIX))
}

/// Whether a route leads into one of the networks, or contains it.
pub(crate) fn leads_into(route: &Route, network: Ipv4Addr) -> bool {
    let Some(IpAddr::V4(destination)) = route.destination else { return false };
    ROUTE_PREFIXES.contains(&route.prefix)
        && route.gateway.is_some()
        && has_prefix(destination, network, route.prefix.min(PREFIX))
}

/// Whether a route is for packets to this address.
pub(crate) fn is_for(route: &Route, address: Ipv4Addr) -> bool {
    let Some(IpAddr::V4(destination)) = route.destination else { return false };
    has_prefix(address, destination, route.prefix)
}

/// The address in one of the networks for which the kernel is asked for a route.
pub(crate) fn sample_address(network: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(network.to_bits() + 1)
}

/// The interface on ServiceNet: the one named by xenstore, else the one with an address there, else
/// the one used by the routes.
pub(crate) fn interface<'a>(kernel: &'a KernelEvidence, mac: Option<&[u8]>) -> Option<&'a Link> {
    let by_mac = mac.and_then(|mac| kernel.links.iter().find(|link| link.mac == mac));
    let has_address = |link: &&Link| kernel.addresses_of(link.index).any(contains);
    let by_route = || {
        let is_servicenet =
            |route: &&Route| SERVICENET.iter().any(|network| leads_into(route, *network));
        let index = kernel.routes.iter().find(is_servicenet)?.interface?;
        kernel.links.iter().find(|link| link.index == index)
    };
    by_mac.or_else(|| kernel.links.iter().find(has_address)).or_else(by_route)
}

/// ServiceNet's router: the gateway of a route there, else the first host of the interface's
/// subnet.
pub(crate) fn router(kernel: &KernelEvidence, link: &Link) -> Option<IpAddr> {
    let is_on_link = |route: &&Route| {
        route.interface == Some(link.index)
            && SERVICENET.iter().any(|network| leads_into(route, *network))
    };
    if let Some(route) = kernel.routes.iter().find(is_on_link) {
        return route.gateway;
    }
    kernel.addresses.iter().filter(|address| address.interface == link.index).find_map(|address| {
        match (address.network, address.prefix) {
            (IpAddr::V4(network), prefix @ 8..=30) => {
                let mask = u32::MAX << (32 - prefix);
                Some(Ipv4Addr::from_bits((network.to_bits() & mask) + 1).into())
            }
            _ => None,
        }
    })
}
