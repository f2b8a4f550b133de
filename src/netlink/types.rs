//! What rtnetlink speaks of, as plain data: interfaces, addresses, routes, neighbours. Taken from bytes here, and a route
//! written back with every attribute that it came with. Source: rtnetlink(7), `include/uapi/linux/rtnetlink.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

use super::codec::{Attributes, Malformed, u16_at, u32_at};

/// `struct ifinfomsg`, `struct ifaddrmsg`, `struct rtmsg`, `struct ndmsg`: their lengths.
const IFINFOMSG: usize = 16;
const IFADDRMSG: usize = 8;
const RTMSG: usize = 12;
const NDMSG: usize = 12;

/// RTA_NH_ID (`linux/rtnetlink.h`; not in libc): the route uses a next-hop object.
const RTA_NH_ID: u16 = 30;

/// RTNH_F_ONLINK (`linux/rtnetlink.h`): the one flag of a route that its maker sets; the others are the kernel's.
pub const ONLINK: u32 = 4;

/// The address family of an address.
pub fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

/// AF_INET, as messages carry it.
pub const INET: u8 = libc::AF_INET as u8;

/// AF_INET6, as messages carry it.
pub const INET6: u8 = libc::AF_INET6 as u8;

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name; what is not UTF-8 in it is replaced.
    pub name: String,
    /// `IFF_…`
    pub flags: u32,
    /// The link-layer address, if it has one.
    pub mac: Vec<u8>,
}

impl Link {
    fn flag(&self, flag: libc::c_int) -> bool {
        self.flags & flag as u32 != 0
    }

    /// Whether it is administratively up.
    pub fn is_up(&self) -> bool {
        self.flag(libc::IFF_UP)
    }

    /// Whether it is the loopback interface.
    pub fn is_loopback(&self) -> bool {
        self.flag(libc::IFF_LOOPBACK)
    }

    /// Whether neighbours are looked for there (by ARP).
    pub fn has_arp(&self) -> bool {
        !self.flag(libc::IFF_NOARP)
    }

    pub(super) fn read(body: &[u8]) -> Result<Link, Malformed> {
        let (Some(index), Some(flags), Some(rest)) =
            (u32_at(body, 4), u32_at(body, 8), body.get(IFINFOMSG..))
        else {
            return Err(Malformed("an interface without its header"));
        };
        let mut link = Link { index, flags, ..Link::default() };
        for attribute in Attributes(rest) {
            match attribute? {
                (libc::IFLA_IFNAME, value) => {
                    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
                    link.name = String::from_utf8_lossy(&value[..end]).into_owned();
                }
                (libc::IFLA_ADDRESS, value) => link.mac = value.to_vec(),
                _ => {}
            }
        }
        Ok(link)
    }
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's number.
    pub interface: u32,
    /// The address that is ours.
    pub local: IpAddr,
    /// The network's address (its host part may be that of `local`), or that of the other end of a link of two.
    pub network: IpAddr,
    /// How many bits of `network` count.
    pub prefix: u8,
}

impl Address {
    /// Whether `other` is on the same link by this address.
    pub fn covers(&self, other: IpAddr) -> bool {
        match (self.network, other) {
            (IpAddr::V4(network), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                network.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(other)) => {
                let mask =
                    u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                network.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }

    pub(super) fn read(body: &[u8]) -> Result<Option<Address>, Malformed> {
        let (Some([family, prefix]), Some(interface), Some(rest)) =
            (body.get(..2), u32_at(body, 4), body.get(IFADDRMSG..))
        else {
            return Err(Malformed("an address without its header"));
        };
        let (mut local, mut network) = (None, None);
        for attribute in Attributes(rest) {
            match attribute? {
                (libc::IFA_LOCAL, value) => local = address(*family, value),
                (libc::IFA_ADDRESS, value) => network = address(*family, value),
                _ => {}
            }
        }
        // IPv6 has IFA_ADDRESS alone, unless there is another end.
        let Some(local) = local.or(network) else { return Ok(None) };
        Ok(Some(Address { interface, local, network: network.unwrap_or(local), prefix: *prefix }))
    }
}

/// A route, whole: what this program understands of it, and every attribute as it came.
#[derive(Clone, Debug)]
pub struct Route {
    /// AF_INET or AF_INET6.
    pub family: u8,
    /// The length of the destination's prefix; 0 for a default route.
    pub prefix: u8,
    /// The length of the source's prefix: 0, unless routes depend on the source.
    pub source_prefix: u8,
    /// The type of service that it is for; 0 for all.
    pub tos: u8,
    /// Who made it: `RTPROT_…`
    pub protocol: u8,
    /// `RT_SCOPE_…`
    pub scope: u8,
    /// `RTN_…`
    pub kind: u8,
    /// `RTNH_F_…`, those of the kernel's among them.
    pub flags: u32,
    /// The table.
    pub table: u32,
    /// The destination; none for a default route.
    pub destination: Option<IpAddr>,
    /// The gateway; none if the destination is on-link.
    pub gateway: Option<IpAddr>,
    /// The number of the interface.
    pub interface: Option<u32>,
    /// The metric (RTA_PRIORITY).
    pub metric: u32,
    /// The source address that it prefers.
    pub source: Option<IpAddr>,
    /// Whether it has exactly one next hop, written in the route itself: no multipath, no next-hop object.
    pub one_hop: bool,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// The same route: equal in everything that its maker gives. What the kernel adds of its own (cache information, the
/// state of the link) does not count, and neither does the order of the attributes.
impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        let numbers = |route: &Route| (route.fixed(), route.table);
        let given = |route: &Route| -> Vec<(u16, Vec<u8>)> {
            let is_given = |(kind, value): &&(u16, Vec<u8>)| {
                let absent = *kind == libc::RTA_PRIORITY && value.iter().all(|byte| *byte == 0);
                *kind != libc::RTA_TABLE && !absent
            };
            route.attributes.iter().filter(is_given).cloned().collect()
        };
        let (ours, theirs) = (given(self), given(other));
        numbers(self) == numbers(other)
            && ours.len() == theirs.len()
            && ours.iter().all(|attribute| theirs.contains(attribute))
            && theirs.iter().all(|attribute| ours.contains(attribute))
    }
}

impl Eq for Route {}

impl Route {
    /// A default route of the main table through a gateway, as an administrator would add it.
    pub fn default_via(gateway: Ipv4Addr, interface: u32, metric: u32) -> Route {
        let mut attributes = vec![
            (libc::RTA_GATEWAY, gateway.octets().to_vec()),
            (libc::RTA_OIF, interface.to_ne_bytes().to_vec()),
        ];
        if metric != 0 {
            attributes.push((libc::RTA_PRIORITY, metric.to_ne_bytes().to_vec()));
        }
        Route {
            family: INET,
            prefix: 0,
            source_prefix: 0,
            tos: 0,
            protocol: libc::RTPROT_STATIC,
            scope: libc::RT_SCOPE_UNIVERSE,
            kind: libc::RTN_UNICAST,
            flags: 0,
            table: u32::from(libc::RT_TABLE_MAIN),
            destination: None,
            gateway: Some(gateway.into()),
            interface: Some(interface),
            metric,
            source: None,
            one_hop: true,
            attributes,
        }
    }

    /// The same route at another metric.
    pub fn at_metric(&self, metric: u32) -> Route {
        let mut route = self.clone();
        route.metric = metric;
        route.attributes.retain(|(kind, _)| *kind != libc::RTA_PRIORITY);
        route.attributes.push((libc::RTA_PRIORITY, metric.to_ne_bytes().to_vec()));
        route
    }

    /// Whether it is a default route of the main table for every type of service and every source.
    pub fn is_default(&self) -> bool {
        self.prefix == 0
            && self.source_prefix == 0
            && self.tos == 0
            && self.table == u32::from(libc::RT_TABLE_MAIN)
            && self.flags & libc::RTM_F_CLONED == 0
    }

    /// Whether the kernel keeps it in the same list, which it goes through in its order: the same destination and type of
    /// service in the same table.
    pub(super) fn is_beside(&self, other: &Route) -> bool {
        let place =
            |route: &Route| (route.family, route.table, route.destination, route.prefix, route.tos);
        place(self) == place(other)
    }

    /// Whether the kernel, asked to remove this route, may remove `other`, if that comes first. What is not given matches
    /// any; what not every kernel looks at is taken for not given. Source: `fib_table_delete` and `fib_nh_match` in
    /// `net/ipv4`.
    pub fn may_stand_for(&self, other: &Route) -> bool {
        fn same<T: PartialEq>(ours: Option<T>, theirs: Option<T>) -> bool {
            ours.is_none() || ours == theirs
        }
        let given = |number: u8| (number != 0).then_some(number);
        same(given(self.kind), Some(other.kind))
            && (self.scope == libc::RT_SCOPE_NOWHERE || self.scope == other.scope)
            && same(given(self.protocol), Some(other.protocol))
            && (self.metric == 0 || self.metric == other.metric)
            && same(self.source, other.source)
            // Of several next hops, the first may be the one that is asked for.
            && (!other.one_hop || same(self.gateway, other.gateway) && same(self.interface, other.interface))
    }

    /// Whether this program knows all there is to it, and may replace it and write it back.
    pub fn is_understood(&self) -> bool {
        self.one_hop && self.kind == libc::RTN_UNICAST
    }

    /// Reads one from the body of a message, or from what [`Route::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are no route.
    pub fn read(body: &[u8]) -> Result<Route, Malformed> {
        let (Some(fixed), Some(flags), Some(rest)) =
            (body.get(..8), u32_at(body, 8), body.get(RTMSG..))
        else {
            return Err(Malformed("a route without its header"));
        };
        let mut route = Route {
            family: fixed[0],
            prefix: fixed[1],
            source_prefix: fixed[2],
            tos: fixed[3],
            table: u32::from(fixed[4]),
            protocol: fixed[5],
            scope: fixed[6],
            kind: fixed[7],
            flags,
            destination: None,
            gateway: None,
            interface: None,
            metric: 0,
            source: None,
            one_hop: true,
            attributes: Vec::new(),
        };
        for attribute in Attributes(rest) {
            let (kind, value) = attribute?;
            let number = || u32_at(value, 0).ok_or(Malformed("a number of less than four bytes"));
            match kind {
                libc::RTA_TABLE => route.table = number()?,
                libc::RTA_OIF => route.interface = Some(number()?),
                libc::RTA_PRIORITY => route.metric = number()?,
                libc::RTA_DST => route.destination = address(route.family, value),
                libc::RTA_GATEWAY => route.gateway = address(route.family, value),
                libc::RTA_PREFSRC => route.source = address(route.family, value),
                libc::RTA_MULTIPATH | RTA_NH_ID => route.one_hop = false,
                _ => {}
            }
            // Counters of the kernel's own, which it would not take back.
            if kind != libc::RTA_CACHEINFO {
                route.attributes.push((kind, value.to_vec()));
            }
        }
        Ok(route)
    }

    /// The fixed part of a message about it.
    pub(super) fn fixed(&self) -> [u8; RTMSG] {
        let table = u8::try_from(self.table).unwrap_or(libc::RT_TABLE_UNSPEC);
        let head = [
            self.family,
            self.prefix,
            self.source_prefix,
            self.tos,
            table,
            self.protocol,
            self.scope,
            self.kind,
        ];
        let mut fixed = [0; RTMSG];
        fixed[..8].copy_from_slice(&head);
        fixed[8..].copy_from_slice(&(self.flags & ONLINK).to_ne_bytes());
        fixed
    }

    /// Its attributes.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.attributes.iter().map(|(kind, value)| (*kind, value.as_slice()))
    }

    /// All of it in bytes, for [`Route::read`] on this machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixed().to_vec();
        for (kind, value) in self.attributes() {
            // Lengths came from attributes, so they fit.
            bytes.extend_from_slice(
                &u16::try_from(value.len() + 4).unwrap_or(u16::MAX).to_ne_bytes(),
            );
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }
}

/// How well a neighbour is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface's number.
    pub interface: u32,
    /// The neighbour.
    pub address: IpAddr,
    /// `NUD_…`
    pub state: u16,
}

impl Neighbour {
    pub(super) fn read(body: &[u8]) -> Result<Option<Neighbour>, Malformed> {
        let (Some(family), Some(interface), Some(state), Some(rest)) =
            (body.first(), u32_at(body, 4), u16_at(body, 8), body.get(NDMSG..))
        else {
            return Err(Malformed("a neighbour without its header"));
        };
        let mut found = None;
        for attribute in Attributes(rest) {
            if let (libc::NDA_DST, value) = attribute? {
                found = address(*family, value);
            }
        }
        Ok(found.map(|address| Neighbour { interface, address, state }))
    }
}

/// An address of that family; none if it has the wrong length.
fn address(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

/// The bytes of an address.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_route_comes_back_whole() {
        let mut route = Route::default_via(Ipv4Addr::new(10, 182, 127, 198), 3, 100);
        route.attributes.push((libc::RTA_METRICS, vec![8, 0, 2, 0, 0xdc, 5, 0, 0]));
        route.attributes.push((libc::RTA_FLOW, vec![1, 0, 0]));
        let back = Route::read(&route.to_bytes()).unwrap();
        assert_eq!(back, route);
        assert_eq!((back.gateway, back.interface, back.metric), (route.gateway, Some(3), 100));
        assert_ne!(route.at_metric(0), route);
        assert_eq!(route.at_metric(7).at_metric(100), route);
    }

    #[test]
    fn the_kernels_own_additions_make_no_other_route() {
        let ours = Route::default_via(Ipv4Addr::new(10, 0, 0, 1), 2, 0);
        let mut dumped = ours.clone();
        dumped.attributes.insert(0, (libc::RTA_TABLE, 254u32.to_ne_bytes().to_vec()));
        dumped.attributes.push((libc::RTA_PRIORITY, vec![0; 4]));
        dumped.flags = 16; // RTNH_F_LINKDOWN
        assert_eq!(ours, dumped);
        assert_eq!(dumped.fixed()[8..], [0; 4]);
        dumped.protocol = libc::RTPROT_BOOT;
        assert_ne!(ours, dumped);
    }

    #[test]
    fn what_is_on_link() {
        let address = |network: [u8; 4], prefix| Address {
            interface: 1,
            local: IpAddr::from([10, 182, 21, 219]),
            network: IpAddr::from(network),
            prefix,
        };
        let gateway = IpAddr::from([10, 182, 127, 255]);
        assert!(address([10, 182, 21, 219], 17).covers(gateway));
        assert!(!address([10, 182, 21, 219], 18).covers(gateway));
        assert!(address([10, 182, 127, 255], 32).covers(gateway));
        assert!(address([1, 2, 3, 4], 0).covers(gateway));
        assert!(address([10, 182, 127, 255], 255).covers(gateway));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Link::read(&bytes);
            let _ = Address::read(&bytes);
            let _ = Neighbour::read(&bytes);
            if let Ok(route) = Route::read(&bytes) {
                let back = Route::read(&route.to_bytes()).unwrap();
                prop_assert_eq!(back.to_bytes(), route.to_bytes());
            }
        }
    }
}
