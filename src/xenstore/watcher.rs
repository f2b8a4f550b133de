//! What a wait sees of xenstore while it runs, for as long as that works.

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

/// The shortest time between two looks that events cause: a flood of events does not keep this
/// process busy.
const SETTLE_TIME: Duration = Duration::from_millis(20);

/// The file that Managed Operations' automation leaves when it is done. Its directory is writable
/// by all users.
const MANAGED_MARKER: &str = "/tmp/rs_managed_cloud_automation_complete";

/// xenstore as a source of [`Snapshot`]s. It is opened at the first look.
#[derive(Debug, Default)]
pub struct Watcher {
    connection: Option<Connection>,
    is_watching: bool,
    /// Why there is no connection.
    error: Option<XenstoreError>,
    last_fired: Option<BootInstant>,
    last_snapshot: Option<Snapshot>,
}

impl Watcher {
    /// What xenstore says now; none where it does not work. The whole look ends by `deadline` and
    /// within [`super::LOOK_TIMEOUT`]; after the deadline the last snapshot is repeated. A xenstore
    /// that is absent may still come; one that broke, or that only root can read, is not tried
    /// again.
    pub fn look(&mut self, deadline: Option<BootInstant>) -> Option<Snapshot> {
        let has_passed = || deadline.is_some_and(|deadline| deadline <= BootInstant::now());
        if has_passed() {
            return self.last_snapshot.clone();
        }
        match self.connect(deadline).and_then(|()| self.read()) {
            Ok(snapshot) => {
                self.last_snapshot.clone_from(&snapshot);
                snapshot
            }
            // It may be slow or broken: not enough time was left to tell.
            Err(_) if has_passed() => self.last_snapshot.clone(),
            Err(err) => {
                self.disconnect(err);
                None
            }
        }
    }

    /// Begins a look, on a new connection if there is none.
    fn connect(&mut self, deadline: Option<BootInstant>) -> Result<(), XenstoreError> {
        if let Some(connection) = &mut self.connection {
            connection.begin_look(deadline);
            return Ok(());
        }
        if !matches!(self.error, None | Some(XenstoreError::Absent)) {
            return Ok(());
        }
        let mut connection = Connection::open()?.with_look(deadline);
        let place = connection.place().display().to_string();
        match connection.watch(metadata::TOP, WATCH_TOKEN) {
            Ok(()) => {
                log::debug!("watching xenstore ({place})");
                self.is_watching = true;
            }
            Err(err @ XenstoreError::Refused { .. }) => {
                log::debug!("cannot watch xenstore ({place}), only poll it: {err}");
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

    /// Sleeps until then, or until something changed, or xenstore broke. Whether one of these
    /// happened.
    pub fn rest(&mut self, until: BootInstant) -> bool {
        match self.connection.as_mut().filter(|_| self.is_watching) {
            Some(connection) => {
                let fired = connection.has_fired(until);
                self.settle(fired)
            }
            None => {
                thread::sleep(until.since(BootInstant::now()));
                false
            }
        }
    }

    /// Whether something changed, or xenstore broke, by now.
    pub fn has_changed(&mut self) -> bool {
        self.connection.is_some() && self.is_watching && self.rest(BootInstant::now())
    }

    /// Becomes readable when [`Watcher::has_changed`] is worth asking.
    pub fn wakeup(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().filter(|_| self.is_watching).map(Connection::wakeup)
    }

    fn settle(&mut self, fired: Result<bool, XenstoreError>) -> bool {
        match fired {
            Ok(false) => false,
            Ok(true) => {
                if let Some(last) = self.last_fired {
                    thread::sleep(SETTLE_TIME.saturating_sub(BootInstant::now().since(last)));
                }
                self.last_fired = Some(BootInstant::now());
                true
            }
            Err(err) => {
                self.disconnect(err);
                true
            }
        }
    }

    /// Whether there was no xenstore at the last look.
    pub fn is_absent(&self) -> bool {
        self.error == Some(XenstoreError::Absent)
    }

    fn disconnect(&mut self, err: XenstoreError) {
        if self.error.as_ref() != Some(&err) {
            match self.connection.is_some() {
                true => log::warn!("{err}: going on without it"),
                false => log::debug!("{err}: going on without it"),
            }
        }
        self.connection = None;
        self.is_watching = false;
        self.last_snapshot = None;
        self.error = Some(err);
    }
}

/// What can be known where there is no xenstore: whether the marker of Managed Operations is there.
/// Only a regular file of root's with one name counts, since every user could make another.
pub fn managed_marker() -> Snapshot {
    let is_roots = fs::symlink_metadata(MANAGED_MARKER)
        .is_ok_and(|metadata| metadata.is_file() && metadata.uid() == 0 && metadata.nlink() == 1);
    let unknown = Value::Unreadable("there is no xenstore here".to_owned());
    let managed = if is_roots { Value::Text("Complete".to_owned()) } else { Value::Absent };
    Snapshot::new(&unknown, &unknown, &unknown, &managed, false)
}
