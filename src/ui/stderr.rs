//! Standard error, which may be a full pipe or a stopped terminal.
//!
//! Normally a write blocks. Output that would block is queued instead while a change of the routes
//! must not be delayed, and in a command that has a deadline.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::PollFlags;

use super::deadline::{chunk_bytes, output_deadline, write_all_by};
use crate::clock::BootInstant;
use crate::ready;

/// The size of the queue. When it is full, the oldest output is dropped.
const MAX_QUEUED_BYTES: usize = 64 * 1024;

/// How long the queue is written at the end of a command with a deadline, and until the deadline at
/// the latest. What nobody has read by then is dropped.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

struct State {
    is_deferred: bool,
    queue: Vec<u8>,
}

static STATE: Mutex<State> = Mutex::new(State { is_deferred: false, queue: Vec::new() });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on output that would block is queued.
pub(crate) fn defer() {
    state().is_deferred = true;
}

/// Writes the queued output. From now on writes block again, unless the command has a deadline.
pub(crate) fn resume() {
    state().is_deferred = false;
    match output_deadline() {
        Some(_) => finish(),
        None => {
            let queue = std::mem::take(&mut state().queue);
            let _ = io::stderr().lock().write_all(&queue);
        }
    }
}

/// At the end of a command: if it has a deadline, writes the queued output.
pub(super) fn finish() {
    let Some(deadline) = output_deadline() else { return };
    let queue = std::mem::take(&mut state().queue);
    let until = deadline.min(BootInstant::now() + FLUSH_TIMEOUT);
    let _ = write_all_by(&io::stderr(), &queue, Some(until));
}

/// The writer of everything that goes to standard error.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = state();
        if !state.is_deferred && output_deadline().is_none() {
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
    let chunk_bytes = chunk_bytes(&stderr);
    let mut written = 0;
    // Whole lines if they fit, so that a reader of datagrams receives each line as one.
    for chunk in bytes.split_inclusive(|byte| *byte == b'\n').flat_map(|l| l.chunks(chunk_bytes)) {
        let is_ready = ready::wait(&stderr, PollFlags::POLLOUT, BootInstant::default()).is_ok();
        if !is_ready || stderr.lock().write_all(chunk).is_err() {
            break;
        }
        written += chunk.len();
    }
    written
}
