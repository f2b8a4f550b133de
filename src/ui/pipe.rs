//! Writes to files that may be full pipes or stopped terminals, by a deadline.

use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use crate::clock::BootInstant;

/// How much is written at once after poll(2): a pipe that is ready takes at least PIPE_BUF.
const PIPE_CHUNK_BYTES: usize = 4096;

/// The same for a terminal, which may take less.
const TERMINAL_CHUNK_BYTES: usize = 64;

/// How much a file that is ready takes without blocking.
pub(super) fn chunk_bytes(file: &impl IsTerminal) -> usize {
    if file.is_terminal() { TERMINAL_CHUNK_BYTES } else { PIPE_CHUNK_BYTES }
}

/// Writes all of `bytes`; with a deadline, nothing blocks beyond it.
///
/// # Errors
/// The system's error; [`ErrorKind::TimedOut`] at the deadline.
pub(super) fn write_all_by(
    file: &(impl AsFd + IsTerminal),
    mut bytes: &[u8],
    deadline: Option<BootInstant>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut chunk = bytes;
        if deadline.is_some() {
            wait_until_writable(file, deadline)?;
            chunk = &bytes[..bytes.len().min(chunk_bytes(file))];
        }
        match write(file, chunk) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            // Another process has made the file non-blocking.
            Err(Errno::EAGAIN) => wait_until_writable(file, deadline)?,
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

fn wait_until_writable(file: &impl AsFd, deadline: Option<BootInstant>) -> io::Result<()> {
    loop {
        let timeout = deadline.map_or(PollTimeout::NONE, BootInstant::poll_timeout);
        match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], timeout) {
            Ok(0) if deadline.is_some_and(|deadline| BootInstant::now() >= deadline) => {
                return Err(ErrorKind::TimedOut.into());
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(err) => return Err(err.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// `wait --timeout 2s` into a pipe that nobody read did not end.
    #[test]
    fn a_full_pipe_does_not_block_beyond_the_deadline() {
        let (_reader, writer) = io::pipe().unwrap();
        let pipe = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
        let large = vec![b'.'; 1 << 20];
        let deadline = BootInstant::now() + Duration::from_millis(50);
        let err = write_all_by(&pipe, &large, Some(deadline)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::TimedOut);
        assert!(BootInstant::now() >= deadline);
    }

    #[test]
    fn what_is_read_slowly_is_written_whole() {
        let (mut reader, writer) = io::pipe().unwrap();
        let pipe = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
        let large = vec![b'.'; 1 << 20];
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            io::Read::read_to_end(&mut reader, &mut read).map(|_| read.len())
        });
        let deadline = BootInstant::now() + Duration::from_secs(60);
        write_all_by(&pipe, &large, Some(deadline)).unwrap();
        drop(pipe);
        assert_eq!(reading.join().unwrap().unwrap(), large.len());
    }
}
