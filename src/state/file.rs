//! Reads files that other programs or people write: opened without blocking, regular, and bounded
//! in size.
//!
//! A FIFO, a directory, a device or an endless file is an error, and never makes the program hang.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
#[cfg(feature = "cloud")]
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use super::trust::{self, StickyDirectory, TrustError, Untrusted};
use super::user::effective_uid;

/// Why a file was not read. Displayed as the end of a sentence that begins with its path.
#[derive(Debug)]
pub enum FileError {
    /// The system's error.
    Io(io::Error),
    /// It is a directory, a FIFO, a device or a socket.
    NotRegular,
    /// It is larger than this many bytes.
    TooLarge(u64),
    /// Another user can change it, or replace it.
    Untrusted {
        /// What the other user can change: the file, or a directory or link on the path to it.
        untrusted: Untrusted,
        /// Whether it is the file.
        is_file: bool,
    },
    /// It belongs to this other user.
    #[cfg(feature = "cloud")]
    NotOwn(u32),
    /// Other users can read it, by this mode.
    #[cfg(feature = "cloud")]
    NotPrivate(u32),
}

impl FileError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        matches!(self, FileError::Io(err)
            if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io(err) => write!(f, "cannot be read: {}", crate::error::plain(err)),
            FileError::NotRegular => f.write_str("is not a regular file"),
            FileError::TooLarge(max) => write!(f, "is larger than {} KiB", max / 1024),
            FileError::Untrusted { untrusted, is_file: true } => untrusted.reason.fmt(f),
            FileError::Untrusted { untrusted, is_file: false } => {
                write!(f, "can be replaced by other users: {untrusted}")
            }
            #[cfg(feature = "cloud")]
            FileError::NotOwn(uid) => write!(f, "belongs to another user (uid {uid})"),
            #[cfg(feature = "cloud")]
            FileError::NotPrivate(mode) => {
                write!(f, "can be read by other users (mode {mode:04o}): chmod 600 it")
            }
        }
    }
}

/// Whether symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are followed, as for files that an administrator places.
    Follow,
    /// They are refused, as for files that only this program writes.
    Refuse,
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// See [`FileError`].
pub fn read(path: &Path, max: u64, links: Links) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open(path, links)?;
    contents(file, &metadata, max)
}

/// The same for a file that controls what the program does: as root, it is refused if another user
/// can change or replace it.
///
/// # Errors
/// See [`FileError`].
pub fn read_trusted(path: &Path, max: u64, links: Links) -> Result<Vec<u8>, FileError> {
    if effective_uid().is_root() { read_of_root(path, max, links) } else { read(path, max, links) }
}

/// The same for a file that is used only if root wrote it, whichever user reads it.
///
/// # Errors
/// See [`FileError`].
pub fn read_of_root(path: &Path, max: u64, links: Links) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open(path, links)?;
    // The only other file that `open` accepts is /dev/null, which is empty.
    if metadata.is_file() {
        check_trust(path)?;
    }
    contents(file, &metadata, max)
}

/// Reads a file that contains secrets: it belongs to this user, and no other can read or write it.
///
/// # Errors
/// See [`FileError`].
#[cfg(feature = "cloud")]
pub fn read_private(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open(path, Links::Follow)?;
    match metadata.uid() {
        uid if uid != effective_uid().as_raw() => Err(FileError::NotOwn(uid)),
        _ if metadata.mode() & 0o077 != 0 => Err(FileError::NotPrivate(metadata.mode() & 0o7777)),
        _ => contents(file, &metadata, max),
    }
}

/// Checks that only root can change or replace the file. If so, no other user can have replaced it
/// since it was opened.
fn check_trust(path: &Path) -> Result<(), FileError> {
    trust::check_path(path, StickyDirectory::HoldsFiles).map_err(|err| match err {
        TrustError::Io(err) => FileError::Io(err),
        TrustError::Untrusted(untrusted) => {
            let is_file = fs::canonicalize(path).is_ok_and(|target| target == untrusted.path);
            FileError::Untrusted { untrusted, is_file }
        }
    })
}

/// Opens a regular file, without blocking.
///
/// # Errors
/// See [`FileError`].
pub(super) fn open(path: &Path, links: Links) -> Result<(File, Metadata), FileError> {
    let mut flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    if links == Links::Refuse {
        flags |= OFlag::O_NOFOLLOW;
    }
    // musl's open(2) sets the close-on-exec flag by a second system call.
    let file =
        openat(AT_FDCWD, path, flags, Mode::empty()).map_err(|err| FileError::Io(err.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(FileError::Io)?;
    // /dev/null counts as an empty file, as users expect.
    let is_null = path == Path::new("/dev/null");
    if metadata.is_file() || is_null { Ok((file, metadata)) } else { Err(FileError::NotRegular) }
}

fn contents(file: File, metadata: &Metadata, max: u64) -> Result<Vec<u8>, FileError> {
    let size = metadata.len();
    if size > max {
        return Err(FileError::TooLarge(max));
    }
    // Files of /proc have no size. Of others, no second read has to find the end.
    let (limit, capacity) = if size == 0 { (max + 1, max.min(4_096)) } else { (size, size) };
    let mut bytes = Vec::with_capacity(usize::try_from(capacity).unwrap_or_default());
    file.take(limit).read_to_end(&mut bytes).map_err(FileError::Io)?;
    if bytes.len() as u64 > max { Err(FileError::TooLarge(max)) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use nix::unistd::{Uid, chown};

    use super::*;

    /// A parent that others can write to made the file replaceable.
    #[test]
    fn root_obeys_only_files_that_no_other_user_can_change_or_replace() {
        if !effective_uid().is_root() {
            eprintln!("NOT RUN: it needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let (dir, path) = (folder.join("d"), folder.join("d/file"));
        fs::create_dir(&dir).unwrap();
        fs::write(&path, "x").unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let reason = || match read_trusted(&path, 10, Links::Follow) {
            Ok(_) => String::new(),
            Err(err) => err.to_string(),
        };
        mode(&dir, 0o755);
        mode(&path, 0o644);
        assert_eq!(reason(), "");
        mode(&path, 0o664);
        assert_eq!(reason(), "is writable by other users (mode 0664)");
        mode(&path, 0o644);
        chown(&path, Some(Uid::from_raw(1000)), None).unwrap();
        assert_eq!(reason(), "belongs to another user (uid 1000)");
        chown(&path, Some(Uid::from_raw(0)), None).unwrap();
        mode(&dir, 0o777);
        let replaceable = format!("can be replaced by other users: {} ", dir.display());
        assert_eq!(reason(), format!("{replaceable}is writable by other users (mode 0777)"));
        mode(&dir, 0o1777);
        assert_eq!(reason(), "");
        chown(&dir, Some(Uid::from_raw(1000)), None).unwrap();
        assert_eq!(reason(), format!("{replaceable}belongs to another user (uid 1000)"));
        assert_eq!(read(&path, 10, Links::Follow).unwrap(), b"x");
    }

    /// A FIFO in place of the configuration file was waited for without end.
    #[test]
    fn a_fifo_a_directory_and_a_large_file_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::write(path("large"), [b'#'; 2_000]).unwrap();
        std::os::unix::fs::symlink(path("large"), path("link")).unwrap();
        let reason = |name: &str, links| read(&path(name), 1_024, links).unwrap_err().to_string();
        assert_eq!(reason("fifo", Links::Follow), "is not a regular file");
        assert_eq!(reason(".", Links::Follow), "is not a regular file");
        assert_eq!(reason("large", Links::Follow), "is larger than 1 KiB");
        assert!(reason("link", Links::Refuse).starts_with("cannot be read"));
        assert!(read(&path("absent"), 1, Links::Follow).unwrap_err().is_not_found());
        assert_eq!(read(&path("large"), 2_000, Links::Follow).unwrap().len(), 2_000);
    }
}
