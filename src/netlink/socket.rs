//! A netlink socket: datagrams to and from the kernel, bounded in time.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimeout, SendTimeout};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

use super::error::NetlinkError;
use crate::clock::BootInstant;

/// How long a request may take. The kernel answers in microseconds; a dump of a million routes
/// takes about a second.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The receive buffer. The kernel sends no larger part of a dump (netlink(7) recommends 8 KiB).
const BUFFER_BYTES: usize = 64 * 1024;

/// A bound netlink socket with its receive buffer.
#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket that is subscribed to the multicast `groups`; 0 for none.
    pub(super) fn open(groups: u32) -> Result<Socket, NetlinkError> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(NetlinkError::Socket)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(NetlinkError::Socket)?;
        let timeout = TimeVal::new(REQUEST_TIMEOUT.as_secs().cast_signed(), 0);
        setsockopt(&socket, ReceiveTimeout, &timeout).map_err(NetlinkError::Socket)?;
        setsockopt(&socket, SendTimeout, &timeout).map_err(NetlinkError::Socket)?;
        Ok(Socket { socket, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Sends one datagram to the kernel.
    pub(super) fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let kernel = NetlinkAddr::new(0, 0);
        loop {
            match sendto(self.socket.as_raw_fd(), bytes, &kernel, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop).map_err(NetlinkError::Socket),
            }
        }
    }

    /// Waits for one datagram from the kernel.
    pub(super) fn receive(&mut self) -> Result<&[u8], NetlinkError> {
        let deadline = BootInstant::now() + REQUEST_TIMEOUT;
        while BootInstant::now() < deadline {
            if let Received::Kernel(length) = self.receive_once(MsgFlags::empty())? {
                return Ok(&self.buffer[..length]);
            }
        }
        Err(NetlinkError::Timeout)
    }

    /// One datagram if one is queued, without blocking. Empty if it was not from the kernel.
    pub(super) fn try_receive(&mut self) -> Result<Option<&[u8]>, NetlinkError> {
        match self.receive_once(MsgFlags::MSG_DONTWAIT) {
            Ok(Received::Kernel(length)) => Ok(Some(&self.buffer[..length])),
            Ok(Received::Ignored) => Ok(Some(&[])),
            Err(NetlinkError::Timeout) => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn receive_once(&mut self, flags: MsgFlags) -> Result<Received, NetlinkError> {
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let received =
            match recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut parts, None, flags) {
                Ok(received) => received,
                Err(Errno::EINTR) => return Ok(Received::Ignored),
                Err(Errno::EAGAIN) => return Err(NetlinkError::Timeout),
                Err(errno) => return Err(NetlinkError::Socket(errno)),
            };
        // Any process may send to a netlink socket; only port 0 is the kernel.
        if received.address.is_none_or(|sender| sender.pid() != 0) {
            return Ok(Received::Ignored);
        }
        match received.flags.contains(MsgFlags::MSG_TRUNC) {
            true => Err(NetlinkError::Truncated),
            false => Ok(Received::Kernel(received.bytes)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

enum Received {
    /// So many bytes from the kernel are in the buffer.
    Kernel(usize),
    /// A signal, or a datagram of another process.
    Ignored,
}
