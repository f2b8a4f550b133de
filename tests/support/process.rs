//! Runs the program and checks how it ended.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Once, mpsc};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Arguments;

/// The program with only PATH in its environment, and with the signal dispositions of an
/// interactive shell.
pub fn bare_agent<A: Arguments + ?Sized>(arguments: &A) -> Command {
    catch_ignored_signals();
    let mut command = Command::new(binary());
    command.args(arguments.list()).env_clear().stdin(Stdio::null());
    // Do not use the xenstore of the machine that runs the tests.
    command.env("XENSTORED_PATH", "/nonexistent");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// If the tests ignore a signal (under nohup, or in a shell's background), the program would inherit
/// that, and a test that sends the signal would hang. Signals that are caught have their default
/// disposition after exec, so the tests catch them and still do nothing about them. Resetting the
/// disposition in the child (`pre_exec`) would need a fork of the test program instead of
/// posix_spawn(3), and copying its page tables costs more than a run of the program.
fn catch_ignored_signals() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let status = fs::read_to_string("/proc/self/status").expect("proc(5)");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
            if ignored.expect("a mask") >> (signal as u32 - 1) & 1 == 1 {
                signal_hook::flag::register(signal as i32, Arc::default()).expect("a handler");
            }
        }
    });
}

/// The program under test. For an example, Cargo does not build it, so this is the installed one.
pub fn binary() -> PathBuf {
    PathBuf::from(option_env!("CARGO_BIN_EXE_rackconnect").unwrap_or("rackconnect"))
}

/// Writes a file that is executed. Another process does that: a process that another thread starts
/// would inherit a descriptor of this one, and until it closes it, the file that can be written
/// cannot be executed (ETXTBSY).
pub fn write_program(path: &Path, script: &str, mode: u32) {
    let mut install = Command::new("install");
    install.args(["-m", &format!("{mode:o}"), "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut child = install.spawn().expect("install(1) starts");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("it reads the script");
    assert!(child.wait().expect("it ends").success(), "{} cannot be written", path.display());
}

/// The value of `RUST_MIN_STACK` with which no thread can be started: there is no memory for its
/// stack. Threads with a size of their own are not affected.
pub const NO_THREADS: &str = "70368744177664";

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
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

    /// Checks the exit code, and that the program did not panic.
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

    /// Checks that standard error contains these words.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Ended {
        assert!(self.stderr.contains(words), "{words:?} is not in {}", self.stderr);
        self
    }
}

/// Gives a command the environment of another one, and nothing else.
pub fn with_environment_of<'a>(agent: &Command, command: &'a mut Command) -> &'a mut Command {
    let variables = agent.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.env_clear().envs(variables)
}

/// Both ends of a pipe that is full.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let flags = fcntl(&writer, FcntlArg::F_GETFL).expect("flags");
    let nonblocking = OFlag::from_bits_truncate(flags) | OFlag::O_NONBLOCK;
    fcntl(&writer, FcntlArg::F_SETFL(nonblocking)).expect("a pipe that does not block");
    for size in [4096, 1] {
        while writer.write(&vec![b'.'; size]).is_ok() {}
    }
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::from_bits_truncate(flags)))
        .expect("a pipe that blocks");
    (reader, writer)
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Ended {
    ended(command.output().expect("the program starts"))
}

/// How a process ended, from its output.
pub fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Reads a child's output to its end and waits for it.
pub fn finish(child: Child) -> Ended {
    ended(child.wait_with_output().expect("the child ends"))
}

/// The same, but kills the child if it hangs: an error then.
pub fn finish_within(child: Child, limit: Duration) -> Result<Ended, String> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(limit) {
        Ok(output) => Ok(ended(output.map_err(|err| err.to_string())?)),
        Err(_) => {
            let _ = kill(pid, Signal::SIGKILL);
            Err(format!("it was still running after {limit:?}"))
        }
    }
}

/// A process that is killed when it is dropped.
pub struct Running(Option<Child>);

impl Running {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Running {
        Running(Some(command.spawn().expect("the program starts")))
    }

    /// Starts a command, its outputs piped.
    pub fn piped(mut command: Command) -> Running {
        Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is only taken at its end")
    }

    /// Its process ID.
    pub fn pid(&self) -> Pid {
        let id = self.0.as_ref().expect("it is only taken at its end").id();
        Pid::from_raw(id.cast_signed())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).expect("it is running");
    }

    /// The abstract names of the sockets on which it accepts followers (proc_net_unix(5)).
    pub fn sockets(&self) -> Vec<String> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("its descriptors");
        let open: Vec<String> = open
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let sockets = fs::read_to_string("/proc/net/unix").expect("the sockets");
        sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields.len() > 7 && open.contains(&format!("socket:[{}]", fields[6])))
            .filter_map(|fields| fields[7].strip_prefix('@'))
            .filter(|name| name.starts_with("rackconnect-agent"))
            .map(str::to_owned)
            .collect()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        finish(self.0.take().expect("it is only taken at its end"))
    }

    /// Waits until a line with these words is on standard error; false if it ends without one.
    pub fn says(&mut self, words: &str) -> bool {
        let stderr = self.child().stderr.as_mut().expect("standard error is piped");
        // No read-ahead, since `end` reads the rest from the pipe.
        let mut stderr = BufReader::with_capacity(1, stderr);
        let mut line = String::new();
        while stderr.read_line(&mut line).expect("standard error can be read") > 0 {
            if line.contains(words) {
                return true;
            }
            line.clear();
        }
        false
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child().try_wait().expect("its state").is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
