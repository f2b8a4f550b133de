//! The undo, on disk: what a change did, or is about to do, so that any process can take it back. Root's alone.
//!
//! The file is replaced whole and synced, before anything is applied. It counts only in the boot and in the network
//! namespace that it was written in, and only if nobody less privileged could have written it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::geteuid;

use super::plan::{self, Change, Plan};
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::model::Tree;
use crate::netlink::Route;
use crate::state::lock::{LockAttempt, try_exclusive, try_shared};

/// The record.
const FILE: &str = "gateway-undo.json";

/// The lock: whoever holds it changes routes.
const LOCK: &str = "gateway.lock";

/// The lock that `gateway keep` holds while it runs.
const KEEPER: &str = "gateway-keep.lock";

/// Where a change that waits is confirmed.
const SOCKET: &str = "gateway.sock";

/// The largest record that is read.
const LIMIT: u64 = 256 * 1024;

/// The boot's identity (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The network namespace's identity (namespaces(7)). Without /proc/thread-self on old kernels: the process's.
const NAMESPACE: &str = "/proc/self/ns/net";

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not known to be good: whoever finds it without an owner undoes it.
    Pending,
    /// Verified, and confirmed where that was asked for: undone on request alone.
    Kept,
}

/// A change and how to undo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Tells it from every other change, even from one that does the same.
    pub id: String,
    /// How far it is.
    pub state: State,
    /// Which boot it belongs to.
    pub boot: String,
    /// Which network namespace it belongs to.
    pub namespace: String,
    /// What was done.
    pub plan: Plan,
    /// The gateway, for people.
    pub gateway: String,
    /// The change before it, which was kept, or could not be undone: what is to be undone once this one is.
    pub earlier: Option<Box<Record>>,
}

impl Record {
    /// A pending record of now and here, after an `earlier` change.
    pub fn new(plan: Plan, gateway: String, earlier: Option<Record>) -> Record {
        let (boot, namespace) = here();
        let id = format!("{}-{}", std::process::id(), BootInstant::now().0.as_nanos());
        Record {
            id,
            state: State::Pending,
            boot,
            namespace,
            plan,
            gateway,
            earlier: earlier.map(Box::new),
        }
    }

    /// What undoes it where the default routes are `present`.
    pub fn undo(&self, present: &[Route]) -> Vec<Change> {
        plan::undo(&self.plan.changes, &self.plan.wanted, &self.plan.before, present)
    }

    /// The same change, kept. Where the earlier one led to the same gateway, and was lost without being undone, what that one
    /// removed is put back with it, since this one found nothing. So it is where the earlier one could not be undone, and this
    /// one found nothing but what that one had added: that was never known to be good.
    pub fn kept(&self) -> Record {
        let mut record = Record { state: State::Kept, earlier: None, ..self.clone() };
        if let Some(earlier) = &self.earlier
            && let is_stuck = earlier.state == State::Pending
            && self.plan.before.iter().all(|route| is_stuck && *route == earlier.plan.wanted)
            && (is_stuck || self.gateway == earlier.gateway)
        {
            record.plan.before.clone_from(&earlier.plan.before);
            record.plan.changes.retain(|change| !matches!(change, Change::Remove(_)));
            let removed =
                earlier.plan.changes.iter().filter(|change| matches!(change, Change::Remove(_)));
            record.plan.changes.extend(removed.cloned());
        }
        record
    }

    /// Whether somebody else's default route has taken the place of ours where the default routes are `present`.
    pub fn is_taken(&self, present: &[Route]) -> bool {
        plan::is_taken(&self.plan, present)
    }

    /// Whether it belongs to this boot and this network namespace.
    pub fn is_of_here(&self) -> bool {
        (self.boot.clone(), self.namespace.clone()) == here()
    }

    fn to_tree(&self) -> Tree {
        let text = |text: &str| Tree::Text(text.to_owned());
        let before = self.plan.before.iter().map(|route| Tree::Text(hex(&route.to_bytes())));
        let changes = self.plan.changes.iter().map(|change| {
            let (what, route) = match change {
                Change::Add(route) | Change::Append(route) => ("add", route),
                Change::Remove(route) => ("remove", route),
            };
            Tree::Map(vec![(what.to_owned(), Tree::Text(hex(&route.to_bytes())))])
        });
        let state = match self.state {
            State::Pending => "pending",
            State::Kept => "kept",
        };
        let entries = [
            ("version", text("1")),
            ("id", text(&self.id)),
            ("state", text(state)),
            ("boot_id", text(&self.boot)),
            ("network_namespace", text(&self.namespace)),
            ("gateway", text(&self.gateway)),
            ("wanted", Tree::Text(hex(&self.plan.wanted.to_bytes()))),
            ("before", Tree::List(before.collect())),
            ("changes", Tree::List(changes.collect())),
        ];
        let earlier = self.earlier.iter().map(|earlier| ("earlier", earlier.to_tree()));
        Tree::Map(
            entries
                .into_iter()
                .chain(earlier)
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    fn from_json(json: &[u8]) -> Option<Record> {
        Record::from_tree(&Tree::from_json(json).ok()?)
    }

    fn from_tree(tree: &Tree) -> Option<Record> {
        let text = |key: &str| tree.get(key)?.as_text();
        let route = |hex: &Tree| Route::read(&unhex(hex.as_text()?)?).ok();
        if text("version")? != "1" {
            return None;
        }
        let state = match text("state")? {
            "pending" => State::Pending,
            "kept" => State::Kept,
            _ => return None,
        };
        let Tree::List(changes) = tree.get("changes")? else { return None };
        let changes =
            changes.iter().map(|change| match (change.get("add"), change.get("remove")) {
                (Some(added), None) => route(added).map(Change::Add),
                (None, Some(removed)) => route(removed).map(Change::Remove),
                _ => None,
            });
        let Tree::List(before) = tree.get("before")? else { return None };
        let plan = Plan {
            changes: changes.collect::<Option<_>>()?,
            wanted: route(tree.get("wanted")?)?,
            before: before.iter().map(route).collect::<Option<_>>()?,
        };
        Some(Record {
            id: text("id")?.to_owned(),
            state,
            plan,
            boot: text("boot_id")?.to_owned(),
            namespace: text("network_namespace")?.to_owned(),
            gateway: text("gateway")?.to_owned(),
            // Without it this change can be undone all the same.
            earlier: tree.get("earlier").and_then(Record::from_tree).map(Box::new),
        })
    }
}

/// The folder that the record is kept in.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// A right that one process has at a time, while this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// The store in that folder, which need not exist yet.
    pub fn at(folder: &Path) -> Store {
        // The guard, and whoever reads a message, may be in another folder.
        Store { folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The end of a sentence about something that is not there: where it was looked for.
    pub fn searched(&self) -> String {
        format!(
            ": none is in {} (--state-dir or RACKCONNECT_STATE_DIR names another folder)",
            self.folder.display()
        )
    }

    /// Where a change that waits is confirmed.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// Makes sure that the folder is there and nobody else's.
    ///
    /// # Errors
    /// It cannot be made, or others may write in it.
    pub fn prepare(&self) -> Result<()> {
        if !self.folder.exists() {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(&self.folder);
            // Others are to find the budget in it, whatever the umask.
            let opened = made
                .and_then(|()| fs::set_permissions(&self.folder, Permissions::from_mode(0o755)));
            opened.map_err(|why| self.error("cannot be made", &why))?;
        }
        let metadata =
            fs::metadata(&self.folder).map_err(|why| self.error("cannot be looked at", &why))?;
        match is_ours(&metadata) {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Refused,
                format!(
                    "others may write in {}: the undo is not safe there",
                    self.folder.display()
                ),
            )),
        }
    }

    /// Takes the lock; none if somebody else holds it for longer than `patience`.
    ///
    /// # Errors
    /// There can be no lock.
    pub fn lock(&self, patience: Duration) -> Result<Option<Lock>> {
        self.take(LOCK, patience)
    }

    fn take(&self, name: &str, patience: Duration) -> Result<Option<Lock>> {
        let path = self.folder.join(name);
        let open = OpenOptions::new()
            .write(true)
            .create(true)
            .mode(0o600)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK)
            .open(&path);
        let file = open.map_err(|why| self.error("cannot hold a lock", &why))?;
        let deadline = BootInstant::now() + patience;
        loop {
            match try_exclusive(&file) {
                Ok(LockAttempt::Held) => return Ok(Some(Lock { _file: file })),
                Ok(LockAttempt::Taken) if BootInstant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(LockAttempt::Taken) => return Ok(None),
                Err(err) => return Err(self.error("cannot hold a lock", &err)),
            }
        }
    }

    /// Writes the record, synced.
    ///
    /// # Errors
    /// It is not certain to be on disk.
    pub fn write(&self, record: &Record) -> Result<()> {
        self.try_write(record).map_err(|why| self.error("cannot take the undo", &why))
    }

    fn try_write(&self, record: &Record) -> io::Result<()> {
        let new = self.folder.join(format!("{FILE}.new"));
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(record.to_tree().to_json().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Reads the record, if there is one that can be trusted, understood, and belongs here.
    pub fn read(&self) -> Option<Record> {
        let path = self.folder.join(FILE);
        let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(&path);
        let file = match file {
            Ok(file) => file,
            Err(why) => {
                if why.kind() != ErrorKind::NotFound {
                    log::debug!("{} cannot be read: {why}", path.display());
                }
                return None;
            }
        };
        let ours =
            |metadata: io::Result<fs::Metadata>| metadata.is_ok_and(|metadata| is_ours(&metadata));
        if !ours(file.metadata()) || !ours(fs::metadata(&self.folder)) {
            log::warn!("{} is not trusted: others may have written it", path.display());
            return None;
        }
        let mut json = Vec::new();
        file.take(LIMIT).read_to_end(&mut json).ok()?;
        let record = Record::from_json(&json);
        if record.is_none() {
            log::warn!("{} cannot be understood and is passed over", path.display());
        }
        record.filter(Record::is_of_here)
    }

    /// Whether there is a change that is not known to be good.
    pub fn has_pending(&self) -> bool {
        self.read().is_some_and(|record| record.state == State::Pending)
    }

    /// Loses the record of a change that is undone, or never came to be. The one before it can be undone again.
    ///
    /// # Errors
    /// It is not certain to be gone.
    pub fn undone(&self, record: &Record) -> Result<()> {
        match &record.earlier {
            Some(earlier) => self.write(earlier),
            None => self.remove(),
        }
    }

    /// Takes the place of the one who keeps the gateway; none if somebody else has it.
    ///
    /// # Errors
    /// There can be no lock.
    pub fn keeping(&self) -> Result<Option<Lock>> {
        // Whoever looks, in `is_kept`, has it for a moment.
        self.take(KEEPER, Duration::from_secs(1))
    }

    /// Whether some process changes routes.
    pub fn is_locked(&self) -> bool {
        self.is_taken(LOCK)
    }

    /// Whether some process keeps the gateway.
    pub fn is_kept(&self) -> bool {
        self.is_taken(KEEPER)
    }

    fn is_taken(&self, name: &str) -> bool {
        OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK)
            .open(self.folder.join(name))
            .is_ok_and(|file| matches!(try_shared(&file), Ok(LockAttempt::Taken)))
    }

    /// Removes the record.
    ///
    /// # Errors
    /// It is not certain to be gone.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_file(self.folder.join(FILE)) {
            Err(why) if why.kind() != ErrorKind::NotFound => {
                Err(self.error("cannot lose the undo", &why))
            }
            _ => File::open(&self.folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|why| self.error("cannot be synced", &why)),
        }
    }

    fn error(&self, what: &str, why: &io::Error) -> Error {
        Error::new(
            Kind::Refused,
            format!("the state folder {} {what}: {why}", self.folder.display()),
        )
    }
}

/// Whether nobody but root or this very user could have written it.
fn is_ours(metadata: &fs::Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || owner == geteuid().as_raw()) && metadata.mode() & 0o022 == 0
}

fn here() -> (String, String) {
    let boot = fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned();
    let namespace =
        fs::read_link(NAMESPACE).map(|link| link.display().to_string()).unwrap_or_default();
    (boot, namespace)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    fn record() -> Record {
        let old = Route::default_via(Ipv4Addr::new(198, 51, 100, 1), 2, 0);
        let new = Route::default_via(Ipv4Addr::new(10, 182, 127, 198), 3, 0);
        let changes = vec![Change::Add(new.clone()), Change::Remove(old.clone())];
        let plan = Plan { changes, wanted: new, before: vec![old] };
        Record { id: "7".to_owned(), ..Record::new(plan, "10.182.127.198".to_owned(), None) }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(&folder.path().join("deep/er"));
        store.prepare().unwrap();
        assert_eq!(store.read(), None);
        store.write(&record()).unwrap();
        assert_eq!(store.read(), Some(record()));
        let kept = Record { state: State::Kept, ..record() };
        store.write(&kept).unwrap();
        assert_eq!(store.read(), Some(kept.clone()));
        let second = Record { earlier: Some(Box::new(kept.clone())), ..record() };
        store.write(&second).unwrap();
        assert_eq!(store.read(), Some(second.clone()));
        store.undone(&second).unwrap();
        assert_eq!(store.read(), Some(kept.clone()));
        store.undone(&kept).unwrap();
        assert_eq!(store.read(), None);
        store.remove().unwrap();
        assert_eq!(store.read(), None);
    }

    #[test]
    fn of_another_boot_or_namespace_or_hand_it_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        for other in [
            Record { boot: "x".to_owned(), ..record() },
            Record { namespace: "net:[1]".to_owned(), ..record() },
        ] {
            store.write(&other).unwrap();
            assert_eq!(store.read(), None);
        }
        store.write(&record()).unwrap();
        let file = folder.path().join(FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(store.read(), None);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(store.read(), None);
        assert!(store.prepare().is_err());
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        let first = store.lock(Duration::ZERO).unwrap();
        assert!(first.is_some());
        assert!(store.lock(Duration::from_millis(30)).unwrap().is_none());
        drop(first);
        assert!(store.lock(Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn whether_the_gateway_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        assert!(!store.is_kept());
        let keeper = store.keeping().unwrap();
        assert!(keeper.is_some() && store.is_kept() && store.keeping().unwrap().is_none());
        drop(keeper);
        assert!(!store.is_kept());
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(json in "\\PC*", cut in 0..400usize) {
            let _ = Record::from_json(json.as_bytes());
            let whole = record().to_tree().to_json();
            let _ = Record::from_json(&whole.as_bytes()[..cut.min(whole.len())]);
        }
    }
}
