//! Interfaces and routes in the notation of `ip route`.

use std::fmt::Write;

use nix::libc;

use crate::netlink::{Link, NextHop, ONLINK, Route};

/// The names of interfaces by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceNames(Vec<(u32, String)>);

impl InterfaceNames {
    /// The names of `links`.
    pub(crate) fn of(links: &[Link]) -> InterfaceNames {
        InterfaceNames(links.iter().map(|link| (link.index, link.name.clone())).collect())
    }

    /// The name of an interface if it is known.
    pub(crate) fn get(&self, index: u32) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == index).map(|(_, name)| name.as_str())
    }

    /// The name of an interface, or its number.
    pub(crate) fn name(&self, index: u32) -> String {
        self.get(index).map_or_else(|| format!("#{index}"), str::to_owned)
    }

    /// The index of the interface of that name.
    pub(crate) fn index(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(_, known)| known == name).map(|(index, _)| *index)
    }

    /// Indices and names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().map(|(index, name)| (*index, name.as_str()))
    }

    /// The names of the interfaces of `routes`.
    pub(crate) fn of_routes<'a>(&self, routes: impl Iterator<Item = &'a Route>) -> InterfaceNames {
        let mut used: Vec<u32> = routes.filter_map(|route| route.interface).collect();
        used.sort_unstable();
        used.dedup();
        self.0.iter().filter(|(index, _)| used.binary_search(index).is_ok()).cloned().collect()
    }
}

impl FromIterator<(u32, String)> for InterfaceNames {
    fn from_iter<T: IntoIterator<Item = (u32, String)>>(names: T) -> InterfaceNames {
        InterfaceNames(names.into_iter().collect())
    }
}

/// A default route as `ip route` shows it, so that it can be given to `ip route` again.
pub(crate) fn describe_route(route: &Route, names: &InterfaceNames) -> String {
    let mut text = match route.kind {
        libc::RTN_UNICAST => String::new(),
        libc::RTN_BLACKHOLE => "blackhole ".to_owned(),
        libc::RTN_UNREACHABLE => "unreachable ".to_owned(),
        libc::RTN_PROHIBIT => "prohibit ".to_owned(),
        other => format!("type {other} "),
    };
    text.push_str("default");
    if !route.one_hop {
        text.push_str(" by several next hops");
    }
    if let Some(gateway) = route.gateway {
        let _ = write!(text, " via {gateway}");
    }
    if let Some(interface) = route.interface {
        let _ = write!(text, " dev {}", names.name(interface));
    }
    let _ = write!(text, " proto {}", protocol_name(route.protocol));
    if let Some(source) = route.source {
        let _ = write!(text, " src {source}");
    }
    if route.metric != 0 {
        let _ = write!(text, " metric {}", route.metric);
    }
    if route.flags & ONLINK != 0 {
        text.push_str(" onlink");
    }
    text
}

/// The name of a route's origin. Source: iproute2, `etc/iproute2/rt_protos`.
pub(crate) fn protocol_name(number: u8) -> String {
    match number {
        libc::RTPROT_KERNEL => "kernel".to_owned(),
        libc::RTPROT_BOOT => "boot".to_owned(),
        libc::RTPROT_STATIC => "static".to_owned(),
        9 => "ra".to_owned(),
        16 => "dhcp".to_owned(),
        other => other.to_string(),
    }
}

/// Where packets go: `via GATEWAY dev INTERFACE`, `on-link dev INTERFACE` or `nowhere`.
pub(crate) fn describe_next_hop(hop: Option<NextHop>, names: &InterfaceNames) -> String {
    let Some(NextHop { gateway, interface, .. }) = hop else { return "nowhere".to_owned() };
    let via = gateway.map_or("on-link".to_owned(), |gateway| format!("via {gateway}"));
    match interface {
        Some(interface) => format!("{via} dev {}", names.name(interface)),
        None => via,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn routes_are_described_as_by_ip_route() {
        let names = InterfaceNames(vec![(2, "eth0".to_owned())]);
        let public = Route::default_via(Ipv4Addr::new(198, 51, 100, 1), 2, 100);
        assert_eq!(
            describe_route(&public, &names),
            "default via 198.51.100.1 dev eth0 proto static metric 100"
        );
        let mut on_link = Route::default_via(Ipv4Addr::new(10, 182, 127, 198), 3, 0);
        assert_eq!(
            describe_route(&on_link, &names),
            "default via 10.182.127.198 dev #3 proto static"
        );
        on_link.flags = ONLINK;
        assert_eq!(
            describe_route(&on_link, &names),
            "default via 10.182.127.198 dev #3 proto static onlink"
        );
    }
}
