//! Files from outside, read without trust: opened without waiting, regular, and bounded in size.
//!
//! A FIFO, a directory, a device or an endless file in place of a file is an error, never a hang.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// Why a file was not read. Displayed as the end of a sentence that begins with its path.
#[derive(Debug)]
pub enum FileError {
    /// The system refuses.
    Io(io::Error),
    /// It is a directory, a FIFO, a device or a socket.
    NotRegular,
    /// It is larger than this many bytes.
    TooLarge(u64),
    /// It belongs to this other user.
    OtherOwner(u32),
    /// Others can write to it; its mode.
    WritableByOthers(u32),
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
            FileError::OtherOwner(uid) => write!(f, "belongs to another user (uid {uid})"),
            FileError::WritableByOthers(mode) => {
                write!(f, "can be written by other users (mode {mode:04o})")
            }
        }
    }
}

/// Whether symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They are, as for files that an administrator places.
    Follow,
    /// They are refused, as for files that only this program writes.
    Refuse,
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// See [`FileError`].
pub fn read(path: &Path, max: u64, links: Links) -> Result<Vec<u8>, FileError> {
    let file = open(path, links)?;
    contents(file, max)
}

/// The same for a file that root obeys: run as root it has to belong to root, and no other user may
/// be able to write to it.
///
/// # Errors
/// See [`FileError`].
pub fn read_trusted(path: &Path, max: u64, links: Links) -> Result<Vec<u8>, FileError> {
    let file = open(path, links)?;
    let metadata = file.metadata().map_err(FileError::Io)?;
    // /dev/null, the one file here that is not regular, holds nothing to obey.
    if geteuid().is_root() && metadata.is_file() {
        if metadata.uid() != 0 {
            return Err(FileError::OtherOwner(metadata.uid()));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(FileError::WritableByOthers(metadata.mode() & 0o7777));
        }
    }
    contents(file, max)
}

fn open(path: &Path, links: Links) -> Result<File, FileError> {
    let mut flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    if links == Links::Refuse {
        flags |= OFlag::O_NOFOLLOW;
    }
    let file = File::options().read(true).custom_flags(flags.bits()).open(path);
    let file = file.map_err(FileError::Io)?;
    // /dev/null stands for an empty file, as users expect.
    let is_null = path == Path::new("/dev/null");
    match file.metadata().map_err(FileError::Io)?.is_file() || is_null {
        true => Ok(file),
        false => Err(FileError::NotRegular),
    }
}

fn contents(file: File, max: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(FileError::Io)?;
    match bytes.len() as u64 > max {
        true => Err(FileError::TooLarge(max)),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

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
