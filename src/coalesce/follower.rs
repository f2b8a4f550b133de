//! A follower: it sleeps until its leader has a response for it.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::protocol::MAX_PACKET_BYTES;
use super::response::{Event, Response};
use crate::clock::BootInstant;

/// A connection to a leader.
pub struct Follower {
    stream: UnixStream,
    uid: u32,
    generation: usize,
    pid: i32,
    /// Allocated at the first wait.
    buffer: Vec<u8>,
}

impl Follower {
    /// A follower of the leader at the other end of `stream`.
    pub(super) fn new(stream: UnixStream, uid: u32, generation: usize, pid: i32) -> Follower {
        Follower { stream, uid, generation, pid, buffer: Vec::new() }
    }

    /// The leader's user.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// The leader's generation.
    pub(super) fn generation(&self) -> usize {
        self.generation
    }

    /// The leader's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for a response, until `until` or until `wake` is readable.
    pub fn wait(&mut self, until: BootInstant, wake: Option<BorrowedFd<'_>>) -> Event {
        if self.buffer.is_empty() {
            self.buffer = vec![0; MAX_PACKET_BYTES + 1];
        }
        loop {
            let stream = PollFd::new(self.stream.as_fd(), PollFlags::POLLIN);
            let other = PollFd::new(wake.unwrap_or(self.stream.as_fd()), PollFlags::POLLIN);
            let mut files = [stream, other];
            let ready = poll(&mut files, until.poll_timeout());
            let is_readable = files[0].any().unwrap_or(true);
            match ready {
                Ok(1..) if !is_readable => return Event::Wake,
                Ok(0) if BootInstant::now() >= until => return Event::Timeout,
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return Event::Disconnected,
            }
            if let Some(event) = self.receive() {
                return event;
            }
        }
    }

    /// Reads one packet; `None` if none has arrived.
    fn receive(&mut self) -> Option<Event> {
        match self.stream.read(&mut self.buffer) {
            Ok(length) => {
                let response = Response::decode(&self.buffer[..length], BootInstant::now());
                Some(response.map_or(Event::Disconnected, Event::Response))
            }
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                None
            }
            Err(_) => Some(Event::Disconnected),
        }
    }
}
