//! The guard: the program itself, started again in a session of its own. It undoes a change if the
//! process that makes it dies, hangs or is stopped before it says that the change is good.
//!
//! The guard waits on a pipe. If the pipe is closed, or the time is up, it undoes what the record
//! on disk says then. It is armed before anything is changed. A process that still lives at that
//! moment is killed first: it may have been delayed anywhere, and must not remove the old route
//! after the new one was taken away.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid, read, setsid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::journal::Journal;
use super::record::ChangeRecord;
use super::undo;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};
use crate::exit::Exit;

/// The argument that makes the program a guard. It is not a command for users.
pub const ARGUMENT: &str = "--gateway-guard";

/// The running program, even if its file was replaced meanwhile (proc(5)).
const SELF_EXE: &str = "/proc/self/exe";

/// How long the guard may take to be armed, or to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a killed process may take to be gone. The undo does not depend on it.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// The guard is armed; also its response to [`ASK`].
const ARMED: &[u8] = b"armed\n";

/// The guard ended without doing anything.
const LEFT: &[u8] = b"left\n";

/// The guard undid the change, or could not.
const UNDONE: &[u8] = b"undone\n";
const FAILED: &[u8] = b"failed\n";

/// Asks the guard whether it is armed.
const ASK: &[u8] = b"?";

/// Tells the guard that there is nothing left to guard.
const DISMISS: &[u8] = b"k";

/// What the guard has done by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardExit {
    /// Nothing.
    Idle,
    /// It undid the change, or tried to.
    Undone,
    /// It was killed, so that is not known.
    Unknown,
}

/// An armed guard.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    responses: ChildStdout,
}

impl Guard {
    /// Starts a guard of the change in `journal`. It undoes the change after `timeout` even if this
    /// process still lives.
    ///
    /// # Errors
    /// It is not armed.
    pub(crate) fn start(journal: &Journal, timeout: Duration) -> Result<Guard> {
        let error = |err: String| {
            Error::new(Kind::Refused, format!("the process that would undo cannot start: {err}"))
        };
        let program = match Path::new(SELF_EXE).exists() {
            true => PathBuf::from(SELF_EXE),
            false => env::current_exe().map_err(|err| error(plain(&err)))?,
        };
        let mut command = Command::new(program);
        command
            .arg0("rackconnect")
            .arg(ARGUMENT)
            .arg(journal.dir())
            .arg(timeout.as_millis().to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|err| error(plain(&err)))?;
        let responses = child.stdout.take().ok_or_else(|| error("it has no output".to_owned()))?;
        let mut guard = Guard { child, responses };
        if guard.response() == ARMED {
            return Ok(guard);
        }
        // It must not find anything to guard later.
        guard.kill();
        Err(error("it is not armed in time".to_owned()))
    }

    /// Whether it is still armed, neither dead nor stopped.
    pub(crate) fn is_armed(&mut self) -> bool {
        let asked = self.child.stdin.as_mut().is_some_and(|pipe| pipe.write_all(ASK).is_ok());
        asked && self.response() == ARMED
    }

    /// Tells it that there is nothing left to guard, and makes sure that it does nothing more.
    pub(crate) fn dismiss(&mut self) -> GuardExit {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _ = pipe.write_all(DISMISS);
        }
        let mut response = self.response();
        if !response.is_empty() && response != LEFT {
            // It tells people what it did, and ends.
            let _ = wait_readable(&self.responses, BootInstant::now() + RESPONSE_TIMEOUT);
        }
        // A guard that neither responds nor ends must not go on later.
        self.kill();
        if response.is_empty() {
            // What it said at the last moment is still in the pipe.
            response = self.response();
        }
        match response.as_slice() {
            LEFT => GuardExit::Idle,
            [] => GuardExit::Unknown,
            _ => GuardExit::Undone,
        }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// One line of its output; shorter if it ends or is too slow.
    fn response(&mut self) -> Vec<u8> {
        let deadline = BootInstant::now() + RESPONSE_TIMEOUT;
        let mut response = Vec::new();
        while !response.ends_with(b"\n") && wait_readable(&self.responses, deadline) {
            let mut buffer = [0; 16];
            match self.responses.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => response.extend_from_slice(&buffer[..length]),
            }
        }
        response
    }
}

/// Waits until there is something to read, or the end. False after the deadline.
fn wait_readable(pipe: &impl AsFd, deadline: BootInstant) -> bool {
    loop {
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, deadline.poll_timeout()) {
            Ok(0) if deadline.since(BootInstant::now()).is_zero() => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// Runs the program as a guard, with the arguments after [`ARGUMENT`].
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let mut arguments = arguments.into_iter();
    let (Some(dir), Some(timeout)) = (arguments.next(), arguments.next()) else {
        return Exit::Usage;
    };
    match timeout.to_str().and_then(|text| text.parse().ok()).map(Duration::from_millis) {
        Some(timeout) => run(&Journal::at(Path::new(&dir)), timeout),
        None => Exit::Usage,
    }
}

/// Why the guard stops waiting.
enum Wake {
    /// There is nothing left to guard.
    Dismissed,
    /// The other process is gone.
    Closed,
    /// The time is up, so the other process hangs.
    TimedOut,
}

fn run(journal: &Journal, timeout: Duration) -> Exit {
    let deadline = BootInstant::now() + timeout;
    // The parent waits until this process is armed, so it is alive.
    let parent = getppid();
    detach();
    // The reader of standard error may be stopped: nothing is logged before everything is done.
    let level = log::max_level();
    log::set_max_level(log::LevelFilter::Off);
    let Some(guarded) = journal.read() else {
        log::set_max_level(level);
        log::error!("there is nothing to guard in {}", journal.dir().display());
        return Exit::Other;
    };
    respond(ARMED);
    let wake = wait(deadline);
    if matches!(wake, Wake::Dismissed) {
        respond(LEFT);
        return Exit::Ok;
    }
    // A process that hangs after its change was kept is left alone.
    if matches!(wake, Wake::TimedOut) && is_abandoned(journal, &guarded) {
        kill_parent(parent);
    }
    let done = undo::undo_abandoned(journal, &guarded);
    log::set_max_level(level);
    report(done)
}

/// The end of the session, and signals of its terminal, are for the other process.
fn detach() {
    let _ = setsid();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
}

fn wait(deadline: BootInstant) -> Wake {
    loop {
        if !wait_readable(&io::stdin(), deadline) {
            return Wake::TimedOut;
        }
        let mut request = [0];
        match read(io::stdin(), &mut request) {
            Ok(1) if request == ASK => respond(ARMED),
            Ok(1) if request == DISMISS => return Wake::Dismissed,
            _ => return Wake::Closed,
        }
    }
}

fn respond(response: &[u8]) {
    let mut out = io::stdout();
    let _ = out.write_all(response).and_then(|()| out.flush());
}

fn is_abandoned(journal: &Journal, guarded: &ChangeRecord) -> bool {
    undo::abandoned(journal, guarded).is_ok_and(|record| record.is_some())
}

fn report(done: Result<bool>) -> Exit {
    match done {
        Ok(false) => {
            respond(LEFT);
            Exit::Ok
        }
        Ok(true) => {
            respond(UNDONE);
            log::warn!(
                "the default route was put back, because the process that changed it is gone or \
                 hangs"
            );
            Exit::Ok
        }
        Err(err) => {
            respond(FAILED);
            log::error!("{err}");
            Exit::Other
        }
    }
}

/// Kills the process that started this one, and waits until it is gone, which closes the pipe. Its
/// number cannot belong to another process: as long as it lives, and no longer, it is the parent
/// (getppid(2)). Process 1 of a container cannot be killed; it checks before each removal whether
/// it may go on.
fn kill_parent(parent: Pid) {
    if parent.as_raw() > 1 && getppid() == parent {
        let _ = kill(parent, Signal::SIGKILL);
        let _ = wait_readable(&io::stdin(), BootInstant::now() + KILL_TIMEOUT);
    }
}
