//! Waits until a file can be read or written without blocking.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::clock::BootInstant;

/// Waits for one of these events. A deadline that has passed only keeps it from waiting.
///
/// # Errors
/// The system's error; [`ErrorKind::TimedOut`] at the deadline.
pub fn wait(file: &impl AsFd, events: PollFlags, deadline: BootInstant) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(file.as_fd(), events)], deadline.poll_timeout()) {
            Ok(0) if BootInstant::now() >= deadline => {
                return Err(io::Error::new(ErrorKind::TimedOut, "the deadline passed"));
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(err) => return Err(err.into()),
        }
    }
}
