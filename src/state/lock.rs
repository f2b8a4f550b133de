//! Locks between processes: flock(2), by std. A lock ends when its file is closed, so that nothing
//! can fail at its end.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use crate::clock::BootInstant;

/// How soon a lock is tried again: at first, then at most, then at most for a lock that has been
/// taken for longer than [`LONG_WAIT`].
const FIRST_RETRY: Duration = Duration::from_micros(200);
const MAX_RETRY: Duration = Duration::from_millis(10);
const LONG_RETRY: Duration = Duration::from_millis(200);
const LONG_WAIT: Duration = Duration::from_secs(5);

/// What came of an attempt to lock.
#[derive(Debug)]
pub enum LockAttempt {
    /// The lock is held as long as the file is open.
    Held,
    /// Another process holds it.
    Taken,
}

/// Tries to lock a file for this process alone.
///
/// # Errors
/// The file system refuses.
pub fn try_exclusive(file: &File) -> io::Result<LockAttempt> {
    outcome(file.try_lock())
}

/// Tries to lock a file together with others that only look.
///
/// # Errors
/// The file system refuses.
pub fn try_shared(file: &File) -> io::Result<LockAttempt> {
    outcome(file.try_lock_shared())
}

/// Locks a file for this process alone, trying until `deadline`: flock(2) has no timeout.
///
/// # Errors
/// The file system refuses.
pub fn lock_until(file: &File, deadline: BootInstant) -> io::Result<LockAttempt> {
    let start = BootInstant::now();
    let mut pause = FIRST_RETRY;
    loop {
        let now = match try_exclusive(file)? {
            LockAttempt::Taken => BootInstant::now(),
            LockAttempt::Held => return Ok(LockAttempt::Held),
        };
        if now >= deadline {
            return Ok(LockAttempt::Taken);
        }
        thread::sleep(pause.min(deadline.since(now)));
        let max = if now.since(start) > LONG_WAIT { LONG_RETRY } else { MAX_RETRY };
        pause = (pause * 2).min(max);
    }
}

fn outcome(result: Result<(), TryLockError>) -> io::Result<LockAttempt> {
    match result {
        Ok(()) => Ok(LockAttempt::Held),
        Err(TryLockError::WouldBlock) => Ok(LockAttempt::Taken),
        // A signal came in between: the caller tries again, as for a lock that is taken.
        Err(TryLockError::Error(err)) if err.kind() == ErrorKind::Interrupted => {
            Ok(LockAttempt::Taken)
        }
        Err(TryLockError::Error(err)) => Err(err),
    }
}
