//! IP addresses in hosts(5) and resolv.conf(5).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::net::if_::if_nametoindex;

/// An address with port 0. An IPv6 address may have a scope: `fe80::1%eth0` or `fe80::1%2`.
pub(super) fn parse(text: &str) -> Option<SocketAddr> {
    let Some((ip, scope)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 0));
    };
    let ip = ip.parse::<Ipv6Addr>().ok()?;
    let scope = scope.parse::<u32>().ok().or_else(|| if_nametoindex(scope).ok())?;
    Some(SocketAddrV6::new(ip, 0, 0, scope).into())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn addresses_with_and_without_a_scope() {
        let shown = |text| parse(text).map(|address| address.to_string());
        assert_eq!(shown("192.0.2.1").as_deref(), Some("192.0.2.1:0"));
        assert_eq!(shown("2001:db8::1").as_deref(), Some("[2001:db8::1]:0"));
        assert_eq!(shown("fe80::1%7").as_deref(), Some("[fe80::1%7]:0"));
        // The loopback interface is always the first.
        assert_eq!(shown("fe80::1%lo").as_deref(), Some("[fe80::1%1]:0"));
        for text in ["", "192.0.2", "192.0.2.1%lo", "fe80::1%", "fe80::1%absent", "api"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
