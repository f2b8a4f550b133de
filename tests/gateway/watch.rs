//! Waits for events, and holds processes at fail points.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::network::Network;
use crate::support::{Ended, ended};
pub use crate::support::{full_pipe, until};

/// Sends a signal.
pub fn kill(child: &Child, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal)
        .expect("it lives");
}

/// The guards of a network.
pub fn guards(network: &Network) -> Vec<Pid> {
    let folder = network.folder.path().display().to_string();
    let is_guard = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.contains("--gateway-guard") && line.contains(&folder))
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_guard)
        .map(Pid::from_raw)
        .collect()
}

/// A program that is held at a fail point (src/fail_point.rs).
pub struct Held {
    /// The program.
    pub child: Child,
    connection: UnixStream,
}

impl Held {
    /// Starts the program, and returns when it has reached the fail point.
    pub fn at(network: &Network, arguments: &[&str], name: &str) -> Held {
        let mut command = network.agent(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Held::start(network, command, name)
    }

    /// The same with any other command.
    pub fn start(network: &Network, mut command: Command, name: &str) -> Held {
        let path = network.folder.path().join("fail-point");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        command.env("RACKCONNECT_FAIL_POINT", format!("{name}={}", path.display()));
        let mut child = network.spawn(command);
        let mut connection = None;
        until(name, || {
            connection = listener.accept().ok();
            assert_eq!(child.try_wait().unwrap(), None, "it ended before {name}");
            connection.is_some()
        });
        // The guard has the same environment, and its connection is refused.
        let (connection, _) = connection.unwrap();
        Held { child, connection }
    }

    /// Releases the process.
    pub fn release(self) -> Child {
        drop(self.connection);
        self.child
    }

    /// Kills the process where it is held.
    pub fn kill(mut self) -> Child {
        self.child.kill().expect("it is running");
        self.release()
    }

    /// Releases the process and waits for its end.
    pub fn resume(self) -> Ended {
        ended(self.release().wait_with_output().expect("it ends"))
    }
}

/// Reads standard error up to that line, and leaves the rest unread.
#[track_caller]
pub fn until_it_says(child: &mut Child, what: &str) {
    let stderr = child.stderr.as_mut().expect("standard error is piped");
    let mut stderr = BufReader::with_capacity(1, stderr);
    let mut line = String::new();
    while !line.contains(what) {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "never said: {what}");
    }
}

/// Waits until a `gateway set --confirm` has verified its change.
#[track_caller]
pub fn until_it_awaits_confirmation(child: &mut Child) {
    until_it_says(child, "rackconnect gateway confirm");
}
