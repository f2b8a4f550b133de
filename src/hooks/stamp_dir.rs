//! The directory of the stamps, and the lock that keeps two processes from running the same hooks.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::stamp;
use crate::clock::BootInstant;
use crate::error::plain;
use crate::state::dir::{StateDir, StateDirError, check_file, check_path};
use crate::state::lock::{LockAttempt, lock_until};
use crate::state::replacement::Durability;

/// The largest stamp that is read.
const MAX_STAMP_BYTES: u64 = 16 * 1024;

/// The open directory.
pub struct StampDir {
    dir: StateDir,
}

impl StampDir {
    /// Opens the directory; none if it does not exist.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn open(path: &Path) -> Result<Option<StampDir>, StateDirError> {
        // The administrator may have replaced it by a link.
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(unusable(path, "cannot be opened", &err)),
        };
        check_path(path)?;
        Ok(StateDir::open_existing(&target)?.map(|dir| StampDir { dir }))
    }

    /// Opens the directory, creating it and its parents if they are missing.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn open_or_create(path: &Path) -> Result<StampDir, StateDirError> {
        if let Some(stamps) = StampDir::open(path)? {
            return Ok(stamps);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(|err| unusable(path, "cannot be created", &err))?;
        StampDir::open(path)?.ok_or_else(|| {
            StateDirError::Unusable(format!("{} was deleted at the same time", path.display()))
        })
    }

    /// Takes the lock of a hook directory, waiting until `deadline`; none if another process holds
    /// it. Each directory has its own lock, because a hook may run the hooks of another directory.
    ///
    /// # Errors
    /// The lock file is unusable.
    pub fn lock(&self, hooks: &Path, deadline: BootInstant) -> Result<Option<File>, StateDirError> {
        let name = format!(".lock-{}", stamp::name(hooks));
        let path = self.dir.path().join(&name);
        let failed = |err: &io::Error| unusable(&path, "cannot be written", err);
        let file = self
            .dir
            .open_file(&name, OFlag::O_WRONLY | OFlag::O_CREAT, 0o600)
            .map_err(|errno| failed(&errno.into()))?;
        check_file(&file)
            .map_err(|reason| StateDirError::Unusable(format!("{} {reason}", path.display())))?;
        match lock_until(&file, deadline).map_err(|err| failed(&err))? {
            LockAttempt::Held => Ok(Some(file)),
            LockAttempt::Taken => Ok(None),
        }
    }

    /// The path of a stamp, for messages.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The text of a stamp; none if it does not exist or cannot be trusted.
    pub fn read(&self, name: &str) -> Option<String> {
        let ignore = |reason: &str| {
            log::warn!("ignoring the stamp {}: it {reason}", self.path_of(name).display());
        };
        let file = match self.dir.open_file(name, OFlag::O_RDONLY, 0) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return None,
            Err(errno) => {
                ignore(&format!("cannot be opened: {}", errno.desc()));
                return None;
            }
        };
        if let Err(reason) = check_file(&file) {
            ignore(&reason);
            return None;
        }
        let mut bytes = Vec::new();
        if let Err(err) = file.take(MAX_STAMP_BYTES + 1).read_to_end(&mut bytes) {
            ignore(&format!("cannot be read: {}", plain(&err)));
            return None;
        }
        if bytes.len() as u64 > MAX_STAMP_BYTES {
            ignore("is too large");
            return None;
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Replaces a stamp, synced: it must survive a crash.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.dir.replace(name, text.as_bytes(), 0o644, Durability::Synced)
    }
}

fn unusable(path: &Path, what: &str, err: &io::Error) -> StateDirError {
    StateDirError::Unusable(format!("{} {what}: {}", path.display(), plain(err)))
}
