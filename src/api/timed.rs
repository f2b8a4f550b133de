//! A TCP connection with a deadline.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use nix::poll::PollFlags;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;

use crate::clock::BootInstant;
use crate::ready;

/// A non-blocking socket whose reads and writes end by the deadline.
pub struct Timed<'a> {
    pub stream: &'a TcpStream,
    pub deadline: BootInstant,
}

impl Timed<'_> {
    /// Lets the kernel give up by the deadline what it could not send. It would otherwise send it
    /// again for minutes, even after the end of the process, and a request could arrive when its
    /// permit of the rate limit has expired.
    pub fn limit_resending(&self) {
        let left = self.deadline.since(BootInstant::now()).as_millis().max(1);
        let _ = setsockopt(self.stream, TcpUserTimeout, &u32::try_from(left).unwrap_or(u32::MAX));
    }

    /// Waits until the socket is ready.
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        // A server that always has more to send does not keep it from ending.
        if BootInstant::now() >= self.deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        ready::wait(self.stream, flags, self.deadline)
    }

    /// Writes, and waits only if the send buffer is full.
    fn write_with(
        &mut self,
        write: impl Fn(&mut &TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match write(&mut self.stream) {
                Err(err) if is_temporary(&err) => self.wait(PollFlags::POLLOUT)?,
                done => return done,
            }
        }
    }
}

fn is_temporary(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // Data is rarely there already, so poll first.
            self.wait(PollFlags::POLLIN)?;
            match self.stream.read(buffer) {
                Err(err) if is_temporary(&err) => {}
                done => return done,
            }
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_with(|stream| stream.write(bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(|stream| stream.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
