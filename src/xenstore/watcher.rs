//! The snapshots of xenstore during a wait, for as long as xenstore works.

use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use super::metadata::{self, Snapshot, Value};
use super::{Connection, XenstoreError};
use crate::clock::BootInstant;

/// The token of the one watch.
const WATCH_TOKEN: &str = "rackconnect";

/// The shortest time between two snapshots that events cause, so that a flood of events does not
/// keep this process busy.
const SETTLE_TIME: Duration = Duration::from_millis(20);

/// The file that Managed Operations' automation leaves when it is done. Its directory is writable
/// by all users.
const MANAGED_MARKER: &str = "/tmp/rs_managed_cloud_automation_complete";

/// xenstore as a source of [`Snapshot`]s. It is opened for the first of them.
#[derive(Debug, Default)]
pub struct Watcher {
    connection: Option<Connection>,
    is_watching: bool,
    /// Why there is no connection.
    error: Option<XenstoreError>,
    last_event: Option<BootInstant>,
    last_snapshot: Option<Snapshot>,
}

impl Watcher {
    /// The current values; `None` if xenstore does not work. They are read by `deadline` and within
    /// [`super::READ_TIMEOUT`]; after the deadline the last snapshot is returned. A xenstore that
    /// is absent may still appear; one that broke, or that only root can read, is not tried again.
    pub fn snapshot(&mut self, deadline: Option<BootInstant>) -> Option<Snapshot> {
        let has_passed = || deadline.is_some_and(|deadline| deadline <= BootInstant::now());
        if has_passed() {
            return self.last_snapshot.clone();
        }
        match self.connect(deadline).and_then(|()| self.read()) {
            Ok(snapshot) => {
                self.last_snapshot.clone_from(&snapshot);
                snapshot
            }
            // xenstore may be slow or broken: there was not enough time to tell.
            Err(_) if has_passed() => self.last_snapshot.clone(),
            Err(err) => {
                self.disconnect(err);
                None
            }
        }
    }

    /// Prepares the connection for reading, and opens it if necessary.
    fn connect(&mut self, deadline: Option<BootInstant>) -> Result<(), XenstoreError> {
        if let Some(connection) = &mut self.connection {
            connection.set_deadline(deadline);
            return Ok(());
        }
        if !matches!(self.error, None | Some(XenstoreError::Absent)) {
            return Ok(());
        }
        let mut connection = Connection::open()?.with_deadline(deadline);
        let location = connection.location().display().to_string();
        match connection.watch(metadata::TOP, WATCH_TOKEN) {
            Ok(()) => {
                log::debug!("watching xenstore ({location})");
                self.is_watching = true;
            }
            Err(err @ XenstoreError::Refused { .. }) => {
                log::debug!("cannot watch xenstore ({location}), only poll it: {err}");
            }
            Err(err) => {
                self.connection = Some(connection);
                return Err(err);
            }
        }
        self.connection = Some(connection);
        self.error = None;
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Snapshot>, XenstoreError> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let mut value = |path| connection.value(path);
        let (provider, roles) = (value(metadata::PROVIDER)?, value(metadata::ROLES)?);
        let (status, managed) = (value(metadata::STATUS)?, value(metadata::MANAGED)?);
        Ok(Some(Snapshot::new(&provider, &roles, &status, &managed, self.is_watching)))
    }

    /// Sleeps until a value changes or xenstore breaks, until `until` at most. Returns whether one
    /// of these happened.
    pub fn wait_for_change(&mut self, until: BootInstant) -> bool {
        match self.connection.as_mut().filter(|_| self.is_watching) {
            Some(connection) => {
                let event = connection.wait_for_event(until);
                self.settle(event)
            }
            None => {
                thread::sleep(until.since(BootInstant::now()));
                false
            }
        }
    }

    /// Whether a value has changed or xenstore has broken.
    pub fn has_changed(&mut self) -> bool {
        self.connection.is_some() && self.is_watching && self.wait_for_change(BootInstant::now())
    }

    /// Becomes readable when [`Watcher::has_changed`] may return true.
    pub fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().filter(|_| self.is_watching).map(Connection::wakeup)
    }

    fn settle(&mut self, event: Result<bool, XenstoreError>) -> bool {
        match event {
            Ok(false) => false,
            Ok(true) => {
                if let Some(last) = self.last_event {
                    thread::sleep(SETTLE_TIME.saturating_sub(BootInstant::now().since(last)));
                }
                self.last_event = Some(BootInstant::now());
                true
            }
            Err(err) => {
                self.disconnect(err);
                true
            }
        }
    }

    /// Whether there was no xenstore for the last snapshot.
    pub fn is_absent(&self) -> bool {
        self.error == Some(XenstoreError::Absent)
    }

    fn disconnect(&mut self, err: XenstoreError) {
        if self.error.as_ref() != Some(&err) {
            if self.connection.is_some() {
                log::warn!("{err}: going on without it")
            } else {
                log::debug!("{err}: going on without it")
            }
        }
        self.connection = None;
        self.is_watching = false;
        self.last_snapshot = None;
        self.error = Some(err);
    }
}

/// The snapshot where there is no xenstore: only the marker file of Managed Operations is known. It
/// counts if it is a regular file of root's with one name, since every user could make another.
pub fn managed_marker() -> Snapshot {
    let is_roots = fs::symlink_metadata(MANAGED_MARKER)
        .is_ok_and(|metadata| metadata.is_file() && metadata.uid() == 0 && metadata.nlink() == 1);
    let unknown = Value::Unreadable("there is no xenstore here".to_owned());
    let managed = if is_roots { Value::Text("Complete".to_owned()) } else { Value::Absent };
    Snapshot::new(&unknown, &unknown, &unknown, &managed, false)
}
