//! Prompts on the terminal, for secrets, which must not be on a command line.
//!
//! They use `/dev/tty`, so that standard input and output can be redirected.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::error::{Error, Kind, Result, plain};
use crate::model::Secret;
use crate::signals;
use crate::ui::escape_control;

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
    let mut answer = String::new();
    let asked = terminal.write_all(format!("{}: ", escape_control(question)).as_bytes());
    let read = asked.and_then(|()| BufReader::new(&terminal).read_line(&mut answer));
    if echo == Echo::Hidden {
        restore_echo();
        let _ = terminal.write_all(b"\n");
    }
    let answer = zeroize::Zeroizing::new(answer);
    match read {
        Ok(0) => Err(Error::usage("nothing was typed on the terminal")),
        Ok(_) => Ok(Some(Secret::new(answer.trim_end_matches(['\r', '\n']).to_owned()))),
        Err(err) => Err(failed(&err)),
    }
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
