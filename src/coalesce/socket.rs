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

/// A socket for all attempts of an election: one that failed to connect or bind can be used again.
#[derive(Default)]
pub(super) struct UnboundSocket(Option<OwnedFd>);

impl UnboundSocket {
    /// Connects to a leader, and waits until `give_up` if its queue is full. The stream is
    /// non-blocking.
    pub(super) fn connect(
        &mut self,
        address: &UnixAddr,
        give_up: BootInstant,
    ) -> Result<UnixStream, Errno> {
        let socket = self.take()?;
        let connected = connect(socket.as_raw_fd(), address);
        match connected {
            Ok(()) => Ok(UnixStream::from(socket)),
            Err(err) => {
                self.0 = Some(socket);
                if err == Errno::EAGAIN { connect_until(address, give_up) } else { Err(err) }
            }
        }
    }

    /// Binds a leader's address, and listens.
    pub(super) fn listen(&mut self, address: &UnixAddr) -> Result<UnixListener, Errno> {
        let socket = self.take()?;
        if let Err(err) = bind(socket.as_raw_fd(), address) {
            self.0 = Some(socket);
            return Err(err);
        }
        listen(&socket, Backlog::MAXCONN)?;
        Ok(UnixListener::from(socket))
    }

    fn take(&mut self) -> Result<OwnedFd, Errno> {
        self.0.take().map_or_else(|| new_socket(SockFlag::SOCK_NONBLOCK), Ok)
    }
}

/// Waits for a place in a full queue.
fn connect_until(address: &UnixAddr, give_up: BootInstant) -> Result<UnixStream, Errno> {
    let stream = UnixStream::from(new_socket(SockFlag::empty())?);
    // connect(2) waits for as long as a send may take.
    let timeout = give_up.since(BootInstant::now()).max(Duration::from_millis(1));
    let _ = stream.set_write_timeout(Some(timeout));
    connect(stream.as_raw_fd(), address)?;
    stream.set_nonblocking(true).map_err(|_| Errno::EAGAIN)?;
    Ok(stream)
}

fn new_socket(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)
}
