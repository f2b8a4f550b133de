//! Connects to the first of several addresses that answers (RFC 8305, "Happy Eyeballs").
//!
//! The attempts overlap, so that an address that does not answer delays the next one by a quarter
//! of a second, not by its whole timeout.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::clock::BootInstant;
use crate::error::plain;

/// The delay between the starts of two attempts. Source: RFC 8305, section 8.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The smallest delay. Source: RFC 8305, section 8.
const MIN_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// The addresses that could not be connected to, in the order in which they failed.
#[derive(Debug)]
pub struct ConnectError {
    pub failed: Vec<(SocketAddr, io::Error)>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failed.is_empty() {
            return f.write_str("timed out");
        }
        for (number, (address, err)) in self.failed.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{address}: {}", plain(err))?;
        }
        Ok(())
    }
}

/// Connects to the first of `addresses` that answers. The stream is non-blocking.
///
/// # Errors
/// See [`ConnectError`].
pub fn connect_to_any(
    addresses: &[SocketAddr],
    attempt_timeout: Duration,
    deadline: BootInstant,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut failed = Vec::new();
    for (address, result) in Race::new(addresses, attempt_timeout, deadline) {
        match result {
            Ok(stream) => return Ok((stream, address)),
            Err(err) => failed.push((address, err)),
        }
    }
    Err(ConnectError { failed })
}

/// Overlapping attempts to connect. Yields each of them when it succeeds or fails. All of them end
/// by the deadline.
pub struct Race {
    waiting: VecDeque<SocketAddr>,
    open: Vec<ConnectAttempt>,
    next_start: BootInstant,
    delay: Duration,
    attempt_timeout: Duration,
    deadline: BootInstant,
}

struct ConnectAttempt {
    address: SocketAddr,
    stream: TcpStream,
    deadline: BootInstant,
}

impl Race {
    pub fn new(addresses: &[SocketAddr], attempt_timeout: Duration, deadline: BootInstant) -> Race {
        let now = BootInstant::now();
        // The delay is shorter for many addresses, so that all of them are tried within half the
        // time.
        let turns = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_mul(2).max(1);
        let delay = (deadline.since(now) / turns).clamp(MIN_ATTEMPT_DELAY, ATTEMPT_DELAY);
        Race {
            waiting: addresses.iter().copied().collect(),
            open: Vec::new(),
            next_start: now,
            delay,
            attempt_timeout,
            deadline,
        }
    }

    /// Starts the next attempt if it is due. Returns it if it failed immediately.
    fn start_next(&mut self, now: BootInstant) -> Option<(SocketAddr, io::Error)> {
        if now < self.next_start || now >= self.deadline {
            return None;
        }
        let address = self.waiting.pop_front()?;
        log::debug!("connecting to {address}");
        match start(address) {
            Ok(stream) => {
                let deadline = self.deadline.min(now + self.attempt_timeout);
                self.open.push(ConnectAttempt { address, stream, deadline });
                self.next_start = now + self.delay;
                None
            }
            Err(err) => Some((address, err)),
        }
    }

    /// Waits until an attempt ends or the next one is due.
    fn wait(&mut self) -> Option<(SocketAddr, io::Result<TcpStream>)> {
        let ends = self.open.iter().map(|attempt| attempt.deadline);
        let next = (!self.waiting.is_empty()).then_some(self.next_start);
        let until = ends.chain(next).min().unwrap_or(self.deadline);
        let mut fds: Vec<PollFd<'_>> = self
            .open
            .iter()
            .map(|attempt| PollFd::new(attempt.stream.as_fd(), PollFlags::POLLOUT))
            .collect();
        let polled = poll(&mut fds, until.poll_timeout());
        let events: Vec<PollFlags> =
            fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::POLLERR)).collect();
        let now = BootInstant::now();
        let at = match polled {
            Err(Errno::EINTR) => return None,
            Err(err) => {
                let attempt = self.open.pop()?;
                // The next address does not wait for this one.
                self.next_start = now;
                return Some((attempt.address, Err(err.into())));
            }
            Ok(0) => self.open.iter().position(|attempt| now >= attempt.deadline)?,
            Ok(_) => events.iter().position(|events| !events.is_empty())?,
        };
        let attempt = self.open.remove(at);
        let result = match events[at] {
            none if none.is_empty() => Err(ErrorKind::TimedOut.into()),
            PollFlags::POLLOUT => Ok(attempt.stream),
            _ => match attempt.stream.take_error() {
                Ok(None) => Ok(attempt.stream),
                Ok(Some(err)) | Err(err) => Err(err),
            },
        };
        if result.is_err() {
            self.next_start = now;
        }
        Some((attempt.address, result))
    }
}

impl Iterator for Race {
    type Item = (SocketAddr, io::Result<TcpStream>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((address, err)) = self.start_next(BootInstant::now()) {
                return Some((address, Err(err)));
            }
            if self.open.is_empty() {
                return None;
            }
            if let Some(ended) = self.wait() {
                return Some(ended);
            }
        }
    }
}

/// Begins to connect, without waiting for the result.
///
/// # Errors
/// The attempt failed immediately.
pub fn start(address: SocketAddr) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // If a server's flight of the TLS handshake arrives in pieces, the request would otherwise wait
    // 40 ms, until the server acknowledges what was sent between two of them.
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        // After a signal the attempt goes on as well.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(TcpStream::from(fd)),
        Err(err) => Err(err.into()),
    }
}

/// The address to begin with: the one that worked or, if none did, the one behind the last failure.
#[derive(Debug, Default)]
pub enum Preference {
    /// The first.
    #[default]
    None,
    /// This one worked.
    With(SocketAddr),
    /// This one did not.
    Behind(SocketAddr),
}

impl Preference {
    /// Rotates the addresses so that the preferred one is the first.
    pub fn arrange(&self, addresses: &mut [SocketAddr]) {
        let position = |wanted| addresses.iter().position(|address| *address == wanted);
        let first = match *self {
            Preference::None => None,
            Preference::With(address) => position(address),
            Preference::Behind(address) => position(address).map(|at| at + 1),
        };
        addresses.rotate_left(first.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nix::sys::socket::{Backlog, listen};

    use super::*;

    /// Long enough for any machine.
    const ENOUGH: Duration = Duration::from_secs(60);

    /// A listener whose queue is full: connections to it neither succeed nor fail.
    fn dead() -> (TcpListener, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let filling = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, filling)
    }

    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Each address that did not answer cost all its time, and with a few of them a good one was
    /// never reached.
    #[test]
    fn a_good_address_is_reached_behind_many_dead_ones() {
        let dead: Vec<_> = (0..12).map(|_| dead()).collect();
        let good = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut addresses: Vec<SocketAddr> =
            dead.iter().map(|(listener, _)| listener.local_addr().unwrap()).collect();
        addresses.push(good.local_addr().unwrap());
        let start = BootInstant::now();
        let (_, address) = connect_to_any(&addresses, ENOUGH, start + ENOUGH).unwrap();
        assert_eq!(address, good.local_addr().unwrap());
        assert!(BootInstant::now().since(start) < ENOUGH / 2);
        // The delays are shorter if the time is short.
        let short = Race::new(&addresses, ENOUGH, BootInstant::now() + Duration::from_secs(1));
        assert!(short.delay * 13 < Duration::from_secs(1), "{:?}", short.delay);
    }

    /// The client's ChangeCipherSpec went alone, and the request waited for its acknowledgement.
    #[test]
    fn a_request_waited_for_an_acknowledgement_of_the_handshake() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let deadline = BootInstant::now() + ENOUGH;
        let (stream, _) = connect_to_any(&[address], ENOUGH, deadline).unwrap();
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn the_error_names_every_address() {
        let (dead, _filling) = dead();
        let addresses = [closed(), dead.local_addr().unwrap(), closed()];
        let attempt_timeout = Duration::from_millis(300);
        let deadline = BootInstant::now() + ENOUGH;
        let err = connect_to_any(&addresses, attempt_timeout, deadline).unwrap_err();
        // They are named in the order in which they failed.
        let message = err.to_string();
        let mut named: Vec<&str> = message.split("; ").collect();
        named.sort_unstable();
        let [first, dead, second] = addresses;
        let mut expected = [
            format!("{first}: Connection refused"),
            format!("{second}: Connection refused"),
            format!("{dead}: timed out"),
        ];
        expected.sort_unstable();
        assert_eq!(named, expected);
    }

    #[test]
    fn the_deadline_ends_it() {
        let (dead, _filling) = dead();
        let addresses = [dead.local_addr().unwrap(); 3];
        let start = BootInstant::now();
        let err = connect_to_any(&addresses, ENOUGH, start + Duration::from_millis(300));
        assert!(!err.unwrap_err().failed.is_empty());
        assert!(BootInstant::now().since(start) < ENOUGH / 2);
        let err = connect_to_any(&addresses, ENOUGH, BootInstant::now()).unwrap_err();
        assert_eq!(err.to_string(), "timed out");
        assert!(connect_to_any(&[], ENOUGH, start + ENOUGH).is_err());
    }

    #[test]
    fn the_next_race_begins_with_the_address_that_worked_or_behind_the_one_that_failed() {
        let all = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let arranged = |preference: Preference| {
            let mut addresses = all;
            preference.arrange(&mut addresses);
            addresses.map(|address| address.port())
        };
        assert_eq!(arranged(Preference::None), [1, 2, 3]);
        assert_eq!(arranged(Preference::With(all[1])), [2, 3, 1]);
        assert_eq!(arranged(Preference::Behind(all[1])), [3, 1, 2]);
        assert_eq!(arranged(Preference::Behind(all[2])), [1, 2, 3]);
        assert_eq!(arranged(Preference::With(closed())), [1, 2, 3]);
    }
}
