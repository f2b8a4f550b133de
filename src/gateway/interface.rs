//! Which interface a gateway is on. No I/O.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::netlink::{Address, Link, Route};
use crate::ui::enumerate;

/// The networks of ServiceNet beyond a server's own subnet. Each server has a route to both
/// through its ServiceNet router. Source: the RackConnect documentation of a server's routes.
const SERVICE_NET: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 176, 0, 0), Ipv4Addr::new(10, 208, 0, 0)];

/// The prefix length of both networks.
const SERVICE_NET_PREFIX: u8 = 12;

/// The prefix lengths that routes to these networks have on servers: usually 12, and 13 in the
/// example of the documentation. Routes outside this range are unrelated.
pub(crate) const ROUTE_PREFIXES: std::ops::RangeInclusive<u8> = 8..=16;

/// The interfaces and addresses of this server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Network {
    /// All interfaces.
    pub(crate) links: Vec<Link>,
    /// All addresses of the gateway's family.
    pub(crate) addresses: Vec<Address>,
}

/// What identifies the ServiceNet interface. It is consulted only if the gateway is on-link on
/// several interfaces.
pub(crate) trait ServiceNet {
    /// The link-layer address of the ServiceNet interface, from an authoritative source.
    fn mac(&mut self) -> Option<Vec<u8>>;
    /// The routes with a prefix in [`ROUTE_PREFIXES`].
    fn routes(&mut self) -> Vec<Route>;
}

/// Why a gateway cannot be used on any interface, or on the named one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceError {
    /// It is an address of this server.
    OwnAddress { gateway: IpAddr, interface: String },
    /// There is no interface of that name.
    Unknown(String),
    /// The named interface is down.
    Down(String),
    /// It is in no subnet of the named interface.
    NotOnNamedLink { gateway: IpAddr, interface: String },
    /// It is in no subnet of any interface that is up.
    NotOnLink(IpAddr),
    /// It is on-link on several interfaces.
    Several { gateway: IpAddr, interfaces: Vec<String> },
    /// It is the broadcast address of the interface's subnet.
    Broadcast { gateway: IpAddr, interface: String },
    /// It is the address of the interface's subnet.
    SubnetAddress { gateway: IpAddr, interface: String },
}

impl fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use InterfaceError::*;
        match self {
            OwnAddress { gateway, interface } => {
                write!(f, "{gateway} is this server's own address, on {interface}")
            }
            Unknown(name) => write!(f, "there is no interface {name:?}"),
            Down(name) => write!(f, "the interface {name} is down"),
            NotOnNamedLink { gateway, interface } => write!(
                f,
                "{gateway} is not on-link on {interface}: no address of {interface} is in its subnet"
            ),
            NotOnLink(gateway) => write!(
                f,
                "{gateway} is not on-link: no interface that is up has an address in its subnet"
            ),
            Several { gateway, interfaces } => {
                let names: Vec<&str> = interfaces.iter().map(String::as_str).collect();
                write!(
                    f,
                    "{gateway} is on-link on {}: choose one with --interface",
                    enumerate(&names)
                )
            }
            Broadcast { gateway, interface } => {
                write!(f, "{gateway} is the broadcast address of {interface}")
            }
            SubnetAddress { gateway, interface } => {
                write!(f, "{gateway} is the subnet address of {interface}")
            }
        }
    }
}

/// Chooses the interface that `gateway` is on-link on. `named`: the interface given by the user.
///
/// # Errors
/// See [`InterfaceError`].
pub(crate) fn choose<'a>(
    network: &'a Network,
    gateway: IpAddr,
    named: Option<&str>,
    service_net: &mut dyn ServiceNet,
) -> Result<&'a Link, InterfaceError> {
    if let Some(own) = network.addresses.iter().find(|address| address.local == gateway) {
        let link = network.links.iter().find(|link| link.index == own.interface);
        let interface =
            link.map_or_else(|| format!("#{}", own.interface), |link| link.name.clone());
        return Err(InterfaceError::OwnAddress { gateway, interface });
    }
    let link = match named {
        Some(name) => named_interface(network, gateway, name)?,
        None => detected_interface(network, gateway, service_net)?,
    };
    check_host_address(network, link, gateway)?;
    Ok(link)
}

fn named_interface<'a>(
    network: &'a Network,
    gateway: IpAddr,
    name: &str,
) -> Result<&'a Link, InterfaceError> {
    let link = network.links.iter().find(|link| link.name == name);
    let link = link.ok_or_else(|| InterfaceError::Unknown(name.to_owned()))?;
    if !link.is_up() {
        return Err(InterfaceError::Down(name.to_owned()));
    }
    if is_on_link(network, link, gateway) {
        Ok(link)
    } else {
        Err(InterfaceError::NotOnNamedLink { gateway, interface: name.to_owned() })
    }
}

fn detected_interface<'a>(
    network: &'a Network,
    gateway: IpAddr,
    service_net: &mut dyn ServiceNet,
) -> Result<&'a Link, InterfaceError> {
    let is_candidate =
        |link: &&Link| link.is_up() && !link.is_loopback() && is_on_link(network, link, gateway);
    let candidates: Vec<&Link> = network.links.iter().filter(is_candidate).collect();
    match candidates.as_slice() {
        [] => Err(InterfaceError::NotOnLink(gateway)),
        [one] => Ok(one),
        several => on_service_net(network, several, service_net).ok_or_else(|| {
            let interfaces = several.iter().map(|link| link.name.clone()).collect();
            InterfaceError::Several { gateway, interfaces }
        }),
    }
}

/// The candidate on ServiceNet: by link-layer address, else by routes, else by addresses. None if
/// several qualify.
fn on_service_net<'a>(
    network: &Network,
    candidates: &[&'a Link],
    service_net: &mut dyn ServiceNet,
) -> Option<&'a Link> {
    let only = |qualifies: &dyn Fn(&Link) -> bool| {
        let mut found = candidates.iter().filter(|link| qualifies(link));
        match (found.next(), found.next()) {
            (Some(one), None) => Some(*one),
            _ => None,
        }
    };
    let by_mac = service_net.mac().and_then(|mac| only(&|link| link.mac == mac));
    by_mac
        .or_else(|| {
            let routes = service_net.routes();
            only(&|link| has_service_net_route(&routes, link))
        })
        .or_else(|| only(&|link| has_service_net_address(network, link)))
}

/// Checks that the gateway is neither the address nor the broadcast address of its subnet.
fn check_host_address(
    network: &Network,
    link: &Link,
    gateway: IpAddr,
) -> Result<(), InterfaceError> {
    let IpAddr::V4(v4) = gateway else { return Ok(()) };
    let of_link = network.addresses.iter().filter(|address| address.interface == link.index);
    for address in of_link.filter(|address| address.covers(gateway)) {
        let (IpAddr::V4(base), prefix @ 1..=30) = (address.network, address.prefix) else {
            continue;
        };
        let host_bits = u32::MAX >> prefix;
        let interface = link.name.clone();
        if v4.to_bits() == base.to_bits() | host_bits {
            return Err(InterfaceError::Broadcast { gateway, interface });
        }
        if v4.to_bits() == base.to_bits() & !host_bits {
            return Err(InterfaceError::SubnetAddress { gateway, interface });
        }
    }
    Ok(())
}

fn is_on_link(network: &Network, link: &Link, gateway: IpAddr) -> bool {
    network
        .addresses
        .iter()
        .any(|address| address.interface == link.index && address.covers(gateway))
}

fn has_service_net_route(routes: &[Route], link: &Link) -> bool {
    routes.iter().filter(|route| route.interface == Some(link.index)).any(|route| {
        match route.destination {
            Some(IpAddr::V4(destination)) => {
                route.gateway.is_some()
                    && ROUTE_PREFIXES.contains(&route.prefix)
                    && is_service_net(destination, route.prefix)
            }
            _ => false,
        }
    })
}

fn has_service_net_address(network: &Network, link: &Link) -> bool {
    let mut of_link = network.addresses.iter().filter(|address| address.interface == link.index);
    of_link.any(|address| match address.local {
        IpAddr::V4(local) => is_service_net(local, 32),
        IpAddr::V6(_) => false,
    })
}

/// Whether a network is part of ServiceNet, or contains it.
fn is_service_net(network: Ipv4Addr, prefix: u8) -> bool {
    let shift = 32 - u32::from(prefix.clamp(1, SERVICE_NET_PREFIX));
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
        Network { links: vec![lo, link(2, "eth0"), link(3, "eth1")], addresses }
    }

    #[derive(Clone, Default)]
    struct Known {
        mac: Option<Vec<u8>>,
        routes: Vec<Route>,
    }

    impl ServiceNet for Known {
        fn mac(&mut self) -> Option<Vec<u8>> {
            self.mac.clone()
        }

        fn routes(&mut self) -> Vec<Route> {
            self.routes.clone()
        }
    }

    fn chosen<'a>(
        network: &'a Network,
        gateway: &str,
        named: Option<&str>,
        known: &Known,
    ) -> Result<&'a str, String> {
        choose(network, gateway.parse().unwrap(), named, &mut known.clone())
            .map(|link| link.name.as_str())
            .map_err(|err| err.to_string())
    }

    #[test]
    fn the_interface_whose_subnet_holds_the_gateway() {
        let network = network(vec![
            address(1, "127.0.0.1", 8),
            address(2, "198.51.100.7", 24),
            address(3, "10.182.21.219", 17),
        ]);
        assert_eq!(chosen(&network, "10.182.127.198", None, &Known::default()), Ok("eth1"));
        assert_eq!(chosen(&network, "10.182.127.198", Some("eth1"), &Known::default()), Ok("eth1"));
        assert_eq!(chosen(&network, "198.51.100.1", None, &Known::default()), Ok("eth0"));
        for (gateway, named, says) in [
            ("10.182.128.1", None, "not on-link"),
            ("127.0.0.2", None, "not on-link"),
            ("10.182.127.198", Some("eth0"), "not on-link on eth0"),
            ("10.182.127.198", Some("eth9"), "no interface \"eth9\""),
            ("10.182.21.219", None, "own address, on eth1"),
            ("10.182.127.255", None, "broadcast address of eth1"),
            ("10.182.127.255", Some("eth1"), "broadcast address of eth1"),
            ("10.182.0.0", None, "subnet address of eth1"),
        ] {
            let err = chosen(&network, gateway, named, &Known::default()).unwrap_err();
            assert!(err.contains(says), "{gateway}: {err}");
        }
    }

    #[test]
    fn a_gateway_may_end_in_255() {
        let network = network(vec![address(3, "10.182.21.219", 19)]);
        assert_eq!(chosen(&network, "10.182.4.255", None, &Known::default()), Ok("eth1"));
        assert!(
            chosen(&network, "10.182.31.255", None, &Known::default())
                .unwrap_err()
                .contains("broadcast")
        );
    }

    #[test]
    fn an_interface_that_is_down_is_not_used() {
        let mut network = network(vec![address(3, "10.182.21.219", 17)]);
        network.links[2].flags = 0;
        assert!(
            chosen(&network, "10.182.127.198", None, &Known::default())
                .unwrap_err()
                .contains("not on-link")
        );
        assert!(
            chosen(&network, "10.182.127.198", Some("eth1"), &Known::default())
                .unwrap_err()
                .contains("down")
        );
    }

    #[test]
    fn of_two_interfaces_the_one_on_service_net() {
        let two = network(vec![address(2, "10.1.1.1", 8), address(3, "10.182.21.219", 17)]);
        let choose = |named, known: &Known| chosen(&two, "10.182.127.198", named, known);
        let route = |destination: [u8; 4], prefix| {
            let mut route = Route::default_via(Ipv4Addr::new(10, 0, 0, 1), 2, 0);
            route.prefix = prefix;
            route.destination = Some(Ipv4Addr::from(destination).into());
            route
        };
        assert_eq!(choose(None, &Known::default()), Ok("eth1"));
        // Routes take precedence over addresses.
        for (destination, prefix, expected) in [
            ([10, 208, 0, 0], 12, "eth0"),
            // As in the example of the documentation.
            ([10, 176, 0, 0], 13, "eth0"),
            ([10, 0, 0, 0], 8, "eth0"),
            ([10, 64, 0, 0], 12, "eth1"),
            ([10, 176, 5, 0], 24, "eth1"),
        ] {
            let known = Known { mac: None, routes: vec![route(destination, prefix)] };
            assert_eq!(choose(None, &known), Ok(expected), "{destination:?}/{prefix}");
        }
        // xenstore takes precedence over both, and --interface over everything.
        let mac = Some(vec![0, 0, 0, 0, 0, 3]);
        let known = Known { mac, routes: vec![route([10, 208, 0, 0], 12)] };
        assert_eq!(choose(None, &known), Ok("eth1"));
        assert_eq!(choose(Some("eth0"), &known), Ok("eth0"));
        let alike = network(vec![address(2, "10.182.1.1", 17), address(3, "10.182.21.219", 17)]);
        assert!(
            chosen(&alike, "10.182.127.198", None, &Known::default())
                .unwrap_err()
                .contains("eth0 and eth1: choose one with --interface")
        );
    }
}
