//! A simulated RackConnect v2.0 API for the tests and the demo of `rackconnect`. It has real TLS
//! with its own certificate authority, the four operations in all formats, and the rate limit. A
//! script determines its responses and faults. README.md describes scripts, shapes and faults.
//!
//! ```
//! use simulated_api::{Config, Script, Simulator, Step};
//!
//! let script = Script::of([
//!     Step::new("DEPLOYING").requests(2),
//!     Step::new("DEPLOYED").gateway("10.182.127.198"),
//! ]);
//! let simulator = Simulator::start(Config { script, ..Config::default() })?;
//! println!("{} {}", simulator.endpoint(), simulator.ca_file().display());
//! # std::io::Result::Ok(())
//! ```
//!
//! The source address of a connection identifies the server. On loopback, the destination address
//! (127.0.0.1, 127.0.0.2, …) does.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bodies;
mod certificates;
mod connection;
mod script;
mod state;
mod tcp;

pub use bodies::shapes;
pub use script::{Fault, Format, Item, Mangle, Operation, Script, Step, Then, faults};
pub use state::{Counts, max_in_any_window};
pub use tcp::{Cut, How};

use certificates::{Certificates, Validity};
use serde::{Deserialize, Serialize, Serializer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use state::Server;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// The certificate of a new authority (PEM), and the configuration of TLS servers with one of its
/// certificates: for tests with servers of their own.
///
/// # Panics
/// The certificates cannot be made.
#[must_use]
pub fn tls_server() -> (String, rustls::ServerConfig) {
    let certificates = Certificates::make(&[], false, Validity::default()).expect("certificates");
    (certificates.ca_pem.clone(), (*certificates.for_fault(None)).clone())
}

/// The configuration of a simulator.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The addresses to listen on; port 0 takes a free one. Default: 127.0.0.1:0.
    pub listen: Vec<SocketAddr>,
    /// TLS (default), or plain HTTP, where certificate faults have no effect.
    pub tls: bool,
    /// Offer only TLS 1.2, as an old server would.
    pub tls12_only: bool,
    /// Where to write the CA's certificate (PEM). `None`: a temporary directory, which is removed
    /// when the simulator is dropped.
    pub ca_file: Option<PathBuf>,
    /// Additional names and addresses for the certificate. It always has localhost, 127.0.0.1 to
    /// .9, ::1, the names of the six regions, and `listen`.
    pub names: Vec<String>,
    /// The allowed requests per minute, by default 30.
    pub limit: u32,
    /// The length of that minute.
    #[serde(deserialize_with = "script::duration")]
    pub minute: Duration,
    /// When a minute begins.
    pub align: Align,
    /// An idle connection is closed after this time, by default 10 minutes.
    #[serde(deserialize_with = "script::duration")]
    pub idle: Duration,
    /// Responses have a Date header that differs from the clock by this many seconds. `None`: they
    /// have no Date header.
    pub date_offset: Option<i64>,
    /// The certificate is valid for so many days before and after the API's clock, like a real one.
    /// `None`: from 1975 to 4096.
    pub certificate_days: Option<u16>,
    /// Where every connection breaks. `None`: nowhere.
    pub cut: Option<Cut>,
    /// How many requests to keep in the log and for each server. `None`: all.
    pub keep: Option<usize>,
    /// The script of servers that are not in `servers`. In TOML its steps are at the top level:
    /// `[[step]]`.
    #[serde(rename = "step", deserialize_with = "top_level_steps")]
    pub script: Script,
    /// Scripts for single servers. In TOML: `[[server."127.0.0.2".step]]`.
    #[serde(rename = "server")]
    pub servers: BTreeMap<IpAddr, Script>,
}

/// When the minute of the limit begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// At every multiple of its length on the wall clock.
    #[default]
    Clock,
    /// At the simulator's start.
    Start,
}

fn top_level_steps<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Script, D::Error> {
    Vec::deserialize(from).map(|steps| Script { steps })
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            tls: true,
            tls12_only: false,
            ca_file: None,
            names: Vec::new(),
            limit: 30,
            minute: Duration::from_secs(60),
            align: Align::Clock,
            idle: Duration::from_secs(600),
            date_offset: None,
            certificate_days: None,
            cut: None,
            keep: None,
            script: Script::default(),
            servers: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads a configuration with its scripts from TOML.
    pub fn from_toml(text: &str) -> io::Result<Config> {
        let config: Config = toml::from_str(text).map_err(invalid)?;
        config.check()?;
        Ok(config)
    }

    fn validity(&self) -> Validity {
        let Some(days) = self.certificate_days else { return Validity::default() };
        let offset = Duration::from_secs(self.date_offset.unwrap_or(0).unsigned_abs());
        let now = SystemTime::now();
        let is_behind = self.date_offset.is_some_and(i64::is_negative);
        Validity::DaysAround(days, if is_behind { now - offset } else { now + offset })
    }

    fn check(&self) -> io::Result<()> {
        if self.minute.is_zero() || self.idle.is_zero() {
            return Err(invalid("`minute` and `idle` cannot be 0"));
        }
        self.script.check().map_err(invalid)?;
        for (server, script) in &self.servers {
            script.check().map_err(|error| invalid(format!("server {server}: {error}")))?;
        }
        Ok(())
    }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

/// One request, as it was received.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Received {
    /// The time since the simulator's start.
    #[serde(serialize_with = "as_seconds")]
    pub at: Duration,
    /// The server that sent it.
    pub server: IpAddr,
    /// The number of the connection, from 1.
    pub connection: u64,
    /// The method, which should be GET.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The index of the step that answered it. `None` if it was over the limit, not an operation,
    /// or lost with its connection.
    pub step: Option<usize>,
    /// The status code of the response; `None` if there was no response.
    pub code: Option<u16>,
    /// The fault that applied to it.
    #[serde(serialize_with = "as_text")]
    pub fault: Option<Fault>,
}

fn as_seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

fn as_text<S: Serializer>(fault: &Option<Fault>, to: S) -> Result<S::Ok, S::Error> {
    fault.map(|fault| fault.to_string()).serialize(to)
}

impl Received {
    /// The operation, if the path is that of one.
    pub fn operation(&self) -> Option<Operation> {
        Operation::of_path(&self.path)
    }

    /// The first header with this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A running simulator. Dropping it stops it and ends its connections.
pub struct Simulator {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    listeners: Vec<(Arc<TcpListener>, JoinHandle<()>)>,
    ca_file: PathBuf,
    /// The directory of `ca_file`, unless that was given.
    _own_folder: Option<TempDir>,
}

type Observer = Box<dyn Fn(&Received) + Send + Sync>;

/// The data that all threads share.
struct Shared {
    config: Config,
    certificates: Certificates,
    started: Instant,
    stopping: AtomicBool,
    observer: Observer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    servers: HashMap<IpAddr, Server>,
    log: VecDeque<Received>,
    connections: u64,
    /// The open connections, which end when the simulator stops.
    open: HashMap<u64, Weak<TcpStream>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the current minute of the limit.
    fn minute(&self) -> u128 {
        let time = match self.config.align {
            Align::Clock => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Align::Start => self.started.elapsed(),
        };
        time.as_nanos() / self.config.minute.as_nanos()
    }
}

impl State {
    fn server(&mut self, address: IpAddr, config: &Config) -> &mut Server {
        let new = || Server::new(config.servers.get(&address).unwrap_or(&config.script).clone());
        self.servers.entry(address).or_insert_with(new)
    }
}

impl Simulator {
    /// Starts a simulator. It is listening when this returns.
    pub fn start(config: Config) -> io::Result<Simulator> {
        Simulator::start_observed(config, |_| {})
    }

    /// Starts a simulator that calls `observer` for every request, in the order of the log, before
    /// it responds.
    pub fn start_observed(
        config: Config,
        observer: impl Fn(&Received) + Send + Sync + 'static,
    ) -> io::Result<Simulator> {
        config.check()?;
        let mut names = config.names.clone();
        names.extend(
            config.listen.iter().filter(|a| !a.ip().is_unspecified()).map(|a| a.ip().to_string()),
        );
        let certificates =
            Certificates::make(&names, config.tls12_only, config.validity()).map_err(invalid)?;
        let listeners = config.listen.iter().map(listen).collect::<io::Result<Vec<_>>>()?;
        let addresses =
            listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let (ca_file, own_folder) = match &config.ca_file {
            Some(file) => (file.clone(), None),
            None => {
                let folder = tempfile::tempdir()?;
                (folder.path().join("ca.pem"), Some(folder))
            }
        };
        let shared = Arc::new(Shared {
            config,
            certificates,
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            observer: Box::new(observer),
            state: Mutex::default(),
        });
        let mut simulator = Simulator {
            shared,
            addresses,
            listeners: Vec::new(),
            ca_file,
            _own_folder: own_folder,
        };
        std::fs::write(&simulator.ca_file, &simulator.shared.certificates.ca_pem)?;
        for listener in listeners {
            let listener = Arc::new(listener);
            let (shared, listening) = (simulator.shared.clone(), listener.clone());
            let name = format!("simulated {}", listener.local_addr()?.port());
            let thread = thread::Builder::new()
                .name(name)
                .spawn(move || connection::accept(&shared, &listening))?;
            simulator.listeners.push((listener, thread));
        }
        Ok(simulator)
    }

    /// The URL of the first listener, `https://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.url(self.addresses[0])
    }

    /// The URL of the listener on this address, or of one that listens on all addresses. Panics if
    /// there is none.
    pub fn endpoint_at(&self, address: IpAddr) -> String {
        let exact = self.addresses.iter().find(|a| a.ip() == address);
        let any = || self.addresses.iter().find(|a| a.ip().is_unspecified());
        match exact.or_else(any) {
            Some(listener) => self.url(SocketAddr::new(address, listener.port())),
            None => panic!("nothing listens on {address}"),
        }
    }

    /// The URLs of all listeners.
    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.iter().map(|address| self.url(*address)).collect()
    }

    /// The addresses of all listeners, with their actual ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("{}://{address}", if self.shared.config.tls { "https" } else { "http" })
    }

    /// The file with the CA's certificate.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The CA's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.shared.certificates.ca_pem
    }

    /// The certificate of the CA that `cert-unknown-issuer` uses.
    pub fn unknown_ca_pem(&self) -> &str {
        &self.shared.certificates.unknown_ca_pem
    }

    /// All requests so far (or the last `keep`), in order. A request is logged before its response
    /// is sent.
    pub fn log(&self) -> Vec<Received> {
        self.shared.state().log.iter().cloned().collect()
    }

    /// The number of connections accepted.
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// The counts of all servers together.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.shared.state().servers.values().for_each(|server| counts += server.counts);
        counts
    }

    /// The counts of one server.
    pub fn counts_of(&self, server: IpAddr) -> Counts {
        self.shared.state().servers.get(&server).map(|server| server.counts).unwrap_or_default()
    }

    /// The most requests that a server sent in any window of this length (the end is excluded).
    /// Requests that got a 403 or no response count, too.
    pub fn max_in_any_window(&self, server: IpAddr, window: Duration) -> usize {
        let state = self.shared.state();
        let times = state
            .servers
            .get(&server)
            .into_iter()
            .flat_map(|server| server.arrivals.iter().copied());
        max_in_any_window(times, window)
    }

    /// The index of a server's current step.
    pub fn step(&self, server: IpAddr) -> usize {
        self.shared.state().server(server, &self.shared.config).step(Instant::now())
    }

    /// Replaces the script of a server and starts it from its first step. Panics if it is invalid
    /// ([`Script::check`]).
    pub fn set_script(&self, server: IpAddr, script: Script) {
        script.check().expect("a valid script");
        self.shared.state().server(server, &self.shared.config).set_script(script);
    }

    /// Moves a server to its next step.
    pub fn advance(&self, server: IpAddr) {
        self.shared.state().server(server, &self.shared.config).advance(Instant::now());
    }

    /// The time since the simulator's start, as in the log.
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
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
            thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for (listener, thread) in self.listeners.drain(..) {
            // Wakes the thread from accept().
            let _ = SockRef::from(&*listener).shutdown(Shutdown::Both);
            let _ = thread.join();
        }
        for connection in self.shared.state().open.values().filter_map(Weak::upgrade) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Listens with a backlog for many connections.
fn listen(address: &SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    let bound = socket.bind(&(*address).into()).and_then(|()| socket.listen(4096));
    bound.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    Ok(socket.into())
}
