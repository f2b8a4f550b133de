//! Standard error, which may be a full pipe or a stopped terminal.
//!
//! Normally a write blocks. While a change of the routes must not be delayed, output that would
//! block is queued instead.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The size of the queue. When it is full, the oldest output is dropped.
const MAX_QUEUED_BYTES: usize = 64 * 1024;

/// How much is written at once after poll(2): a pipe that is ready takes at least PIPE_BUF.
const PIPE_CHUNK_BYTES: usize = 4096;

/// The same for a terminal, which may take less.
const TERMINAL_CHUNK_BYTES: usize = 64;

struct State {
    deferred: bool,
    queue: Vec<u8>,
}

static STATE: Mutex<State> = Mutex::new(State { deferred: false, queue: Vec::new() });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on output that would block is queued.
pub(crate) fn defer() {
    state().deferred = true;
}

/// Writes the queued output. From now on writes block again.
pub(crate) fn resume() {
    let queue = {
        let mut state = state();
        state.deferred = false;
        std::mem::take(&mut state.queue)
    };
    let _ = io::stderr().lock().write_all(&queue);
}

/// The writer of everything that goes to standard error.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = state();
        if !state.deferred {
            drop(state);
            return io::stderr().lock().write_all(bytes).map(|()| bytes.len());
        }
        state.queue.extend_from_slice(bytes);
        let excess = state.queue.len().saturating_sub(MAX_QUEUED_BYTES);
        state.queue.drain(..excess);
        let written = write_what_fits(&state.queue);
        state.queue.drain(..written);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes without blocking. Returns how many bytes were written.
fn write_what_fits(bytes: &[u8]) -> usize {
    let stderr = io::stderr();
    let chunk_bytes = if stderr.is_terminal() { TERMINAL_CHUNK_BYTES } else { PIPE_CHUNK_BYTES };
    let mut written = 0;
    // Whole lines if they fit, so that a reader of datagrams receives each line as one.
    for chunk in bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|l| l.chunks(chunk_bytes)) {
        let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        let is_ready = poll(&mut fds, PollTimeout::ZERO) == Ok(1);
        if !is_ready || stderr.lock().write_all(chunk).is_err() {
            break;
        }
        written += chunk.len();
    }
    written
}
