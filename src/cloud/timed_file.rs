//! Reads and writes pipes, and other files that may block, until a deadline.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc::PIPE_BUF;
use nix::poll::PollFlags;

use crate::clock::BootInstant;
use crate::ready;

/// The pause between two attempts to open a FIFO that has no reader. There is no event to wait for.
const OPEN_RETRY: Duration = Duration::from_millis(50);

/// An open file, and when to give up reading or writing it.
pub struct TimedFile {
    file: File,
    end: BootInstant,
}

impl TimedFile {
    /// An open file.
    pub fn new(file: File, end: BootInstant) -> TimedFile {
        TimedFile { file, end }
    }

    /// Opens a file for reading. A FIFO need not have a writer yet.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_for_reading(path: &Path, end: BootInstant) -> io::Result<TimedFile> {
        let file =
            OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        Ok(TimedFile { file, end })
    }

    /// Opens an existing file for writing. Waits until a FIFO has a reader.
    ///
    /// # Errors
    /// It cannot be opened, or has no reader when the deadline passes.
    pub fn open_for_writing(path: &Path, end: BootInstant) -> io::Result<TimedFile> {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let is_fifo = path.metadata()?.file_type().is_fifo();
        loop {
            match options.open(path) {
                Err(err) if is_fifo && err.raw_os_error() == Some(Errno::ENXIO as i32) => {
                    if BootInstant::now() >= end {
                        return Err(io::Error::new(ErrorKind::TimedOut, "the deadline passed"));
                    }
                    thread::sleep(OPEN_RETRY);
                }
                opened => return opened.map(|file| TimedFile { file, end }),
            }
        }
    }

    /// Waits for one of these events.
    fn wait(&self, events: PollFlags) -> io::Result<()> {
        ready::wait(&self.file, events, self.end)
    }
}

impl AsFd for TimedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Read for TimedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::POLLIN)?;
            match self.file.read(buffer) {
                // Another process has read the data.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

impl Write for TimedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A pipe that is ready takes that much without blocking (pipe(7)).
        let chunk = &bytes[..bytes.len().min(PIPE_BUF)];
        loop {
            self.wait(PollFlags::POLLOUT)?;
            match self.file.write(chunk) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
