//! The client: a connection to xenstore, over the kernel's device or a xenstored's Unix socket.
//!
//! It reads and watches; it writes nothing. One request is under way at a time, and each has its answer within
//! [`TIMEOUT`]. Whatever does not follow the protocol ends the connection for good: after it, no byte can be believed.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::{fmt, io};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::geteuid;

use super::codec::{self, Decoder};
use crate::clock::BootInstant;
use crate::duration::human;

/// Where xenstore is, in the order in which it is looked for: the kernel's device, the same in the older file system, and
/// a xenstored in this very domain (Xen's `tools/libs/store`; the second path is that of Xen before 4.16).
const PLACES: [&str; 4] =
    ["/dev/xen/xenbus", "/proc/xen/xenbus", "/run/xenstored/socket", "/var/run/xenstored/socket"];

/// Names one other place instead: the variable of Xen's own tools, for a socket or a device. A program's environment is
/// made by whoever starts it; what is at that place has to belong to that user, too, or to root.
const VARIABLE: &str = "XENSTORED_PATH";

/// How long an answer may take. A healthy xenstore answers in less than a millisecond.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait before writing again what could not be written. The device never tells that it can be.
const WRITE_AGAIN: Duration = Duration::from_millis(10);

/// How long to wait before a request is sent again that was answered with EAGAIN.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Why something cannot be had from xenstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is none: not a Xen guest.
    Absent,
    /// It is there, and not for this user.
    Unreadable(String),
    /// It is there, and does not work.
    Broken(String),
    /// It works, and refuses this one request, with that errno's name.
    Refused(String, String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Absent => match named() {
                Some(place) => {
                    write!(f, "there is no xenstore at {}, which {VARIABLE} names", place.display())
                }
                None => f.write_str("there is no xenstore here: not a Xen guest"),
            },
            Trouble::Unreadable(place) => write!(f, "xenstore ({place}) can be read by root alone"),
            Trouble::Broken(why) => f.write_str(why),
            Trouble::Refused(path, name) => write!(f, "xenstore refuses {path}: {name}"),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    file: File,
    place: PathBuf,
    decoder: Decoder,
    last_id: u32,
    /// Whether a watch has fired since that was last asked for.
    fired: bool,
    /// When all answers have to be there.
    until: Option<BootInstant>,
}

impl Connection {
    /// Connects to this server's xenstore. Once it was found broken it is not tried again by this process: the next
    /// attempt would take as long.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn open() -> Result<Connection, Trouble> {
        match BROKEN.lock().ok().and_then(|broken| broken.clone()) {
            Some(why) => Err(Trouble::Broken(why)),
            None => Connection::open_again(),
        }
    }

    /// The same for who has the time to try again: however it was found before.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn open_again() -> Result<Connection, Trouble> {
        let opened = match named() {
            Some(path) => Connection::open_at(&path),
            None => {
                let mut worst = Trouble::Absent;
                let found =
                    PLACES.iter().find_map(|place| match Connection::open_at(Path::new(place)) {
                        Ok(connection) => Some(connection),
                        Err(trouble) => {
                            // What the first place says that has anything to say.
                            if worst == Trouble::Absent {
                                worst = trouble;
                            }
                            None
                        }
                    });
                found.ok_or(worst)
            }
        };
        opened.inspect_err(remember)
    }

    /// Connects to a device or a socket.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn open_at(place: &Path) -> Result<Connection, Trouble> {
        let failed = |why: io::Error| match why.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Trouble::Absent,
            ErrorKind::PermissionDenied => Trouble::Unreadable(place.display().to_string()),
            // A device of a driver that found no Xen.
            _ if [Errno::ENXIO, Errno::ENODEV]
                .iter()
                .any(|none| why.raw_os_error() == Some(*none as i32)) =>
            {
                Trouble::Absent
            }
            _ => broken(place, &why.to_string()),
        };
        let is_socket = fs::metadata(place).map_err(failed)?.file_type().is_socket();
        let (file, owner) =
            if is_socket { dial(place) } else { open_device(place) }.map_err(failed)?;
        if owner != 0 && owner != geteuid().as_raw() {
            return Err(broken(
                place,
                &format!("it belongs to user {owner}, who is neither root nor this program's user"),
            ));
        }
        let (place, decoder) = (place.to_owned(), Decoder::default());
        Ok(Connection { file, place, decoder, last_id: 0, fired: false, until: None })
    }

    /// It answers: whatever was found before is over.
    pub fn works(&self) {
        if let Ok(mut broken) = BROKEN.lock() {
            *broken = None;
        }
    }

    /// No answer is waited for beyond that moment, if there is one.
    pub fn by(self, until: Option<BootInstant>) -> Connection {
        Connection { until, ..self }
    }

    /// The device or socket.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The value at a path; none if there is no such path.
    ///
    /// # Errors
    /// See [`Trouble`]; never [`Trouble::Absent`].
    pub fn read(&mut self, path: &str) -> Result<Option<String>, Trouble> {
        let payload = self.ask_if_there(codec::READ, path)?;
        Ok(payload.map(|payload| codec::text(&payload)))
    }

    /// The names of the children of a path; none if there is no such path.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn directory(&mut self, path: &str) -> Result<Option<Vec<String>>, Trouble> {
        let payload = self.ask_if_there(codec::DIRECTORY, path)?;
        Ok(payload.map(|payload| codec::names(&payload)))
    }

    /// Watches a path and all below it. The watch fires at once, which is no change.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Trouble> {
        self.ask(codec::WATCH, path, &[path, token]).map(drop)
    }

    /// Takes a watch back.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Trouble> {
        self.ask(codec::UNWATCH, path, &[path, token]).map(drop)
    }

    /// What can be read once something comes.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Waits until a watch fires; whether one did by `until`, or before the call and nobody asked. Many at once are one:
    /// what they mean is that it is time to look again.
    ///
    /// # Errors
    /// As for [`Connection::read`].
    pub fn fired(&mut self, until: BootInstant) -> Result<bool, Trouble> {
        while !self.fired {
            match self.receive(until)? {
                Some(message) if message.kind == codec::WATCH_EVENT => self.fired = true,
                Some(message) => return Err(self.broken(&unasked(&message))),
                None => return Ok(false),
            }
        }
        self.fired = false;
        Ok(true)
    }

    fn ask_if_there(&mut self, kind: u32, path: &str) -> Result<Option<Vec<u8>>, Trouble> {
        match self.ask(kind, path, &[path]) {
            Ok(payload) => Ok(Some(payload)),
            Err(Trouble::Refused(_, name)) if name == "ENOENT" => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Asks, and asks again as long as the answer is EAGAIN.
    fn ask(&mut self, kind: u32, path: &str, words: &[&str]) -> Result<Vec<u8>, Trouble> {
        let deadline = BootInstant::now() + TIMEOUT;
        let deadline = self.until.map_or(deadline, |until| deadline.min(until));
        loop {
            let answer = self.ask_once(kind, path, words, deadline);
            match &answer {
                Err(Trouble::Refused(_, name))
                    if name == "EAGAIN" && BootInstant::now() + ASK_AGAIN < deadline =>
                {
                    thread::sleep(ASK_AGAIN);
                }
                _ => return answer,
            }
        }
    }

    fn ask_once(
        &mut self,
        kind: u32,
        path: &str,
        words: &[&str],
        deadline: BootInstant,
    ) -> Result<Vec<u8>, Trouble> {
        let refused = |name: String| Trouble::Refused(path.to_owned(), name);
        let mut payload = Vec::new();
        for word in words {
            payload.extend_from_slice(word.as_bytes());
            payload.push(0);
        }
        if payload.len() > codec::PAYLOAD_MAX {
            return Err(refused("E2BIG".to_owned()));
        }
        // Never 0: that is what kernels up to 4.10 put into their answers to WATCH and UNWATCH, which they give themselves.
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let (id, began) = (self.last_id, BootInstant::now());
        let is_watch = matches!(kind, codec::WATCH | codec::UNWATCH);
        match self.send(&codec::encode(kind, id, &payload), deadline) {
            Ok(()) => {}
            // The device refuses a watch by an error of write().
            Err(why)
                if is_watch
                    && !matches!(why.kind(), ErrorKind::BrokenPipe | ErrorKind::TimedOut) =>
            {
                return Err(refused(why.to_string()));
            }
            Err(why) => return Err(self.broken(&why.to_string())),
        }
        loop {
            let Some(message) = self.receive(deadline)? else {
                return Err(
                    self.broken(&format!("no answer within {}", human(deadline.since(began))))
                );
            };
            match message.kind {
                // Its request id means nothing: kernels leave there what was there.
                codec::WATCH_EVENT => self.fired = true,
                _ if message.id != id && !(is_watch && message.id == 0) => {
                    return Err(self.broken(&unasked(&message)));
                }
                codec::ERROR => return Err(refused(codec::text(&message.payload))),
                answer if answer == kind => return Ok(message.payload),
                _ => return Err(self.broken(&unasked(&message))),
            }
        }
    }

    /// Sends all of it. (On kernels up to 4.10 the device's write returns only when xenstored has answered.)
    fn send(&mut self, mut bytes: &[u8], deadline: BootInstant) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => {
                    let rest = deadline.since(BootInstant::now());
                    if rest.is_zero() {
                        return Err(io::Error::new(ErrorKind::TimedOut, "it takes no request"));
                    }
                    self.poll(PollFlags::POLLOUT, rest.min(WRITE_AGAIN))?;
                }
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// The next message; none if it does not come by `until`.
    fn receive(&mut self, until: BootInstant) -> Result<Option<codec::Message>, Trouble> {
        let mut chunk = [0; codec::HEADER + codec::PAYLOAD_MAX];
        loop {
            match self.decoder.take() {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
                Err(codec::Oversized(length)) => {
                    return Err(self.broken(&format!(
                        "it announces {length} bytes, and the protocol allows {}",
                        codec::PAYLOAD_MAX
                    )));
                }
            }
            let rest = until.since(BootInstant::now());
            let read = match self.poll(PollFlags::POLLIN, rest) {
                Ok(true) => self.file.read(&mut chunk),
                Ok(false) if rest.is_zero() => return Ok(None),
                Ok(false) => continue,
                Err(why) => Err(why),
            };
            match read {
                Ok(0) => return Err(self.broken("it closed the connection")),
                Ok(length) => self.decoder.feed(&chunk[..length]),
                Err(why)
                    if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    if rest.is_zero() {
                        return Ok(None);
                    }
                }
                Err(why) => return Err(self.broken(&why.to_string())),
            }
        }
    }

    /// Waits until the file can be read or written, for so long at most.
    fn poll(&self, what: PollFlags, rest: Duration) -> io::Result<bool> {
        // A millisecond more than the whole ones, or the last one would be waited for in a busy loop.
        let millis = if rest.is_zero() { 0 } else { rest.as_millis().saturating_add(1) };
        let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.file.as_fd(), what)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(why) => Err(why.into()),
        }
    }

    fn broken(&self, why: &str) -> Trouble {
        let trouble = broken(&self.place, why);
        remember(&trouble);
        trouble
    }
}

/// The place that [`VARIABLE`] names.
fn named() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Why this process tries no more.
static BROKEN: Mutex<Option<String>> = Mutex::new(None);

fn remember(trouble: &Trouble) {
    if let Trouble::Broken(why) = trouble
        && let Ok(mut broken) = BROKEN.lock()
    {
        broken.get_or_insert_with(|| why.clone());
    }
}

fn broken(place: &Path, why: &str) -> Trouble {
    Trouble::Broken(format!("xenstore ({}) does not work: {why}", place.display()))
}

fn unasked(message: &codec::Message) -> String {
    format!(
        "it sends a message of type {} with id {}, which answers nothing",
        message.kind, message.id
    )
}

/// Opens a device, and nothing but a device: what is written to it would change a file. Answers with its owner, too.
fn open_device(place: &Path) -> io::Result<(File, u32)> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(place)?;
    let metadata = file.metadata()?;
    match metadata.file_type().is_char_device() {
        true => Ok((file, metadata.uid())),
        false => Err(io::Error::other("it is neither a device nor a socket")),
    }
}

/// Connects to a Unix socket without waiting. Answers with the user whose program listens there, too.
fn dial(place: &Path) -> io::Result<(File, u32)> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let file = File::from(socket(AddressFamily::Unix, SockType::Stream, flags, None)?);
    connect(file.as_raw_fd(), &UnixAddr::new(place)?)?;
    let owner = getsockopt(&file, PeerCredentials)?.uid();
    Ok((file, owner))
}
