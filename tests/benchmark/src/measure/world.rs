//! The simulated API, and the commands of the program and its peers for it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use simulated_api::{Config, Script, Simulator, Step};
use tempfile::TempDir;

use super::Result;
use super::cost::{Call, which};

/// The server address of every client.
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The timeout for an event, generous enough for a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program that waits until the status is DEPLOYED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// `rackconnect wait`.
    Agent,
    /// A loop of curl in bash, every 5 seconds.
    Shell,
}

impl Waiter {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Waiter::Agent => "rackconnect wait",
            Waiter::Shell => "curl and sleep 5 in bash",
        }
    }
}

/// The program, and a directory for all files.
pub struct World {
    /// The program.
    pub program: PathBuf,
    folder: TempDir,
    state_dirs: AtomicU32,
}

impl World {
    /// A world for this program.
    pub fn new(program: PathBuf) -> Result<World> {
        let program = program.canonicalize().map_err(|err| {
            format!("{}: {err} (build it first, or name one with --program)", program.display())
        })?;
        Ok(World { program, folder: tempfile::tempdir()?, state_dirs: AtomicU32::new(0) })
    }

    /// A new state directory.
    pub fn new_state_dir(&self) -> PathBuf {
        let number = self.state_dirs.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("state-{number}"))
    }

    /// The program with these arguments.
    pub fn agent(
        &self,
        api: &Api,
        endpoint: &str,
        state_dir: &Path,
        arguments: &[&str],
    ) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("RACKCONNECT_ENDPOINT", endpoint)
            .env("RACKCONNECT_CA_FILE", api.0.ca_file())
            .env("RACKCONNECT_STATE_DIR", state_dir)
            .env("XENSTORED_PATH", "/nonexistent")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// A wait.
    pub fn waiter(
        &self,
        waiter: Waiter,
        api: &Api,
        endpoint: &str,
        state_dir: &Path,
    ) -> Result<Command> {
        if waiter == Waiter::Agent {
            return Ok(self.agent(api, endpoint, state_dir, &["wait"]));
        }
        let peers = self.peers(api, endpoint)?;
        let curl = peers.into_iter().find(|call| call.name == "curl").ok_or("curl is needed")?;
        let curl = curl.words.join(" ");
        let script = format!("until [ \"$({curl})\" = DEPLOYED ]; do sleep 5; done");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }

    /// `rackconnect status`.
    pub fn status(&self, api: &Api, endpoint: &str, state_dir: &Path) -> Call {
        let program = self.program.to_string_lossy().into_owned();
        Call {
            name: "rackconnect",
            words: vec![program, "status".into(), "--endpoint".into(), endpoint.into()],
            input: None,
            environment: vec![
                ("RACKCONNECT_CA_FILE", api.0.ca_file().to_owned()),
                ("RACKCONNECT_STATE_DIR", state_dir.to_owned()),
                // It is slow under valgrind on a busy machine.
                ("RACKCONNECT_CONNECT_TIMEOUT", "1m".into()),
                ("RACKCONNECT_REQUEST_TIMEOUT", "2m".into()),
                ("RACKCONNECT_DEADLINE", "10m".into()),
            ],
        }
    }

    /// The same request by other programs, as far as they are installed.
    pub fn peers(&self, api: &Api, endpoint: &str) -> Result<Vec<Call>> {
        let url = format!("{endpoint}/v1/automation_status");
        let ca = api.0.ca_file().to_string_lossy().into_owned();
        let host = endpoint.trim_start_matches("https://");
        let request = self.folder.path().join("request");
        fs::write(
            &request,
            format!(
                "GET /v1/automation_status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            ),
        )?;
        let call = |name, words: &[&str], input| Call {
            name,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            input,
            environment: Vec::new(),
        };
        let mut calls = vec![
            call("curl", &["curl", "-s", "--cacert", &ca, &url], None),
            call("wget", &["wget", "-q", "-O", "-", &format!("--ca-certificate={ca}"), &url], None),
            call(
                "openssl s_client",
                &[
                    "openssl",
                    "s_client",
                    "-quiet",
                    "-verify_return_error",
                    "-CAfile",
                    &ca,
                    "-connect",
                    host,
                ],
                Some(request),
            ),
        ];
        if let Some(python) = python() {
            calls.insert(2, call("python3 urllib", &[&python, "-c", PYTHON, &url, &ca], None));
        }
        calls.retain(|call| which(&call.words[0]).is_some());
        Ok(calls)
    }
}

const PYTHON: &str = "import ssl, sys, urllib.request as u; \
    print(u.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2])).read())";

/// The interpreter itself, not a wrapper script.
fn python() -> Option<String> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let path = String::from_utf8(output.ok()?.stdout).ok()?.trim().to_owned();
    which(&path).map(|_| path)
}

/// A simulated API without a limit.
pub struct Api(pub Simulator);

impl Api {
    /// Starts one that always responds with this status, at this many addresses.
    pub fn start(status: &str, addresses: usize) -> Result<Api> {
        let listen = vec!["127.0.0.1:0".parse()?; addresses];
        let script = Script::of([Step::new(status).gateway(super::gateway::GATEWAY)]);
        Ok(Api(Simulator::start(Config { listen, script, limit: u32::MAX, ..Config::default() })?))
    }

    /// Sets the status.
    pub fn set_status(&self, status: &str) {
        self.0.set_script(SERVER, Script::of([Step::new(status)]));
    }

    /// The number of answered requests.
    pub fn requests(&self) -> u64 {
        self.0.counts_of(SERVER).requests
    }

    /// Waits until it has answered this many requests.
    pub fn wait_for_requests(&self, count: u64) -> Result<()> {
        let enough = self.0.wait_until(PATIENCE, |api| api.counts_of(SERVER).requests >= count);
        if enough { Ok(()) } else { Err("the API received too few requests".into()) }
    }
}

/// Processes that are killed when this is dropped.
#[derive(Default)]
pub struct Processes(pub Vec<Child>);

impl Processes {
    /// Starts one more.
    pub fn start(&mut self, command: &mut Command) -> Result<()> {
        self.0.push(command.spawn()?);
        Ok(())
    }

    /// Waits until all have ended, and returns the time of each end. Polls every other millisecond.
    pub fn wait_for_ends(&mut self) -> Result<Vec<Instant>> {
        let (mut ends, start) = (Vec::new(), Instant::now());
        while !self.0.is_empty() {
            if start.elapsed() > PATIENCE {
                return Err("a wait did not end".into());
            }
            std::thread::sleep(Duration::from_millis(2));
            let mut running = Vec::new();
            for mut child in std::mem::take(&mut self.0) {
                match child.try_wait()? {
                    Some(_) => ends.push(Instant::now()),
                    None => running.push(child),
                }
            }
            self.0 = running;
        }
        Ok(ends)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
