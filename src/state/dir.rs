//! The state directory, whose files processes share. It is opened once, and its files are opened
//! relative to it, so that nothing can be replaced between a check and a use.
//!
//! Root's state directory belongs to root, and only root can write to it. Another user may have a
//! directory of their own, with the same rules. Nothing is opened through a symbolic link.

use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::lock::{LockAttempt, lock_until};
use super::replacement::{Durability, replace};
use super::trust::{self, StickyDirectory, TrustError};
use super::user::effective_uid;
use crate::clock::BootInstant;
use crate::error::plain;

/// The file that is locked while another one is created or replaced.
const LOCK_FILE: &str = "lock";

/// How long that lock is waited for. Its holder has it for microseconds.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// The largest file system that counts as small, in bytes.
const MAX_SMALL_FILE_SYSTEM: u64 = 1 << 20;

/// Why a directory cannot be used. Displayed as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDirError {
    /// Other users can change its content.
    Untrusted(String),
    /// It cannot be created, opened or examined.
    Unusable(String),
}

impl fmt::Display for StateDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StateDirError::Untrusted(message) | StateDirError::Unusable(message)) = self;
        f.write_str(message)
    }
}

impl StateDirError {
    /// `action`: opened, created or examined.
    fn failed(path: &Path, action: &str, err: &io::Error) -> StateDirError {
        StateDirError::Unusable(format!("{} cannot be {action}: {}", path.display(), plain(err)))
    }
}

/// Checks that only root can change the file that `path` leads to, so that root may even execute
/// it. A process of another user may use any path: it can only harm that user.
///
/// # Errors
/// Others can change it, or it cannot be examined.
pub fn check_path(path: &Path) -> Result<(), StateDirError> {
    if !effective_uid().is_root() {
        return Ok(());
    }
    trust::check_path(path, StickyDirectory::HoldsDirectories).map_err(|err| match err {
        TrustError::Untrusted(_) => StateDirError::Untrusted(err.sentence(path)),
        TrustError::Io(_) => StateDirError::Unusable(err.sentence(path)),
    })
}

/// An open state directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    file: File,
    owner: u32,
    /// Device and inode.
    identity: (u64, u64),
}

impl StateDir {
    /// Opens a directory, creating it if it is missing.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn open(path: &Path) -> Result<StateDir, StateDirError> {
        match open_dir(path) {
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            opened => return StateDir::accept(path, opened),
        }
        let created = DirBuilder::new().mode(0o755).create(path);
        let file = created
            .and_then(|()| open_dir(path))
            .map_err(|err| StateDirError::failed(path, "created", &err))?;
        // Other users need files in it, whatever the umask.
        let _ = file.set_permissions(Permissions::from_mode(0o755));
        StateDir::accept(path, Ok(file))
    }

    /// Opens a directory; `None` if it does not exist.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn open_existing(path: &Path) -> Result<Option<StateDir>, StateDirError> {
        match open_dir(path) {
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
            opened => StateDir::accept(path, opened).map(Some),
        }
    }

    /// Accepts a directory if only root and this user can change its content.
    fn accept(path: &Path, opened: io::Result<File>) -> Result<StateDir, StateDirError> {
        let file = opened.map_err(|err| StateDirError::failed(path, "opened", &err))?;
        check_path(path)?;
        StateDir::checked(path.to_owned(), file)
    }

    fn checked(path: PathBuf, file: File) -> Result<StateDir, StateDirError> {
        let metadata =
            file.metadata().map_err(|err| StateDirError::failed(&path, "examined", &err))?;
        check_owner_and_mode(&metadata)
            .map_err(|reason| StateDirError::Untrusted(format!("{} {reason}", path.display())))?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(StateDir { path, file, owner: metadata.uid(), identity })
    }

    /// Whether its path still leads to this directory, and its owner and mode are still right:
    /// then it need not be opened again, which costs a system call for each step of the path.
    pub fn is_current(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| {
            (metadata.dev(), metadata.ino()) == self.identity
                && metadata.uid() == self.owner
                && check_owner_and_mode(&metadata).is_ok()
        })
    }

    /// The subdirectory `name`, if a small tmpfs is mounted there. Its size bounds the files that
    /// other users can write to.
    pub fn small_file_system(&self, name: &str) -> Option<StateDir> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.file, name, flags, Mode::empty()).ok()?);
        let status = fstatfs(&file).ok()?;
        let size = status.blocks().saturating_mul(u64::try_from(status.block_size()).ok()?);
        let is_small =
            status.filesystem_type() == TMPFS_MAGIC && size > 0 && size <= MAX_SMALL_FILE_SYSTEM;
        is_small.then(|| StateDir::checked(self.path.join(name), file).ok()).flatten()
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it belongs to this process's user. Other users create no files in it.
    pub fn is_own(&self) -> bool {
        self.owner == effective_uid().as_raw()
    }

    /// Opens a file, never through a symbolic link, and without blocking on a FIFO.
    pub fn open_file(&self, name: &str, flags: OFlag, mode: u32) -> Result<File, Errno> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        openat(&self.file, name, flags, Mode::from_bits_truncate(mode)).map(File::from)
    }

    /// Keeps other processes from replacing files at the same time. The lock is waited for until
    /// `deadline`, and for `LOCK_TIMEOUT` at most. Only the directory's owner can open the lock
    /// file; every user could lock the directory itself.
    ///
    /// # Errors
    /// The system's error; [`ErrorKind::TimedOut`] if another process holds the lock.
    pub fn lock(&self, deadline: Option<BootInstant>) -> io::Result<File> {
        let file = self.open_file(LOCK_FILE, OFlag::O_RDWR | OFlag::O_CREAT, 0o600)?;
        check_file(&file).map_err(io::Error::other)?;
        let timeout = BootInstant::now() + LOCK_TIMEOUT;
        match lock_until(&file, deadline.map_or(timeout, |deadline| deadline.min(timeout)))? {
            LockAttempt::Held => Ok(file),
            LockAttempt::Taken => Err(io::Error::new(ErrorKind::TimedOut, "it stays locked")),
        }
    }

    /// Replaces a file; see [`replace`].
    ///
    /// # Errors
    /// The system's error.
    pub fn replace(
        &self,
        name: &str,
        content: &[u8],
        mode: u32,
        durability: Durability,
    ) -> io::Result<()> {
        replace(&self.file, name, content, mode, durability)
    }

    /// The contents of a file, no more than that of them; none if it cannot be read or is not
    /// trusted.
    pub fn read_checked(&self, name: &str, max_bytes: u64) -> Option<Vec<u8>> {
        let file = self.open_file(name, OFlag::O_RDONLY, 0).ok()?;
        let size = check_file(&file).ok()?.len().min(max_bytes);
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(size).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Replaces a file by the result of `content`, which is passed the old content: empty if it
    /// cannot be read or is not trusted. `deadline`: see [`StateDir::lock`].
    ///
    /// # Errors
    /// The file and why it is not replaced: a sentence.
    pub fn update(
        &self,
        name: &str,
        max_bytes: u64,
        mode: u32,
        deadline: Option<BootInstant>,
        content: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Result<(), String> {
        let cannot = |what: &str, reason: &str| {
            format!("{}/{what} cannot be written: {reason}", self.path.display())
        };
        if !self.is_own() {
            return Err(cannot(name, "the directory belongs to another user"));
        }
        let _lock = self.lock(deadline).map_err(|err| cannot(LOCK_FILE, &plain(&err)))?;
        let old = self.read_checked(name, max_bytes).unwrap_or_default();
        self.replace(name, &content(&old), mode, Durability::UntilReboot)
            .map_err(|err| cannot(name, &plain(&err)))
    }
}

fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(AT_FDCWD, path, flags, Mode::empty())?))
}

/// Whether a directory belongs to root or to this user, and no other user can write to it.
///
/// # Errors
/// The end of a sentence that begins with its path.
pub(crate) fn check_owner_and_mode(metadata: &fs::Metadata) -> Result<(), String> {
    let (user, owner) = (effective_uid().as_raw(), metadata.uid());
    if owner != 0 && owner != user {
        return Err(format!("belongs to another user (uid {owner})"));
    }
    // A user commonly has a private group. Root trusts no group.
    let others = if user == 0 { 0o022 } else { 0o002 };
    if metadata.mode() & others != 0 {
        return Err(format!("is writable by other users (mode {:04o})", metadata.mode() & 0o7777));
    }
    Ok(())
}

/// Checks that a file is regular, belongs to root or this user, and has no other hard link.
///
/// # Errors
/// The end of a sentence that begins with its path.
pub fn check_file(file: &File) -> Result<fs::Metadata, String> {
    let metadata = file.metadata().map_err(|err| plain(&err))?;
    match metadata {
        _ if !metadata.is_file() => Err("is not a regular file".to_owned()),
        _ if metadata.uid() != 0 && metadata.uid() != effective_uid().as_raw() => {
            Err(format!("belongs to another user (uid {})", metadata.uid()))
        }
        _ if metadata.nlink() > 1 => Err("has another name (hard link)".to_owned()),
        _ => Ok(metadata),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_can_write_to_is_unusable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let dir = StateDir::open(&path).unwrap();
        assert!(dir.is_own() && dir.small_file_system("shared").is_none());
        fs::create_dir(path.join("shared")).unwrap();
        // Not a small file system.
        assert!(dir.small_file_system("shared").is_none());
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let StateDirError::Untrusted(err) = StateDir::open(&path).unwrap_err() else {
            panic!("not about trust")
        };
        assert!(err.ends_with("is writable by other users (mode 0777)"), "{err}");
    }

    /// A process that keeps a directory open must notice that others use another one by its name.
    #[test]
    fn a_directory_is_current_as_long_as_its_path_leads_to_it_and_it_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("state"), folder.path().join("away"));
        let dir = StateDir::open(&path).unwrap();
        assert!(dir.is_current());
        let mode = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        mode(0o777);
        assert!(!dir.is_current());
        mode(0o755);
        assert!(dir.is_current());
        fs::rename(&path, &away).unwrap();
        assert!(!dir.is_current());
        std::os::unix::fs::symlink(&away, &path).unwrap();
        assert!(!dir.is_current(), "nothing is opened through a link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(!dir.is_current());
    }

    #[test]
    fn opening_an_existing_directory_does_not_create_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert!(StateDir::open_existing(&path).unwrap().is_none());
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        let err = StateDir::open_existing(&path).unwrap_err();
        assert!(matches!(&err, StateDirError::Unusable(_)), "{err}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(StateDir::open_existing(&path).unwrap().is_some());
    }

    #[test]
    fn an_update_sees_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&folder.path().join("state")).unwrap();
        for expected in ["x", "xx", "xxx"] {
            dir.update("file", 100, 0o644, None, |old| [old, b"x"].concat()).unwrap();
            let text = fs::read_to_string(folder.path().join("state/file")).unwrap();
            assert_eq!(text, expected);
        }
        let lock = dir.lock(None).unwrap();
        let err = dir.update("file", 100, 0o644, None, <[u8]>::to_vec).unwrap_err();
        assert!(err.ends_with("lock cannot be written: it stays locked"), "{err}");
        drop(lock);
    }

    /// It was waited for for 200 ms, whatever the deadline.
    #[test]
    fn a_lock_that_is_taken_delayed_a_command_beyond_its_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(&folder.path().join("state")).unwrap();
        let past = Some(BootInstant::default());
        // A lock that is free is taken even then.
        let lock = dir.lock(past).unwrap();
        // Of so many attempts at least one is fast, on any machine.
        let quickest = (0..20)
            .map(|_| {
                let start = BootInstant::now();
                assert_eq!(dir.lock(past).unwrap_err().kind(), ErrorKind::TimedOut);
                BootInstant::now().since(start)
            })
            .min();
        assert!(quickest < Some(LOCK_TIMEOUT), "{quickest:?}");
        drop(lock);
    }
}
