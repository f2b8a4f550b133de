//! What the tests of the real binary share: the simulated API with a clock of its own, and the agent run against it.

#![allow(dead_code, reason = "each test target uses what it needs")]

pub mod documents;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal};
use simulated_api::{Align, Config, Script, Simulator, Step};
use tempfile::TempDir;

/// A simulated API whose minute never ends by the wall clock, and a folder for the agent's state.
pub struct World {
    /// The API.
    pub api: Simulator,
    /// Where the agent may write.
    pub folder: TempDir,
}

impl World {
    /// A world in which the API plays these steps.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> World {
        World::with(Config { script: Script::of(steps), ..config() })
    }

    /// A world with any other API.
    pub fn with(config: Config) -> World {
        World {
            api: Simulator::start(config).expect("the simulated API starts"),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// The agent, told where the API is and whom to trust, and nothing else.
    pub fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = bare_agent(arguments);
        command
            .env("RACKCONNECT_ENDPOINT", self.api.endpoint())
            .env("RACKCONNECT_CA_FILE", self.api.ca_file())
            .env("RACKCONNECT_STATE_DIR", self.folder.path());
        command
    }

    /// Runs the agent to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.agent(arguments).output().expect("the agent starts"))
    }

    /// What the API was asked, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.api
            .log()
            .iter()
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}

/// The configuration of an API for tests: its minute does not follow the wall clock.
pub fn config() -> Config {
    Config { align: Align::Start, minute: Duration::from_secs(3_600), ..Config::default() }
}

/// The agent with an environment that holds PATH alone, and with signals as a shell in front of a person gives them:
/// where the tests themselves were started to ignore one (nohup, a shell's background), it would ignore it, too, and tests
/// that send it would wait for ever.
pub fn bare_agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().stdin(Stdio::null());
    // SAFETY: between fork and exec it calls sigaction(2) alone, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
                nix::sys::signal::signal(signal, SigHandler::SigDfl)?;
            }
            Ok(())
        });
    }
    // Never the xenstore of the machine that the tests run on.
    command.env("XENSTORED_PATH", "/nonexistent");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// The program under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_rackconnect"))
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("UTF-8 on standard output")
    }

    /// Checks the exit code, and that no panic is behind it.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Ended {
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {:?}\nstderr: {}",
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }

    /// Checks that standard error speaks of that.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Ended {
        assert!(self.stderr.contains(words), "{words:?} is not in {}", self.stderr);
        self
    }
}

/// Takes the end of a process in.
pub fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Reads a child's output to its end and waits for it.
pub fn finish(mut child: Child) -> Ended {
    let mut stdout = Vec::new();
    let mut stderr = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut stdout).expect("standard output can be read");
    }
    if let Some(mut err) = child.stderr.take() {
        err.read_to_string(&mut stderr).expect("standard error can be read");
    }
    Ended { code: child.wait().expect("the child ends").code(), stdout, stderr }
}
