//! The edge of it all: what a guest that goes on running hears from xenstore, for as long as that works.

use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use super::metadata::{self, Sighting, Value};
use super::{Connection, Trouble};
use crate::clock::BootInstant;

/// The name of the one watch.
const TOKEN: &str = "rackconnect";

/// The shortest time between two looks because a watch fired: whoever changes things without end does not keep this
/// program busy.
const SETTLE: Duration = Duration::from_millis(20);

/// The file that Managed Operations' automation leaves when it is done. Everybody may write to that folder.
const MARKER: &str = "/tmp/rs_managed_cloud_automation_complete";

/// xenstore as a source of [`Sighting`]s. It is opened at the first look.
#[derive(Debug, Default)]
pub struct Guest {
    store: Option<Connection>,
    watched: bool,
    /// Why it is not used (any more), or not yet.
    trouble: Option<Trouble>,
    last_fired: Option<BootInstant>,
}

impl Guest {
    /// What xenstore says now; none where it does not work. One that is not there may still come; one that broke, or is
    /// for root alone, is not tried again.
    pub fn look(&mut self) -> Option<Sighting> {
        if self.store.is_none() {
            if !matches!(self.trouble, None | Some(Trouble::Absent)) {
                return None;
            }
            match Connection::open() {
                Ok(store) => self.begin(store),
                Err(trouble) => {
                    self.end(trouble);
                    return None;
                }
            }
        }
        let watched = self.watched;
        let seen = self.store.as_mut().map(|store| -> Result<Sighting, Trouble> {
            let [provider, roles] =
                [store.value(metadata::PROVIDER)?, store.value(metadata::ROLES)?];
            let [status, managed] =
                [store.value(metadata::STATUS)?, store.value(metadata::MANAGED)?];
            Ok(Sighting::new(&provider, &roles, &status, &managed, watched))
        });
        match seen? {
            Ok(sighting) => Some(sighting),
            Err(trouble) => {
                self.end(trouble);
                None
            }
        }
    }

    /// Sleeps until then, or until something changed, or xenstore broke. Whether one of these happened.
    pub fn rest(&mut self, until: BootInstant) -> bool {
        match self.store.as_mut().filter(|_| self.watched) {
            Some(store) => {
                let fired = store.fired(until);
                self.hear(fired)
            }
            None => {
                thread::sleep(until.since(BootInstant::now()));
                false
            }
        }
    }

    /// Whether something changed, or xenstore broke, by now.
    pub fn rings(&mut self) -> bool {
        self.store.is_some() && self.watched && self.rest(BootInstant::now())
    }

    /// What can be read as soon as it is worth asking whether it rings.
    pub fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.store.as_ref().filter(|_| self.watched).map(Connection::bell)
    }

    fn hear(&mut self, fired: Result<bool, Trouble>) -> bool {
        match fired {
            Ok(false) => false,
            Ok(true) => {
                if let Some(last) = self.last_fired {
                    thread::sleep(SETTLE.saturating_sub(BootInstant::now().since(last)));
                }
                self.last_fired = Some(BootInstant::now());
                true
            }
            Err(trouble) => {
                self.end(trouble);
                true
            }
        }
    }

    /// Whether there was none at the last look.
    pub fn is_absent(&self) -> bool {
        self.trouble == Some(Trouble::Absent)
    }

    fn begin(&mut self, mut store: Connection) {
        let place = store.place().display().to_string();
        match store.watch(metadata::TOP, TOKEN) {
            Ok(()) => {
                log::debug!("xenstore ({place}) tells of changes as they happen");
                self.watched = true;
            }
            Err(trouble) => log::debug!("xenstore ({place}) is only asked now and then: {trouble}"),
        }
        self.store = Some(store);
        self.trouble = None;
    }

    fn end(&mut self, trouble: Trouble) {
        if self.trouble.as_ref() != Some(&trouble) {
            match self.store.is_some() {
                true => log::warn!("{trouble}: going on without it"),
                false => log::debug!("{trouble}: going on without it"),
            }
        }
        self.store = None;
        self.watched = false;
        self.trouble = Some(trouble);
    }
}

/// What can be known where there is no xenstore: whether the marker of Managed Operations is there. It is a hint, and not
/// even that if it could be of anybody's making: only a plain file of root's own counts.
pub fn marker() -> Sighting {
    let is_roots = fs::symlink_metadata(MARKER)
        .is_ok_and(|metadata| metadata.is_file() && metadata.uid() == 0 && metadata.nlink() == 1);
    let nothing = Value::Unreadable("there is no xenstore here".to_owned());
    let managed = if is_roots { Value::Text("Complete".to_owned()) } else { Value::Absent };
    Sighting::new(&nothing, &nothing, &nothing, &managed, false)
}
