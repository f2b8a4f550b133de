//! A netlink socket: datagrams to and from the kernel, bounded in time.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendto,
    socket,
};

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

    /// Waits for one datagram from the kernel, until `deadline`. What has come by then is read even
    /// after it.
    pub(super) fn receive(&mut self, deadline: BootInstant) -> Result<&[u8], NetlinkError> {
        loop {
            match self.receive_once()? {
                Received::Kernel(length) => return Ok(&self.buffer[..length]),
                Received::Ignored => {}
                Received::Nothing => self.poll(deadline)?,
            }
        }
    }

    /// One datagram if one is queued, without blocking. Empty if it was not from the kernel.
    pub(super) fn try_receive(&mut self) -> Result<Option<&[u8]>, NetlinkError> {
        Ok(match self.receive_once()? {
            Received::Kernel(length) => Some(&self.buffer[..length]),
            Received::Ignored => Some(&[]),
            Received::Nothing => None,
        })
    }

    /// Waits until something is queued.
    fn poll(&self, deadline: BootInstant) -> Result<(), NetlinkError> {
        let mut files = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut files, deadline.poll_timeout()) {
            Ok(0) if deadline <= BootInstant::now() => Err(NetlinkError::Timeout),
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(NetlinkError::Socket(errno)),
        }
    }

    /// The kernel's answer is there when the request has been sent, so this hardly ever has to be
    /// waited for.
    fn receive_once(&mut self) -> Result<Received, NetlinkError> {
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let received =
            match recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut parts, None, flags) {
                Ok(received) => received,
                Err(Errno::EINTR) => return Ok(Received::Ignored),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(errno) => return Err(NetlinkError::Socket(errno)),
            };
        // Any process may send to a netlink socket; only port 0 is the kernel.
        if received.address.is_none_or(|sender| sender.pid() != 0) {
            return Ok(Received::Ignored);
        }
        if received.flags.contains(MsgFlags::MSG_TRUNC) {
            Err(NetlinkError::Truncated)
        } else {
            Ok(Received::Kernel(received.bytes))
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
    /// None is queued.
    Nothing,
}
