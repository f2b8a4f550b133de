//! The kernel's routes and interfaces as the gateway commands use them, and the right to change
//! routes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

use super::interface::Network;
use super::names::InterfaceNames;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::netlink::{INET, INET6, Netlink, NetlinkError, NextHop, Route, family_of};

/// An internet address: that of a.root-servers.net. Nothing is sent to it; it only serves to ask
/// the kernel where it would send a packet for the internet. Source:
/// <https://www.iana.org/domains/root/servers>.
const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);

/// The same in IPv6.
const INTERNET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30);

/// The number of CAP_NET_ADMIN (`linux/capability.h`).
const CAP_NET_ADMIN: u32 = 12;

/// Opens a netlink socket.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open() -> Result<Netlink> {
    Netlink::open().map_err(|err| error("cannot ask the kernel for its routes", err))
}

/// Opens a netlink socket whose responses are waited for until `deadline` at most.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open_until(deadline: BootInstant) -> Result<Netlink> {
    Ok(open()?.until(deadline))
}

/// The interfaces, and the addresses of a family.
///
/// # Errors
/// The kernel does not respond.
pub(crate) fn network(netlink: &mut Netlink, family: u8) -> Result<Network> {
    let error = |err| error("cannot read the kernel's interfaces", err);
    Ok(Network {
        links: netlink.links().map_err(error)?,
        addresses: netlink.addresses(family).map_err(error)?,
    })
}

/// The default routes of the main table, the one in use first.
///
/// # Errors
/// The kernel does not respond.
pub(crate) fn defaults(netlink: &mut Netlink, family: u8) -> Result<Vec<Route>> {
    netlink.defaults(family).map_err(|err| error("cannot read the kernel's routes", err))
}

/// The default routes for IPv4.
///
/// # Errors
/// The kernel does not respond.
pub(crate) fn defaults4(netlink: &mut Netlink) -> Result<Vec<Route>> {
    defaults(netlink, INET)
}

/// Where the kernel would send a packet for the internet; none without a route.
///
/// # Errors
/// The kernel does not respond.
pub(crate) fn internet(netlink: &mut Netlink, family: u8) -> Result<Option<NextHop>> {
    netlink
        .next_hop(internet_address(family), None)
        .map_err(|err| error("cannot ask the kernel for a route", err))
}

fn internet_address(family: u8) -> IpAddr {
    match family {
        INET6 => IpAddr::V6(INTERNET6),
        _ => IpAddr::V4(INTERNET),
    }
}

/// Whether the kernel would send every packet for the internet through `gateway`, and on
/// `interface` if given.
///
/// # Errors
/// The kernel does not respond.
pub(crate) fn is_used(
    netlink: &mut Netlink,
    gateway: IpAddr,
    interface: Option<u32>,
) -> Result<bool> {
    let family = family_of(gateway);
    let hop = internet(netlink, family)?;
    let leads_there = hop.is_some_and(|hop| {
        hop.gateway == Some(gateway)
            && interface.is_none_or(|interface| hop.interface == Some(interface))
    });
    Ok(leads_there && !is_split(netlink, family)?)
}

/// Whether packets for the internet are distributed: the route has several next hops, or is one of
/// several default routes of one metric, among which the kernel chooses by the state of their
/// gateways as neighbours (fib_select_default in net/ipv4).
///
/// # Errors
/// The kernel does not respond.
pub(crate) fn is_split(netlink: &mut Netlink, family: u8) -> Result<bool> {
    let matching = netlink
        .matching_route(internet_address(family))
        .map_err(|err| error("cannot ask the kernel for a route", err))?;
    let defaults = defaults(netlink, family)?;
    // Linux before 4.13 does not say which route it uses.
    let Some(route) = matching.as_ref().or(defaults.first()) else { return Ok(false) };
    let has_several = |route: &Route| !route.one_hop && route.gateway.is_none();
    let hop = |route: &Route| (route.gateway, route.interface);
    let alternates = |other: &Route| {
        other.metric == route.metric
            && other.kind == libc::RTN_UNICAST
            && (other.gateway.is_some() || !other.one_hop)
            && hop(other) != hop(route)
    };
    Ok(has_several(route) || route.is_default() && defaults.iter().any(alternates))
}

/// The names of all interfaces; empty if the kernel does not respond.
pub(crate) fn interface_names(netlink: &mut Netlink) -> InterfaceNames {
    InterfaceNames::of(&netlink.links().unwrap_or_default())
}

/// The name of an interface by its index, as [`interface_names`] knows it.
pub(crate) fn namer(netlink: &mut Netlink) -> impl Fn(u32) -> Option<String> + use<> {
    let names = interface_names(netlink);
    move |index| names.get(index).map(str::to_owned)
}

/// Whether this process may change routes. True if that cannot be read: the kernel then rejects the
/// change if necessary.
pub(crate) fn may_change_routes() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return true };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    match effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) {
        Some(set) => set >> CAP_NET_ADMIN & 1 == 1,
        None => true,
    }
}

/// A netlink error as an error of the program.
pub(crate) fn error(problem: &str, err: NetlinkError) -> Error {
    Error::new(Kind::Other, format!("{problem}: {err}"))
}
