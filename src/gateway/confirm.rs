//! Confirmation of a change. A change may cut off the session in which it is made, so with
//! `--confirm` it is undone unless it is confirmed, from any session.
//!
//! The process that waits listens on a socket in the state directory, which only root can reach.
//! Enter on its terminal confirms as well.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{geteuid, getpgrp, tcgetpgrp};

use super::journal::Journal;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};
use crate::signals::DeferredSignals;
use crate::ui;

/// How long the waiting process may take to carry out a verdict: it may undo the change, and verify
/// the result.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a process that connects may take to send its verdict.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest reply that is read.
const MAX_REPLY_BYTES: u64 = 4096;

/// What the user decides about a change that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Keep it.
    Confirm,
    /// Undo it.
    Rollback,
}

impl Verdict {
    const ALL: [Verdict; 2] = [Verdict::Confirm, Verdict::Rollback];

    fn word(self) -> &'static str {
        match self {
            Verdict::Confirm => "confirm",
            Verdict::Rollback => "rollback",
        }
    }
}

/// A process that gave a verdict, and waits for the result.
#[derive(Debug)]
pub(crate) struct Requester(UnixStream);

/// The result of a verdict, with a sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It was carried out.
    Done(String),
    /// It was not carried out.
    Failed(String),
}

impl Requester {
    /// Sends the result.
    pub(crate) fn reply(mut self, reply: &Reply) {
        let (word, sentence) = match reply {
            Reply::Done(sentence) => ("done", sentence),
            Reply::Failed(sentence) => ("failed", sentence),
        };
        let _ = self.0.write_all(format!("{word} {sentence}\n").as_bytes());
    }
}

/// How the wait for a verdict ended.
#[derive(Debug)]
pub(crate) enum Confirmation {
    /// With a verdict, of another process or else of the terminal.
    Verdict(Verdict, Option<Requester>),
    /// The time passed.
    TimedOut,
    /// A signal told the program to end.
    Signalled,
}

/// The socket on which a change waits for its verdict, and the terminal.
#[derive(Debug)]
pub(crate) struct ConfirmListener {
    listener: UnixListener,
    path: PathBuf,
    terminal: Option<io::Stdin>,
}

impl ConfirmListener {
    /// Creates the socket. The caller holds the lock, so a socket that exists is left over.
    ///
    /// # Errors
    /// The socket cannot be created, so the change could not be confirmed.
    pub(crate) fn listen(journal: &Journal) -> Result<ConfirmListener> {
        let path = journal.socket();
        let _ = fs::remove_file(&path);
        let listen = || -> io::Result<UnixListener> {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = listen().map_err(|err| {
            let path = path.display();
            Error::new(
                Kind::Refused,
                format!(
                    "the change could not be confirmed: cannot create the socket {path}: {}",
                    plain(&err)
                ),
            )
        })?;
        let terminal =
            Some(io::stdin()).filter(|stdin| stdin.is_terminal() && is_foreground(stdin));
        Ok(ConfirmListener { listener, path, terminal })
    }

    /// Whether a person can confirm by Enter.
    pub(crate) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Waits for a verdict until `deadline`, with a countdown on a terminal.
    pub(crate) fn wait(mut self, deadline: BootInstant, signals: &DeferredSignals) -> Confirmation {
        if let Some(terminal) = &self.terminal {
            // Input from before the question is not an answer.
            let _ = tcflush(terminal, FlushArg::TCIFLUSH);
        }
        let has_countdown = self.has_terminal() && ui::is_watched();
        let confirmation = loop {
            let left = deadline.since(BootInstant::now());
            if signals.pending().is_some() {
                break Confirmation::Signalled;
            }
            if left.is_zero() {
                break Confirmation::TimedOut;
            }
            if has_countdown {
                ui::live(&countdown(left));
            }
            let typed =
                self.poll(if has_countdown { until_next_second(left) } else { left }, signals);
            if let Some((verdict, requester)) = self.accept() {
                break Confirmation::Verdict(verdict, Some(requester));
            }
            if typed {
                match self.terminal.as_ref().map_or(Typed::Gone, read_typed) {
                    Typed::Line => break Confirmation::Verdict(Verdict::Confirm, None),
                    Typed::Nothing => {}
                    // A process of another session may still confirm.
                    Typed::Gone => self.terminal = None,
                }
            }
        };
        ui::end_live();
        confirmation
    }

    /// Waits for a connection, a signal or input. Returns whether there is input.
    fn poll(&self, timeout: Duration, signals: &DeferredSignals) -> bool {
        let mut fds = vec![
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.wakeup().as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(self.terminal.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
        let until = BootInstant::now() + timeout;
        match poll(&mut fds, until.poll_timeout()) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
        fds.get(2).and_then(PollFd::any).unwrap_or(false)
    }

    fn accept(&self) -> Option<(Verdict, Requester)> {
        let (stream, _) = self.listener.accept().ok()?;
        let verdict = is_trusted(&stream).then(|| read_verdict(&stream))??;
        Some((verdict, Requester(stream)))
    }
}

impl Drop for ConfirmListener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn countdown(left: Duration) -> String {
    let seconds = left.as_secs_f64().ceil();
    format!("press Enter to keep the new gateway; everything is put back in {seconds}s")
}

fn until_next_second(left: Duration) -> Duration {
    match left.subsec_nanos() {
        0 => Duration::from_secs(1).min(left),
        nanos => Duration::from_nanos(nanos.into()),
    }
}

/// Whether this process may read and flush the terminal: both stop a background process.
fn is_foreground(stdin: &io::Stdin) -> bool {
    match tcgetpgrp(stdin) {
        Ok(group) => group == getpgrp(),
        // It is not the controlling terminal, so no process is stopped.
        Err(err) => err == Errno::ENOTTY,
    }
}

/// What was read from the terminal.
enum Typed {
    /// Input with a line end.
    Line,
    /// No line end yet.
    Nothing,
    /// The terminal is gone, or another process is in the foreground.
    Gone,
}

fn read_typed(stdin: &io::Stdin) -> Typed {
    if !is_foreground(stdin) {
        return Typed::Gone;
    }
    let mut line = [0; 256];
    match nix::unistd::read(stdin, &mut line) {
        Ok(0) => Typed::Gone,
        Ok(length) if line[..length].contains(&b'\n') => Typed::Line,
        Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => Typed::Nothing,
        Err(_) => Typed::Gone,
    }
}

/// Whether the process at the other end belongs to root or to this user.
fn is_trusted(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| is_trusted_user(peer.uid()))
}

fn is_trusted_user(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

fn read_verdict(mut stream: &UnixStream) -> Option<Verdict> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT)).ok()?;
    let mut text = [0; 16];
    let length = stream.read(&mut text).ok()?;
    let text = text.get(..length)?.trim_ascii();
    Verdict::ALL.into_iter().find(|verdict| verdict.word().as_bytes() == text)
}

/// Sends a verdict to the process that waits for one. Returns its reply; none if no process waits.
///
/// # Errors
/// The process cannot be reached, or does not reply.
pub(crate) fn send(journal: &Journal, verdict: Verdict) -> Result<Option<Reply>> {
    let Some(mut stream) = connect(journal)? else { return Ok(None) };
    let mut exchange = || -> io::Result<String> {
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        stream.write_all(verdict.word().as_bytes())?;
        let mut reply = String::new();
        Read::by_ref(&mut stream).take(MAX_REPLY_BYTES).read_to_string(&mut reply)?;
        Ok(reply)
    };
    match exchange() {
        Ok(reply) => Ok(match reply.trim_end().split_once(' ') {
            Some(("done", sentence)) => Some(Reply::Done(sentence.to_owned())),
            Some((_, sentence)) => Some(Reply::Failed(sentence.to_owned())),
            // It ended before it read the verdict.
            None => None,
        }),
        Err(err) if matches!(err.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Ok(None)
        }
        Err(err) => {
            let message =
                format!("the process that waits for the confirmation hangs: {}", plain(&err));
            Err(Error::new(Kind::Refused, message))
        }
    }
}

fn connect(journal: &Journal) -> Result<Option<UnixStream>> {
    let path = journal.socket();
    let refused = |message: String| Err(Error::new(Kind::Refused, message));
    match UnixStream::connect(&path) {
        Ok(stream) if is_trusted(&stream) => Ok(Some(stream)),
        Ok(_) => refused(format!("{}: a process of another user listens there", path.display())),
        Err(err) => match err.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                Ok(None)
            }
            ErrorKind::PermissionDenied => refused(format!(
                "only root may confirm or undo a change of the default route ({}: {})",
                path.display(),
                plain(&err)
            )),
            _ => refused(format!("{}: {}", path.display(), plain(&err))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_this_user_are_trusted() {
        let own = geteuid().as_raw();
        assert!(is_trusted_user(0) && is_trusted_user(own));
        assert!(!is_trusted_user(own + 1) && !is_trusted_user(u32::MAX));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(is_trusted(&ours));
    }

    #[test]
    fn the_countdown_shows_each_second() {
        assert!(countdown(Duration::from_millis(59_001)).ends_with("in 60s"));
        assert_eq!(until_next_second(Duration::from_millis(59_001)), Duration::from_millis(1));
        assert_eq!(until_next_second(Duration::from_secs(59)), Duration::from_secs(1));
    }
}
