//! Waiting for the kernel's events.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::kernel;
use crate::clock::BootInstant;
use crate::error::Result;
use crate::netlink::Events;

/// The pause when the kernel does not respond.
pub(super) const KERNEL_RETRY: Duration = Duration::from_secs(1);

pub(super) fn subscribe() -> Result<Events> {
    Events::subscribe().map_err(|err| kernel::error("cannot listen to the kernel's events", err))
}

/// Discards the queued events. False if the socket failed and was replaced: events may be lost, but
/// the routes are read again before the next wait.
pub(super) fn drain(events: &mut Events) -> bool {
    if events.drain().is_ok() {
        return true;
    }
    match subscribe() {
        Ok(new) => *events = new,
        Err(err) => {
            log::warn!("{err}");
            thread::sleep(KERNEL_RETRY);
        }
    }
    false
}

/// Waits for events until the deadline, or until the lookup is `done`. Returns whether there are
/// events.
pub(super) fn wait_for_events(
    events: &Events,
    done: Option<&UnixStream>,
    until: Option<BootInstant>,
) -> bool {
    let timeout = match until {
        None => PollTimeout::NONE,
        Some(until) if until <= BootInstant::now() => return false,
        Some(until) => until.poll_timeout(),
    };
    let mut fds = vec![PollFd::new(events.as_fd(), PollFlags::POLLIN)];
    fds.extend(done.map(|done| PollFd::new(done.as_fd(), PollFlags::POLLIN)));
    poll(&mut fds, timeout).is_ok() && fds[0].any().unwrap_or(false)
}
