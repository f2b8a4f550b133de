//! Where xenstore is, and how it is opened: without blocking, and only if root or this user owns
//! it.

use std::env;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use nix::unistd::geteuid;

use crate::error::plain;

/// The places of xenstore in the order in which they are tried: the kernel's device, the same in
/// the older file system, and a xenstored in this domain (Xen's `tools/libs/store`; the second
/// socket is that of Xen before 4.16).
const PLACES: [&str; 4] =
    ["/dev/xen/xenbus", "/proc/xen/xenbus", "/run/xenstored/socket", "/var/run/xenstored/socket"];

/// Names one other place: the variable of Xen's own tools, for a socket or a device.
const PLACE_VARIABLE: &str = "XENSTORED_PATH";

/// Why something cannot be read from xenstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XenstoreError {
    /// There is no xenstore: not a Xen guest.
    Absent,
    /// There is one at this place, which this user cannot open.
    Unreadable(String),
    /// There is one, and it does not work; a sentence.
    Broken(String),
    /// It works, and refuses this one request.
    Refused {
        /// What was asked for.
        path: String,
        /// The name of the errno in its response.
        errno: String,
    },
}

impl fmt::Display for XenstoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XenstoreError::Absent => match named_place() {
                Some(place) => write!(
                    f,
                    "there is no xenstore at {}, which {PLACE_VARIABLE} names",
                    place.display()
                ),
                None => f.write_str("there is no xenstore here: not a Xen guest"),
            },
            XenstoreError::Unreadable(place) => {
                write!(f, "xenstore ({place}) can be read only by root")
            }
            XenstoreError::Broken(reason) => f.write_str(reason),
            XenstoreError::Refused { path, errno } => {
                write!(f, "xenstore refuses {path}: {errno}")
            }
        }
    }
}

/// The place that [`PLACE_VARIABLE`] names.
fn named_place() -> Option<PathBuf> {
    env::var_os(PLACE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Opens the named place, or the first usable one of [`PLACES`].
pub(super) fn open_any() -> Result<(File, PathBuf), XenstoreError> {
    if let Some(place) = named_place() {
        return Ok((open(&place)?, place));
    }
    let mut first_error = XenstoreError::Absent;
    for place in PLACES.map(PathBuf::from) {
        match open(&place) {
            Ok(file) => return Ok((file, place)),
            Err(err) if first_error == XenstoreError::Absent => first_error = err,
            Err(_) => {}
        }
    }
    Err(first_error)
}

/// Opens the device or connects to the socket at `place`.
pub(super) fn open(place: &Path) -> Result<File, XenstoreError> {
    let failed = |err: io::Error| match err.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => XenstoreError::Absent,
        ErrorKind::PermissionDenied => XenstoreError::Unreadable(place.display().to_string()),
        // A device whose driver found no Xen.
        _ if is(&err, Errno::ENXIO) || is(&err, Errno::ENODEV) => XenstoreError::Absent,
        _ => broken(place, &plain(&err)),
    };
    let is_socket = fs::metadata(place).map_err(failed)?.file_type().is_socket();
    let (file, owner) =
        if is_socket { connect_socket(place) } else { open_device(place) }.map_err(failed)?;
    if owner != 0 && owner != geteuid().as_raw() {
        let reason = format!("it belongs to another user (uid {owner})");
        return Err(broken(place, &reason));
    }
    Ok(file)
}

fn is(err: &io::Error, errno: Errno) -> bool {
    err.raw_os_error() == Some(errno as i32)
}

/// Opens a device, and nothing else: a request written to a regular file would change it. Returns
/// its owner, too.
fn open_device(place: &Path) -> io::Result<(File, u32)> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(place)?;
    let metadata = file.metadata()?;
    match metadata.file_type().is_char_device() {
        true => Ok((file, metadata.uid())),
        false => Err(io::Error::other("it is neither a device nor a socket")),
    }
}

/// Connects to a Unix socket without blocking. Returns the user whose process listens, too.
fn connect_socket(place: &Path) -> io::Result<(File, u32)> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let file = File::from(socket(AddressFamily::Unix, SockType::Stream, flags, None)?);
    connect(file.as_raw_fd(), &UnixAddr::new(place)?)?;
    let owner = getsockopt(&file, PeerCredentials)?.uid();
    Ok((file, owner))
}

pub(super) fn broken(place: &Path, reason: &str) -> XenstoreError {
    XenstoreError::Broken(format!("xenstore ({}) does not work: {reason}", place.display()))
}

/// Why xenstore is not tried again by this process: another attempt would take as long.
static KNOWN_BROKEN: Mutex<Option<String>> = Mutex::new(None);

/// What [`remember`] was told, unless [`forget`] came after it.
pub(super) fn known_broken() -> Option<XenstoreError> {
    KNOWN_BROKEN.lock().unwrap_or_else(PoisonError::into_inner).clone().map(XenstoreError::Broken)
}

pub(super) fn remember(err: &XenstoreError) {
    if let XenstoreError::Broken(reason) = err {
        KNOWN_BROKEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| reason.clone());
    }
}

pub(super) fn forget() {
    *KNOWN_BROKEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
