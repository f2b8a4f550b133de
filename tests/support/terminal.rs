//! A terminal of a given size, for programs that draw or ask on one.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{FlowArg, LocalFlags, tcflow, tcgetattr};

use super::until;

/// A terminal, as its user sees it.
pub struct Terminal {
    rows: NonZero<u16>,
    columns: NonZero<u16>,
    master: File,
    /// The side of the programs. Their output only ends when all copies of it are closed.
    slave: Option<OwnedFd>,
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Opens a terminal of this size.
    pub fn open(rows: u16, columns: u16) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a pseudo-terminal");
        // Otherwise programs that other tests start would inherit it and keep it open.
        for side in [&pty.master, &pty.slave] {
            fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("a flag of a descriptor");
        }
        let written = Arc::new(Mutex::new(Vec::new()));
        let master = File::from(pty.master);
        let reading = master.try_clone().expect("a descriptor more");
        let into = written.clone();
        let reader = thread::spawn(move || read(reading, &into));
        let size = |length| NonZero::new(length).expect("a terminal has a size");
        let (rows, columns) = (size(rows), size(columns));
        let (slave, reader) = (Some(pty.slave), Some(reader));
        Terminal { rows, columns, master, slave, written, reader }
    }

    /// The side of a program, for one of its standard streams.
    pub fn end(&self) -> Stdio {
        let slave = self.slave.as_ref().expect("it is not closed yet");
        Stdio::from(slave.try_clone().expect("a descriptor more"))
    }

    /// A command with both outputs on this terminal.
    pub fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.stdout(self.end()).stderr(self.end())
    }

    /// Types a text.
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes it");
    }

    /// Stops the output of programs, as Ctrl-S does.
    pub fn stop(&self) {
        let slave = self.slave.as_ref().expect("it is not closed yet");
        tcflow(slave, FlowArg::TCOOFF).expect("it is stopped");
    }

    /// Whether typed text is shown.
    pub fn has_echo(&self) -> bool {
        let settings = tcgetattr(&self.master).expect("the terminal's settings");
        settings.local_flags.contains(LocalFlags::ECHO)
    }

    /// Everything written so far.
    pub fn written(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    /// The current contents of the screen.
    pub fn screen(&self) -> String {
        let mut parser = vt100::Parser::new(self.rows, self.columns, 0);
        parser.process(self.written().as_bytes());
        parser.screen().contents()
    }

    /// The current contents of the screen, and everything that has scrolled off it.
    pub fn everything(&self) -> String {
        let mut parser = vt100::Parser::new(self.rows, self.columns, 10_000);
        parser.process(self.written().as_bytes());
        parser.screen_mut().set_scrollback(usize::MAX);
        let above = parser.screen().scrollback();
        let mut rows = Vec::new();
        for offset in (1..=above).rev() {
            parser.screen_mut().set_scrollback(offset);
            rows.extend(parser.screen().rows(0, self.columns.get()).next());
        }
        parser.screen_mut().set_scrollback(0);
        rows.extend(parser.screen().rows(0, self.columns.get()));
        rows.join("\n").trim_end().to_owned()
    }

    /// Waits until the screen shows this text.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        until(&format!("{text:?} on the terminal"), || self.screen().contains(text));
    }

    /// Waits until all programs have closed the terminal, and returns everything written.
    pub fn close(&mut self) -> String {
        drop(self.slave.take());
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of the terminal ends");
        }
        self.written()
    }
}

/// Reads until the last program has closed its side, which Linux reports as EIO.
fn read(mut master: File, into: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
    }
}
