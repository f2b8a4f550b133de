//! The journal: the record of the last change on disk, and the locks around changes.
//!
//! The record is replaced atomically and synced before anything is changed. It is valid only in the
//! boot and network namespace in which it was written, and only if no less privileged user can have
//! written it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use super::record::ChangeRecord;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};
use crate::state::lock::{LockAttempt, lock_until, try_shared};
use crate::state::replacement::{Durability, replace};
use crate::state::trust::{self, StickyDirectory};

/// The record.
const RECORD_FILE: &str = "gateway-undo.json";

/// The lock of the process that changes routes.
const CHANGE_LOCK: &str = "gateway.lock";

/// The lock that `gateway keep` holds while it runs.
const KEEP_LOCK: &str = "gateway-keep.lock";

/// The socket on which a change waits for its confirmation.
const SOCKET: &str = "gateway.sock";

/// The largest record: about 40,000 default routes.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// How long `gateway keep` waits for its lock: [`Journal::is_keep_running`] takes it briefly.
const KEEP_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The state directory as the gateway commands use it.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
}

/// A lock, held while this value lives.
#[derive(Debug)]
pub(crate) struct ChangeLock {
    _file: File,
}

impl Journal {
    /// The journal in `dir`, which need not exist yet.
    pub(crate) fn at(dir: &Path) -> Journal {
        // The guard and the reader of a message may have another working directory.
        Journal { dir: std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()) }
    }

    /// The state directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a record was looked for, as the end of a sentence.
    pub(crate) fn searched(&self) -> String {
        format!(
            " in {} (--state-dir or RACKCONNECT_STATE_DIR names another directory)",
            self.dir.display()
        )
    }

    /// The socket on which a change waits for its confirmation.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    /// Creates the directory if needed, and checks that others cannot write to it.
    ///
    /// # Errors
    /// It cannot be created, or others can write to it.
    pub(crate) fn prepare(&self) -> Result<()> {
        if !self.dir.exists() {
            let created = DirBuilder::new().recursive(true).mode(0o755).create(&self.dir);
            // Other users need the rate limit's file in it, whatever the umask.
            created
                .and_then(|()| fs::set_permissions(&self.dir, Permissions::from_mode(0o755)))
                .map_err(|err| self.error("create", &err))?;
        }
        let metadata = fs::metadata(&self.dir).map_err(|err| self.error("examine", &err))?;
        let not_safe = |reason: &str| {
            let dir = self.dir.display();
            let message =
                format!("the undo would not be safe in the state directory {dir}: {reason}");
            Error::new(Kind::Refused, message)
        };
        if !is_trusted(&metadata) {
            let mode = metadata.mode() & 0o7777;
            return Err(not_safe(&format!("it is writable by other users (mode {mode:04o})")));
        }
        self.check_path().map_err(|reason| not_safe(&reason))
    }

    /// Checks that no other user can replace the directory.
    fn check_path(&self) -> Result<(), String> {
        if !geteuid().is_root() {
            return Ok(());
        }
        let checked = trust::check_path(&self.dir, StickyDirectory::HoldsDirectories);
        checked.map_err(|err| err.to_string())
    }

    /// Takes the lock for changes; none if another process holds it for longer than `timeout`.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub(crate) fn lock(&self, timeout: Duration) -> Result<Option<ChangeLock>> {
        self.take(CHANGE_LOCK, timeout)
    }

    /// Takes the lock of `gateway keep`; none if another process has it.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub(crate) fn lock_keep(&self) -> Result<Option<ChangeLock>> {
        self.take(KEEP_LOCK, KEEP_LOCK_TIMEOUT)
    }

    fn take(&self, name: &str, timeout: Duration) -> Result<Option<ChangeLock>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let file = open_regular(&options, &self.dir.join(name))
            .map_err(|err| self.error(&format!("open {name} in"), &err))?;
        match lock_until(&file, BootInstant::now() + timeout) {
            Ok(LockAttempt::Held) => Ok(Some(ChangeLock { _file: file })),
            Ok(LockAttempt::Taken) => Ok(None),
            Err(err) => Err(self.error(&format!("lock {name} in"), &err)),
        }
    }

    /// Whether a process is changing routes.
    pub(crate) fn is_locked(&self) -> bool {
        self.is_taken(CHANGE_LOCK)
    }

    /// Whether `gateway keep` runs.
    pub(crate) fn is_keep_running(&self) -> bool {
        self.is_taken(KEEP_LOCK)
    }

    fn is_taken(&self, name: &str) -> bool {
        let file = open_regular(OpenOptions::new().read(true), &self.dir.join(name));
        file.is_ok_and(|file| matches!(try_shared(&file), Ok(LockAttempt::Taken)))
    }

    /// Writes the record, synced.
    ///
    /// # Errors
    /// It is not certain to be on disk.
    pub(crate) fn write(&self, record: &ChangeRecord) -> Result<()> {
        self.try_write(record).map_err(|err| self.error("store the undo in", &err))
    }

    fn try_write(&self, record: &ChangeRecord) -> io::Result<()> {
        let json = record.to_json();
        if json.len() as u64 > MAX_RECORD_BYTES {
            return Err(io::Error::other("there are too many default routes"));
        }
        let dir = File::open(&self.dir)?;
        replace(&dir, RECORD_FILE, json.as_bytes(), 0o600, Durability::Synced)
    }

    /// The record, if there is one that is trusted, understood, and of this boot and namespace.
    pub(crate) fn read(&self) -> Option<ChangeRecord> {
        let path = self.dir.join(RECORD_FILE);
        let file = match open_regular(OpenOptions::new().read(true), &path) {
            Ok(file) => file,
            Err(err) => {
                match err.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory => {}
                    ErrorKind::PermissionDenied => {
                        log::debug!("cannot read {}: {}", path.display(), plain(&err));
                    }
                    _ => log::warn!("ignoring {}: {}", path.display(), plain(&err)),
                }
                return None;
            }
        };
        let trusted = |metadata: io::Result<fs::Metadata>| metadata.is_ok_and(|m| is_trusted(&m));
        if !trusted(file.metadata()) || !trusted(fs::metadata(&self.dir)) {
            log::warn!("ignoring {}: other users can write to it", path.display());
            return None;
        }
        if let Err(reason) = self.check_path() {
            log::warn!("ignoring {}: {reason}", path.display());
            return None;
        }
        let mut json = Vec::new();
        file.take(MAX_RECORD_BYTES).read_to_end(&mut json).ok()?;
        let record = ChangeRecord::from_json(&json);
        if record.is_none() {
            log::warn!("ignoring {}: it is not a record of a change", path.display());
        }
        record.filter(ChangeRecord::is_of_this_boot_and_namespace)
    }

    /// The record of a change that is neither kept nor undone.
    pub(crate) fn pending(&self) -> Option<ChangeRecord> {
        self.read().filter(ChangeRecord::is_pending)
    }

    /// Removes the record of a change that was undone or not made, so that the earlier change, if
    /// there is one, can be undone.
    ///
    /// # Errors
    /// It is not certain to be gone.
    pub(crate) fn discard(&self, record: &ChangeRecord) -> Result<()> {
        match &record.earlier {
            Some(earlier) => self.write(earlier),
            None => self.remove(),
        }
    }

    /// [`Journal::discard`] where a failure can only be reported.
    pub(crate) fn try_discard(&self, record: &ChangeRecord) {
        if let Err(err) = self.discard(record) {
            log::warn!("{err}");
        }
    }

    /// Removes the record.
    ///
    /// # Errors
    /// It is not certain to be gone.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_file(self.dir.join(RECORD_FILE)) {
            Err(err) if err.kind() != ErrorKind::NotFound => {
                Err(self.error("remove the undo from", &err))
            }
            _ => File::open(&self.dir)
                .and_then(|dir| dir.sync_all())
                .map_err(|err| self.error("sync", &err)),
        }
    }

    fn error(&self, action: &str, err: &io::Error) -> Error {
        let dir = self.dir.display();
        let message = format!("cannot {action} the state directory {dir}: {}", plain(err));
        Error::new(Kind::Refused, message)
    }
}

/// Opens a regular file without following a symbolic link or blocking on anything else.
fn open_regular(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.clone().custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// Whether only root or this user can have written it.
fn is_trusted(metadata: &fs::Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || owner == geteuid().as_raw()) && metadata.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::gateway::record::ChangeState;
    use crate::gateway::record::tests::record;

    #[test]
    fn a_written_record_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::at(&dir.path().join("deep/er"));
        journal.prepare().unwrap();
        assert_eq!(journal.read(), None);
        journal.write(&record()).unwrap();
        assert_eq!(journal.read(), Some(record()));
        assert_eq!(journal.pending(), Some(record()));
        let kept = ChangeRecord { state: ChangeState::Kept, ..record() };
        journal.write(&kept).unwrap();
        assert_eq!((journal.read(), journal.pending()), (Some(kept.clone()), None));
        let second = ChangeRecord { earlier: Some(Box::new(kept.clone())), ..record() };
        journal.write(&second).unwrap();
        assert_eq!(journal.read(), Some(second.clone()));
        journal.discard(&second).unwrap();
        assert_eq!(journal.read(), Some(kept.clone()));
        journal.discard(&kept).unwrap();
        assert_eq!(journal.read(), None);
        journal.remove().unwrap();
        assert_eq!(journal.read(), None);
    }

    #[test]
    fn a_record_of_another_boot_namespace_or_user_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::at(dir.path());
        for other in [
            ChangeRecord { boot: "x".to_owned(), ..record() },
            ChangeRecord { namespace: "net:[1]".to_owned(), ..record() },
        ] {
            journal.write(&other).unwrap();
            assert_eq!(journal.read(), None);
        }
        journal.write(&record()).unwrap();
        let file = dir.path().join(RECORD_FILE);
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(journal.read(), None);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        // Not in a user namespace with one user.
        if geteuid().is_root() && chown(&file, Some(1000), None).is_ok() {
            assert_eq!(journal.read(), None);
            chown(&file, Some(0), None).unwrap();
        }
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(journal.read(), None);
        assert!(journal.prepare().is_err());
    }

    #[test]
    fn one_change_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::at(dir.path());
        let first = journal.lock(Duration::ZERO).unwrap();
        assert!(first.is_some() && journal.is_locked());
        assert!(journal.lock(Duration::from_millis(30)).unwrap().is_none());
        drop(first);
        // Another test may just have forked, and its child has the lock until it executes a program.
        assert!(journal.lock(Duration::from_secs(60)).unwrap().is_some());
    }

    #[test]
    fn a_running_keep_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::at(dir.path());
        assert!(!journal.is_keep_running());
        let lock = journal.lock_keep().unwrap();
        assert!(lock.is_some() && journal.is_keep_running());
        assert!(journal.lock_keep().unwrap().is_none());
        drop(lock);
        // As above, a child of another test may hold it for a moment.
        while journal.is_keep_running() {}
        assert!(journal.lock_keep().unwrap().is_some());
    }

    /// `gateway rollback` hung on a FIFO in place of gateway.lock.
    #[test]
    fn anything_but_a_regular_file_is_neither_read_nor_locked() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::at(dir.path());
        for name in [CHANGE_LOCK, RECORD_FILE] {
            mkfifo(&dir.path().join(name), Mode::S_IRWXU).unwrap();
        }
        assert!(journal.lock(Duration::ZERO).is_err() && !journal.is_locked());
        assert_eq!(journal.read(), None);
        for name in [CHANGE_LOCK, RECORD_FILE] {
            fs::remove_file(dir.path().join(name)).unwrap();
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert!(journal.lock(Duration::ZERO).is_err() && !journal.is_locked());
        assert_eq!(journal.read(), None);
        assert!(journal.write(&record()).is_err());
        assert!(!dir.path().join(".gateway-undo.json.new").exists());
    }
}
