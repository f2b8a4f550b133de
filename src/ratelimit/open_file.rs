//! Opens the file in which all processes keep their rate window, and creates it if it is missing.
//!
//! Every user may send requests, so every user has to be able to record them: root creates the file
//! writable for all (0666), but only in a small file system, `shared` below the state directory,
//! which a mount unit of the packages provides. Its size bounds the data that others can write.
//! Without it the file is in the state directory itself, and only processes of its owner can open
//! it (0600); those of other users share nothing.
//!
//! A hard link to the file disables sharing: only root can create one in the small file system, and
//! other users cannot create one to a file that they cannot open (`fs.protected_hardlinks`).

use std::fs::{File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::codec::{self, BootId, RECORD_BYTES};
use super::window::RateWindow;
use crate::clock::BootInstant;
use crate::error::plain;
use crate::state::dir::{StateDir, check_file};
use crate::state::kept_dir::KeptStateDir;
use crate::state::replacement::Durability;
use crate::state::user::effective_uid;

/// The name of the file.
pub(super) const FILE: &str = "budget";

/// The small file system, below the state directory.
const SMALL_FILE_SYSTEM: &str = "shared";

/// Why the shared window cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SharedFileError {
    /// Another process holds the lock; a sentence.
    Locked(String),
    /// Anything else; a sentence.
    Unusable(String),
}

impl SharedFileError {
    /// The sentence.
    pub fn message(&self) -> &str {
        match self {
            SharedFileError::Locked(message) | SharedFileError::Unusable(message) => message,
        }
    }
}

/// The open file.
pub(super) struct OpenFile {
    pub(super) file: File,
    /// Its path, for messages.
    pub(super) name: String,
    state_dir: Arc<StateDir>,
    /// The small file system, which has the file if it is mounted.
    small: Option<StateDir>,
}

impl OpenFile {
    /// Opens the file, or creates it. `offset`: by how many nanoseconds this process's clock is
    /// ahead of the file's. `lock_deadline`: until when to wait for the lock that is needed to
    /// create the file.
    ///
    /// # Errors
    /// See [`SharedFileError`].
    pub(super) fn open(
        kept_dir: &KeptStateDir,
        boot: &BootId,
        offset: i128,
        lock_deadline: BootInstant,
    ) -> Result<OpenFile, SharedFileError> {
        let state_dir = kept_dir.get().map_err(|err| SharedFileError::Unusable(err.to_string()))?;
        let small = state_dir.small_file_system(SMALL_FILE_SYSTEM);
        let is_for_all = small.is_some();
        let dir = small.as_ref().unwrap_or(&state_dir);
        let name = dir.path().join(FILE).display().to_string();
        // Permits that were recorded before the small file system was mounted still count.
        let initial = || {
            if is_for_all {
                previous(&state_dir, boot, BootInstant::now().shifted(-offset))
            } else {
                RateWindow::default()
            }
        };
        let file = open_or_create(dir, is_for_all, boot, lock_deadline, initial).map_err(
            |err| match err {
                OpenError::Locked => SharedFileError::Locked(format!(
                    "{} is kept locked by another process",
                    dir.path().display()
                )),
                OpenError::Other(reason) => SharedFileError::Unusable(format!("{name} {reason}")),
            },
        )?;
        Ok(OpenFile { file, name, state_dir, small })
    }

    /// Checks that the file may be shared. Outside of the small file system, takes away the access
    /// of other users.
    ///
    /// # Errors
    /// The end of a sentence that begins with its name.
    pub(super) fn check_access(&self) -> Result<Metadata, String> {
        let metadata = check_file(&self.file)?;
        if self.small.is_some() {
            return Ok(metadata);
        }
        if metadata.uid() != effective_uid().as_raw() {
            return Err("is for processes of its owner only".to_owned());
        }
        if metadata.mode() & 0o077 != 0 {
            // Other users could fill the file system through the file.
            self.file.set_permissions(Permissions::from_mode(0o600)).map_err(|err| plain(&err))?;
        }
        Ok(metadata)
    }

    /// The error of a file that cannot be used: the end of a sentence that begins with its name.
    pub(super) fn wrong(&self, reason: &str) -> SharedFileError {
        SharedFileError::Unusable(format!("{} {reason}", self.name))
    }

    /// Whether other processes would look for the file in the same directory. It may have been
    /// deleted there: then it has no links.
    pub(super) fn is_in_current_dir(&self, state_dir: &KeptStateDir) -> bool {
        let is_same = |dir: Arc<StateDir>| Arc::ptr_eq(&dir, &self.state_dir);
        state_dir.get().is_ok_and(is_same)
            && match &self.small {
                Some(small) => small.is_current(),
                None => self.state_dir.small_file_system(SMALL_FILE_SYSTEM).is_none(),
            }
    }
}

/// Why the file could not be opened.
enum OpenError {
    /// Another process holds the lock of the directory.
    Locked,
    /// The end of a sentence.
    Other(String),
}

/// The window in the state directory itself, by the clock of its file, which shows `now`. If it is
/// corrupt, any number of requests may have been sent.
fn previous(state_dir: &StateDir, boot: &BootId, now: BootInstant) -> RateWindow {
    let Some(bytes) = state_dir.read_checked(FILE, RECORD_BYTES as u64 + 1) else {
        return RateWindow::default();
    };
    match codec::decode(&bytes, boot, now) {
        Ok(window) => window.unwrap_or_default(),
        Err(_) => RateWindow::unknown(now),
    }
}

/// Checks whether this process can share the window of a state directory, as far as that exists.
/// Creates and changes nothing.
///
/// # Errors
/// Why it cannot: the end of a sentence that begins with the path of the file.
pub fn check(state_dir: &StateDir) -> Result<(), String> {
    let small = state_dir.small_file_system(SMALL_FILE_SYSTEM);
    let dir = small.as_ref().unwrap_or(state_dir);
    match dir.open_file(FILE, OFlag::O_RDWR, 0) {
        Err(Errno::ENOENT) if dir.is_own() => Ok(()),
        Err(errno) => Err(refusal(errno, small.is_some())),
        Ok(file) => check_file(&file).map(drop),
    }
}

/// Why the file cannot be opened: the end of a sentence.
fn refusal(errno: Errno, is_for_all: bool) -> String {
    match errno {
        Errno::ENOENT => "does not exist yet; only root creates it".to_owned(),
        Errno::EACCES if !is_for_all => "is for one user only, since no small file system is \
                                         mounted at \"shared\" beside it"
            .to_owned(),
        errno => format!("cannot be opened: {}", errno.desc()),
    }
}

fn open_or_create(
    dir: &StateDir,
    is_for_all: bool,
    boot: &BootId,
    lock_deadline: BootInstant,
    initial: impl FnOnce() -> RateWindow,
) -> Result<File, OpenError> {
    let opened = |file: Result<File, Errno>| {
        file.map_err(|errno| OpenError::Other(refusal(errno, is_for_all)))
    };
    let open = || dir.open_file(FILE, OFlag::O_RDWR, 0);
    match open() {
        Err(Errno::ENOENT) if dir.is_own() => {}
        file => return opened(file),
    }
    // Only one of several processes may create the file: it must not be replaced once it is used.
    let _lock = dir.lock(Some(lock_deadline)).map_err(|err| match err.kind() {
        std::io::ErrorKind::TimedOut => OpenError::Locked,
        _ => OpenError::Other(format!("cannot be locked: {}", plain(&err))),
    })?;
    match open() {
        Err(Errno::ENOENT) => {}
        file => return opened(file),
    }
    let mode = if is_for_all && effective_uid().is_root() { 0o666 } else { 0o600 };
    let new = codec::encode(&initial(), boot);
    dir.replace(FILE, &new, mode, Durability::UntilReboot)
        .map_err(|err| OpenError::Other(format!("cannot be created: {}", plain(&err))))?;
    opened(open())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOOT: BootId = [7; 16];

    /// A day after the boot, by the server's clock.
    const SERVER_NOW: BootInstant = BootInstant(Duration::from_secs(86_400));

    /// By how much the clock of the time namespace is ahead, in nanoseconds.
    const OFFSET: i128 = 3_600_000_000_000;

    fn state_dir_with(file: &[u8]) -> (tempfile::TempDir, StateDir) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), file).unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        (folder, dir)
    }

    /// The clock of the time namespace was taken for the file's: the window seemed impossible, and
    /// what had been sent was forgotten.
    #[test]
    fn the_previous_window_was_forgotten_in_a_time_namespace() {
        let mut window = RateWindow::default();
        window.take(SERVER_NOW, SERVER_NOW + Duration::from_secs(10), 0).unwrap();
        let (_folder, dir) = state_dir_with(&codec::encode(&window, &BOOT));
        for offset in [0, OFFSET, -OFFSET] {
            let own_now = SERVER_NOW.shifted(offset);
            assert_eq!(previous(&dir, &BOOT, own_now.shifted(-offset)), window, "{offset}");
        }
        assert_ne!(previous(&dir, &BOOT, SERVER_NOW.shifted(-OFFSET)), window);
    }

    #[test]
    fn a_corrupt_previous_window_was_taken_for_an_empty_one() {
        let (_folder, dir) = state_dir_with(b"RCbudget");
        assert_eq!(previous(&dir, &BOOT, SERVER_NOW).free_permits(SERVER_NOW), 0);
        let (_folder, dir) =
            state_dir_with(&codec::encode(&RateWindow::unknown(SERVER_NOW), &[8; 16]));
        assert_eq!(previous(&dir, &BOOT, SERVER_NOW), RateWindow::default());
    }
}
