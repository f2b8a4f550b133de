//! The request socket, dumps and route lookups.

use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use super::codec::{Malformed, Message, Messages, Writer, u32_at};
use super::error::NetlinkError;
use super::route::Route;
use super::socket::{REQUEST_TIMEOUT, Socket};
use super::types::{
    Address, INET, Link, NDMSG_BYTES, Neighbour, NextHop, RouteType, family_of, octets,
};
use crate::clock::BootInstant;

/// How long an inconsistent dump is repeated.
const DUMP_TIMEOUT: Duration = Duration::from_secs(10);

/// RTM_F_FIB_MATCH and RTM_F_LOOKUP_TABLE (`linux/rtnetlink.h`): respond with the matching route
/// itself, and with its table (reported as main otherwise). Since Linux 4.13 and 4.4; libc for
/// musl lacks both.
const FIB_MATCH: u32 = 0x2000 | 0x1000;

const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
pub(super) const ACK: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;

/// Whether to continue reading a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    /// Everything of interest has been read.
    Stop,
}

/// How the response to a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completion {
    /// The response is complete and consistent.
    Consistent,
    /// The table changed during the dump (NLM_F_DUMP_INTR).
    Interrupted,
}

/// A socket for requests.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    /// When responses are no longer waited for, if the caller has a deadline.
    pub(super) deadline: Option<BootInstant>,
}

impl Netlink {
    /// Opens the socket. Needs no privilege.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub fn open() -> Result<Netlink, NetlinkError> {
        Ok(Netlink { socket: Socket::open(0)?, sequence: 0, deadline: None })
    }

    /// The same socket for a caller that waits for responses until `deadline` at most. The kernel
    /// hardly ever lets one wait, so that requests make sense even after it.
    pub fn until(self, deadline: BootInstant) -> Netlink {
        Netlink { deadline: Some(deadline), ..self }
    }

    /// All interfaces.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let request = Writer::new(libc::RTM_GETLINK, DUMP, &[0; 16]);
        self.dump(&request, libc::RTM_NEWLINK, |body| Link::read(body).map(Some))
    }

    /// All addresses of a family.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn addresses(&mut self, family: u8) -> Result<Vec<Address>, NetlinkError> {
        let request = Writer::new(libc::RTM_GETADDR, DUMP, &[family, 0, 0, 0, 0, 0, 0, 0]);
        self.dump(&request, libc::RTM_NEWADDR, Address::read)
    }

    /// The routes of the main table of a family that `keep` selects, in the kernel's order: by
    /// destination, then by metric, the one in use first. Reads the whole table.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn routes(
        &mut self,
        family: u8,
        keep: impl Fn(&Route) -> bool,
    ) -> Result<Vec<Route>, NetlinkError> {
        self.dump(&route_dump(family), libc::RTM_NEWROUTE, |body| {
            Ok(Some(Route::read(body)?)
                .filter(|route| route.family == family && route.is_in_main() && keep(route)))
        })
    }

    /// The default routes of the main table, the one in use first.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn defaults(&mut self, family: u8) -> Result<Vec<Route>, NetlinkError> {
        match family {
            INET => leading_routes(Route::is_default, self.deadline),
            _ => self.routes(family, Route::is_default),
        }
    }

    /// Where the kernel would send a packet to `destination`, through `interface` if given; `None`
    /// if it has no route.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn next_hop(
        &mut self,
        destination: IpAddr,
        interface: Option<u32>,
    ) -> Result<Option<NextHop>, NetlinkError> {
        let found = self.lookup(destination, interface, 0)?;
        Ok(found.map(|route| NextHop {
            gateway: route.gateway,
            interface: route.interface,
            kind: RouteType::from_kernel(route.kind),
        }))
    }

    /// The route by which the kernel would send packets to `destination`; `None` if there is no
    /// such route, or if the kernel is too old to report it.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn matching_route(&mut self, destination: IpAddr) -> Result<Option<Route>, NetlinkError> {
        let found = self.lookup(destination, None, FIB_MATCH)?;
        // A kernel that does not know the flag responds with a cached result for one packet.
        Ok(found.filter(|route| route.flags & libc::RTM_F_CLONED == 0))
    }

    fn lookup(
        &mut self,
        destination: IpAddr,
        interface: Option<u32>,
        flags: u32,
    ) -> Result<Option<Route>, NetlinkError> {
        let octets = octets(destination);
        let mut fixed = [0; 12];
        fixed[0] = family_of(destination);
        fixed[1] = (octets.len() * 8) as u8;
        fixed[8..].copy_from_slice(&flags.to_ne_bytes());
        let mut request = Writer::new(libc::RTM_GETROUTE, libc::NLM_F_REQUEST as u16, &fixed)
            .attribute(libc::RTA_DST, &octets);
        if let Some(interface) = interface {
            request = request.attribute(libc::RTA_OIF, &interface.to_ne_bytes());
        }
        let mut found = None;
        let done = self.request(&request, |message| {
            if message.kind == libc::RTM_NEWROUTE {
                found = Some(Route::read(message.body)?);
            }
            Ok(())
        });
        match done {
            Ok(()) => Ok(found),
            Err(NetlinkError::Rejected(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EACCES
                | Errno::EINVAL
                | Errno::ESRCH
                | Errno::ENODEV,
            )) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// The state of a neighbour (`NUD_…`); `None` if the kernel has no entry.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn neighbour(
        &mut self,
        interface: u32,
        address: IpAddr,
    ) -> Result<Option<u16>, NetlinkError> {
        let mut fixed = [0; NDMSG_BYTES];
        fixed[0] = family_of(address);
        // A single neighbour can be requested since Linux 5.0, those of one interface since 4.4.
        let request = Writer::new(libc::RTM_GETNEIGH, DUMP, &fixed);
        let is_wanted =
            |known: &Neighbour| known.interface == interface && known.address == address;
        let found = self.dump(&request, libc::RTM_NEWNEIGH, |body| {
            Ok(Neighbour::read(body)?.filter(is_wanted))
        })?;
        Ok(found.first().map(|known| known.state))
    }

    /// Sends a request and reads its response to the end.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn request(
        &mut self,
        request: &Writer,
        mut read: impl FnMut(&Message<'_>) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        self.exchange(request, &mut |message| read(message).map(|()| Flow::Continue)).map(drop)
    }

    pub(super) fn dump<T>(
        &mut self,
        request: &Writer,
        kind: u16,
        read: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, NetlinkError> {
        repeat_until_consistent(self.deadline, || {
            let mut found = Vec::new();
            let completion = self.exchange(request, &mut |message| {
                if message.kind == kind {
                    found.extend(read(message.body)?);
                }
                Ok(Flow::Continue)
            })?;
            Ok((found, completion))
        })
    }

    /// Sends a request and passes each message of the response to `read`.
    fn exchange(
        &mut self,
        request: &Writer,
        read: &mut dyn FnMut(&Message<'_>) -> Result<Flow, NetlinkError>,
    ) -> Result<Completion, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let end = BootInstant::now() + REQUEST_TIMEOUT;
        let deadline = earlier(end, self.deadline);
        let bytes = request.clone().finish(self.sequence);
        self.socket.send(&bytes)?;
        let has_end = request.flags() & (ACK | DUMP) != libc::NLM_F_REQUEST as u16;
        let mut completion = Completion::Consistent;
        while BootInstant::now() < end {
            for message in Messages(self.socket.receive(deadline)?) {
                let message = message?;
                // A response to an earlier request that was given up.
                if message.sequence != self.sequence {
                    continue;
                }
                if message.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                    completion = Completion::Interrupted;
                }
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_ERROR => {
                        let code = u32_at(message.body, 0)
                            .ok_or(Malformed("an error without its number"))?;
                        return check_code(code).map(|()| completion);
                    }
                    // A dump that fails says so in its last message.
                    libc::NLMSG_DONE => {
                        let code = u32_at(message.body, 0).unwrap_or(0);
                        return check_code(code).map(|()| completion);
                    }
                    libc::NLMSG_OVERRUN => return Err(NetlinkError::Truncated),
                    libc::NLMSG_NOOP => {}
                    _ => {
                        if read(&message)? == Flow::Stop || !has_end {
                            return Ok(completion);
                        }
                    }
                }
            }
        }
        Err(NetlinkError::Timeout)
    }
}

/// The routes of the IPv4 main table that `keep` selects among those with destination 0.0.0.0.
///
/// The kernel dumps a table in the order of destinations (`fib_table_dump` in `net/ipv4`), so the
/// dump is given up at the first other destination: the cost does not depend on the size of the
/// table. A socket cannot be used again while a dump is unfinished, so this one has its own.
pub(super) fn leading_routes(
    keep: impl Fn(&Route) -> bool,
    deadline: Option<BootInstant>,
) -> Result<Vec<Route>, NetlinkError> {
    repeat_until_consistent(deadline, || {
        let mut netlink = Netlink { deadline, ..Netlink::open()? };
        let mut found = Vec::new();
        let completion = netlink.exchange(&route_dump(INET), &mut |message| {
            if message.kind != libc::RTM_NEWROUTE {
                return Ok(Flow::Continue);
            }
            let route = Route::read(message.body)?;
            if route.family != INET || !route.is_in_main() {
                return Ok(Flow::Continue);
            }
            if route.destination.is_some_and(|destination| !destination.is_unspecified()) {
                return Ok(Flow::Stop);
            }
            found.extend(Some(route).filter(&keep));
            Ok(Flow::Continue)
        })?;
        Ok((found, completion))
    })
}

/// A dump of all routes of a family. Before Linux 4.20 it cannot be narrowed.
pub(super) fn route_dump(family: u8) -> Writer {
    let mut fixed = [0; 12];
    fixed[0] = family;
    Writer::new(libc::RTM_GETROUTE, DUMP, &fixed)
}

fn repeat_until_consistent<T>(
    deadline: Option<BootInstant>,
    mut dump: impl FnMut() -> Result<(T, Completion), NetlinkError>,
) -> Result<T, NetlinkError> {
    let end = earlier(BootInstant::now() + DUMP_TIMEOUT, deadline);
    loop {
        match dump() {
            Ok((found, Completion::Consistent)) => return Ok(found),
            // EBUSY is how old kernels report the same.
            Ok((_, Completion::Interrupted)) | Err(NetlinkError::Rejected(Errno::EBUSY)) => {}
            Err(err) => return Err(err),
        }
        if BootInstant::now() >= end {
            return Err(NetlinkError::Unstable);
        }
    }
}

fn earlier(own: BootInstant, deadline: Option<BootInstant>) -> BootInstant {
    deadline.map_or(own, |deadline| deadline.min(own))
}

fn check_code(code: u32) -> Result<(), NetlinkError> {
    match code.cast_signed() {
        code if code < 0 => Err(NetlinkError::Rejected(Errno::from_raw(code.saturating_neg()))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To this the kernel does not respond (netlink_rcv_skb in net/netlink/af_netlink.c).
    fn unanswered() -> Writer {
        Writer::new(libc::NLMSG_NOOP as u16, libc::NLM_F_REQUEST as u16, &[])
    }

    /// Each question took up to five seconds, whatever the deadline of the command.
    #[test]
    fn a_kernel_that_does_not_respond_delayed_a_command_beyond_its_deadline() {
        let start = BootInstant::now();
        let mut netlink = Netlink::open().unwrap().until(start + Duration::from_millis(20));
        assert_eq!(netlink.request(&unanswered(), |_| Ok(())), Err(NetlinkError::Timeout));
        assert!(BootInstant::now() < start + REQUEST_TIMEOUT);
    }

    /// The deadline ends waiting, and nothing has to be waited for.
    #[test]
    fn the_kernel_is_asked_even_after_the_deadline() {
        let mut netlink = Netlink::open().unwrap().until(BootInstant::default());
        let links = netlink.links().unwrap();
        assert!(links.iter().any(Link::is_loopback));
        netlink.defaults(INET).unwrap();
    }

    #[test]
    fn a_table_that_keeps_changing_is_given_up_at_the_deadline() {
        let mut dumps = 0;
        let found = repeat_until_consistent(Some(BootInstant::default()), || {
            dumps += 1;
            Ok(((), Completion::Interrupted))
        });
        assert_eq!((found, dumps), (Err(NetlinkError::Unstable), 1));
    }
}
