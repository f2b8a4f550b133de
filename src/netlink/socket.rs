//! The sockets: questions, dumps and events.

use std::fmt;
use std::io::IoSliceMut;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

use super::codec::*;
use super::types::*;

use crate::clock::BootInstant;

/// How long a question may take. The kernel answers in microseconds; a dump of a million routes in about a second.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What is received at once. The kernel makes no larger pieces of a dump (netlink(7) recommends 8 KB and more).
const BUFFER: usize = 64 * 1024;

/// How long an inconsistent dump is taken anew.
const RESTLESS: Duration = Duration::from_secs(10);

/// The groups of events that [`Events`] hears: links, IPv4 addresses, IPv4 routes
/// (`RTMGRP_…` in `linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x40;

/// RTM_F_FIB_MATCH and RTM_F_LOOKUP_TABLE in `linux/rtnetlink.h`: answer with the route itself, and with the table that it is
/// in (which would be called the main one). Since Linux 4.13 and 4.4, and missing in libc for musl.
const FIB_MATCH: u32 = 0x2000 | 0x1000;

/// NTF_USE's fellow in `linux/neighbour.h`: `struct ndmsg`'s length is 12.
const NDMSG: usize = 12;

/// Why the kernel's answer is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The kernel refuses.
    Refused(Errno),
    /// The socket fails.
    Socket(Errno),
    /// What it says makes no sense.
    Malformed(Malformed),
    /// It was larger than what was received.
    Truncated,
    /// The table changed faster than it could be read.
    Restless,
    /// No answer in time.
    Silent,
    /// A route cannot be named so that the kernel removes it and no other.
    Alike,
}

impl Trouble {
    /// Whether the kernel refuses with that error.
    pub fn is(self, errno: Errno) -> bool {
        self == Trouble::Refused(errno)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused(errno) => write!(f, "the kernel says {}", errno.desc()),
            Trouble::Socket(errno) => write!(f, "the netlink socket fails: {}", errno.desc()),
            Trouble::Malformed(why) => why.fmt(f),
            Trouble::Truncated => f.write_str("a netlink message was cut off"),
            Trouble::Restless => f.write_str("the routes change faster than they can be read"),
            Trouble::Silent => f.write_str("the kernel does not answer over netlink"),
            Trouble::Alike => f.write_str(
                "the kernel would take another route, which is in front of it, for the same",
            ),
        }
    }
}

impl From<Malformed> for Trouble {
    fn from(why: Malformed) -> Trouble {
        Trouble::Malformed(why)
    }
}

/// What the kernel would do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The gateway it would go to; none if the destination is on-link.
    pub gateway: Option<IpAddr>,
    /// The number of the interface it would leave by.
    pub interface: Option<u32>,
    /// What kind of destination it is.
    pub kind: Destination,
}

/// What a destination is to the kernel (`RTN_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One host, not this one.
    Unicast,
    /// This host.
    Local,
    /// All hosts of a link.
    Broadcast,
    /// Anything else: nothing is sent there.
    Other,
}

/// Where a route is added, among those of the same destination, type of service and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In front of them.
    Front,
    /// Behind them.
    Back,
    /// Only where there is none.
    Alone,
}

/// A socket that questions are asked over.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens one. It needs no privilege.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn open() -> Result<Netlink, Trouble> {
        Ok(Netlink { socket: open(0)?, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// All interfaces.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn links(&mut self) -> Result<Vec<Link>, Trouble> {
        let request = Writer::new(libc::RTM_GETLINK, DUMP, &[0; 16]);
        self.dump(&request, libc::RTM_NEWLINK, |body| Link::read(body).map(Some))
    }

    /// All addresses of a family.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn addresses(&mut self, family: u8) -> Result<Vec<Address>, Trouble> {
        let request = Writer::new(libc::RTM_GETADDR, DUMP, &[family, 0, 0, 0, 0, 0, 0, 0]);
        self.dump(&request, libc::RTM_NEWADDR, Address::read)
    }

    /// Those routes of the main table of a family that are to be kept, in the kernel's order: by destination, and those of
    /// one destination in the order of their metrics, the one that is used first in front.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn routes(
        &mut self,
        family: u8,
        keep: impl Fn(&Route) -> bool,
    ) -> Result<Vec<Route>, Trouble> {
        let mut fixed = [0; 12];
        fixed[0] = family;
        let request = Writer::new(libc::RTM_GETROUTE, DUMP, &fixed);
        self.dump(&request, libc::RTM_NEWROUTE, |body| {
            let main = |route: &Route| {
                route.family == family && route.table == u32::from(libc::RT_TABLE_MAIN)
            };
            Ok(Some(Route::read(body)?).filter(|route| main(route) && keep(route)))
        })
    }

    /// The default routes of the main table, the one that is used first in front.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn defaults(&mut self, family: u8) -> Result<Vec<Route>, Trouble> {
        self.routes(family, Route::is_default)
    }

    /// Where the kernel would send a packet to `destination`, if it had to leave by `interface` (if one is given);
    /// none if nowhere.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn hop(
        &mut self,
        destination: IpAddr,
        interface: Option<u32>,
    ) -> Result<Option<Hop>, Trouble> {
        let found = self.route_to(destination, interface, 0)?;
        Ok(found.map(|route| Hop {
            gateway: route.gateway,
            interface: route.interface,
            kind: match route.kind {
                libc::RTN_UNICAST => Destination::Unicast,
                libc::RTN_LOCAL => Destination::Local,
                libc::RTN_BROADCAST => Destination::Broadcast,
                _ => Destination::Other,
            },
        }))
    }

    /// The route, whole, by which the kernel would send packets to `destination`; none if there is none, or if the kernel is
    /// too old to tell.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn matched(&mut self, destination: IpAddr) -> Result<Option<Route>, Trouble> {
        let found = self.route_to(destination, None, FIB_MATCH)?;
        // Where that flag is not known, the kernel answers with what it would do for one packet.
        Ok(found.filter(|route| route.flags & libc::RTM_F_CLONED == 0))
    }

    fn route_to(
        &mut self,
        destination: IpAddr,
        interface: Option<u32>,
        flags: u32,
    ) -> Result<Option<Route>, Trouble> {
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
        let asked = self.ask(&request, |message| {
            if message.kind == libc::RTM_NEWROUTE {
                found = Some(Route::read(message.body)?);
            }
            Ok(())
        });
        match asked {
            Ok(()) => Ok(found),
            Err(Trouble::Refused(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::EACCES
                | Errno::EINVAL
                | Errno::ESRCH
                | Errno::ENODEV,
            )) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Adds a route. Whether it was added: one that is there already is no error.
    ///
    /// # Errors
    /// See [`Trouble`]; [`Errno::EEXIST`] only with [`Place::Alone`].
    pub fn add(&mut self, route: &Route, place: Place) -> Result<bool, Trouble> {
        let how = match place {
            Place::Front => 0,
            Place::Back => libc::NLM_F_APPEND,
            Place::Alone => libc::NLM_F_EXCL,
        };
        match self.change(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | how, route) {
            Ok(_) => Ok(true),
            Err(why) if why.is(Errno::EEXIST) && place != Place::Alone => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Removes that route and no other. Whether it was there.
    ///
    /// The kernel removes the first route that has everything that is named, and what a route has not cannot be named: a
    /// metric of 0 or a missing preferred source match any ([`Route::may_stand_for`]). So it is looked beforehand which one
    /// that would be; and since the table may change in between, the kernel is asked to tell which one it was (NLM_F_ECHO).
    /// Another is put back at once.
    ///
    /// # Errors
    /// See [`Trouble`]; [`Trouble::Alike`] where another is in front of it that the kernel takes for the same.
    pub fn remove(&mut self, route: &Route) -> Result<bool, Trouble> {
        let before = self.beside(route)?;
        self.remove_among(&before, route)
    }

    /// The same where `before` was looked up a moment ago: the routes of the same destination, in the kernel's order.
    ///
    /// # Errors
    /// See [`Netlink::remove`].
    pub fn remove_among(&mut self, before: &[Route], route: &Route) -> Result<bool, Trouble> {
        if !before.contains(route) {
            return Ok(false);
        }
        if before.iter().find(|other| route.may_stand_for(other)) != Some(route) {
            return Err(Trouble::Alike);
        }
        match self.change(libc::RTM_DELROUTE, libc::NLM_F_ECHO, route) {
            Ok(Some(other)) if other != *route => {
                // Behind those of its metric if it was behind one of them.
                let first =
                    before.iter().find(|twin| *twin != route && twin.metric == other.metric);
                let place = if first.is_none_or(|first| *first == other) {
                    Place::Front
                } else {
                    Place::Back
                };
                self.add(&other, place)?;
                log::debug!(
                    "the kernel removed another route in place of one that was gone: it was put back"
                );
                Ok(false)
            }
            Ok(_) => Ok(true),
            Err(why) if why.is(Errno::ESRCH) || why.is(Errno::ENODEV) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// The routes among which the kernel looks for that one, in its order.
    fn beside(&mut self, route: &Route) -> Result<Vec<Route>, Trouble> {
        let mut fixed = [0; 12];
        fixed[0] = route.family;
        let request = Writer::new(libc::RTM_GETROUTE, DUMP, &fixed);
        self.dump(&request, libc::RTM_NEWROUTE, |body| {
            Ok(Some(Route::read(body)?).filter(|other| other.is_beside(route)))
        })
    }

    /// Changes a route. Which one it was, where the kernel tells.
    fn change(
        &mut self,
        kind: u16,
        how: libc::c_int,
        route: &Route,
    ) -> Result<Option<Route>, Trouble> {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | how) as u16;
        let request = route
            .attributes()
            .fold(Writer::new(kind, flags, &route.fixed()), |writer, (kind, value)| {
                writer.attribute(kind, value)
            });
        let mut told = None;
        self.ask(&request, |message| {
            if message.kind == kind {
                told = Some(Route::read(message.body)?);
            }
            Ok(())
        })?;
        Ok(told)
    }

    /// How well a neighbour is known: `NUD_…`; none if not at all.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn neighbour(&mut self, interface: u32, address: IpAddr) -> Result<Option<u16>, Trouble> {
        let mut fixed = [0; NDMSG];
        fixed[0] = family_of(address);
        // One neighbour alone cannot be asked for before Linux 5.0, and those of one interface not before 4.4.
        let request = Writer::new(libc::RTM_GETNEIGH, DUMP, &fixed);
        let is_mine = |known: &Neighbour| known.interface == interface && known.address == address;
        let mine = self.dump(&request, libc::RTM_NEWNEIGH, |body| {
            Ok(Neighbour::read(body)?.filter(is_mine))
        })?;
        Ok(mine.first().map(|known| known.state))
    }

    /// Has the kernel ask a neighbour anew whether it is there, whatever is known of it.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn probe(&mut self, interface: u32, address: IpAddr) -> Result<(), Trouble> {
        // One that has a link-layer address is asked at once; this fails for one that has none …
        match self.touch(interface, address, libc::NLM_F_REPLACE, libc::NUD_PROBE, 0) {
            Err(Trouble::Refused(Errno::EINVAL | Errno::ENOENT | Errno::ESRCH)) => {}
            other => return other,
        }
        // … which is then looked for.
        self.touch(interface, address, libc::NLM_F_CREATE, libc::NUD_NONE, libc::NTF_USE)
    }

    fn touch(
        &mut self,
        interface: u32,
        address: IpAddr,
        how: libc::c_int,
        state: u16,
        flags: u8,
    ) -> Result<(), Trouble> {
        let mut fixed = [0; NDMSG];
        fixed[0] = family_of(address);
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        fixed[8..10].copy_from_slice(&state.to_ne_bytes());
        fixed[10] = flags;
        let how = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | how) as u16;
        let request =
            Writer::new(libc::RTM_NEWNEIGH, how, &fixed).attribute(libc::NDA_DST, &octets(address));
        self.ask(&request, |_| Ok(()))
    }

    /// Sends a request and reads its answers to the end. For tests and for what has no verb here.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn ask(
        &mut self,
        request: &Writer,
        mut hear: impl FnMut(&Message<'_>) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        self.exchange(request, &mut hear).map(drop)
    }

    fn dump<T>(
        &mut self,
        request: &Writer,
        kind: u16,
        read: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<Vec<T>, Trouble> {
        let deadline = BootInstant::now() + RESTLESS;
        while BootInstant::now() < deadline {
            let mut found = Vec::new();
            let whole = self.exchange(request, &mut |message| {
                if message.kind == kind {
                    found.extend(read(message.body)?);
                }
                Ok(())
            });
            match whole {
                Ok(true) => return Ok(found),
                // Interrupted by a change (NLM_F_DUMP_INTR); EBUSY: the same of old kernels.
                Ok(false) | Err(Trouble::Refused(Errno::EBUSY)) => {}
                Err(why) => return Err(why),
            }
        }
        Err(Trouble::Restless)
    }

    /// Answers with whether the answer is consistent.
    fn exchange(
        &mut self,
        request: &Writer,
        hear: &mut dyn FnMut(&Message<'_>) -> Result<(), Trouble>,
    ) -> Result<bool, Trouble> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let deadline = BootInstant::now() + PATIENCE;
        let bytes = request.clone().finish(self.sequence);
        retrying(|| {
            sendto(self.socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())
        })?;
        let wants_ack =
            u16::from_ne_bytes([bytes[6], bytes[7]]) & (ACK | DUMP) != libc::NLM_F_REQUEST as u16;
        let mut consistent = true;
        while BootInstant::now() < deadline {
            let length = receive(&self.socket, &mut self.buffer)?;
            for message in Messages(&self.buffer[..length]) {
                let message = message?;
                // What is left of a question that was given up.
                if message.sequence != self.sequence {
                    continue;
                }
                consistent &= message.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_ERROR => {
                        let code = super::codec::u32_at(message.body, 0)
                            .ok_or(Malformed("an error without a number"))?;
                        return match code.cast_signed() {
                            0 => Ok(consistent),
                            code => Err(Trouble::Refused(Errno::from_raw(code.saturating_neg()))),
                        };
                    }
                    libc::NLMSG_DONE => {
                        // A dump that fails says so in its end.
                        return match super::codec::u32_at(message.body, 0)
                            .map_or(0, u32::cast_signed)
                        {
                            code if code < 0 => {
                                Err(Trouble::Refused(Errno::from_raw(code.saturating_neg())))
                            }
                            _ => Ok(consistent),
                        };
                    }
                    libc::NLMSG_OVERRUN => return Err(Trouble::Truncated),
                    libc::NLMSG_NOOP => {}
                    _ => {
                        hear(&message)?;
                        if !wants_ack {
                            return Ok(consistent);
                        }
                    }
                }
            }
        }
        Err(Trouble::Silent)
    }
}

const DUMP: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
const ACK: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;

/// What is heard of the kernel when links, IPv4 addresses or IPv4 routes change.
#[derive(Debug)]
pub struct Events {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Events {
    /// Listens from now on.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn subscribe() -> Result<Events, Trouble> {
        Ok(Events { socket: open(GROUPS)?, buffer: vec![0; BUFFER] })
    }

    /// Takes in everything that was heard so far, without waiting. Whether there was anything, or something was lost:
    /// either way what is known has to be asked anew.
    ///
    /// # Errors
    /// The socket fails.
    pub fn drain(&mut self) -> Result<bool, Trouble> {
        let mut any = false;
        // Bounded, so that a flood of events does not keep the caller from looking.
        for _ in 0..1_000 {
            match receive_now(&self.socket, &mut self.buffer) {
                Ok(Some(_)) => any = true,
                Ok(None) => return Ok(any),
                Err(Trouble::Socket(Errno::ENOBUFS) | Trouble::Truncated) => {
                    log::debug!("events of the kernel were lost: asking anew");
                    any = true;
                }
                Err(why) => return Err(why),
            }
        }
        Ok(any)
    }

    /// The next changes of routes, waiting for them up to [`PATIENCE`]: for tests that watch what changes.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn routes(&mut self) -> Result<Vec<(u16, Route)>, Trouble> {
        let length = receive(&self.socket, &mut self.buffer)?;
        let mut routes = Vec::new();
        for message in Messages(&self.buffer[..length]) {
            let message = message?;
            if [libc::RTM_NEWROUTE, libc::RTM_DELROUTE].contains(&message.kind) {
                routes.push((message.kind, Route::read(message.body)?));
            }
        }
        Ok(routes)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(groups: u32) -> Result<OwnedFd, Trouble> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )
    .map_err(Trouble::Socket)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(Trouble::Socket)?;
    let patience = TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
    setsockopt(&socket, ReceiveTimeout, &patience).map_err(Trouble::Socket)?;
    setsockopt(&socket, SendTimeout, &patience).map_err(Trouble::Socket)?;
    Ok(socket)
}

/// What came from the kernel at once. What comes from elsewhere (any process may send to a netlink socket) is dropped.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Trouble> {
    let deadline = BootInstant::now() + PATIENCE;
    while BootInstant::now() < deadline {
        if let Some(length) = receive_once(socket, buffer, MsgFlags::empty())? {
            return Ok(length);
        }
    }
    Err(Trouble::Silent)
}

/// The same without waiting; none if there is nothing.
fn receive_now(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<usize>, Trouble> {
    match receive_once(socket, buffer, MsgFlags::MSG_DONTWAIT) {
        Err(Trouble::Silent) => Ok(None),
        Ok(None) => Ok(Some(0)),
        other => other,
    }
}

fn receive_once(
    socket: &OwnedFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> Result<Option<usize>, Trouble> {
    let mut parts = [IoSliceMut::new(buffer)];
    let received = match recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, flags) {
        Ok(received) => received,
        Err(Errno::EINTR) => return Ok(None),
        Err(Errno::EAGAIN) => return Err(Trouble::Silent),
        Err(errno) => return Err(Trouble::Socket(errno)),
    };
    let (length, cut) = (received.bytes, received.flags.contains(MsgFlags::MSG_TRUNC));
    if received.address.is_none_or(|sender| sender.pid() != 0) {
        return Ok(None);
    }
    match cut {
        true => Err(Trouble::Truncated),
        false => Ok(Some(length)),
    }
}

fn retrying<T>(mut call: impl FnMut() -> nix::Result<T>) -> Result<T, Trouble> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other.map_err(Trouble::Socket),
        }
    }
}
