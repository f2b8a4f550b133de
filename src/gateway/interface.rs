//! Which interface a gateway is on. Pure.

use std::net::{IpAddr, Ipv4Addr};

use crate::netlink::{Address, Link, Route};
use crate::ui::enumerate;

/// The networks of ServiceNet beyond a server's own subnet. Each server has a route to both through its ServiceNet router.
/// Source: the RackConnect documentation of a server's routes.
pub const SERVICE_NET: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 176, 0, 0), Ipv4Addr::new(10, 208, 0, 0)];

/// The prefix of both.
const PREFIX: u8 = 12;

/// The prefixes that the routes to them have on servers: 12 usually, and 13 in the documentation's own example. Anything
/// beyond this range is somebody's own affair.
pub const ROUTED: std::ops::RangeInclusive<u8> = 8..=16;

/// What the kernel has that the choice depends on.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// All interfaces.
    pub links: Vec<Link>,
    /// All addresses of the gateway's family.
    pub addresses: Vec<Address>,
    /// The routes of the main table that matter here: default routes and those of ServiceNet.
    pub routes: Vec<Route>,
}

impl Network {
    /// The name of an interface.
    pub fn name(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("interface {index}"), |link| link.name.clone())
    }
}

/// Chooses the interface that `gateway` is on-link on. `named`: the one that the user names. `service_net`: answers with the
/// link-layer address of the ServiceNet interface, where something certain (xenstore) knows it; asked only where it is on-link
/// on several.
///
/// # Errors
/// A sentence that says why there is none.
pub fn interface<'a>(
    network: &'a Network,
    gateway: IpAddr,
    named: Option<&str>,
    service_net: &dyn Fn() -> Option<Vec<u8>>,
) -> Result<&'a Link, String> {
    if let Some(own) = network.addresses.iter().find(|address| address.local == gateway) {
        return Err(format!(
            "{gateway} is this server's own address, on {}",
            network.name(own.interface)
        ));
    }
    if let Some(name) = named {
        let link = network
            .links
            .iter()
            .find(|link| link.name == name)
            .ok_or_else(|| format!("there is no interface {name:?}"))?;
        return match (link.is_up(), is_on_link(network, link, gateway)) {
            (false, _) => Err(format!("the interface {name} is down")),
            (true, false) => Err(format!(
                "{gateway} is not on-link on {name}: no address of {name} is in its subnet"
            )),
            (true, true) => not_broadcast(network, link, gateway),
        };
    }
    let on_link: Vec<&Link> = network
        .links
        .iter()
        .filter(|link| link.is_up() && !link.is_loopback() && is_on_link(network, link, gateway))
        .collect();
    let narrowed = |keep: &dyn Fn(&Link) -> bool| {
        let mut kept = on_link.iter().filter(|link| keep(link));
        match (kept.next(), kept.next()) {
            (Some(one), None) => Some(*one),
            _ => None,
        }
    };
    let chosen = match on_link.as_slice() {
        [] => {
            return Err(format!(
                "{gateway} is not on-link: no interface that is up has an address in its subnet"
            ));
        }
        [one] => Some(*one),
        _ => service_net()
            .and_then(|mac| narrowed(&|link| link.mac == mac))
            .or_else(|| narrowed(&|link| has_service_net_route(network, link)))
            .or_else(|| narrowed(&|link| has_service_net_address(network, link))),
    };
    let Some(link) = chosen else {
        let names: Vec<&str> = on_link.iter().map(|link| link.name.as_str()).collect();
        return Err(format!(
            "{gateway} is on-link on {}: name one by --interface",
            enumerate(&names)
        ));
    };
    not_broadcast(network, link, gateway)
}

fn not_broadcast<'a>(
    network: &Network,
    link: &'a Link,
    gateway: IpAddr,
) -> Result<&'a Link, String> {
    let IpAddr::V4(gateway) = gateway else { return Ok(link) };
    for address in network.addresses.iter().filter(|address| address.interface == link.index) {
        let (IpAddr::V4(base), prefix @ 1..=30) = (address.network, address.prefix) else {
            continue;
        };
        let host = u32::MAX >> prefix;
        if address.covers(gateway.into()) {
            if gateway.to_bits() == base.to_bits() | host {
                return Err(format!("{gateway} is the broadcast address of {}", link.name));
            }
            if gateway.to_bits() == base.to_bits() & !host {
                return Err(format!(
                    "{gateway} is the address of the subnet of {} itself",
                    link.name
                ));
            }
        }
    }
    Ok(link)
}

fn is_on_link(network: &Network, link: &Link, gateway: IpAddr) -> bool {
    network
        .addresses
        .iter()
        .any(|address| address.interface == link.index && address.covers(gateway))
}

fn has_service_net_route(network: &Network, link: &Link) -> bool {
    let is_one = |route: &Route| match route.destination {
        Some(IpAddr::V4(destination)) => {
            route.gateway.is_some()
                && ROUTED.contains(&route.prefix)
                && is_service_net(destination, route.prefix)
        }
        _ => false,
    };
    network.routes.iter().any(|route| route.interface == Some(link.index) && is_one(route))
}

fn has_service_net_address(network: &Network, link: &Link) -> bool {
    network.addresses.iter().filter(|address| address.interface == link.index).any(|address| {
        match address.local {
            IpAddr::V4(local) => is_service_net(local, 32),
            IpAddr::V6(_) => false,
        }
    })
}

/// Whether a network lies in one of ServiceNet's, or holds it.
fn is_service_net(network: Ipv4Addr, prefix: u8) -> bool {
    let shift = 32 - u32::from(prefix.clamp(1, PREFIX));
    SERVICE_NET.iter().any(|base| (network.to_bits() ^ base.to_bits()) >> shift == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc;

    fn link(index: u32, name: &str) -> Link {
        let flags = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
        Link { index, name: name.to_owned(), flags, mac: vec![0, 0, 0, 0, 0, index as u8] }
    }

    fn address(interface: u32, local: &str, prefix: u8) -> Address {
        let local: IpAddr = local.parse().unwrap();
        Address { interface, local, network: local, prefix }
    }

    fn network(addresses: Vec<Address>) -> Network {
        let mut lo = link(1, "lo");
        lo.flags |= libc::IFF_LOOPBACK as u32;
        Network { links: vec![lo, link(2, "eth0"), link(3, "eth1")], addresses, routes: vec![] }
    }

    fn choose<'a>(
        network: &'a Network,
        gateway: &str,
        named: Option<&str>,
    ) -> Result<&'a str, String> {
        interface(network, gateway.parse().unwrap(), named, &|| None).map(|link| link.name.as_str())
    }

    #[test]
    fn the_one_that_it_is_on_link_on() {
        let network = network(vec![
            address(1, "127.0.0.1", 8),
            address(2, "198.51.100.7", 24),
            address(3, "10.182.21.219", 17),
        ]);
        assert_eq!(choose(&network, "10.182.127.198", None), Ok("eth1"));
        assert_eq!(choose(&network, "10.182.127.198", Some("eth1")), Ok("eth1"));
        assert_eq!(choose(&network, "198.51.100.1", None), Ok("eth0"));
        for (gateway, named, says) in [
            ("10.182.128.1", None, "not on-link"),
            ("127.0.0.2", None, "not on-link"),
            ("10.182.127.198", Some("eth0"), "not on-link on eth0"),
            ("10.182.127.198", Some("eth9"), "no interface \"eth9\""),
            ("10.182.21.219", None, "own address, on eth1"),
            ("10.182.127.255", None, "broadcast address of eth1"),
            ("10.182.127.255", Some("eth1"), "broadcast address of eth1"),
            ("10.182.0.0", None, "subnet of eth1 itself"),
        ] {
            let why = choose(&network, gateway, named).unwrap_err();
            assert!(why.contains(says), "{gateway}: {why}");
        }
    }

    #[test]
    fn a_gateway_may_end_in_255() {
        let network = network(vec![address(3, "10.182.21.219", 19)]);
        assert_eq!(choose(&network, "10.182.4.255", None), Ok("eth1"));
        assert!(choose(&network, "10.182.31.255", None).unwrap_err().contains("broadcast"));
    }

    #[test]
    fn one_that_is_down_is_none() {
        let mut network = network(vec![address(3, "10.182.21.219", 17)]);
        network.links[2].flags = 0;
        assert!(choose(&network, "10.182.127.198", None).unwrap_err().contains("not on-link"));
        assert!(choose(&network, "10.182.127.198", Some("eth1")).unwrap_err().contains("down"));
    }

    #[test]
    fn of_two_the_one_on_service_net() {
        let mut two = network(vec![address(2, "10.1.1.1", 8), address(3, "10.182.21.219", 17)]);
        assert_eq!(choose(&two, "10.182.127.198", None), Ok("eth1"));
        // The routes say more than the addresses.
        for (destination, prefix, chosen) in [
            ([10, 208, 0, 0], 12, "eth0"),
            // As in the documentation's example.
            ([10, 176, 0, 0], 13, "eth0"),
            ([10, 0, 0, 0], 8, "eth0"),
            ([10, 64, 0, 0], 12, "eth1"),
            ([10, 176, 5, 0], 24, "eth1"),
        ] {
            let mut route = Route::default_via(Ipv4Addr::new(10, 0, 0, 1), 2, 0);
            route.prefix = prefix;
            route.destination = Some(Ipv4Addr::from(destination).into());
            two.routes = vec![route];
            assert_eq!(
                choose(&two, "10.182.127.198", None),
                Ok(chosen),
                "{destination:?}/{prefix}"
            );
        }
        two.routes[0].destination = Some(Ipv4Addr::new(10, 208, 0, 0).into());
        two.routes[0].prefix = 12;
        // xenstore says more than both, and --interface more than everything.
        let certain = || Some(vec![0, 0, 0, 0, 0, 3]);
        let gateway = "10.182.127.198".parse().unwrap();
        assert_eq!(interface(&two, gateway, None, &certain).map(|link| link.index), Ok(3));
        assert_eq!(interface(&two, gateway, Some("eth0"), &certain).map(|link| link.index), Ok(2));
        let alike = network(vec![address(2, "10.182.1.1", 17), address(3, "10.182.21.219", 17)]);
        assert!(
            choose(&alike, "10.182.127.198", None)
                .unwrap_err()
                .contains("eth0 and eth1: name one by --interface")
        );
    }
}
