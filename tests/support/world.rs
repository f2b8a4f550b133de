//! A simulated API and a directory for the program's state.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use simulated_api::{Align, Config, Script, Simulator, Step};
use tempfile::TempDir;

use super::{Arguments, Ended, PATIENCE, Running, bare_agent, run};

/// The source address of all requests.
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A simulated API, and the settings with which the program uses it.
pub struct World {
    /// The API.
    pub api: Simulator,
    /// A temporary directory.
    pub folder: TempDir,
    /// The program's state directory, by default `folder`.
    pub state_dir: PathBuf,
}

impl World {
    /// A world whose API follows these steps.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> World {
        World::with(Config { script: Script::of(steps), ..config() })
    }

    /// A world with this configuration of the API.
    pub fn with(config: Config) -> World {
        World::in_folder(config, tempfile::tempdir().expect("a temporary directory"))
    }

    /// The same, in an existing temporary directory.
    pub fn in_folder(config: Config, folder: TempDir) -> World {
        World {
            api: Simulator::start(config).expect("the simulated API starts"),
            state_dir: folder.path().to_owned(),
            folder,
        }
    }

    /// The same world with a state directory that does not exist yet.
    pub fn with_new_state_dir(mut self) -> World {
        self.state_dir = self.folder.path().join("state");
        self
    }

    /// The shared file of the rate limit.
    pub fn budget(&self) -> PathBuf {
        self.state_dir.join("budget")
    }

    /// The program, with the endpoint, the CA file and the state directory set, and with time limits
    /// that a busy machine does not reach.
    pub fn agent<A: Arguments + ?Sized>(&self, arguments: &A) -> Command {
        let mut command = bare_agent(arguments);
        command
            .env("RACKCONNECT_ENDPOINT", self.api.endpoint())
            .env("RACKCONNECT_CA_FILE", self.api.ca_file())
            .env("RACKCONNECT_STATE_DIR", &self.state_dir)
            .env("RACKCONNECT_CONNECT_TIMEOUT", "30s")
            .env("RACKCONNECT_REQUEST_TIMEOUT", "60s");
        command
    }

    /// Runs the program to its end.
    pub fn run<A: Arguments + ?Sized>(&self, arguments: &A) -> Ended {
        run(self.agent(arguments))
    }

    /// Starts the program with piped output.
    pub fn start<A: Arguments + ?Sized>(&self, arguments: &A) -> Running {
        Running::piped(self.agent(arguments))
    }

    /// All requests that the API has received, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.api
            .log()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    /// How many requests the API has received.
    pub fn count(&self) -> u64 {
        self.api.counts_of(SERVER).requests
    }

    /// Waits until the API has received that many requests.
    #[track_caller]
    pub fn wait_for_requests(&self, at_least: u64) {
        let enough =
            self.api.wait_until(PATIENCE, |api| api.counts_of(SERVER).requests >= at_least);
        assert!(enough, "{} of {at_least} requests after {PATIENCE:?}", self.count());
    }

    /// The most requests in any 60 seconds.
    pub fn most_in_a_minute(&self) -> usize {
        self.api.max_in_any_window(SERVER, Duration::from_secs(60))
    }

    /// Replaces the script of the API.
    pub fn play(&self, steps: impl IntoIterator<Item = Step>) {
        self.api.set_script(SERVER, Script::of(steps));
    }
}

/// The API's configuration for tests. Its minute does not follow the wall clock.
pub fn config() -> Config {
    Config { align: Align::Start, minute: Duration::from_secs(3_600), ..Config::default() }
}
