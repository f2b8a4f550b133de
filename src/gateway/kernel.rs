//! What the kernel has, and what this process may do to it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

use super::interface::{Network, ROUTED};
use crate::error::{Error, Kind, Result};
use crate::netlink::{INET, INET6, Netlink, NetlinkError, NextHop, Route};

/// An internet address: a.root-servers.net, whose addresses have not changed for decades. Nothing is sent there; the
/// kernel is asked where it would send it. Source: <https://www.iana.org/domains/root/servers>.
const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);

/// The same in IPv6.
const INTERNET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30);

/// CAP_NET_ADMIN's number (capability.h).
const CAP_NET_ADMIN: u32 = 12;

/// Opens the way to the kernel.
///
/// # Errors
/// There is none.
pub fn open() -> Result<Netlink> {
    Netlink::open().map_err(|why| error("the kernel cannot be asked for its routes", why))
}

/// Everything that choosing and planning depend on.
///
/// # Errors
/// The kernel does not answer.
pub fn network(netlink: &mut Netlink, family: u8) -> Result<Network> {
    let error = |why| error("the kernel's network cannot be read", why);
    Ok(Network {
        links: netlink.links().map_err(error)?,
        addresses: netlink.addresses(family).map_err(error)?,
        // No route that matters is more specific than those of ServiceNet.
        routes: netlink.routes(family, |route| route.prefix <= *ROUTED.end()).map_err(error)?,
    })
}

/// The default routes of the main table, the one in effect in front.
///
/// # Errors
/// The kernel does not answer.
pub fn defaults(netlink: &mut Netlink, family: u8) -> Result<Vec<Route>> {
    netlink.defaults(family).map_err(|why| error("the kernel's routes cannot be read", why))
}

fn address_in_the_internet(family: u8) -> IpAddr {
    match family {
        INET6 => IpAddr::V6(INTERNET6),
        _ => IpAddr::V4(INTERNET),
    }
}

/// Where the kernel would send a packet for the internet; none if nowhere.
///
/// # Errors
/// The kernel does not answer.
pub fn internet(netlink: &mut Netlink, family: u8) -> Result<Option<NextHop>> {
    netlink
        .next_hop(address_in_the_internet(family), None)
        .map_err(|why| error("the kernel cannot be asked for a route", why))
}

/// Whether the kernel would send every packet for the internet through that gateway, and by that interface if one is given.
///
/// # Errors
/// The kernel does not answer.
pub fn is_used(netlink: &mut Netlink, gateway: IpAddr, interface: Option<u32>) -> Result<bool> {
    let family = crate::netlink::family_of(gateway);
    let hop = internet(netlink, family)?;
    let is_it = hop.is_some_and(|hop| {
        hop.gateway == Some(gateway)
            && interface.is_none_or(|interface| hop.interface == Some(interface))
    });
    Ok(is_it && !is_split(netlink, family)?)
}

/// Whether the answer for one packet says nothing of the next: the route to the internet has several next hops, or is one of
/// several default routes of one metric, among which the kernel goes by what it knows of the gateways as neighbours at that
/// moment (fib_select_default in net/ipv4).
///
/// # Errors
/// The kernel does not answer.
pub fn is_split(netlink: &mut Netlink, family: u8) -> Result<bool> {
    let several = |route: &Route| !route.one_hop && route.gateway.is_none();
    let matched = netlink.matching_route(address_in_the_internet(family));
    let matched = matched.map_err(|why| error("the kernel cannot be asked for a route", why))?;
    let defaults = defaults(netlink, family)?;
    // Linux before 4.13 does not tell which route it is.
    let Some(route) = matched.as_ref().or(defaults.first()) else { return Ok(false) };
    let hop = |route: &Route| (route.gateway, route.interface);
    let takes_turns = |other: &&Route| {
        other.metric == route.metric
            && other.kind == libc::RTN_UNICAST
            && (other.gateway.is_some() || !other.one_hop)
            && hop(other) != hop(route)
    };
    Ok(several(route) || route.is_default() && defaults.iter().any(|other| takes_turns(&other)))
}

/// A hop in words.
pub fn describe(hop: Option<NextHop>, name: impl Fn(u32) -> String) -> String {
    match hop {
        None => "nowhere".to_owned(),
        Some(NextHop { gateway, interface, .. }) => {
            let via = gateway.map_or("on-link".to_owned(), |gateway| format!("via {gateway}"));
            interface.map_or(via.clone(), |interface| format!("{via} dev {}", name(interface)))
        }
    }
}

/// Whether this process may change routes. Where that cannot be read, the kernel will say it.
pub fn may_change_routes() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return true };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    match effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) {
        Some(set) => set >> CAP_NET_ADMIN & 1 == 1,
        None => true,
    }
}

/// The names of the interfaces, as far as the kernel tells them.
pub fn namer(netlink: &mut Netlink) -> impl Fn(u32) -> Option<String> + use<> {
    let links = netlink.links().unwrap_or_default();
    move |index| links.iter().find(|link| link.index == index).map(|link| link.name.clone())
}

/// An error of the kernel's as one of the program's.
pub fn error(what: &str, why: NetlinkError) -> Error {
    Error::new(Kind::Other, format!("{what}: {why}"))
}

/// The default routes for IPv4.
///
/// # Errors
/// The kernel does not answer.
pub fn defaults4(netlink: &mut Netlink) -> Result<Vec<Route>> {
    defaults(netlink, INET)
}
