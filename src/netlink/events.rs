//! Kernel notifications about links, IPv4 addresses and IPv4 routes.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

use super::codec::Messages;
use super::error::NetlinkError;
use super::route::Route;
use super::socket::{REQUEST_TIMEOUT, Socket};
use crate::clock::BootInstant;

/// The multicast groups: RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV4_ROUTE
/// (`linux/rtnetlink.h`).
const GROUPS: u32 = 0x1 | 0x10 | 0x40;

/// How many datagrams one [`Events::drain`] takes, so that a flood cannot keep the caller busy.
const MAX_DRAINED: usize = 1_000;

/// A subscription to kernel notifications.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
}

impl Events {
    /// Subscribes; notifications queue from now on.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub fn subscribe() -> Result<Events, NetlinkError> {
        Ok(Events { socket: Socket::open(GROUPS)? })
    }

    /// Discards all queued notifications without blocking. Returns whether there were any, or some
    /// were lost: in both cases the caller has to read the kernel's state again.
    ///
    /// # Errors
    /// The socket failed.
    pub fn drain(&mut self) -> Result<bool, NetlinkError> {
        let mut any = false;
        for _ in 0..MAX_DRAINED {
            match self.socket.try_receive() {
                Ok(Some(_)) => any = true,
                Ok(None) => return Ok(any),
                Err(NetlinkError::Socket(Errno::ENOBUFS) | NetlinkError::Truncated) => {
                    log::debug!("kernel notifications were lost");
                    any = true;
                }
                Err(err) => return Err(err),
            }
        }
        Ok(any)
    }

    /// The next route changes, as `RTM_NEWROUTE` or `RTM_DELROUTE` and the route. Blocks for up to
    /// [`super::REQUEST_TIMEOUT`].
    ///
    /// # Errors
    /// See [`NetlinkError`].
    pub fn next_routes(&mut self) -> Result<Vec<(u16, Route)>, NetlinkError> {
        let mut routes = Vec::new();
        for message in Messages(self.socket.receive(BootInstant::now() + REQUEST_TIMEOUT)?) {
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
