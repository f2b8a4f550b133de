//! Runs one hook.
//!
//! A hook is the leader of a new process group, so that its time limit and the signals that end
//! this program reach its children too. Such a background group may not read the terminal, so its
//! standard input is empty.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::plain;
use crate::{script, signals, ui};

/// How long a hook may take to end after SIGTERM.
pub const END_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a process group is polled for its end, for which there is no event.
const GROUP_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The journal's socket for streams. Source: systemd-journald.service(8); the header is that of
/// sd_journal_stream_fd(3).
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// The exit code by which a hook asks to be skipped, as rcrun's hooks do. A shell ends with it if
/// it cannot execute a program.
const NOT_EXECUTABLE: i32 = 126;

/// How a hook ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookEnd {
    /// With exit code 0.
    Done,
    /// It asked to be skipped, or the kernel cannot execute it. With the reason.
    Skipped(String),
    /// In any other way, which is described.
    Failed(String),
}

/// The process group of the hook that runs.
static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the hook that runs, if there is one, because the program is about to end. The lock is never
/// released, so that no other hook is started.
pub fn end_running() {
    let running = running();
    if let Some(group) = *running {
        end_group(group, || reap_orphans(group));
    }
    mem::forget(running);
}

/// Ends a process group: the hook and its children, which get time to clean up even if the hook
/// itself is gone. A zombie still belongs to the group, so `reap` has to collect the zombies that
/// are children of this process.
fn end_group(group: Pid, mut reap: impl FnMut()) {
    let _ = killpg(group, Signal::SIGTERM);
    // A stopped process handles SIGTERM only after SIGCONT.
    let _ = killpg(group, Signal::SIGCONT);
    let deadline = BootInstant::now() + END_TIMEOUT;
    loop {
        reap();
        if killpg(group, None).is_err() {
            return;
        }
        if BootInstant::now() >= deadline {
            let _ = killpg(group, Signal::SIGKILL);
            return;
        }
        thread::sleep(GROUP_POLL_INTERVAL);
    }
}

/// Whether the hook has ended, and how.
fn try_wait(child: &mut Child, group: Pid) -> io::Result<Option<ExitStatus>> {
    reap_orphans(group);
    child.try_wait()
}

/// As process 1 of a container, this program becomes the parent of every process whose parent has
/// ended, and has to collect it. The hook itself is left to [`try_wait`].
fn reap_orphans(hook: Pid) {
    if process::id() != 1 {
        return;
    }
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, ended) {
        match status.pid() {
            Some(pid) if pid != hook => {
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            _ => return,
        }
    }
}

/// Runs a hook to its end. `environment` is added to that of this program. Without a `limit` the
/// hook may run forever.
pub fn run(path: &Path, environment: &[(&str, String)], limit: Option<Duration>) -> HookEnd {
    let start = |program: &Path, arguments: &[&Path]| {
        let (out, err) = outputs(path.file_name().unwrap_or_default());
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        command.current_dir("/").stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        signals::with_inherited_mask(|| command.spawn())
    };
    let mut running = running();
    let child = match start(path, &[]) {
        // A script without #!, as a shell itself would do.
        Err(err) if script::is_for_shell(&err, path) => start(Path::new(script::SHELL), &[path]),
        child => child,
    };
    let mut child = match child {
        Ok(child) => child,
        Err(err) if has_errno(&err, Errno::ENOEXEC) || has_errno(&err, Errno::EACCES) => {
            return HookEnd::Skipped(format!("the kernel cannot execute it: {}", plain(&err)));
        }
        Err(err) if err.kind() == ErrorKind::NotFound => {
            return HookEnd::Failed(format!(
                "it cannot be started: {}",
                script::missing_interpreter(path)
            ));
        }
        Err(err) => return HookEnd::Failed(format!("it cannot be started: {}", plain(&err))),
    };
    let group = Pid::from_raw(child.id().cast_signed());
    *running = Some(group);
    drop(running);
    let end = wait_for(&mut child, group, limit);
    *self::running() = None;
    end
}

/// How often a running hook is polled. The interval doubles from the first to the longest, since
/// most hooks are short.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(2);
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Waits for the end of a hook, and ends it at its time limit. It polls because a thread may fail
/// to start, and a hook that has started must not be left alone.
fn wait_for(child: &mut Child, group: Pid, limit: Option<Duration>) -> HookEnd {
    let deadline = limit.map(|limit| BootInstant::now() + limit);
    let mut poll_interval = FIRST_POLL_INTERVAL;
    loop {
        match try_wait(child, group) {
            Ok(Some(status)) => return end_of(status),
            Ok(None) => {}
            Err(err) => return HookEnd::Failed(format!("its end is unknown: {}", plain(&err))),
        }
        let now = BootInstant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            end_group(group, || drop(try_wait(child, group)));
            // After SIGKILL it ends soon.
            let _ = child.wait();
            let limit = human(limit.unwrap_or_default());
            return HookEnd::Failed(format!("it was ended after {limit}, its time limit"));
        }
        let left = deadline.map_or(MAX_POLL_INTERVAL, |deadline| deadline.since(now));
        thread::sleep(poll_interval.min(left));
        poll_interval = (poll_interval * 2).min(MAX_POLL_INTERVAL);
    }
}

fn end_of(status: ExitStatus) -> HookEnd {
    match (status.code(), status.signal()) {
        (Some(0), _) => HookEnd::Done,
        (Some(NOT_EXECUTABLE), _) => {
            HookEnd::Skipped(format!("it ended with exit code {NOT_EXECUTABLE}"))
        }
        (Some(code), _) => HookEnd::Failed(format!("exit code {code}")),
        (None, signal) => HookEnd::Failed(format!("ended by signal {}", signal.unwrap_or(0))),
    }
}

/// Standard output and standard error of a hook: a stream to the journal with the hook's name if
/// this program logs to the journal, otherwise the same as this program's.
fn outputs(name: &OsStr) -> (Stdio, Stdio) {
    let journal = || -> io::Result<(OwnedFd, OwnedFd)> {
        let stream = journal(name)?;
        Ok((stream.as_fd().try_clone_to_owned()?, stream.into()))
    };
    match ui::is_journal().then(journal) {
        Some(Ok((out, err))) => (out.into(), err.into()),
        Some(Err(err)) => {
            log::debug!(
                "{JOURNAL}: {}: the hook's output is logged under this program's name",
                plain(&err)
            );
            (Stdio::inherit(), Stdio::inherit())
        }
        None => (Stdio::inherit(), Stdio::inherit()),
    }
}

/// A stream to the journal. Its header: identifier, unit (empty, since the journal knows it),
/// priority, whether lines may begin with a priority, and whether they are forwarded to syslog,
/// kmsg and the console.
fn journal(name: &OsStr) -> io::Result<UnixStream> {
    let name = ui::escape_control(&name.to_string_lossy());
    let mut stream = UnixStream::connect(JOURNAL)?;
    stream.write_all(format!("{name}\n\n6\n1\n0\n0\n0\n").as_bytes())?;
    Ok(stream)
}

fn has_errno(err: &io::Error, errno: Errno) -> bool {
    err.raw_os_error() == Some(errno as i32)
}
