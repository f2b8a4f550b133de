//! The guard: the program itself, started again in a session of its own, which undoes a change when the process that makes
//! it dies, hangs or is stopped before it says that the change is good.
//!
//! It waits at the end of a pipe. The pipe's end, or the time that it was given, means: undo. It is armed before anything
//! is applied. What it undoes is what the record on disk says at that moment. A process that still lives then is ended first:
//! it may have been held up anywhere, and must not remove the old route after the new one was taken away.

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
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid, read, setsid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::change;
use super::journal::Store;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;

/// The argument that makes the program a guard. It is no command: nobody types it.
pub const ARGUMENT: &str = "--gateway-guard";

/// The image of the running program, even if its file was replaced meanwhile (proc(5)).
const SELF: &str = "/proc/self/exe";

/// How long the guard may take to be armed, or to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a process that is killed may take to be gone. The undo does not depend on it.
const DYING: Duration = Duration::from_secs(1);

/// What the guard says once it stands by.
const ARMED: &[u8] = b"armed\n";

/// What it is asked by whoever wants to know whether it stands by: it says again that it is armed.
const ASK: &[u8] = b"?";

/// What it is told when there is nothing left to guard.
const DISMISS: &[u8] = b"k";

/// What it says when it went without doing anything.
const LEFT: &[u8] = b"left\n";

/// What a guard did by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Idle,
    /// It put everything back, or tried to.
    Undone,
    /// It was killed: nobody knows.
    Unknown,
}

/// A guard that stands by.
#[derive(Debug)]
pub struct Guard {
    child: Child,
    answers: ChildStdout,
}

impl Guard {
    /// Starts a guard of what is recorded in `store`. It undoes after `limit` even if this process still lives.
    ///
    /// # Errors
    /// It does not stand by.
    pub fn start(store: &Store, limit: Duration) -> Result<Guard> {
        let error = |why: String| {
            Error::new(Kind::Refused, format!("the process that would undo cannot start: {why}"))
        };
        let program = match Path::new(SELF).exists() {
            true => PathBuf::from(SELF),
            false => env::current_exe().map_err(|why| error(why.to_string()))?,
        };
        let mut child = Command::new(program)
            .arg0("rackconnect")
            .arg(ARGUMENT)
            .arg(store.folder())
            .arg(limit.as_millis().to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|why| error(why.to_string()))?;
        let answers = child.stdout.take().ok_or_else(|| error("it has no output".to_owned()))?;
        let mut guard = Guard { child, answers };
        match guard.hear() {
            answer if answer == ARMED => Ok(guard),
            _ => {
                // It must not find anything to guard later.
                let _ = guard.child.kill();
                let _ = guard.child.wait();
                Err(error("it is not armed in time".to_owned()))
            }
        }
    }

    /// Whether it still stands by, neither dead nor stopped.
    pub fn stands_by(&mut self) -> bool {
        let asked = self.child.stdin.as_mut().is_some_and(|pipe| pipe.write_all(ASK).is_ok());
        asked && self.hear() == ARMED
    }

    /// Tells it that there is nothing left to guard, and sees to it that it does nothing any more.
    pub fn dismiss(mut self) -> Left {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _ = pipe.write_all(DISMISS);
        }
        let mut answer = self.hear();
        if !answer.is_empty() && answer != LEFT {
            // It says to people what it did, and ends.
            let _ = readable(&self.answers, BootInstant::now() + PATIENCE);
        }
        // One that neither answers nor ends keeps nobody waiting, and must not go on later.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if answer.is_empty() {
            // What it said at the last moment is in the pipe.
            answer = self.hear();
        }
        match answer.as_slice() {
            LEFT => Left::Idle,
            [] => Left::Unknown,
            _ => Left::Undone,
        }
    }

    fn hear(&mut self) -> Vec<u8> {
        let deadline = BootInstant::now() + PATIENCE;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") && readable(&self.answers, deadline) {
            let mut buffer = [0; 16];
            match self.answers.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
        }
        answer
    }
}

/// Whether there is something to read (or the end) before the deadline.
fn readable(pipe: &impl AsFd, deadline: BootInstant) -> bool {
    loop {
        let left = deadline.since(BootInstant::now());
        let timeout =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) if deadline.since(BootInstant::now()).is_zero() => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// What the program does as a guard, with what follows [`ARGUMENT`].
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let mut arguments = arguments.into_iter();
    let (Some(folder), Some(limit)) = (arguments.next(), arguments.next()) else {
        return Exit::Usage;
    };
    match limit.to_str().and_then(|text| text.parse().ok()).map(Duration::from_millis) {
        Some(limit) => stand_by(&Store::at(Path::new(&folder)), limit),
        None => Exit::Usage,
    }
}

fn stand_by(store: &Store, limit: Duration) -> Exit {
    let deadline = BootInstant::now() + limit;
    // It waits to hear that this one is armed, and so lives.
    let parent = getppid();
    // The end of the session or of its terminal, and what the terminal sends, are for the other one.
    let _ = setsid();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    // Whoever reads standard error may have stopped reading: nothing is said before everything is done.
    let level = log::max_level();
    log::set_max_level(log::LevelFilter::Off);
    let Some(guarded) = store.read() else {
        log::set_max_level(level);
        log::error!("there is nothing to guard in {}", store.folder().display());
        return Exit::Other;
    };
    let mut out = io::stdout();
    let mut say = |answer: &[u8]| {
        let _ = out.write_all(answer).and_then(|()| out.flush());
    };
    say(ARMED);
    let hangs = loop {
        if !readable(&io::stdin(), deadline) {
            break true;
        }
        let mut told = [0];
        match read(io::stdin(), &mut told) {
            Ok(1) if told == ASK => say(ARMED),
            Ok(1) if told == DISMISS => {
                say(LEFT);
                return Exit::Ok;
            }
            _ => break false,
        }
    };
    // One that hangs after it was done is left alone.
    if hangs && change::abandoned(store, &guarded).is_ok_and(|record| record.is_some()) {
        end(parent);
    }
    let done = change::undo_abandoned(store, &guarded);
    log::set_max_level(level);
    match done {
        Ok(false) => {
            say(LEFT);
            Exit::Ok
        }
        Ok(true) => {
            say(b"undone\n");
            log::warn!(
                "the default route was put back, because the process that changed it is gone or hangs"
            );
            Exit::Ok
        }
        Err(why) => {
            say(b"failed\n");
            log::error!("the default route could not be put back: {why}");
            Exit::Other
        }
    }
}

/// Ends the process that started this one, and waits until it is gone, which the end of the pipe shows. It cannot be another
/// one of the same number: as long as it lives, and no longer, it is the parent (getppid(2)). Process 1 of a container cannot
/// be ended; it looks before each removal whether it may go on.
fn end(parent: Pid) {
    if parent.as_raw() > 1 && getppid() == parent {
        let _ = kill(parent, Signal::SIGKILL);
        let _ = readable(&io::stdin(), BootInstant::now() + DYING);
    }
}
