//! Interfaces, addresses, neighbours and lookup results as plain data. Source: rtnetlink(7),
//! `include/uapi/linux/rtnetlink.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

use super::codec::{Attributes, Malformed, u16_at, u32_at};

/// The size of `struct ifinfomsg`.
const IFINFOMSG_BYTES: usize = 16;

/// The size of `struct ifaddrmsg`.
const IFADDRMSG_BYTES: usize = 8;

/// The size of `struct ndmsg`.
pub(super) const NDMSG_BYTES: usize = 12;

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
    /// Its index.
    pub index: u32,
    /// Its name, with invalid UTF-8 replaced.
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

    /// Whether neighbours are resolved by ARP.
    pub fn has_arp(&self) -> bool {
        !self.flag(libc::IFF_NOARP)
    }

    pub(crate) fn read(body: &[u8]) -> Result<Link, Malformed> {
        let (Some(index), Some(flags), Some(rest)) =
            (u32_at(body, 4), u32_at(body, 8), body.get(IFINFOMSG_BYTES..))
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
    /// The index of the interface.
    pub interface: u32,
    /// This server's address.
    pub local: IpAddr,
    /// The network (its host part may be that of `local`), or the peer of a point-to-point link.
    pub network: IpAddr,
    /// The prefix length of `network`.
    pub prefix: u8,
}

impl Address {
    /// Whether `other` is in the subnet of this address.
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

    pub(crate) fn read(body: &[u8]) -> Result<Option<Address>, Malformed> {
        let (Some([family, prefix]), Some(interface), Some(rest)) =
            (body.get(..2), u32_at(body, 4), body.get(IFADDRMSG_BYTES..))
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
        // IPv6 has only IFA_ADDRESS, unless there is a peer.
        let Some(local) = local.or(network) else { return Ok(None) };
        Ok(Some(Address { interface, local, network: network.unwrap_or(local), prefix: *prefix }))
    }
}

/// An entry of the neighbour table (ARP).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The index of the interface.
    pub interface: u32,
    /// Its address.
    pub address: IpAddr,
    /// `NUD_…`
    pub state: u16,
}

impl Neighbour {
    pub(crate) fn read(body: &[u8]) -> Result<Option<Neighbour>, Malformed> {
        let (Some(family), Some(interface), Some(state), Some(rest)) =
            (body.first(), u32_at(body, 4), u16_at(body, 8), body.get(NDMSG_BYTES..))
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

/// An address of a family; `None` if the length is wrong.
pub(super) fn address(family: u8, value: &[u8]) -> Option<IpAddr> {
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

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The gateway; `None` if the destination is on-link.
    pub gateway: Option<IpAddr>,
    /// The index of the interface.
    pub interface: Option<u32>,
    /// The type of the route.
    pub kind: RouteType,
}

/// The type of a route (`RTN_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteType {
    /// To another host.
    Unicast,
    /// To this host.
    Local,
    /// To all hosts of a link.
    Broadcast,
    /// Any other type; nothing is sent.
    Other,
}

impl RouteType {
    pub(super) fn from_kernel(number: u8) -> RouteType {
        match number {
            libc::RTN_UNICAST => RouteType::Unicast,
            libc::RTN_LOCAL => RouteType::Local,
            libc::RTN_BROADCAST => RouteType::Broadcast,
            _ => RouteType::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_covers_its_subnet() {
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
        fn reading_any_bytes_does_not_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let _ = Link::read(&bytes);
            let _ = Address::read(&bytes);
            let _ = Neighbour::read(&bytes);
        }
    }
}
