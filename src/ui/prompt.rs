//! Prompts on the terminal, for secrets, which must not be on a command line.
//!
//! They use `/dev/tty`, so that standard input and output can be redirected.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result, plain};
use crate::model::Secret;
use crate::signals;
use crate::ui::escape_control;

/// The longest line of a terminal (N_TTY_BUF_SIZE).
const MAX_LINE_BYTES: usize = 4_096;

/// Whether input is shown while it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// It is shown.
    Shown,
    /// It is not shown.
    Hidden,
}

/// The terminal and its mode before echo was turned off, to be restored also if a signal ends the
/// program.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// Asks a question and reads one line. None if there is no terminal.
///
/// # Errors
/// The terminal cannot be used, or nothing was typed.
pub fn ask(question: &str, echo: Echo) -> Result<Option<Secret>> {
    let Ok(mut terminal) = File::options().read(true).write(true).open("/dev/tty") else {
        return Ok(None);
    };
    let failed = |err: &std::io::Error| {
        Error::new(Kind::Other, format!("cannot ask on the terminal: {}", plain(err)))
    };
    if echo == Echo::Hidden {
        turn_echo_off(&terminal).map_err(|err| failed(&err))?;
    }
    let asked = terminal.write_all(format!("{}: ", escape_control(question)).as_bytes());
    let mut line = Zeroizing::new([0; MAX_LINE_BYTES]);
    let read = asked.and_then(|()| read_line(&mut terminal, &mut *line));
    if echo == Echo::Hidden {
        restore_echo();
        let _ = terminal.write_all(b"\n");
    }
    let typed = &line[..read.map_err(|err| failed(&err))?];
    if typed.is_empty() {
        return Err(Error::usage("nothing was typed on the terminal"));
    }
    let typed = std::str::from_utf8(typed)
        .map_err(|_| Error::usage("what was typed on the terminal is not UTF-8"))?;
    Ok(Some(Secret::new(typed.trim_end_matches(['\r', '\n']).to_owned())))
}

/// Reads one line, with its end, into `line`, so that there is no copy in a buffer.
fn read_line(terminal: &mut File, line: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < line.len() && !line[..length].ends_with(b"\n") {
        match terminal.read(&mut line[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(length)
}

fn turn_echo_off(terminal: &File) -> std::io::Result<()> {
    let before = tcgetattr(terminal)?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    if let Ok(mut saved) = BEFORE.lock() {
        *saved = Some((terminal.try_clone()?, before));
    }
    // Ctrl-C must not leave a terminal without echo. Without a thread for it, it does.
    let _ = signals::on_signal(restore_echo);
    Ok(tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?)
}

fn restore_echo() {
    if let Ok(mut saved) = BEFORE.lock()
        && let Some((terminal, before)) = saved.take()
    {
        let _ = tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &before);
    }
}
