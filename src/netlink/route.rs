//! Routes, with all attributes that they were received with. Source: rtnetlink(7),
//! `include/uapi/linux/rtnetlink.h`, `net/ipv4/fib_trie.c`.

use std::net::{IpAddr, Ipv4Addr};

use nix::libc;

use super::codec::{Attributes, Malformed, u32_at};
use super::types::{INET, address};

/// The size of `struct rtmsg`.
const RTMSG_BYTES: usize = 12;

/// RTA_NH_ID (`linux/rtnetlink.h`; not in libc): the route uses a nexthop object.
const RTA_NH_ID: u16 = 30;

/// RTNH_F_ONLINK (`linux/rtnetlink.h`): the only flag given on creation; the kernel sets the
/// others.
pub const ONLINK: u32 = 4;

/// A route: the fields this program uses, and every attribute as received.
#[derive(Clone, Debug)]
pub struct Route {
    /// AF_INET or AF_INET6.
    pub family: u8,
    /// The prefix length of the destination; 0 for a default route.
    pub prefix: u8,
    /// The prefix length of the source; 0 unless the route depends on the source.
    pub source_prefix: u8,
    /// The type of service; 0 for all.
    pub tos: u8,
    /// The program that added it: `RTPROT_…`
    pub protocol: u8,
    /// `RT_SCOPE_…`
    pub scope: u8,
    /// `RTN_…`
    pub kind: u8,
    /// `RTNH_F_…` and `RTM_F_…`, including those the kernel sets.
    pub flags: u32,
    /// The table.
    pub table: u32,
    /// The destination; `None` for a default route.
    pub destination: Option<IpAddr>,
    /// The gateway; `None` if the destination is on-link.
    pub gateway: Option<IpAddr>,
    /// The index of the interface.
    pub interface: Option<u32>,
    /// The metric (RTA_PRIORITY).
    pub metric: u32,
    /// The preferred source address.
    pub source: Option<IpAddr>,
    /// Whether it has a single next hop: no multipath, no nexthop object.
    pub one_hop: bool,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// Routes are equal if everything that is given on creation is equal. Attributes that the kernel
/// adds (cache information, link state) and the order of attributes do not count.
impl PartialEq for Route {
    fn eq(&self, other: &Route) -> bool {
        let has_all_of = |ours: &Route, theirs: &Route| {
            theirs.given().all(|attribute| ours.given().any(|own| own == attribute))
        };
        self.fixed() == other.fixed()
            && self.table == other.table
            && self.metric == other.metric
            && self.given().count() == other.given().count()
            && has_all_of(self, other)
            && has_all_of(other, self)
    }
}

impl Eq for Route {}

impl Route {
    /// A static default route of the main table.
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

    /// This route with another metric.
    pub fn at_metric(&self, metric: u32) -> Route {
        let mut route = self.clone();
        route.metric = metric;
        route.attributes.retain(|(kind, _)| *kind != libc::RTA_PRIORITY);
        route.attributes.push((libc::RTA_PRIORITY, metric.to_ne_bytes().to_vec()));
        route
    }

    /// Whether it is a default route of the main table for every type of service and source.
    pub fn is_default(&self) -> bool {
        self.prefix == 0
            && self.source_prefix == 0
            && self.tos == 0
            && self.is_in_main()
            && self.flags & libc::RTM_F_CLONED == 0
    }

    /// Whether it is in the main table.
    pub(super) fn is_in_main(&self) -> bool {
        self.table == u32::from(libc::RT_TABLE_MAIN)
    }

    /// Whether the kernel keeps both in one list: same table, destination and type of service.
    pub(super) fn is_sibling(&self, other: &Route) -> bool {
        let list =
            |route: &Route| (route.family, route.table, route.destination, route.prefix, route.tos);
        list(self) == list(other)
    }

    /// Whether a request to remove this route may remove `other`, if that comes first. A missing
    /// attribute matches any; one that only some kernels compare counts as missing. Source:
    /// `fib_table_delete` and `fib_nh_match` in `net/ipv4`.
    pub fn may_match(&self, other: &Route) -> bool {
        fn same<T: PartialEq>(ours: Option<T>, theirs: Option<T>) -> bool {
            ours.is_none() || ours == theirs
        }
        let given = |number: u8| (number != 0).then_some(number);
        same(given(self.kind), Some(other.kind))
            && (self.scope == libc::RT_SCOPE_NOWHERE || self.scope == other.scope)
            && same(given(self.protocol), Some(other.protocol))
            && (self.metric == 0 || self.metric == other.metric)
            && same(self.source, other.source)
            // The first of several next hops may match.
            && (!other.one_hop || same(self.gateway, other.gateway) && same(self.interface, other.interface))
    }

    /// Whether this program can remove it and add it again: one next hop, unicast.
    pub fn is_plain(&self) -> bool {
        self.one_hop && self.kind == libc::RTN_UNICAST
    }

    /// Decodes the body of a message, or the output of [`Route::to_bytes`].
    ///
    /// # Errors
    /// The bytes are not a route.
    pub fn read(body: &[u8]) -> Result<Route, Malformed> {
        let (Some(fixed), Some(flags), Some(rest)) =
            (body.get(..8), u32_at(body, 8), body.get(RTMSG_BYTES..))
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
            let number = || u32_at(value, 0).ok_or(Malformed("a number of fewer than four bytes"));
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
            // Counters of the kernel, which it does not accept on creation.
            if kind != libc::RTA_CACHEINFO {
                route.attributes.push((kind, value.to_vec()));
            }
        }
        Ok(route)
    }

    /// The fixed part of a message (`struct rtmsg`).
    pub(super) fn fixed(&self) -> [u8; RTMSG_BYTES] {
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
        let mut fixed = [0; RTMSG_BYTES];
        fixed[..8].copy_from_slice(&head);
        fixed[8..].copy_from_slice(&(self.flags & ONLINK).to_ne_bytes());
        fixed
    }

    /// The attributes given on creation, except the table, which is compared as a field, and a
    /// metric of 0, which is the default.
    fn given(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.attributes().filter(|(kind, value)| {
            *kind != libc::RTA_TABLE
                && !(*kind == libc::RTA_PRIORITY && value.iter().all(|byte| *byte == 0))
        })
    }

    /// This route on another interface.
    pub fn on_interface(&self, index: u32) -> Route {
        let mut route = self.clone();
        route.interface = Some(index);
        for (kind, value) in &mut route.attributes {
            if *kind == libc::RTA_OIF {
                *value = index.to_ne_bytes().to_vec();
            }
        }
        route
    }

    /// Its attributes.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.attributes.iter().map(|(kind, value)| (*kind, value.as_slice()))
    }

    /// Encodes it for [`Route::read`] on this machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixed().to_vec();
        for (kind, value) in self.attributes() {
            // The lengths came from attributes, so they fit.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_encoded_route_is_read_back() {
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
    fn attributes_that_the_kernel_adds_do_not_count() {
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

    proptest! {
        #[test]
        fn reading_any_bytes_does_not_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            if let Ok(route) = Route::read(&bytes) {
                let back = Route::read(&route.to_bytes()).unwrap();
                prop_assert_eq!(back.to_bytes(), route.to_bytes());
            }
        }
    }
}
