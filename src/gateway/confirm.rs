//! The confirmation of a change: whoever made it may be cut off by it, so that it is undone unless somebody says that it is
//! good, from any session.
//!
//! The process that waits listens on a socket in the state folder, which only root can reach; Enter on its terminal counts,
//! too.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{geteuid, getpgrp, tcgetpgrp};

use super::journal::Store;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::signals::Held;

/// How long the process that waits may take to do what it is told: it puts back, and verifies that.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the waiting process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The change is good.
    Confirm,
    /// It is to be undone.
    Rollback,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Word::Confirm => "confirm",
            Word::Rollback => "rollback",
        }
    }
}

/// How the wait for a word ended.
#[derive(Debug)]
pub enum End {
    /// Somebody said so; who wants to hear what became of it.
    Said(Word, Option<UnixStream>),
    /// Nobody said anything in time.
    TooLate,
    /// The program was told to end.
    Interrupted,
}

/// Waits for the word.
#[derive(Debug)]
pub struct Waiter {
    listener: UnixListener,
    path: std::path::PathBuf,
}

impl Waiter {
    /// Listens. Whoever calls this holds the lock, so an old socket is nobody's.
    ///
    /// # Errors
    /// It cannot listen, and so nobody could confirm.
    pub fn listen(store: &Store) -> Result<Waiter> {
        let path = store.socket();
        let _ = fs::remove_file(&path);
        let listen = || -> io::Result<UnixListener> {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        match listen() {
            Ok(listener) => Ok(Waiter { listener, path }),
            Err(why) => Err(Error::new(
                Kind::Refused,
                format!(
                    "nobody could confirm the change: the socket {} cannot be made: {why}",
                    path.display()
                ),
            )),
        }
    }

    /// Waits for the word until `deadline`.
    pub fn wait(&self, deadline: BootInstant, signals: &Held) -> End {
        let stdin = io::stdin();
        let mut terminal = stdin.is_terminal() && is_foreground(&stdin);
        if terminal {
            // What was typed before the question is no answer.
            let _ = tcflush(&stdin, FlushArg::TCIFLUSH);
        }
        loop {
            if signals.pending().is_some() {
                return End::Interrupted;
            }
            let left = deadline.since(BootInstant::now());
            if left.is_zero() {
                return End::TooLate;
            }
            let timeout =
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let mut watched = vec![
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.wakeup().as_fd(), PollFlags::POLLIN),
            ];
            if terminal {
                watched.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut watched, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(100).min(left)),
            }
            let typed = watched.get(2).and_then(PollFd::any).unwrap_or(false);
            drop(watched);
            if let Ok((stream, _)) = self.listener.accept()
                && is_trusted(&stream)
                && let Some(word) = heard(&stream)
            {
                return End::Said(word, Some(stream));
            }
            if typed {
                match entered(&stdin) {
                    Some(true) => return End::Said(Word::Confirm, None),
                    Some(false) => {}
                    // The session is gone: the terminal says nothing any more, but other sessions may.
                    None => terminal = false,
                }
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether the terminal may be read and flushed: a process in the background would be stopped by either.
fn is_foreground(stdin: &io::Stdin) -> bool {
    match tcgetpgrp(stdin) {
        Ok(group) => group == getpgrp(),
        // A terminal that is not ours to be stopped by.
        Err(why) => why == Errno::ENOTTY,
    }
}

/// Whether a line was entered; none if the terminal is gone or another process's in the foreground.
fn entered(stdin: &io::Stdin) -> Option<bool> {
    if !is_foreground(stdin) {
        return None;
    }
    let mut line = [0; 256];
    match nix::unistd::read(stdin, &mut line) {
        Ok(0) => None,
        Ok(length) => Some(line[..length].contains(&b'\n')),
        Err(Errno::EINTR | Errno::EAGAIN) => Some(false),
        Err(_) => None,
    }
}

/// Whether the process at the other end is root's or this very user's.
fn is_trusted(stream: &UnixStream) -> bool {
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| is_trusted_user(peer.uid()))
}

fn is_trusted_user(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

fn heard(mut stream: &UnixStream) -> Option<Word> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(1))).ok()?;
    let mut text = [0; 16];
    let length = stream.read(&mut text).ok()?;
    let text = text.get(..length)?.trim_ascii();
    [Word::Confirm, Word::Rollback].into_iter().find(|word| word.text().as_bytes() == text)
}

/// Tells whoever said the word what became of it.
pub fn answer(stream: Option<UnixStream>, done: bool, sentence: &str) {
    if let Some(mut stream) = stream {
        let code = if done { "done" } else { "failed" };
        let _ = stream.write_all(format!("{code} {sentence}\n").as_bytes());
    }
}

/// Says the word to the process that waits for it. None if there is no such process; else whether it did so, and its
/// sentence.
///
/// # Errors
/// It does not answer.
pub fn say(store: &Store, word: Word) -> Result<Option<(bool, String)>> {
    let path = store.socket();
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(why)
            if matches!(
                why.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(why) if why.kind() == ErrorKind::PermissionDenied => {
            let why = format!(
                "only root may confirm a change of the default route, or undo it ({}: {why})",
                path.display()
            );
            return Err(Error::new(Kind::Refused, why));
        }
        Err(why) => return Err(Error::new(Kind::Refused, format!("{}: {why}", path.display()))),
    };
    if !is_trusted(&stream) {
        let why = format!("{}: it is another user's process that listens there", path.display());
        return Err(Error::new(Kind::Refused, why));
    }
    let mut exchange = || -> io::Result<String> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(word.text().as_bytes())?;
        let mut answer = String::new();
        Read::by_ref(&mut stream).take(4_096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    match exchange() {
        Ok(answer) => match answer.trim_end().split_once(' ') {
            Some((code, sentence)) => Ok(Some((code == "done", sentence.to_owned()))),
            // It ended before it heard the word.
            None => Ok(None),
        },
        // The same, with the word still unread.
        Err(why) if matches!(why.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Ok(None)
        }
        Err(why) => {
            Err(Error::new(Kind::Refused, format!("the change that waits does not answer: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_this_very_user_are_trusted() {
        let own = geteuid().as_raw();
        assert!(is_trusted_user(0) && is_trusted_user(own));
        assert!(!is_trusted_user(own + 1) && !is_trusted_user(u32::MAX));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(is_trusted(&ours));
    }
}
