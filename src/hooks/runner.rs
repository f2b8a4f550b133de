//! The edge: one hook, from its start to its end.
//!
//! A hook is the leader of a process group of its own, so that its time limit and the signals that end the program reach
//! what it has started, too. It therefore owns no terminal, and its standard input is empty.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::clock::BootInstant;
use crate::duration::human;
use crate::ui;

/// How long a hook that was told to end may tidy up.
const GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether it has. The kernel tells of no group's end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the journal takes streams. Source: systemd-journald.service(8); the header is sd_journal_stream_fd(3)'s.
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// What a shell exits with where it found something that cannot be executed; rcrun's hooks ask to be passed over so.
const NOT_EXECUTABLE: i32 = 126;

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With exit code 0.
    Done,
    /// It says itself that it is to be passed over, or the kernel cannot execute it.
    Skipped(String),
    /// Any other way; which.
    Failed(String),
}

/// The process group of the hook that runs.
static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the hook that runs, if one does: the program is about to end. No other is begun.
pub fn end_running() {
    let running = running();
    if let Some(group) = *running {
        end_group(group);
    }
    mem::forget(running);
}

/// Ends a process group: the hook and what it has started, which may have to tidy up even where the hook itself is gone.
fn end_group(group: Pid) {
    let _ = killpg(group, Signal::SIGTERM);
    // What is stopped hears of it only so.
    let _ = killpg(group, Signal::SIGCONT);
    let deadline = BootInstant::now() + GRACE;
    while killpg(group, None).is_ok() {
        if BootInstant::now() >= deadline {
            let _ = killpg(group, Signal::SIGKILL);
            return;
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Runs a hook to its end. `environment` is added to the program's own; `limit` is none for no limit.
pub fn run(path: &Path, environment: &[(&str, String)], limit: Option<Duration>) -> End {
    let start = |program: &Path, arguments: &[&Path]| {
        let (out, err) = outputs(path.file_name().unwrap_or_default());
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
    };
    let mut running = running();
    let child = match start(path, &[]) {
        // A script without #!: whoever runs it from a shell never notices, and so did rcrun's users.
        Err(why) if is(&why, Errno::ENOEXEC) && is_text(path) => {
            start(Path::new("/bin/sh"), &[path])
        }
        child => child,
    };
    let mut child = match child {
        Ok(child) => child,
        Err(why) if is(&why, Errno::ENOEXEC) || is(&why, Errno::EACCES) => {
            return End::Skipped(format!("the kernel cannot execute it: {why}"));
        }
        Err(why) if why.kind() == ErrorKind::NotFound => {
            return End::Failed(format!("it cannot be started: {}", missing_interpreter(path)));
        }
        Err(why) => return End::Failed(format!("it cannot be started: {why}")),
    };
    let group = Pid::from_raw(child.id().cast_signed());
    *running = Some(group);
    drop(running);
    let end = wait_for(&mut child, group, limit);
    *self::running() = None;
    end
}

/// How often a running hook is looked at: at first often, since most hooks are short.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// Waits for the end of a hook, and ends it at its time limit. Without a thread: after the start of a
/// hook nothing may fail any more.
fn wait_for(child: &mut Child, group: Pid, limit: Option<Duration>) -> End {
    let deadline = limit.map(|limit| BootInstant::now() + limit);
    let mut pause = POLL_INTERVALS.0;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return how(Ok(status)),
            Err(err) => return how(Err(err)),
            Ok(None) => {}
        }
        let now = BootInstant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            end_group(group);
            // It is gone, or about to be.
            let _ = child.wait();
            let limit = human(limit.unwrap_or_default());
            return End::Failed(format!("it was ended after {limit}, its time limit"));
        }
        let left = deadline.map_or(POLL_INTERVALS.1, |deadline| deadline.since(now));
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(POLL_INTERVALS.1);
    }
}

fn how(status: io::Result<std::process::ExitStatus>) -> End {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(0), _) => End::Done,
            (Some(NOT_EXECUTABLE), _) => {
                End::Skipped(format!("it ended with exit code {NOT_EXECUTABLE}"))
            }
            (Some(code), _) => End::Failed(format!("exit code {code}")),
            (None, signal) => End::Failed(format!("ended by signal {}", signal.unwrap_or(0))),
        },
        Err(why) => End::Failed(format!("its end cannot be had: {why}")),
    }
}

/// Where a hook's standard output and standard error go: under the journal both to it, under the hook's name; otherwise to
/// where the program's own go.
fn outputs(name: &OsStr) -> (Stdio, Stdio) {
    let journal = || -> io::Result<(OwnedFd, OwnedFd)> {
        let stream = journal(name)?;
        Ok((stream.as_fd().try_clone_to_owned()?, stream.into()))
    };
    match ui::is_journal().then(journal) {
        Some(Ok((out, err))) => (out.into(), err.into()),
        Some(Err(why)) => {
            log::debug!("{JOURNAL}: {why}: the hook's output comes under the program's name");
            (Stdio::inherit(), Stdio::inherit())
        }
        None => (Stdio::inherit(), Stdio::inherit()),
    }
}

/// A stream to the journal: identifier, unit (the journal knows it), priority, whether lines may carry their own, and
/// whether they are forwarded to syslog, kmsg and console.
fn journal(name: &OsStr) -> io::Result<UnixStream> {
    let name = ui::escape_control(&name.to_string_lossy());
    let mut stream = UnixStream::connect(JOURNAL)?;
    stream.write_all(format!("{name}\n\n6\n1\n0\n0\n0\n").as_bytes())?;
    Ok(stream)
}

fn is(why: &io::Error, errno: Errno) -> bool {
    why.raw_os_error() == Some(errno as i32)
}

/// Why a script that exists was not found: its interpreter is missing, as far as the file tells.
pub fn missing_interpreter(path: &Path) -> String {
    let mut head = Vec::new();
    let _ = File::open(path).and_then(|file| file.take(128).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    let line = head.split('\n').next().unwrap_or_default();
    match line.strip_prefix("#!").map(|rest| (rest.trim(), rest.ends_with('\r'))) {
        Some((interpreter, true)) => format!(
            "its first line names the interpreter {interpreter:?} and ends with a carriage return \
             (Windows line ending); remove it with: sed -i 's/\\r$//' {}",
            path.display()
        ),
        Some((interpreter, false)) => format!("its interpreter {interpreter:?} does not exist"),
        None => "its interpreter or loader does not exist".to_owned(),
    }
}

/// Whether a file begins as text does, and so may be a shell's script.
fn is_text(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(128).read_to_end(&mut head));
    read.is_ok() && !head.contains(&0)
}
