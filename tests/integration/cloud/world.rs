//! A simulated cloud and a home directory.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
pub use simulated_cloud::six_servers;
use simulated_cloud::{Cloud, FaultKind, Image, Object, Response, State};
use tempfile::TempDir;

use crate::support::{Arguments, Ended, PATIENCE, Running, Terminal, bare_agent, run};

/// The secrets of the simulated user.
pub const KEY: &str = "k3y-of-jsmith";
pub const PASSWORD: &str = "p4ss-of-jsmith";

/// The ids in the recipes of docs/cloud.md.
const EXAMPLE: &[(&str, &str)] = &[
    ("RAX_REGION", "DFW"),
    ("SERVER", "00000001-0000-4000-8000-000000000000"),
    ("NEW", "00000007-0000-4000-8000-000000000000"),
    ("IMAGE", "00000001-1111-4000-8000-000000000000"),
    ("TASK", "00000001-2222-4000-8000-000000000000"),
];

/// A simulated cloud and the settings of the program for it.
pub struct CloudWorld {
    pub cloud: Cloud,
    /// Variables of an example, in addition to those that the program needs.
    example: &'static [(&'static str, &'static str)],
    pub home: TempDir,
}

impl CloudWorld {
    pub fn new() -> CloudWorld {
        let cloud = Cloud::start().expect("the simulated cloud starts");
        CloudWorld {
            cloud,
            example: &[],
            home: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// A world for a page of the documentation.
    pub fn of(servers: &str) -> CloudWorld {
        let mut world = CloudWorld::new();
        match servers {
            "six servers" => world.cloud.state().servers = six_servers(),
            "an account" => {
                fill(&mut world.cloud.state());
                world.example = EXAMPLE;
            }
            _ => panic!("no such cloud: {servers}"),
        }
        world
    }

    /// The environment variables of the program.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let agent = self.agent("");
        let own = agent.get_envs().filter(|(name, _)| *name != "PATH");
        let own = own.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        own.chain(self.example.iter().map(|(name, value)| (name.into(), value.into()))).collect()
    }

    /// The program with a home and the URL of Identity, and without credentials.
    pub fn anonymous<A: Arguments + ?Sized>(&self, arguments: &A) -> Command {
        let mut command = bare_agent(arguments);
        command.env("HOME", self.home.path()).env("RAX_IDENTITY_URL", self.cloud.identity_url());
        command
    }

    /// The program with an API key in its environment.
    pub fn agent<A: Arguments + ?Sized>(&self, arguments: &A) -> Command {
        let mut command = self.anonymous(arguments);
        command.env("RAX_USERNAME", "jsmith").env("RAX_API_KEY", KEY);
        command
    }

    pub fn run<A: Arguments + ?Sized>(&self, arguments: &A) -> Ended {
        run(self.agent(arguments))
    }

    pub fn start<A: Arguments + ?Sized>(&self, arguments: &A) -> Running {
        Running::piped(self.agent(arguments))
    }

    /// Starts a wait for web2, which is DEPLOYING, and lets it have two lists of its region.
    pub fn wait_for_web2(&self) -> Running {
        let running = self.start("cloud wait web2 --interval 3s");
        assert!(self.cloud.wait_for("GET /dfw", 2, PATIENCE));
        running
    }

    /// Runs the program on a terminal, and returns the screen.
    pub fn on_terminal<A: Arguments + ?Sized>(&self, arguments: &A) -> String {
        let mut terminal = Terminal::open(50, 200);
        let mut command = self.agent(arguments);
        let mut child = terminal.of(&mut command).env("TERM", "xterm").spawn().unwrap();
        drop(command);
        child.wait().unwrap();
        terminal.close().replace('\r', "")
    }

    /// Answers that many requests for a token with HTTP 503.
    pub fn identity_is_down(&self, times: u32) {
        let down = Response::html(503, "Service Unavailable");
        self.cloud.fault("POST /v2.0/tokens", times, FaultKind::Answer(down));
    }

    /// The number of requests for a token.
    pub fn authentications(&self) -> usize {
        self.cloud.count("POST /v2.0/tokens")
    }

    /// Writes the credentials file.
    pub fn write_credentials(&self, text: &str, mode: u32) -> PathBuf {
        let dir = self.home.path().join(".config/rackconnect");
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("credentials.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    /// The files of the cache.
    pub fn cached(&self) -> Vec<PathBuf> {
        let dir = self.home.path().join(".cache/rackconnect");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.extension().is_none()).collect()
    }
}

/// An answer of Identity in its documented form: a token, when it expires, and a catalog. The name
/// of the user has control characters.
pub fn granted(id: impl Into<Value>, expires: &str, catalog: Value) -> FaultKind {
    let tenant = json!({"id": "110011", "name": "110011"});
    let token = json!({"id": id.into(), "expires": expires, "tenant": tenant});
    let user = json!({"id": "1", "name": "jsmith\u{1b}[2J", "roles": []});
    let access = json!({"token": token, "serviceCatalog": catalog, "user": user});
    FaultKind::Answer(Response::json(200, &json!({"access": access})))
}

/// Six servers, and in DFW an image, the container `backups` with two objects, and `site`, which the
/// CDN has.
fn fill(state: &mut State) {
    state.servers = six_servers();
    state.images.push(Image::new("DFW", 1, "golden"));
    let containers = state.containers.entry("DFW".to_owned()).or_default();
    containers.entry("site".to_owned()).or_default().cdn_enabled = true;
    let backups = &mut containers.entry("backups".to_owned()).or_default().objects;
    for (name, text) in [("db.sql", "-- a dump\n"), ("golden.vhd", "an image")] {
        let content_type = "application/octet-stream".to_owned();
        let object = Object { content: text.as_bytes().to_vec(), content_type };
        backups.insert(name.to_owned(), object);
    }
}
