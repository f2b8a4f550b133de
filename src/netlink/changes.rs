//! Changes of routes and neighbours.

use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;

use super::codec::Writer;
use super::error::NetlinkError;
use super::requests::{ACK, Netlink, leading_routes, route_dump};
use super::route::Route;
use super::types::{INET, NDMSG_BYTES, family_of, octets};

/// The position of a new route among those with the same destination, type of service and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Before them.
    First,
    /// After them.
    Last,
    /// Only if there are none.
    Only,
}

impl Netlink {
    /// Adds a route. Returns false if it existed already.
    ///
    /// # Errors
    /// See [`NetlinkError`]; [`Errno::EEXIST`] only with [`Position::Only`].
    pub fn add(&mut self, route: &Route, position: Position) -> Result<bool, NetlinkError> {
        let flag = match position {
            Position::First => 0,
            Position::Last => libc::NLM_F_APPEND,
            Position::Only => libc::NLM_F_EXCL,
        };
        match self.change(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | flag, route) {
            Ok(_) => Ok(true),
            Err(err) if err.is(Errno::EEXIST) && position != Position::Only => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Removes exactly this route. Returns false if it did not exist.
    ///
    /// The kernel removes the first route that has all given attributes, and the absence of an
    /// attribute cannot be given: a metric of 0 or a missing source matches any
    /// ([`Route::may_match`]). So the candidates are read first. As the table may change in
    /// between, the kernel is asked to report which route it removed (NLM_F_ECHO), and a wrong one
    /// is immediately added again.
    ///
    /// # Errors
    /// See [`NetlinkError`]; [`NetlinkError::Ambiguous`] if the kernel would remove another route.
    pub fn remove(&mut self, route: &Route) -> Result<bool, NetlinkError> {
        let candidates = self.siblings(route)?;
        self.remove_among(&candidates, route)
    }

    /// [`Netlink::remove`] with the `candidates` that were just read: the routes of the same
    /// destination in the kernel's order.
    ///
    /// # Errors
    /// See [`Netlink::remove`].
    pub fn remove_among(
        &mut self,
        candidates: &[Route],
        route: &Route,
    ) -> Result<bool, NetlinkError> {
        if !candidates.contains(route) {
            return Ok(false);
        }
        if candidates.iter().find(|other| route.may_match(other)) != Some(route) {
            return Err(NetlinkError::Ambiguous);
        }
        match self.change(libc::RTM_DELROUTE, libc::NLM_F_ECHO, route) {
            Ok(Some(other)) if other != *route => {
                self.add_again(candidates, route, &other)?;
                Ok(false)
            }
            Ok(_) => Ok(true),
            Err(err) if err.is(Errno::ESRCH) || err.is(Errno::ENODEV) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// Adds a route again that the kernel removed in place of `route`, which was gone by then.
    fn add_again(
        &mut self,
        candidates: &[Route],
        route: &Route,
        removed: &Route,
    ) -> Result<(), NetlinkError> {
        let first =
            candidates.iter().find(|other| *other != route && other.metric == removed.metric);
        let position = match first {
            Some(first) if first != removed => Position::Last,
            _ => Position::First,
        };
        self.add(removed, position)?;
        log::debug!("the kernel removed another route; added it again");
        Ok(())
    }

    /// The routes among which the kernel searches this one, in the kernel's order.
    fn siblings(&mut self, route: &Route) -> Result<Vec<Route>, NetlinkError> {
        if route.family == INET && route.is_in_main() && route.prefix == 0 {
            return leading_routes(|other| other.is_sibling(route), self.deadline);
        }
        self.dump(&route_dump(route.family), libc::RTM_NEWROUTE, |body| {
            Ok(Some(Route::read(body)?).filter(|other| other.is_sibling(route)))
        })
    }

    /// Changes a route. Returns the route that was changed if the kernel reports it.
    fn change(
        &mut self,
        kind: u16,
        flags: libc::c_int,
        route: &Route,
    ) -> Result<Option<Route>, NetlinkError> {
        let flags = ACK | flags as u16;
        let request = route
            .attributes()
            .fold(Writer::new(kind, flags, &route.fixed()), |writer, (kind, value)| {
                writer.attribute(kind, value)
            });
        let mut changed = None;
        self.request(&request, |message| {
            if message.kind == kind {
                changed = Some(Route::read(message.body)?);
            }
            Ok(())
        })?;
        Ok(changed)
    }

    /// Makes the kernel check that a neighbour is reachable, whatever the state of its entry.
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn probe_neighbour(&mut self, interface: u32, address: IpAddr) -> Result<(), NetlinkError> {
        // An entry with a link-layer address is probed immediately; without one this fails …
        match self.set_neighbour(interface, address, libc::NLM_F_REPLACE, libc::NUD_PROBE, 0) {
            Err(NetlinkError::Rejected(Errno::EINVAL | Errno::ENOENT | Errno::ESRCH)) => {}
            other => return other,
        }
        // … and the address is resolved instead.
        self.set_neighbour(interface, address, libc::NLM_F_CREATE, libc::NUD_NONE, libc::NTF_USE)
    }

    fn set_neighbour(
        &mut self,
        interface: u32,
        address: IpAddr,
        request_flags: libc::c_int,
        state: u16,
        neighbour_flags: u8,
    ) -> Result<(), NetlinkError> {
        let mut fixed = [0; NDMSG_BYTES];
        fixed[0] = family_of(address);
        fixed[4..8].copy_from_slice(&interface.to_ne_bytes());
        fixed[8..10].copy_from_slice(&state.to_ne_bytes());
        fixed[10] = neighbour_flags;
        let request = Writer::new(libc::RTM_NEWNEIGH, ACK | request_flags as u16, &fixed)
            .attribute(libc::NDA_DST, &octets(address));
        self.request(&request, |_| Ok(()))
    }
}
