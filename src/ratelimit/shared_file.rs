//! The file in which all processes of the server keep their rate window.
//!
//! Every user may send requests, so every user has to be able to record them: root creates the file
//! writable for all (0666), but only in a small file system, `shared` below the state directory,
//! which a mount unit of the packages provides. Its size bounds the data that others can write.
//! Without it the file is in the state directory itself, and only processes of its owner can open
//! it (0600); those of other users share nothing.
//!
//! The file is locked (flock) for the microseconds of a read and a write; the lock ends with its
//! holder. Every user who can open the file can keep it locked, so the lock is waited for only a
//! second at a time. A hard link to the file disables sharing: only root can create one in the
//! small file system, and other users cannot create one to a file that they cannot open
//! (`fs.protected_hardlinks`).
//!
//! During a request the file stays open, unlocked, which saves opening it for each use. Between
//! requests it is closed, so that the small file system can be unmounted.

use std::fs::{File, Metadata, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::codec::{self, BootId, RECORD_BYTES};
use super::window::RateWindow;
use crate::clock::BootInstant;
use crate::error::plain;
use crate::state::boot;
use crate::state::dir::{StateDir, check_file};
use crate::state::kept_dir::KeptStateDir;
use crate::state::lock::{LockAttempt, lock_until};
use crate::state::replacement::Durability;
use crate::state::user::effective_uid;

/// The name of the file.
const FILE: &str = "budget";

/// The small file system, below the state directory.
const SMALL_FILE_SYSTEM: &str = "shared";

/// How long one attempt to lock the file may take.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

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

/// The window that all processes share, and this process's copy of it.
pub struct SharedFile {
    state_dir: KeptStateDir,
    boot: Option<BootId>,
    /// By how many nanoseconds this process's clock is ahead of the one in the file.
    clock_offset: Option<i128>,
    /// The device and inode of the file that was last used.
    last_seen: Option<(u64, u64)>,
    /// The window as it was then. If the file is replaced, it is added to the new one.
    known: RateWindow,
    /// The file, during a request.
    open: Option<OpenFile>,
}

/// The file to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedFile {
    /// The one that other processes find now.
    Current,
    /// The one in which the permit of this request was taken, unless it has been deleted. This is
    /// the last use in a request.
    OfPermit,
}

/// The open file.
struct OpenFile {
    file: File,
    name: String,
    state_dir: Arc<StateDir>,
    /// Where the file is, if that is mounted.
    small: Option<StateDir>,
}

impl OpenFile {
    /// Whether other processes would look for the file in the same directory. Whether it is still
    /// there, its number of links says.
    fn is_in_current_dir(&self, state_dir: &KeptStateDir) -> bool {
        let is_same = |dir: Arc<StateDir>| Arc::ptr_eq(&dir, &self.state_dir);
        state_dir.get().is_ok_and(is_same)
            && match &self.small {
                Some(small) => small.is_current(),
                None => self.state_dir.small_file_system(SMALL_FILE_SYSTEM).is_none(),
            }
    }
}

impl SharedFile {
    /// The file below that state directory. Nothing is opened before it is needed.
    pub fn new(state_dir: KeptStateDir) -> SharedFile {
        SharedFile {
            state_dir,
            boot: boot::boot_id().and_then(codec::boot_id),
            clock_offset: boot::boot_clock_offset(),
            last_seen: None,
            known: RateWindow::default(),
            open: None,
        }
    }

    /// Closes the file, at the end of a request.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Lets `act` read and change the window under the lock, and passes it the time. The lock is
    /// waited for until `deadline`, and for [`LOCK_TIMEOUT`] at most.
    ///
    /// # Errors
    /// See [`SharedFileError`].
    pub fn with<R>(
        &mut self,
        used: UsedFile,
        deadline: BootInstant,
        act: impl FnOnce(&mut RateWindow, BootInstant) -> R,
    ) -> Result<R, SharedFileError> {
        let unusable = |message: &str| SharedFileError::Unusable(message.to_owned());
        let boot = self.boot.ok_or_else(|| unusable("the boot id cannot be read"))?;
        let offset = self.clock_offset.ok_or_else(|| {
            unusable("the clock of this time namespace cannot be compared with the server's")
        })?;
        let lock_deadline = deadline.min(BootInstant::now() + LOCK_TIMEOUT);
        // The file may be deleted or replaced between open and lock.
        for _ in 0..3 {
            let kept = self.open.take().filter(|open| {
                used == UsedFile::OfPermit || open.is_in_current_dir(&self.state_dir)
            });
            let open = match kept {
                Some(open) => open,
                None => self.open(&boot, offset, lock_deadline)?,
            };
            let wrong =
                |reason: String| SharedFileError::Unusable(format!("{} {reason}", open.name));
            match lock_until(&open.file, lock_deadline) {
                Ok(LockAttempt::Held) => {}
                Ok(LockAttempt::Taken) => {
                    let message = format!("{} is kept locked by another process", open.name);
                    return Err(SharedFileError::Locked(message));
                }
                Err(err) => return Err(wrong(format!("cannot be locked: {}", plain(&err)))),
            }
            let metadata = check_access(&open).map_err(wrong)?;
            if metadata.nlink() == 0 {
                continue;
            }
            let result = self.update(&open, &metadata, &boot, offset, act).map_err(wrong)?;
            // Otherwise it is closed, which releases the lock as well.
            if used == UsedFile::Current && open.file.unlock().is_ok() {
                self.open = Some(open);
            }
            return Ok(result);
        }
        Err(unusable(&format!("{} is replaced again and again", self.state_dir.path().display())))
    }

    /// Lets `act` change the window in the locked file.
    ///
    /// # Errors
    /// The end of a sentence that begins with the name of the file.
    fn update<R>(
        &mut self,
        open: &OpenFile,
        metadata: &Metadata,
        boot: &BootId,
        offset: i128,
        act: impl FnOnce(&mut RateWindow, BootInstant) -> R,
    ) -> Result<R, String> {
        // A longer file is corrupt.
        let size = metadata.len().min(RECORD_BYTES as u64 + 1);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let read = open.file.read_at(&mut bytes, 0).map_err(|err| plain(&err))?;
        bytes.truncate(read);
        let now = BootInstant::now();
        let (mut window, corruption) = match codec::decode(&bytes, boot, now.shifted(-offset)) {
            Ok(window) => (window.unwrap_or_default().shifted(offset), None),
            Err(reason) => (RateWindow::unknown(now), Some(reason)),
        };
        let identity = (metadata.dev(), metadata.ino());
        if self.last_seen.is_some_and(|last| last != identity) {
            window.merge(&self.known, now);
        }
        let result = act(&mut window, now);
        let record = codec::encode(&window.shifted(-offset), boot);
        write(&open.file, &bytes, &record)
            .map_err(|err| format!("cannot be written: {}", plain(&err)))?;
        if let Some(reason) = corruption {
            log::warn!(
                "{} was corrupt ({reason}); it is reset, and no request is sent for a minute",
                open.name
            );
        }
        self.last_seen = Some(identity);
        self.known = window;
        Ok(result)
    }

    /// Opens the file, or creates it.
    fn open(
        &self,
        boot: &BootId,
        offset: i128,
        lock_deadline: BootInstant,
    ) -> Result<OpenFile, SharedFileError> {
        let state_dir =
            self.state_dir.get().map_err(|err| SharedFileError::Unusable(err.to_string()))?;
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
}

/// Why the file could not be opened.
enum OpenError {
    /// Another process holds the lock of the directory.
    Locked,
    /// The end of a sentence.
    Other(String),
}

/// The window in the state directory itself, by the clock of its file, which shows `now`. Where it
/// is corrupt, requests may have been sent that it does not tell of.
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

/// Checks that the file may be shared.
///
/// # Errors
/// The end of a sentence that begins with its name.
fn check_access(open: &OpenFile) -> Result<Metadata, String> {
    let metadata = check_file(&open.file)?;
    if open.small.is_some() {
        return Ok(metadata);
    }
    if metadata.uid() != effective_uid().as_raw() {
        return Err("is for processes of its owner only".to_owned());
    }
    if metadata.mode() & 0o077 != 0 {
        // Other users could fill the file system through the file.
        open.file.set_permissions(Permissions::from_mode(0o600)).map_err(|err| plain(&err))?;
    }
    Ok(metadata)
}

fn write(file: &File, old: &[u8], new: &[u8]) -> std::io::Result<()> {
    if old == new {
        return Ok(());
    }
    if old.len() > new.len() {
        file.set_len(new.len() as u64)?;
    }
    file.write_all_at(new, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: BootId = [7; 16];

    /// A day after the boot, by the server's clock.
    const SERVER_NOW: BootInstant = BootInstant(Duration::from_secs(86_400));

    /// By how much the clock of the time namespace is ahead, in nanoseconds.
    const OFFSET: i128 = 3_600_000_000_000;

    const SOON: BootInstant = BootInstant(Duration::MAX);

    /// A process must not go on with a file that others do not find any more.
    #[test]
    fn an_open_file_is_left_when_the_path_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("state"), folder.path().join("away"));
        let mut shared = SharedFile::new(path.clone().into());
        let permit = |window: &mut RateWindow, now| window.take(now, now, 0).map(|_| ());
        shared.with(UsedFile::Current, SOON, permit).unwrap().unwrap();
        std::fs::rename(&path, away).unwrap();
        let free = |window: &mut RateWindow, now| window.free_permits(now);
        assert_eq!(shared.with(UsedFile::Current, SOON, free), Ok(29));
        assert!(path.join(FILE).exists());
        // It is open, but not locked.
        let other = File::open(path.join(FILE)).unwrap();
        assert!(shared.open.is_some() && other.try_lock().is_ok());
    }

    #[test]
    fn a_response_is_entered_where_its_permit_was_taken_and_then_the_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("state"), folder.path().join("away"));
        let mut shared = SharedFile::new(path.clone().into());
        let take = |window: &mut RateWindow, now: BootInstant| {
            window.take(now, now + Duration::from_secs(10), 0)
        };
        let permit = shared.with(UsedFile::Current, SOON, take).unwrap().unwrap();
        std::fs::rename(&path, &away).unwrap();
        let before = std::fs::read(away.join(FILE)).unwrap();
        let answered = |window: &mut RateWindow, now| window.answered(permit, now);
        shared.with(UsedFile::OfPermit, SOON, answered).unwrap();
        assert_ne!(std::fs::read(away.join(FILE)).unwrap(), before);
        assert!(shared.open.is_none() && !path.exists());
        // A file that has been deleted is replaced.
        let permit = shared.with(UsedFile::Current, SOON, take).unwrap().unwrap();
        std::fs::remove_file(path.join(FILE)).unwrap();
        let answered = |window: &mut RateWindow, now| window.answered(permit, now);
        shared.with(UsedFile::OfPermit, SOON, answered).unwrap();
        assert!(path.join(FILE).exists());
    }

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
