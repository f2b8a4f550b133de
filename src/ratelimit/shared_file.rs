//! The file in which all processes of the server keep their rate window.
//!
//! It is locked (flock) for the microseconds of a read and a write; the lock ends with its holder.
//! Every user who can open the file can keep it locked, so the lock is waited for only a second at
//! a time.
//!
//! During a request the file stays open, unlocked, which saves opening it for each use. Between
//! requests it is closed, so that the small file system can be unmounted.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Duration;

use super::codec::{self, BootId, RECORD_BYTES};
use super::open_file::{OpenFile, SharedFileError};
use super::window::RateWindow;
use crate::clock::BootInstant;
use crate::error::plain;
use crate::state::boot;
use crate::state::kept_dir::KeptStateDir;
use crate::state::lock::{LockAttempt, lock_until};

/// How long one attempt to lock the file may take.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

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

/// The window in the locked file. The lock ends with [`SharedFile::commit`], or when this is
/// dropped.
pub struct LockedWindow {
    /// The window, to be changed.
    pub window: RateWindow,
    /// The time at which it was read.
    pub now: BootInstant,
    used: UsedFile,
    boot: BootId,
    offset: i128,
    open: OpenFile,
    /// The device and inode of the file.
    identity: (u64, u64),
    /// The content of the file.
    record: Vec<u8>,
    /// What is wrong with the content.
    corruption: Option<&'static str>,
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

    /// The window and the time, read without the lock; `None` if that is impossible. Another
    /// process may be about to change it.
    pub fn peek(&mut self) -> Option<(RateWindow, BootInstant)> {
        let (boot, offset) = (self.boot?, self.clock_offset?);
        let open = match self.open.take() {
            Some(open) => open,
            // A deadline that has passed: the lock for creating the file is not waited for.
            None => OpenFile::open(&self.state_dir, &boot, offset, BootInstant::default()).ok()?,
        };
        let open = self.open.insert(open);
        let bytes = read_record(&open.file).ok()?;
        let now = BootInstant::now();
        let window = codec::decode(&bytes, &boot, now.shifted(-offset)).ok()??;
        Some((window.shifted(offset), now))
    }

    /// Locks the file and reads the window. The lock is waited for until `deadline`, and for
    /// [`LOCK_TIMEOUT`] at most.
    ///
    /// # Errors
    /// See [`SharedFileError`].
    pub fn lock(
        &mut self,
        used: UsedFile,
        deadline: BootInstant,
    ) -> Result<LockedWindow, SharedFileError> {
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
                None => OpenFile::open(&self.state_dir, &boot, offset, lock_deadline)?,
            };
            match lock_until(&open.file, lock_deadline) {
                Ok(LockAttempt::Held) => {}
                Ok(LockAttempt::Taken) => {
                    let message = format!("{} is kept locked by another process", open.name);
                    return Err(SharedFileError::Locked(message));
                }
                Err(err) => return Err(open.wrong(&format!("cannot be locked: {}", plain(&err)))),
            }
            let metadata = open.check_access().map_err(|reason| open.wrong(&reason))?;
            if metadata.nlink() > 0 {
                return self.read(used, open, &metadata, boot, offset);
            }
        }
        Err(unusable(&format!("{} is replaced again and again", self.state_dir.path().display())))
    }

    /// Reads the window of the locked file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(
        &self,
        used: UsedFile,
        open: OpenFile,
        metadata: &Metadata,
        boot: BootId,
        offset: i128,
    ) -> Result<LockedWindow, SharedFileError> {
        let record = read_record(&open.file).map_err(|err| open.wrong(&plain(&err)))?;
        let now = BootInstant::now();
        let (mut window, corruption) = match codec::decode(&record, &boot, now.shifted(-offset)) {
            Ok(window) => (window.unwrap_or_default().shifted(offset), None),
            Err(reason) => (RateWindow::unknown(now), Some(reason)),
        };
        let identity = (metadata.dev(), metadata.ino());
        if self.last_seen.is_some_and(|last| last != identity) {
            window.merge(&self.known, now);
        }
        Ok(LockedWindow { window, now, used, boot, offset, open, identity, record, corruption })
    }

    /// Writes the changed window and unlocks the file.
    ///
    /// # Errors
    /// See [`SharedFileError`].
    pub fn commit(&mut self, locked: LockedWindow) -> Result<(), SharedFileError> {
        let LockedWindow { window, used, boot, offset, open, identity, record, corruption, .. } =
            locked;
        let new = codec::encode(&window.shifted(-offset), &boot);
        write(&open.file, &record, &new)
            .map_err(|err| open.wrong(&format!("cannot be written: {}", plain(&err))))?;
        if let Some(reason) = corruption {
            log::warn!(
                "{} was corrupt ({reason}); it is reset, and no request is sent for a minute",
                open.name
            );
        }
        self.last_seen = Some(identity);
        self.known = window;
        // Otherwise it is closed, which releases the lock as well.
        if used == UsedFile::Current && open.file.unlock().is_ok() {
            self.open = Some(open);
        }
        Ok(())
    }
}

/// Reads the file, up to one byte more than a record, so that a longer one is noticed.
fn read_record(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; RECORD_BYTES + 1];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(bytes)
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
    use super::super::open_file::FILE;
    use super::*;

    fn change<R>(
        shared: &mut SharedFile,
        used: UsedFile,
        act: impl FnOnce(&mut RateWindow, BootInstant) -> R,
    ) -> R {
        let mut locked = shared.lock(used, BootInstant::NEVER).unwrap();
        let result = act(&mut locked.window, locked.now);
        shared.commit(locked).unwrap();
        result
    }

    /// A process must not go on with a file that others do not find any more.
    #[test]
    fn an_open_file_is_left_when_the_path_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("state"), folder.path().join("away"));
        let mut shared = SharedFile::new(path.clone().into());
        let permit = |window: &mut RateWindow, now| window.take(now, now, 0).map(|_| ());
        change(&mut shared, UsedFile::Current, permit).unwrap();
        std::fs::rename(&path, away).unwrap();
        let free = |window: &mut RateWindow, now| window.free_permits(now);
        assert_eq!(change(&mut shared, UsedFile::Current, free), 29);
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
        let permit = change(&mut shared, UsedFile::Current, take).unwrap();
        std::fs::rename(&path, &away).unwrap();
        let before = std::fs::read(away.join(FILE)).unwrap();
        let answered = |window: &mut RateWindow, now| window.answered(permit, now);
        change(&mut shared, UsedFile::OfPermit, answered);
        assert_ne!(std::fs::read(away.join(FILE)).unwrap(), before);
        assert!(shared.open.is_none() && !path.exists());
        // A file that has been deleted is replaced.
        let permit = change(&mut shared, UsedFile::Current, take).unwrap();
        std::fs::remove_file(path.join(FILE)).unwrap();
        let answered = |window: &mut RateWindow, now| window.answered(permit, now);
        change(&mut shared, UsedFile::OfPermit, answered);
        assert!(path.join(FILE).exists());
    }
}
