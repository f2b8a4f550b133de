//! A connection to xenstore, by the kernel's device or the Unix socket of a xenstored.
//!
//! It reads and watches; it writes nothing. One request is under way at a time. All requests after
//! [`Connection::set_deadline`] together may take [`READ_TIMEOUT`], or until the caller's deadline
//! if that is earlier. A response that is late or violates the protocol ends the connection, since
//! the bytes after it cannot be interpreted.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::codec::{self, Decoder, XenstoreMessage};
use super::location::{self, XenstoreError};
use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::plain;

/// How long reading several values may take. A healthy xenstore responds within a millisecond.
pub const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a write is tried again. poll(2) does not tell when the device can be written to.
const WRITE_RETRY: Duration = Duration::from_millis(10);

/// How soon a request is sent again after the response EAGAIN.
const REQUEST_RETRY: Duration = Duration::from_millis(20);

/// A connection.
#[derive(Debug)]
pub struct Connection {
    file: File,
    location: PathBuf,
    decoder: Decoder,
    last_id: u32,
    /// Whether an event was received that [`Connection::wait_for_event`] has not returned yet.
    has_event: bool,
    /// When the deadline was set.
    started: BootInstant,
    /// When all responses have to be received.
    deadline: BootInstant,
}

impl Connection {
    /// Connects to this server's xenstore. After it was found broken, this process does not try it
    /// again.
    ///
    /// # Errors
    /// See [`XenstoreError`].
    pub fn open() -> Result<Connection, XenstoreError> {
        location::known_broken().map_or_else(Connection::open_again, Err)
    }

    /// The same for a caller with time to try again, even after xenstore was found broken.
    ///
    /// # Errors
    /// See [`XenstoreError`].
    pub fn open_again() -> Result<Connection, XenstoreError> {
        let (file, location) = location::open_any().inspect_err(location::record_error)?;
        Ok(Connection::new(file, location))
    }

    /// Connects to a device or a socket.
    ///
    /// # Errors
    /// See [`XenstoreError`].
    pub fn open_at(location: &Path) -> Result<Connection, XenstoreError> {
        Ok(Connection::new(location::open(location)?, location.to_owned()))
    }

    fn new(file: File, location: PathBuf) -> Connection {
        let now = BootInstant::now();
        Connection {
            file,
            location,
            decoder: Decoder::default(),
            last_id: 0,
            has_event: false,
            started: now,
            deadline: now + READ_TIMEOUT,
        }
    }

    /// Sets the deadline of the requests that follow: `deadline`, and [`READ_TIMEOUT`] at most.
    pub fn set_deadline(&mut self, deadline: Option<BootInstant>) {
        let now = BootInstant::now();
        self.started = now;
        self.deadline = now + READ_TIMEOUT;
        if let Some(deadline) = deadline {
            self.deadline = self.deadline.min(deadline);
        }
    }

    /// The connection with its deadline set: see [`Connection::set_deadline`].
    pub fn with_deadline(mut self, deadline: Option<BootInstant>) -> Connection {
        self.set_deadline(deadline);
        self
    }

    /// Records that xenstore works, even if it was found broken before.
    pub fn record_success(&self) {
        location::record_success();
    }

    /// The device or socket.
    pub fn location(&self) -> &Path {
        &self.location
    }

    /// The value at a path; `None` if there is no such path.
    ///
    /// # Errors
    /// See [`XenstoreError`]; never [`XenstoreError::Absent`].
    pub fn read(&mut self, path: &str) -> Result<Option<String>, XenstoreError> {
        let payload = self.request_existing(codec::READ, path)?;
        Ok(payload.map(|payload| codec::text(&payload)))
    }

    /// The names of the children of a path; `None` if there is no such path.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn directory(&mut self, path: &str) -> Result<Option<Vec<String>>, XenstoreError> {
        let payload = self.request_existing(codec::DIRECTORY, path)?;
        Ok(payload.map(|payload| codec::names(&payload)))
    }

    /// Watches a path and all paths below it. The first event comes immediately, without
    /// a change.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), XenstoreError> {
        self.request(codec::WATCH, path, &[path, token]).map(drop)
    }

    /// Removes a watch.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), XenstoreError> {
        self.request(codec::UNWATCH, path, &[path, token]).map(drop)
    }

    /// Becomes readable when an event comes.
    pub fn wakeup(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Waits for an event until `until`. Returns whether there was one since the last call. Several
    /// events count as one: they only mean that the values have to be read again.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn wait_for_event(&mut self, until: BootInstant) -> Result<bool, XenstoreError> {
        while !self.has_event {
            match self.receive(until)? {
                Some(message) if message.kind == codec::WATCH_EVENT => self.has_event = true,
                Some(message) => return Err(self.broken(&unexpected(&message))),
                None => return Ok(false),
            }
        }
        self.has_event = false;
        Ok(true)
    }

    fn request_existing(
        &mut self,
        kind: u32,
        path: &str,
    ) -> Result<Option<Vec<u8>>, XenstoreError> {
        match self.request(kind, path, &[path]) {
            Ok(payload) => Ok(Some(payload)),
            Err(XenstoreError::Refused { errno, .. }) if errno == "ENOENT" => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Sends a request, and repeats it as long as the response is EAGAIN.
    fn request(&mut self, kind: u32, path: &str, words: &[&str]) -> Result<Vec<u8>, XenstoreError> {
        loop {
            let response = self.request_once(kind, path, words);
            match &response {
                Err(XenstoreError::Refused { errno, .. }) if errno == "EAGAIN" => {}
                _ => return response,
            }
            if BootInstant::now() + REQUEST_RETRY >= self.deadline {
                let reason = format!("it answers EAGAIN for {}", self.time_allowed());
                return Err(self.broken(&reason));
            }
            thread::sleep(REQUEST_RETRY);
        }
    }

    fn request_once(
        &mut self,
        kind: u32,
        path: &str,
        words: &[&str],
    ) -> Result<Vec<u8>, XenstoreError> {
        let refused = |errno: String| XenstoreError::Refused { path: path.to_owned(), errno };
        let payload = codec::words(words);
        if payload.len() > codec::MAX_PAYLOAD_BYTES {
            return Err(refused("E2BIG".to_owned()));
        }
        // Never 0, which kernels up to 4.10 put into the responses to WATCH and UNWATCH.
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let id = self.last_id;
        let is_watch = matches!(kind, codec::WATCH | codec::UNWATCH);
        match self.send(&codec::encode(kind, id, &payload)) {
            Ok(()) => {}
            // The kernel's device refuses a watch by an error of write(2).
            Err(err)
                if is_watch
                    && !matches!(err.kind(), ErrorKind::BrokenPipe | ErrorKind::TimedOut) =>
            {
                return Err(refused(plain(&err)));
            }
            Err(err) => return Err(self.broken(&plain(&err))),
        }
        loop {
            let Some(message) = self.receive(self.deadline)? else {
                let reason = format!("no answer within {}", self.time_allowed());
                return Err(self.broken(&reason));
            };
            match message.kind {
                // Its request id has no meaning: kernels do not set it.
                codec::WATCH_EVENT => self.has_event = true,
                _ if message.id != id && !(is_watch && message.id == 0) => {
                    return Err(self.broken(&unexpected(&message)));
                }
                codec::ERROR => return Err(refused(codec::text(&message.payload))),
                response if response == kind => return Ok(message.payload),
                _ => return Err(self.broken(&unexpected(&message))),
            }
        }
    }

    /// How long the requests may take, for messages.
    fn time_allowed(&self) -> String {
        human(self.deadline.since(self.started))
    }

    /// Sends all bytes. (On kernels up to 4.10 a write to the device returns only after xenstored
    /// has responded.)
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    let left = self.deadline.since(BootInstant::now());
                    if left.is_zero() {
                        return Err(io::Error::new(ErrorKind::TimedOut, "it takes no request"));
                    }
                    self.poll(PollFlags::POLLOUT, left.min(WRITE_RETRY))?;
                }
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// The next message; `None` if it is not received by `until`.
    fn receive(&mut self, until: BootInstant) -> Result<Option<XenstoreMessage>, XenstoreError> {
        let mut chunk = [0; codec::HEADER_BYTES + codec::MAX_PAYLOAD_BYTES];
        loop {
            match self.decoder.take() {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
                Err(codec::Oversized(length)) => {
                    return Err(self.broken(&format!(
                        "it announces {length} bytes, and the protocol allows {}",
                        codec::MAX_PAYLOAD_BYTES
                    )));
                }
            }
            let left = until.since(BootInstant::now());
            let read = match self.poll(PollFlags::POLLIN, left) {
                Ok(true) => self.file.read(&mut chunk),
                Ok(false) if left.is_zero() => return Ok(None),
                Ok(false) => continue,
                Err(err) => Err(err),
            };
            match read {
                Ok(0) => return Err(self.broken("it closed the connection")),
                Ok(length) => self.decoder.feed(&chunk[..length]),
                Err(err)
                    if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    if left.is_zero() {
                        return Ok(None);
                    }
                }
                Err(err) => return Err(self.broken(&plain(&err))),
            }
        }
    }

    /// Waits until the file can be read or written, for `timeout` at most.
    fn poll(&self, what: PollFlags, timeout: Duration) -> io::Result<bool> {
        let until = BootInstant::now() + timeout;
        match poll(&mut [PollFd::new(self.file.as_fd(), what)], until.poll_timeout()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(err) => Err(err.into()),
        }
    }

    fn broken(&self, reason: &str) -> XenstoreError {
        let err = location::broken(&self.location, reason);
        location::record_error(&err);
        err
    }
}

fn unexpected(message: &XenstoreMessage) -> String {
    format!("unexpected message of type {} with id {}", message.kind, message.id)
}
