//! A simulated Rackspace Cloud: Identity v2.0, Cloud Servers v2, Cloud Files with its CDN, and Cloud
//! Images v2, as far as they are documented.
//!
//! All services are on one loopback port, in plain HTTP: Identity below `/v2.0`, the Cloud Servers
//! of a region below `/REGION/v2/TENANT`, the others below `/files/REGION`, `/cdn/REGION` and
//! `/images/REGION`. Tests can change the state at any time, and order faults for the next
//! requests.

mod actions;
mod demo;
mod files;
mod identity;
mod images;
mod limits;
mod servers;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub use demo::six_servers;
pub use files::{Container, Object};
pub use images::{Image, Task};
pub use limits::Limits;
use wire::Outcome;
pub use wire::{Request, Response};

/// The account.
pub const TENANT: &str = "110011";

/// The regions of the catalog.
pub const REGIONS: [&str; 6] = ["DFW", "HKG", "IAD", "LON", "ORD", "SYD"];

/// The account of Cloud Files.
pub const STORAGE_TENANT: &str = "MossoCloudFS_110011";

/// The regions that have Cloud Files, the CDN and Cloud Images.
pub const STORAGE_REGIONS: [&str; 2] = ["DFW", "ORD"];

/// The documented faults of the services: kind and status code.
pub const FAULTS: [(&str, u16); 13] = [
    ("computeFault", 500),
    ("identityFault", 500),
    ("badRequest", 400),
    ("unauthorized", 401),
    ("forbidden", 403),
    ("userDisabled", 403),
    ("itemNotFound", 404),
    ("badMethod", 405),
    ("buildInProgress", 409),
    ("conflictingRequest", 409),
    ("overLimit", 413),
    ("badMediaType", 415),
    ("serviceUnavailable", 503),
];

/// A user of Identity.
#[derive(Clone, Debug)]
pub struct User {
    /// The name.
    pub username: String,
    /// The API key.
    pub api_key: String,
    /// The password.
    pub password: String,
    /// The passcode of the second factor, if there is one.
    pub passcode: Option<String>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The region in capitals.
    pub region: String,
    /// The id.
    pub id: String,
    /// The name, which need not be unique.
    pub name: String,
    /// `ACTIVE`, `BUILD`, `ERROR`, `DELETED` …
    pub status: String,
    /// The metadata.
    pub metadata: BTreeMap<String, String>,
    /// When it last changed.
    pub updated: SystemTime,
    /// With ERROR: the fault's message.
    pub fault: Option<String>,
    /// The id of its image.
    pub image: String,
    /// The id of its flavor.
    pub flavor: String,
    /// The statuses that follow. Each request for the server moves it to the next one.
    pub next: VecDeque<String>,
    /// The automation statuses that follow those, in the same way.
    pub next_automation: VecDeque<String>,
    /// The actions so far: `create`, `reboot` …
    pub actions: Vec<(String, SystemTime)>,
}

impl Server {
    /// A server with this automation status, or without one.
    pub fn new(region: &str, number: u32, name: &str, status: Option<&str>) -> Server {
        let metadata =
            status.map(|status| ("rackconnect_automation_status".to_owned(), status.to_owned()));
        Server {
            region: region.to_owned(),
            id: format!("{number:08x}-0000-4000-8000-000000000000"),
            name: name.to_owned(),
            status: "ACTIVE".to_owned(),
            metadata: metadata.into_iter().collect(),
            updated: SystemTime::now(),
            fault: None,
            image: "image".to_owned(),
            flavor: "2".to_owned(),
            next: VecDeque::new(),
            next_automation: VecDeque::new(),
            actions: vec![("create".to_owned(), SystemTime::now())],
        }
    }
}

/// A fault of the next requests whose path contains a text.
#[derive(Clone, Debug)]
pub struct Fault {
    /// A part of `METHOD PATH`.
    pub request: String,
    /// The number of requests that it affects.
    pub times: u32,
    /// Its kind.
    pub kind: FaultKind,
}

/// What happens instead of the usual response, or before it.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// This response.
    Answer(Response),
    /// The response comes after this time.
    Slow(Duration),
    /// The body of this response comes in pieces of this many bytes, with this time between them.
    Pieces(Response, usize, Duration),
    /// The connection ends after this many bytes of the body of this response.
    Cut(Response, usize),
    /// These bytes, instead of a response.
    Raw(Vec<u8>),
    /// The connection ends.
    Close,
}

/// A token.
#[derive(Clone, Debug)]
pub struct Token {
    /// When it expires, by the simulated clock.
    pub expires: SystemTime,
    /// Whether it was revoked.
    pub is_revoked: bool,
}

/// What the services know.
#[derive(Debug)]
pub struct State {
    /// The users.
    pub users: Vec<User>,
    /// The issued tokens, by id.
    pub tokens: BTreeMap<String, Token>,
    /// The servers of all regions.
    pub servers: Vec<Server>,
    /// The containers of Cloud Files, by region.
    pub containers: BTreeMap<String, BTreeMap<String, Container>>,
    /// The images of all regions.
    pub images: Vec<Image>,
    /// The tasks of Cloud Images.
    pub tasks: Vec<Task>,
    /// The limits of Cloud Servers, if there are any.
    pub limits: Option<Limits>,
    /// The ordered faults.
    pub faults: VecDeque<Fault>,
    /// The largest page of servers, images or names.
    pub page_size: usize,
    /// The lifetime of a new token.
    pub token_lifetime: Duration,
    /// By how much the services' clock is ahead of this machine's.
    pub clock_ahead: Duration,
    /// How far behind that clock is.
    pub clock_behind: Duration,
    /// How long an authentication takes.
    pub authentication_time: Duration,
    /// `METHOD PATH` of every request so far.
    pub log: Vec<String>,
    /// The last request.
    pub last: Option<Request>,
}

impl State {
    /// The time by the services' clock.
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + self.clock_ahead - self.clock_behind
    }

    /// Revokes all tokens.
    pub fn revoke_all(&mut self) {
        self.tokens.values_mut().for_each(|token| token.is_revoked = true);
    }

    /// The server with this name.
    pub fn server(&mut self, name: &str) -> &mut Server {
        let found = self.servers.iter_mut().find(|server| server.name == name);
        found.expect("a server of that name")
    }

    /// Gives a server another automation status.
    pub fn set_automation(&mut self, name: &str, status: &str) {
        let now = self.now();
        let server = self.server(name);
        server.metadata.insert("rackconnect_automation_status".to_owned(), status.to_owned());
        server.updated = now;
    }

    /// Gives a server another status of its own.
    pub fn set_status(&mut self, name: &str, status: &str) {
        let now = self.now();
        let server = self.server(name);
        status.clone_into(&mut server.status);
        server.updated = now;
    }
}

struct Shared {
    address: SocketAddr,
    state: Mutex<State>,
}

/// The running services.
pub struct Cloud {
    shared: Arc<Shared>,
}

impl Cloud {
    /// Starts the services with one user (`jsmith`, `k3y-of-jsmith`, `p4ss-of-jsmith`) and no
    /// server.
    ///
    /// # Errors
    /// There is no port.
    pub fn start() -> io::Result<Cloud> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let user = User {
            username: "jsmith".to_owned(),
            api_key: "k3y-of-jsmith".to_owned(),
            password: "p4ss-of-jsmith".to_owned(),
            passcode: None,
        };
        let state = State {
            users: vec![user],
            tokens: BTreeMap::new(),
            servers: Vec::new(),
            containers: BTreeMap::new(),
            images: Vec::new(),
            tasks: Vec::new(),
            limits: None,
            faults: VecDeque::new(),
            page_size: 1_000,
            token_lifetime: Duration::from_secs(86_400),
            clock_ahead: Duration::ZERO,
            clock_behind: Duration::ZERO,
            authentication_time: Duration::ZERO,
            log: Vec::new(),
            last: None,
        };
        let shared = Arc::new(Shared { address: listener.local_addr()?, state: Mutex::new(state) });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = accepting.clone();
                thread::spawn(move || wire::serve(&shared, &stream));
            }
        });
        Ok(Cloud { shared })
    }

    /// The URL of Identity.
    pub fn identity_url(&self) -> String {
        format!("http://{}/v2.0", self.shared.address)
    }

    /// What the services know.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Orders a fault for the next `times` requests whose `METHOD PATH` contains a text.
    pub fn fault(&self, request: &str, times: u32, kind: FaultKind) {
        let request = request.to_owned();
        self.state().faults.push_back(Fault { request, times, kind });
    }

    /// The number of requests whose `METHOD PATH` contains a text.
    pub fn count(&self, request: &str) -> usize {
        self.state().log.iter().filter(|line| line.contains(request)).count()
    }

    /// Waits until there were this many such requests.
    pub fn wait_for(&self, request: &str, at_least: usize, timeout: Duration) -> bool {
        let start = Instant::now();
        while self.count(request) < at_least {
            if start.elapsed() > timeout {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether a request is refused before its body is received.
    fn refuses(&self, request: &wire::Request) -> bool {
        let state = self.state();
        let line = format!("{} {}", request.method, request.path);
        let is_refusal = |fault: &Fault| {
            line.contains(&fault.request) && matches!(fault.kind, FaultKind::Answer(_))
        };
        !is_authorized(&state, request) || state.faults.iter().any(is_refusal)
    }

    /// Handles a request.
    fn answer(&self, request: &wire::Request) -> Outcome {
        let line = format!("{} {}", request.method, request.path);
        let fault = {
            let mut state = self.state();
            state.log.push(line.clone());
            state.last = Some(request.clone());
            take_fault(&mut state, &line)
        };
        match fault {
            Some(FaultKind::Answer(response)) => return Outcome::Answer(response),
            Some(FaultKind::Close) => return Outcome::Raw(Vec::new()),
            Some(FaultKind::Raw(bytes)) => return Outcome::Raw(bytes),
            Some(FaultKind::Pieces(response, length, time)) => {
                return Outcome::Pieces(response, length, time);
            }
            Some(FaultKind::Cut(response, length)) => return Outcome::Cut(response, length),
            Some(FaultKind::Slow(time)) => thread::sleep(time),
            None => {}
        }
        let path = request.path.split('?').next().unwrap_or_default();
        let service = path.split('/').nth(1).unwrap_or_default();
        Outcome::Answer(match service {
            "v2.0" => identity::answer(self, request, path.trim_start_matches("/v2.0/")),
            "files" | "cdn" => files::answer(&mut self.state(), request),
            "images" => images::answer(&mut self.state(), request),
            _ => servers::answer(&mut self.state(), request, &self.base()),
        })
    }
}

fn take_fault(state: &mut State, line: &str) -> Option<FaultKind> {
    let at = state.faults.iter().position(|fault| line.contains(&fault.request))?;
    let fault = &mut state.faults[at];
    let kind = fault.kind.clone();
    fault.times -= 1;
    if fault.times == 0 {
        state.faults.remove(at);
    }
    Some(kind)
}

/// Whether the request has a valid token.
fn is_authorized(state: &State, request: &wire::Request) -> bool {
    let token = request.header("x-auth-token").and_then(|id| state.tokens.get(id));
    token.is_some_and(|token| !token.is_revoked && token.expires > state.now())
}
