//! A simulated xenstore for the tests of `rackconnect`. It speaks the protocol on a Unix socket, as
//! xenstored does, or on a pseudo-terminal in place of the kernel's device. It has watches,
//! scripted changes, and faults; README.md describes them.
//!
//! ```
//! use simulated_xenstore::{Config, Simulator};
//!
//! let store = Simulator::start(Config::default().with("vm-data/provider_data/region", "dfw"))?;
//! // A program that is started with XENSTORED_PATH=store.path() reads from it.
//! store.set("vm-data/user-metadata/rackconnect_automation_status", "\"DEPLOYED\"");
//! # std::io::Result::Ok(())
//! ```

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod tree;

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::openpty,
    sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt, fs,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tree::{Tree, Watch, absolute};

// Xen's xen/include/public/io/xs_wire.h.
const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const GET_PERMS: u32 = 3;
const WATCH: u32 = 4;
const UNWATCH: u32 = 5;
const TRANSACTION_START: u32 = 6;
const TRANSACTION_END: u32 = 7;
const WRITE: u32 = 11;
const MKDIR: u32 = 12;
const RM: u32 = 13;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;
const HEADER: usize = 16;
const PAYLOAD_MAX: usize = 4096;

/// The configuration of a simulator.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Use a pseudo-terminal in place of the device instead of a socket.
    pub pty: bool,
    /// The path of the socket, or of the link to the pseudo-terminal. `None`: in a temporary
    /// directory, which is removed when the simulator is dropped.
    pub path: Option<PathBuf>,
    /// The initial values. Relative paths are relative to the domain's directory.
    pub values: BTreeMap<String, String>,
    /// The initial fault.
    pub fault: Fault,
    /// Later changes.
    #[serde(rename = "change")]
    pub changes: Vec<Change>,
}

/// A scripted change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// The time since the simulator's start, in seconds.
    pub after: f64,
    /// The values to set.
    pub set: BTreeMap<String, String>,
    /// The paths to remove.
    pub remove: Vec<String>,
    /// The fault from then on.
    pub fault: Option<Fault>,
}

/// A fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    #[default]
    None,
    /// Replies and events are sent byte by byte.
    ShortReads,
    /// The header of a reply is sent in two pieces.
    SplitHeaders,
    /// Replies have another ID than their request.
    WrongIds,
    /// Replies have another type than their request.
    WrongTypes,
    /// Every request gets this error.
    Error(&'static str),
    /// The first two requests of each connection get EAGAIN.
    Again,
    /// Watches are refused.
    NoWatches,
    /// Every reply is delayed by this many milliseconds.
    Slow(u64),
    /// There are no replies and no events.
    Stall,
    /// Replies are incomplete, and there are no events.
    StallMidway,
    /// An event for an unknown watch is sent before every reply.
    EventBeforeReply,
    /// Such an event is sent between the header and the payload of every reply.
    EventInsideReply,
    /// Replies have 5000 bytes.
    Oversized,
    /// Replies announce 4 GiB.
    Huge,
    /// An endless stream of events.
    Flood,
    /// Replies to WATCH and UNWATCH have the ID 0, and events an arbitrary ID, as in Linux up to
    /// 4.10.
    OldKernel,
    /// Connections end, and new ones are not accepted.
    Vanish,
}

const FAULTS: [(&str, Fault); 21] = [
    ("none", Fault::None),
    ("short-reads", Fault::ShortReads),
    ("split-headers", Fault::SplitHeaders),
    ("wrong-ids", Fault::WrongIds),
    ("wrong-types", Fault::WrongTypes),
    ("error-EACCES", Fault::Error("EACCES")),
    ("error-EINVAL", Fault::Error("EINVAL")),
    ("error-ENOENT", Fault::Error("ENOENT")),
    ("error-EAGAIN", Fault::Error("EAGAIN")),
    ("again", Fault::Again),
    ("no-watches", Fault::NoWatches),
    ("slow", Fault::Slow(500)),
    ("stall", Fault::Stall),
    ("stall-midway", Fault::StallMidway),
    ("event-before-reply", Fault::EventBeforeReply),
    ("event-inside-reply", Fault::EventInsideReply),
    ("oversized", Fault::Oversized),
    ("huge", Fault::Huge),
    ("flood", Fault::Flood),
    ("old-kernel", Fault::OldKernel),
    ("vanish", Fault::Vanish),
];

/// All faults, starting with `None`.
pub fn faults() -> impl Iterator<Item = Fault> {
    FAULTS.into_iter().map(|(_, fault)| fault)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FAULTS.iter().find(|(_, fault)| fault == self).map_or("?", |(name, _)| name))
    }
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(name: &str) -> Result<Fault, String> {
        let found = FAULTS.iter().find(|(known, _)| *known == name);
        found.map(|(_, fault)| *fault).ok_or_else(|| format!("unknown fault: {name:?}"))
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Fault, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Config {
    /// Reads a configuration from TOML.
    pub fn from_toml(text: &str) -> io::Result<Config> {
        toml::from_str(text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    }

    /// The configuration with an initial value.
    pub fn with(mut self, path: &str, value: &str) -> Config {
        self.values.insert(path.to_owned(), value.to_owned());
        self
    }

    /// The configuration with an initial fault.
    pub fn fault(mut self, fault: Fault) -> Config {
        self.fault = fault;
        self
    }
}

/// One request, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its type, as in xs_wire.h.
    pub kind: u32,
    /// Its ID.
    pub id: u32,
    /// The strings of its payload.
    pub words: Vec<String>,
}

/// A running simulator. Dropping it stops it and ends its connections.
pub struct Simulator {
    shared: Arc<Shared>,
    path: PathBuf,
    /// The directory of `path`, unless that was given.
    _own_folder: Option<TempDir>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    stopping: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tree: Tree,
    fault: Fault,
    connections: Vec<Arc<Connection>>,
    log: Vec<Received>,
}

struct Connection {
    /// Whether the connection must end. A pseudo-terminal only ends when its last descriptor is
    /// closed.
    ended: AtomicBool,
    watches: Mutex<Vec<Watch>>,
    writer: Mutex<File>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulator {
    /// Starts a simulator. It accepts connections when this returns.
    pub fn start(config: Config) -> io::Result<Simulator> {
        let mut own_folder = None;
        let path = match config.path {
            Some(path) => path,
            None => {
                let name = if config.pty { "xenbus" } else { "socket" };
                own_folder.insert(tempfile::tempdir()?).path().join(name)
            }
        };
        let mut state = State::default();
        for (path, value) in &config.values {
            state.tree.set(&parse_path(path)?, value.as_bytes());
        }
        let shared =
            Arc::new(Shared { stopping: AtomicBool::new(false), state: Mutex::new(state) });
        set_fault(&shared, config.fault);
        let mut threads = Vec::new();
        let serving = shared.clone();
        if config.pty {
            let pty = openpty(None, None)?;
            let mut mode = tcgetattr(&pty.slave)?;
            cfmakeraw(&mut mode);
            tcsetattr(&pty.slave, SetArg::TCSANOW, &mode)?;
            std::os::unix::fs::symlink(nix::unistd::ttyname(&pty.slave)?, &path)?;
            threads.push(thread::spawn(move || {
                // The pseudo-terminal keeps its mode as long as a descriptor is open.
                let slave = pty.slave;
                serve(&serving, pty.master);
                drop(slave);
            }));
        } else {
            let listener = UnixListener::bind(&path)?;
            threads.push(thread::spawn(move || {
                let is_gone = || lock(&serving.state).fault == Fault::Vanish;
                while readable(&serving, &listener, is_gone) {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    // It may be gone only since the last look, which is before the connection.
                    if is_gone() {
                        break;
                    }
                    let serving = serving.clone();
                    thread::spawn(move || serve(&serving, stream.into()));
                }
            }));
        }
        let mut changes = config.changes;
        changes.sort_by(|a, b| a.after.total_cmp(&b.after));
        let (changing, started) = (shared.clone(), Instant::now());
        for change in &changes {
            for path in change.set.keys().chain(&change.remove) {
                parse_path(path)?;
            }
        }
        threads.push(thread::spawn(move || {
            for change in changes {
                while started.elapsed().as_secs_f64() < change.after {
                    if changing.stopping.load(Ordering::SeqCst) {
                        return;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                change.set.iter().for_each(|(path, value)| set(&changing, path, value));
                change.remove.iter().for_each(|path| remove(&changing, path));
                if let Some(fault) = change.fault {
                    set_fault(&changing, fault);
                }
            }
        }));
        Ok(Simulator { shared, path, _own_folder: own_folder, threads })
    }

    /// The path of the socket, or of the link to the pseudo-terminal, for XENSTORED_PATH.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets a value and notifies its watches. Panics if the path is invalid.
    pub fn set(&self, path: &str, value: &str) {
        set(&self.shared, path, value);
    }

    /// Removes a path and everything below it, and notifies the watches. Panics if the path is
    /// invalid.
    pub fn remove(&self, path: &str) {
        remove(&self.shared, path);
    }

    /// Sets the fault from now on.
    pub fn fault(&self, fault: Fault) {
        set_fault(&self.shared, fault);
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Received> {
        lock(&self.shared.state).log.clone()
    }

    /// The number of watches.
    pub fn watches(&self) -> usize {
        lock(&self.shared.state)
            .connections
            .iter()
            .map(|connection| lock(&connection.watches).len())
            .sum()
    }

    /// Waits until a condition holds, for at most `limit`. Returns whether it does.
    pub fn wait_until(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&Simulator) -> bool,
    ) -> bool {
        let start = Instant::now();
        while !condition(self) {
            if start.elapsed() >= limit {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn parse_path(path: &str) -> io::Result<String> {
    absolute(path)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("not a path: {path:?}")))
}

fn set(shared: &Shared, path: &str, value: &str) {
    let path = absolute(path).expect("a valid path");
    let mut state = lock(&shared.state);
    state.tree.set(&path, value.as_bytes());
    state.notify_watches(&path, false);
}

fn remove(shared: &Shared, path: &str) {
    let path = absolute(path).expect("a valid path");
    let mut state = lock(&shared.state);
    if state.tree.remove(&path) {
        state.notify_watches(&path, true);
    }
}

fn set_fault(shared: &Arc<Shared>, fault: Fault) {
    let mut state = lock(&shared.state);
    state.fault = fault;
    if fault == Fault::Vanish {
        for connection in state.connections.drain(..) {
            connection.ended.store(true, Ordering::SeqCst);
        }
    }
    if fault == Fault::Flood {
        let flooding = shared.clone();
        thread::spawn(move || {
            while !flooding.stopping.load(Ordering::SeqCst)
                && lock(&flooding.state).fault == Fault::Flood
            {
                lock(&flooding.state).notify_watches("/local/domain/0/vm-data/flood", false);
                thread::sleep(Duration::from_micros(200));
            }
        });
    }
}

impl State {
    /// Sends an event to every watch that covers the changed path.
    fn notify_watches(&self, changed: &str, removed: bool) {
        if matches!(self.fault, Fault::Stall | Fault::StallMidway) {
            return;
        }
        for connection in &self.connections {
            for watch in lock(&connection.watches).iter() {
                if let Some(path) = watch.event_path(changed, removed) {
                    connection.send(
                        self.fault,
                        WATCH_EVENT,
                        self.event_id(),
                        &words(&[&path, &watch.token]),
                    );
                }
            }
        }
    }

    fn event_id(&self) -> u32 {
        if self.fault == Fault::OldKernel { 0xdead_beef } else { 0 }
    }
}

/// Waits for input. Returns false when it is time to stop.
fn readable(shared: &Shared, file: &impl AsFd, ended: impl Fn() -> bool) -> bool {
    loop {
        if shared.stopping.load(Ordering::SeqCst) || ended() {
            return false;
        }
        let mut files = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut files, PollTimeout::from(5u8)).is_ok_and(|ready| ready > 0) {
            return true;
        }
    }
}

/// Serves a connection until it ends.
fn serve(shared: &Arc<Shared>, file: OwnedFd) {
    let Ok(writer) = file.try_clone() else { return };
    if fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
        return;
    }
    let mut file = File::from(file);
    let connection = Arc::new(Connection {
        ended: AtomicBool::new(false),
        watches: Mutex::default(),
        writer: Mutex::new(File::from(writer)),
    });
    lock(&shared.state).connections.push(connection.clone());
    let (mut buffer, mut answered) = (Vec::new(), 0);
    let mut chunk = [0; 4096];
    while readable(shared, &file, || connection.ended.load(Ordering::SeqCst)) {
        match file.read(&mut chunk) {
            Ok(length) if length > 0 => buffer.extend_from_slice(&chunk[..length]),
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => continue,
            _ => break,
        }
        while let Some((kind, id, payload)) = take_message(&mut buffer) {
            answered += 1;
            let fault = lock(&shared.state).fault;
            if let Fault::Slow(millis) = fault {
                thread::sleep(Duration::from_millis(millis));
            }
            let mut state = lock(&shared.state);
            let words = String::from_utf8_lossy(&payload).split('\0').map(str::to_owned).collect();
            state.log.push(Received { kind, id, words });
            state.answer(&connection, answered, kind, id, &payload);
        }
    }
    lock(&shared.state).connections.retain(|known| !Arc::ptr_eq(known, &connection));
}

/// Takes the next complete message from the buffer.
fn take_message(buffer: &mut Vec<u8>) -> Option<(u32, u32, Vec<u8>)> {
    let field = |at: usize| {
        Some(u32::from_le_bytes(buffer.get(at..at + 4)?.try_into().expect("four bytes")))
    };
    let (kind, id, length) = (field(0)?, field(4)?, field(12)? as usize);
    let payload = buffer.get(HEADER..HEADER + length)?.to_vec();
    buffer.drain(..HEADER + length);
    Some((kind, id, payload))
}

fn message(kind: u32, id: u32, payload: &[u8]) -> Vec<u8> {
    let fields = [kind, id, 0, payload.len() as u32];
    fields.iter().flat_map(|field| field.to_le_bytes()).chain(payload.iter().copied()).collect()
}

fn words(words: &[&str]) -> Vec<u8> {
    words.iter().flat_map(|word| word.bytes().chain([0])).collect()
}

impl State {
    fn answer(
        &mut self,
        connection: &Connection,
        answered: u32,
        kind: u32,
        id: u32,
        payload: &[u8],
    ) {
        let fault = self.fault;
        let is_watch = matches!(kind, WATCH | UNWATCH);
        let reply = match fault {
            Fault::Stall => return,
            Fault::Error(name) => Err(name),
            Fault::Again if answered <= 2 => Err("EAGAIN"),
            Fault::NoWatches if is_watch => Err("EACCES"),
            _ => self.reply(connection, kind, payload),
        };
        let is_registered = kind == WATCH && reply.is_ok();
        let (kind, payload) = match reply {
            Ok(payload) => (kind, payload),
            Err(name) => (ERROR, words(&[name])),
        };
        let id = match fault {
            Fault::OldKernel if is_watch => 0,
            Fault::WrongIds => id.wrapping_add(1000),
            _ => id,
        };
        let kind = if fault == Fault::WrongTypes { kind + 50 } else { kind };
        connection.send(fault, kind, id, &payload);
        if is_registered {
            let watch = lock(&connection.watches).last().cloned().expect("it was just registered");
            connection.send(
                fault,
                WATCH_EVENT,
                self.event_id(),
                &words(&[&watch.path, &watch.token]),
            );
        }
    }

    fn reply(
        &mut self,
        connection: &Connection,
        kind: u32,
        payload: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        const OK: &[u8] = b"OK\0";
        let mut parts = payload.splitn(2, |byte| *byte == 0);
        let first = parts.next().and_then(|path| std::str::from_utf8(path).ok()).ok_or("EINVAL")?;
        let rest = parts.next().ok_or("EINVAL")?;
        match kind {
            TRANSACTION_START => return Ok(words(&["1"])),
            TRANSACTION_END => return Ok(OK.to_vec()),
            _ => {}
        }
        let path = absolute(first).ok_or("EINVAL")?;
        match kind {
            READ => self.tree.get(&path).map(<[u8]>::to_vec).ok_or("ENOENT"),
            DIRECTORY => {
                let names = self.tree.children(&path).ok_or("ENOENT")?;
                Ok(words(&names.iter().map(String::as_str).collect::<Vec<_>>()))
            }
            GET_PERMS => self.tree.get(&path).map(|_| words(&["n0"])).ok_or("ENOENT"),
            WRITE => {
                self.tree.set(&path, rest);
                self.notify_watches(&path, false);
                Ok(OK.to_vec())
            }
            MKDIR => {
                if self.tree.get(&path).is_none() {
                    self.tree.set(&path, b"");
                    self.notify_watches(&path, false);
                }
                Ok(OK.to_vec())
            }
            RM => {
                if !self.tree.remove(&path) {
                    return Err("ENOENT");
                }
                self.notify_watches(&path, true);
                Ok(OK.to_vec())
            }
            WATCH | UNWATCH => {
                let token =
                    String::from_utf8_lossy(rest.strip_suffix(&[0]).ok_or("EINVAL")?).into_owned();
                let watch = Watch { path: first.to_owned(), token };
                let mut watches = lock(&connection.watches);
                let known = watches.iter().position(|other| *other == watch);
                if let Some(known) = known {
                    watches.remove(known);
                }
                match kind {
                    // A new client of a pseudo-terminal may register a watch that the last client
                    // has left behind. It replaces that watch.
                    WATCH => watches.push(watch),
                    _ if known.is_none() => return Err("ENOENT"),
                    _ => {}
                }
                Ok(OK.to_vec())
            }
            _ => Err("ENOSYS"),
        }
    }
}

impl Connection {
    fn send(&self, fault: Fault, kind: u32, id: u32, payload: &[u8]) {
        let whole = message(kind, id, payload);
        let unknown_event = || message(WATCH_EVENT, 0, &words(&["vm-data/stranger", "stranger"]));
        let is_reply = kind != WATCH_EVENT;
        let mut out = lock(&self.writer);
        let mut write = |bytes: &[u8]| write_all(&mut out, bytes);
        let pause = || thread::sleep(Duration::from_millis(2));
        match fault {
            Fault::ShortReads => whole.chunks(1).for_each(|byte| {
                write(byte);
                thread::sleep(Duration::from_micros(50));
            }),
            Fault::SplitHeaders => {
                write(&whole[..7]);
                pause();
                write(&whole[7..]);
            }
            Fault::StallMidway if is_reply => write(&whole[..whole.len() / 2]),
            Fault::EventBeforeReply if is_reply => {
                write(&unknown_event());
                write(&whole);
            }
            Fault::EventInsideReply if is_reply => {
                write(&whole[..HEADER]);
                write(&unknown_event());
                write(&whole[HEADER..]);
            }
            Fault::Oversized if is_reply => write(&message(kind, id, &[b'x'; PAYLOAD_MAX + 904])),
            Fault::Huge if is_reply => {
                let mut header = message(kind, id, b"");
                header[12..].copy_from_slice(&u32::MAX.to_le_bytes());
                write(&header);
            }
            _ => write(&whole),
        }
    }
}

/// Writes the bytes, but gives up if the client has gone or does not read.
fn write_all(out: &mut File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                let mut files = [PollFd::new(out.as_fd(), PollFlags::POLLOUT)];
                if !poll(&mut files, PollTimeout::from(100u8)).is_ok_and(|ready| ready > 0) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
