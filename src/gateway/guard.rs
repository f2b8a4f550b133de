//! The guard: a second process of this program, in its own session. It undoes a change if the
//! process that makes the change dies, hangs or is stopped before it dismisses the guard.
//!
//! The guard is armed before anything is changed, and waits on a pipe. If the pipe is closed, or
//! the time is up, it undoes the change that the record on disk then describes. If the other
//! process is still alive, it is killed first: it may have been delayed anywhere, and must not
//! remove the old route after the guard has removed the new one.

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

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid, read, setsid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::journal::Journal;
use super::record::ChangeRecord;
use super::undo::{self, UndoOutcome};
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};
use crate::exit::Exit;
use crate::ready;

/// The argument that makes the program a guard. It is not for users.
pub const ARGUMENT: &str = "--gateway-guard";

/// The running program, even if its file was replaced meanwhile (proc(5)).
const SELF_EXE: &str = "/proc/self/exe";

/// How long the guard may take to start, or to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait for the end of a killed process. The undo does not depend on it.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// A line of the guard: it is armed. It says so at the start, and in response to [`ASK`].
const ARMED: &[u8] = b"armed\n";

/// It ends without having done anything.
const LEFT: &[u8] = b"left\n";

/// It undid the change, or tried in vain.
const UNDONE: &[u8] = b"undone\n";
const FAILED: &[u8] = b"failed\n";

/// Asks the guard whether it is armed.
const ASK: &[u8] = b"?";

/// Tells the guard that there is nothing left to guard.
const DISMISS: &[u8] = b"k";

/// What the guard did before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardExit {
    /// Nothing.
    Idle,
    /// It undid the change, or tried to.
    Undone,
    /// It was killed without a response, so it may have undone the change.
    Unknown,
}

/// An armed guard.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    responses: ChildStdout,
}

impl Guard {
    /// Starts a guard of the change in `journal`, and waits until it is armed. After `timeout` it
    /// undoes the change even if this process is still alive.
    ///
    /// # Errors
    /// It cannot be armed.
    pub(crate) fn start(journal: &Journal, timeout: Duration) -> Result<Guard> {
        let error = |err: String| {
            Error::new(
                Kind::Refused,
                format!("cannot start the process that would undo the change: {err}"),
            )
        };
        let program = if Path::new(SELF_EXE).exists() {
            PathBuf::from(SELF_EXE)
        } else {
            env::current_exe().map_err(|err| error(plain(&err)))?
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
        let responses =
            child.stdout.take().ok_or_else(|| error("it has no standard output".to_owned()))?;
        let mut guard = Guard { child, responses };
        if guard.response() == ARMED {
            return Ok(guard);
        }
        // It must not be armed after this process has gone on without it.
        guard.kill();
        Err(error("it did not respond in time".to_owned()))
    }

    /// Whether it is still armed: neither dead nor stopped.
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
            // It logs what it did before it ends.
            let _ = wait_readable(&self.responses, BootInstant::now() + RESPONSE_TIMEOUT);
        }
        // A guard that hangs must not act later.
        self.kill();
        if response.is_empty() {
            // A response from just before it was killed is still in the pipe.
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

    /// The next line of its output; incomplete or empty if it ends or is too slow.
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

/// Waits until there are data to read, or the end of the pipe. False after the deadline.
fn wait_readable(pipe: &impl AsFd, deadline: BootInstant) -> bool {
    ready::wait(pipe, PollFlags::POLLIN, deadline).is_ok()
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
    /// The process that makes the change is gone.
    Closed,
    /// The time is up, so that process hangs.
    TimedOut,
}

fn run(journal: &Journal, timeout: Duration) -> Exit {
    let deadline = BootInstant::now() + timeout;
    // The parent waits for the response of this process, so it is alive now.
    let parent = getppid();
    detach();
    // The reader of standard error may be stopped: nothing is logged before the undo is done.
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
    // A process that hangs only after its change was kept is not killed.
    if matches!(wake, Wake::TimedOut) && is_abandoned(journal, &guarded) {
        kill_parent(parent);
    }
    let undone = undo::undo_abandoned(journal, &guarded);
    log::set_max_level(level);
    report(undone)
}

/// Leaves the session, whose end and whose terminal's signals must not end the guard.
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

fn report(undone: Result<UndoOutcome>) -> Exit {
    match undone {
        Ok(UndoOutcome::NothingToUndo) => {
            respond(LEFT);
            Exit::Ok
        }
        Ok(UndoOutcome::Undone) => {
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

/// Kills the process that started this one, and waits until its end closes the pipe. Its process id
/// cannot belong to another process: it is that of this process's parent exactly as long as the
/// parent lives (getppid(2)). Process 1 of a container cannot be killed; it asks its guard before
/// each removal.
fn kill_parent(parent: Pid) {
    if parent.as_raw() > 1 && getppid() == parent {
        let _ = kill(parent, Signal::SIGKILL);
        let _ = wait_readable(&io::stdin(), BootInstant::now() + KILL_TIMEOUT);
    }
}
