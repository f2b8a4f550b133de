//! The sockets of leaders and followers: abstract Unix sockets that preserve packet boundaries.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};

use crate::clock::BootInstant;

/// The address of a leader's socket: its user, its generation and its topic.
pub(super) fn address(uid: u32, generation: usize, topic: u64) -> Result<UnixAddr, Errno> {
    let name = format!("rackconnect-agent/1/{uid}/{generation}/{topic:016x}");
    UnixAddr::new_abstract(name.as_bytes())
}

/// Connects to a leader. If its queue is full, waits until `give_up`.
pub(super) fn connect_to(address: &UnixAddr, give_up: BootInstant) -> Result<UnixStream, Errno> {
    let stream = UnixStream::from(new_socket(SockFlag::empty())?);
    // If the queue is full, connect(2) waits for as long as a send may take.
    let timeout = give_up.since(BootInstant::now()).max(Duration::from_millis(1));
    let _ = stream.set_write_timeout(Some(timeout));
    connect(stream.as_raw_fd(), address)?;
    Ok(stream)
}

/// Binds a leader's address.
pub(super) fn listen_at(address: &UnixAddr) -> Result<UnixListener, Errno> {
    let socket = new_socket(SockFlag::SOCK_NONBLOCK)?;
    bind(socket.as_raw_fd(), address)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(UnixListener::from(socket))
}

fn new_socket(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)
}
