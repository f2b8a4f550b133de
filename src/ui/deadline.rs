//! The deadline of all output, and writes that do not block beyond it.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::libc::PIPE_BUF;
use nix::poll::PollFlags;
use nix::unistd::write;

use crate::clock::BootInstant;
use crate::ready;

/// How much a terminal that is ready takes without blocking. A pipe takes `PIPE_BUF` (pipe(7)).
const TERMINAL_CHUNK_BYTES: usize = 64;

/// The deadline of the command, if its output has to keep to it.
static DEADLINE: OnceLock<BootInstant> = OnceLock::new();

/// Lets no output block beyond `deadline`, the deadline of the command: what would block on
/// standard error is queued, and dropped at the end; on standard output it is an error. Only the
/// first call counts.
pub fn limit_output(deadline: BootInstant) {
    let _ = DEADLINE.set(deadline);
}

/// By when all output has to be written, if the command has a deadline.
pub fn output_deadline() -> Option<BootInstant> {
    DEADLINE.get().copied()
}

/// How much a file that is ready takes without blocking.
pub(super) fn chunk_bytes(file: &impl IsTerminal) -> usize {
    if file.is_terminal() { TERMINAL_CHUNK_BYTES } else { PIPE_BUF }
}

/// Writes all of `bytes`; with a deadline, nothing blocks beyond it.
///
/// # Errors
/// The system's error; [`io::ErrorKind::TimedOut`] at the deadline.
pub(super) fn write_all_by(
    file: &(impl AsFd + IsTerminal),
    mut bytes: &[u8],
    deadline: Option<BootInstant>,
) -> io::Result<()> {
    let wait = || ready::wait(file, PollFlags::POLLOUT, deadline.unwrap_or(BootInstant::NEVER));
    while !bytes.is_empty() {
        let mut chunk = bytes;
        if deadline.is_some() {
            wait()?;
            chunk = &bytes[..bytes.len().min(chunk_bytes(file))];
        }
        match write(file, chunk) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            // Another process has made the file non-blocking.
            Err(Errno::EAGAIN) => wait()?,
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{ErrorKind, PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::thread;
    use std::time::Duration;

    use super::*;

    static MORE_THAN_A_PIPE_HOLDS: [u8; 1 << 20] = [b'.'; 1 << 20];

    fn pipe() -> (PipeReader, File) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(OwnedFd::from(writer)))
    }

    /// `wait --timeout 2s` into a pipe that nobody read did not end.
    #[test]
    fn a_full_pipe_does_not_block_beyond_the_deadline() {
        let (_reader, pipe) = pipe();
        let deadline = BootInstant::now() + Duration::from_millis(50);
        let err = write_all_by(&pipe, &MORE_THAN_A_PIPE_HOLDS, Some(deadline)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::TimedOut);
        assert!(BootInstant::now() >= deadline);
    }

    #[test]
    fn what_is_read_slowly_is_written_whole() {
        let (mut reader, pipe) = pipe();
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read.len())
        });
        let deadline = BootInstant::now() + Duration::from_secs(60);
        write_all_by(&pipe, &MORE_THAN_A_PIPE_HOLDS, Some(deadline)).unwrap();
        drop(pipe);
        assert_eq!(reading.join().unwrap().unwrap(), MORE_THAN_A_PIPE_HOLDS.len());
    }

    /// The status is printed after the deadline of a wait.
    #[test]
    fn what_does_not_block_is_written_after_the_deadline() {
        let (_reader, pipe) = pipe();
        write_all_by(&pipe, b"DEPLOYING\n", Some(BootInstant::default())).unwrap();
    }
}
