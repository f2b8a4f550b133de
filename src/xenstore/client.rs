//! A connection to xenstore, by the kernel's device or the Unix socket of a xenstored.
//!
//! It reads and watches; it writes nothing. One request is under way at a time. A look is a row of
//! requests with one bound for all of them: [`LOOK_TIMEOUT`], or the caller's deadline if that is
//! earlier. What does not follow the protocol, or is not there in time, ends the connection for
//! good: after it, no byte can be trusted.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::codec::{self, Decoder, XenstoreMessage};
use super::place::{self, XenstoreError};
use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::plain;

/// How long a whole look may take. A healthy xenstore answers a request within a millisecond.
pub const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a write is tried again. The device never says when it can be written to.
const WRITE_RETRY: Duration = Duration::from_millis(10);

/// How soon a request is sent again whose response was EAGAIN.
const REQUEST_RETRY: Duration = Duration::from_millis(20);

/// A connection.
#[derive(Debug)]
pub struct Connection {
    file: File,
    place: PathBuf,
    decoder: Decoder,
    last_id: u32,
    /// Whether a watch has fired since the caller last asked.
    has_fired: bool,
    look_started: BootInstant,
    /// When all responses of this look have to be there.
    look_deadline: BootInstant,
}

impl Connection {
    /// Connects to this server's xenstore and begins a look. One that was found broken is not tried
    /// again by this process.
    ///
    /// # Errors
    /// See [`XenstoreError`].
    pub fn open() -> Result<Connection, XenstoreError> {
        place::known_broken().map_or_else(Connection::open_again, Err)
    }

    /// The same for a caller with time to try again, however xenstore was found before.
    ///
    /// # Errors
    /// See [`XenstoreError`].
    pub fn open_again() -> Result<Connection, XenstoreError> {
        let (file, place) = place::open_any().inspect_err(place::remember)?;
        Ok(Connection::new(file, place))
    }

    /// Connects to a device or a socket.
    ///
    /// # Errors
    /// See [`XenstoreError`].
    pub fn open_at(place: &Path) -> Result<Connection, XenstoreError> {
        Ok(Connection::new(place::open(place)?, place.to_owned()))
    }

    fn new(file: File, place: PathBuf) -> Connection {
        let now = BootInstant::now();
        Connection {
            file,
            place,
            decoder: Decoder::default(),
            last_id: 0,
            has_fired: false,
            look_started: now,
            look_deadline: now + LOOK_TIMEOUT,
        }
    }

    /// Begins a look that has to be done by `deadline`, if there is one.
    pub fn begin_look(&mut self, deadline: Option<BootInstant>) {
        let now = BootInstant::now();
        self.look_started = now;
        self.look_deadline = now + LOOK_TIMEOUT;
        if let Some(deadline) = deadline {
            self.look_deadline = self.look_deadline.min(deadline);
        }
    }

    /// The connection with a look begun.
    pub fn with_look(mut self, deadline: Option<BootInstant>) -> Connection {
        self.begin_look(deadline);
        self
    }

    /// It answers: what was found before is over.
    pub fn works(&self) {
        place::forget();
    }

    /// The device or socket.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The value at a path; none if there is no such path.
    ///
    /// # Errors
    /// See [`XenstoreError`]; never [`XenstoreError::Absent`].
    pub fn read(&mut self, path: &str) -> Result<Option<String>, XenstoreError> {
        let payload = self.request_existing(codec::READ, path)?;
        Ok(payload.map(|payload| codec::text(&payload)))
    }

    /// The names of the children of a path; none if there is no such path.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn directory(&mut self, path: &str) -> Result<Option<Vec<String>>, XenstoreError> {
        let payload = self.request_existing(codec::DIRECTORY, path)?;
        Ok(payload.map(|payload| codec::names(&payload)))
    }

    /// Watches a path and all below it. The watch fires at once, which is no change.
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

    /// Waits until a watch fires; whether one did by `until`, or since this was last asked. Several
    /// events count as one: they only say that it is time for another look.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn has_fired(&mut self, until: BootInstant) -> Result<bool, XenstoreError> {
        while !self.has_fired {
            match self.receive(until)? {
                Some(message) if message.kind == codec::WATCH_EVENT => self.has_fired = true,
                Some(message) => return Err(self.broken(&unexpected(&message))),
                None => return Ok(false),
            }
        }
        self.has_fired = false;
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

    /// Sends a request, again and again as long as the response is EAGAIN.
    fn request(&mut self, kind: u32, path: &str, words: &[&str]) -> Result<Vec<u8>, XenstoreError> {
        loop {
            let response = self.request_once(kind, path, words);
            match &response {
                Err(XenstoreError::Refused { errno, .. }) if errno == "EAGAIN" => {}
                _ => return response,
            }
            if BootInstant::now() + REQUEST_RETRY >= self.look_deadline {
                let reason = format!("it answers EAGAIN for {}", self.look_duration());
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
            // The device refuses a watch by an error of write().
            Err(err)
                if is_watch
                    && !matches!(err.kind(), ErrorKind::BrokenPipe | ErrorKind::TimedOut) =>
            {
                return Err(refused(plain(&err)));
            }
            Err(err) => return Err(self.broken(&plain(&err))),
        }
        loop {
            let Some(message) = self.receive(self.look_deadline)? else {
                let reason = format!("no answer within {}", self.look_duration());
                return Err(self.broken(&reason));
            };
            match message.kind {
                // Its request id means nothing: kernels leave there what was there.
                codec::WATCH_EVENT => self.has_fired = true,
                _ if message.id != id && !(is_watch && message.id == 0) => {
                    return Err(self.broken(&unexpected(&message)));
                }
                codec::ERROR => return Err(refused(codec::text(&message.payload))),
                response if response == kind => return Ok(message.payload),
                _ => return Err(self.broken(&unexpected(&message))),
            }
        }
    }

    /// How long this look may take, for messages.
    fn look_duration(&self) -> String {
        human(self.look_deadline.since(self.look_started))
    }

    /// Sends all of it. (On kernels up to 4.10 the device's write returns only when xenstored has
    /// answered.)
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    let left = self.look_deadline.since(BootInstant::now());
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

    /// The next message; none if it does not come by `until`.
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
        let err = place::broken(&self.place, reason);
        place::remember(&err);
        err
    }
}

fn unexpected(message: &XenstoreMessage) -> String {
    format!("unexpected message of type {} with id {}", message.kind, message.id)
}
