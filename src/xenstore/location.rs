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

/// The locations of xenstore in the order in which they are tried: the kernel's device, the same in
/// the older file system, and the sockets of a xenstored in this domain, the second of them before
/// Xen 4.16. Source: Xen's `tools/libs/store`.
const LOCATIONS: [&str; 4] =
    ["/dev/xen/xenbus", "/proc/xen/xenbus", "/run/xenstored/socket", "/var/run/xenstored/socket"];

/// The variable that names another socket or device. Xen's own tools use it as well.
const LOCATION_VARIABLE: &str = "XENSTORED_PATH";

/// Why something cannot be read from xenstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XenstoreError {
    /// There is no xenstore: not a Xen guest.
    Absent,
    /// There is one at this location, which this user cannot open.
    Unreadable(String),
    /// There is one that does not work; a sentence.
    Broken(String),
    /// It refused this one request.
    Refused {
        /// The path that was requested.
        path: String,
        /// The name of the errno in the response.
        errno: String,
    },
}

impl fmt::Display for XenstoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            XenstoreError::Absent => match location_in_environment() {
                Some(location) => write!(
                    f,
                    "there is no xenstore at {}, which {LOCATION_VARIABLE} names",
                    location.display()
                ),
                None => f.write_str("there is no xenstore here: not a Xen guest"),
            },
            XenstoreError::Unreadable(location) => {
                write!(f, "xenstore ({location}) can be read only by root")
            }
            XenstoreError::Broken(reason) => f.write_str(reason),
            XenstoreError::Refused { path, errno } => {
                write!(f, "xenstore refuses {path}: {errno}")
            }
        }
    }
}

/// The location that [`LOCATION_VARIABLE`] names.
fn location_in_environment() -> Option<PathBuf> {
    env::var_os(LOCATION_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Opens xenstore at the named location, or at the first usable one of [`LOCATIONS`].
pub(super) fn open_any() -> Result<(File, PathBuf), XenstoreError> {
    if let Some(location) = location_in_environment() {
        return Ok((open(&location)?, location));
    }
    let mut first_error = XenstoreError::Absent;
    for location in LOCATIONS.map(PathBuf::from) {
        match open(&location) {
            Ok(file) => return Ok((file, location)),
            Err(err) if first_error == XenstoreError::Absent => first_error = err,
            Err(_) => {}
        }
    }
    Err(first_error)
}

/// Opens the device or connects to the socket at `location`.
pub(super) fn open(location: &Path) -> Result<File, XenstoreError> {
    let failed = |err: io::Error| match err.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => XenstoreError::Absent,
        ErrorKind::PermissionDenied => XenstoreError::Unreadable(location.display().to_string()),
        // A device whose driver found no Xen.
        _ if is(&err, Errno::ENXIO) || is(&err, Errno::ENODEV) => XenstoreError::Absent,
        _ => broken(location, &plain(&err)),
    };
    let is_socket = fs::metadata(location).map_err(failed)?.file_type().is_socket();
    let (file, owner) =
        if is_socket { connect_socket(location) } else { open_device(location) }.map_err(failed)?;
    if owner != 0 && owner != geteuid().as_raw() {
        let reason = format!("it belongs to another user (uid {owner})");
        return Err(broken(location, &reason));
    }
    Ok(file)
}

fn is(err: &io::Error, errno: Errno) -> bool {
    err.raw_os_error() == Some(errno as i32)
}

/// Opens a device, and nothing else: a request written to a regular file would change it. Also
/// returns its owner.
fn open_device(location: &Path) -> io::Result<(File, u32)> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(location)?;
    let metadata = file.metadata()?;
    if metadata.file_type().is_char_device() {
        Ok((file, metadata.uid()))
    } else {
        Err(io::Error::other("it is neither a device nor a socket"))
    }
}

/// Connects to a Unix socket without blocking. Also returns the user of the listening process.
fn connect_socket(location: &Path) -> io::Result<(File, u32)> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let file = File::from(socket(AddressFamily::Unix, SockType::Stream, flags, None)?);
    connect(file.as_raw_fd(), &UnixAddr::new(location)?)?;
    let owner = getsockopt(&file, PeerCredentials)?.uid();
    Ok((file, owner))
}

pub(super) fn broken(location: &Path, reason: &str) -> XenstoreError {
    XenstoreError::Broken(format!("xenstore ({}) does not work: {reason}", location.display()))
}

/// Why this process does not try xenstore again: another attempt would take as long.
static KNOWN_BROKEN: Mutex<Option<String>> = Mutex::new(None);

/// The error that was recorded last, unless xenstore has worked since.
pub(super) fn known_broken() -> Option<XenstoreError> {
    KNOWN_BROKEN.lock().unwrap_or_else(PoisonError::into_inner).clone().map(XenstoreError::Broken)
}

/// Records the error of a xenstore that does not work.
pub(super) fn record_error(err: &XenstoreError) {
    if let XenstoreError::Broken(reason) = err {
        KNOWN_BROKEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| reason.clone());
    }
}

/// Records that xenstore works.
pub(super) fn record_success() {
    *KNOWN_BROKEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
