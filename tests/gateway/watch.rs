//! Waiting for what happens, and holding a process where something is to happen.

use std::fs;
use std::io::{PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::network::Network;
use crate::support::{Ended, ended};

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

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

/// An agent that is held where it prints its plan: between planning and changing. Its standard output is a pipe that is full.
pub struct Paused {
    child: Child,
    reader: PipeReader,
}

impl Paused {
    /// Starts one; it has planned when this returns.
    pub fn start(network: &Network, arguments: &[&str]) -> Paused {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let flags = fcntl(&writer, FcntlArg::F_GETFL).expect("flags");
        let nonblocking = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
        fcntl(&writer, FcntlArg::F_SETFL(nonblocking)).expect("a pipe that does not block");
        for size in [4096, 1] {
            while writer.write(&vec![b'.'; size]).is_ok() {}
        }
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::from_bits_truncate(flags)))
            .expect("a pipe that blocks");
        let mut command = network.agent(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let child = network.spawn(command);
        let path = format!("/proc/{}/syscall", child.id());
        // write(1, …), as x86-64 numbers it.
        until("it prints its plan", || {
            fs::read_to_string(&path).is_ok_and(|call| call.starts_with("1 0x1 "))
        });
        Paused { child, reader }
    }

    /// Lets it go on to its end.
    pub fn resume(self) -> Ended {
        let Paused { child, mut reader } = self;
        let drain = thread::spawn(move || {
            let mut rest = Vec::new();
            let _ = reader.read_to_end(&mut rest);
        });
        let ended = ended(child.wait_with_output().expect("it ends"));
        drain.join().unwrap();
        ended
    }
}

/// An agent that is held at a line that it is about to say. Its standard error takes whole lines, and is full.
pub struct Held {
    /// The agent.
    pub child: Child,
    reader: UnixDatagram,
    filled: usize,
    line: usize,
    says: &'static str,
}

impl Held {
    /// Starts one and lets it go on to the line of that number, from 1, of those that a change says with all its steps. That
    /// it says `says` is checked at the end.
    pub fn at(network: &Network, arguments: &[&str], line: usize, says: &'static str) -> Held {
        let path = network.folder.path().join("stderr");
        let _ = fs::remove_file(&path);
        let (reader, writer) =
            (UnixDatagram::bind(&path).unwrap(), UnixDatagram::unbound().unwrap());
        writer.connect(&path).unwrap();
        let own = UnixDatagram::unbound().unwrap();
        own.connect(&path).unwrap();
        own.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while own.send(b".").is_ok() {
            filled += 1;
        }
        let mut command = network.agent(arguments);
        command.env("RACKCONNECT_LOG", "rackconnect_agent::gateway::change=debug");
        command.stdout(Stdio::null()).stderr(OwnedFd::from(writer));
        let child = network.spawn(command);
        let path = format!("/proc/{}/syscall", child.id());
        // write(2, …), as x86-64 numbers it.
        let is_held = || fs::read_to_string(&path).is_ok_and(|call| call.starts_with("1 0x2 "));
        let is_full = || {
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            use std::os::fd::AsFd;
            poll(&mut [PollFd::new(own.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO) == Ok(0)
        };
        until("it says its first line", is_held);
        for _ in 1..line {
            reader.recv(&mut [0; 9]).unwrap();
            until("it has said that line", is_full);
            until("it says the next line", is_held);
        }
        Held { child, reader, filled: filled - (line - 1), line, says }
    }

    /// Lets it go on to its end.
    pub fn resume(self) -> Ended {
        let Held { mut child, reader, filled, line, says } = self;
        let drain = thread::spawn(move || {
            let mut lines = Vec::new();
            let mut buffer = [0; 4096];
            reader.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            loop {
                match reader.recv(&mut buffer) {
                    Ok(length) => {
                        lines.push(String::from_utf8_lossy(&buffer[..length]).into_owned())
                    }
                    Err(_) if child.try_wait().unwrap().is_some() => return (child, lines),
                    Err(_) => {}
                }
            }
        });
        let (mut child, lines) = drain.join().unwrap();
        let status = child.wait().unwrap();
        let lines = &lines[filled..];
        if status.signal() != Some(Signal::SIGKILL as i32) {
            assert!(lines[line - 1].contains(says), "held at {:?} of {lines:?}", lines[line - 1]);
        }
        Ended { code: status.code(), stdout: Vec::new(), stderr: lines.concat() }
    }
}
