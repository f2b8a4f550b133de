//! Locks between processes: flock(2), by std. A lock is released when its file is closed, at the
//! latest.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use crate::clock::BootInstant;

/// The time until a lock is tried for the second time. It doubles up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_micros(200);
const MAX_BACKOFF: Duration = Duration::from_millis(10);

/// After [`LONG_WAIT`] the time between two attempts doubles up to this.
const MAX_LONG_BACKOFF: Duration = Duration::from_millis(200);
const LONG_WAIT: Duration = Duration::from_secs(5);

/// The result of an attempt to lock a file.
#[derive(Debug)]
pub enum LockAttempt {
    /// The lock is held as long as the file is open.
    Held,
    /// Another process holds it.
    Taken,
}

/// Tries to take an exclusive lock on a file.
///
/// # Errors
/// The file system's error.
pub fn try_exclusive(file: &File) -> io::Result<LockAttempt> {
    outcome(file.try_lock())
}

/// Tries to take a shared lock on a file, for a process that only reads it.
///
/// # Errors
/// The file system's error.
pub fn try_shared(file: &File) -> io::Result<LockAttempt> {
    outcome(file.try_lock_shared())
}

/// Takes an exclusive lock on a file, trying until `deadline`: flock(2) has no timeout.
///
/// # Errors
/// The file system's error.
pub fn lock_until(file: &File, deadline: BootInstant) -> io::Result<LockAttempt> {
    let start = BootInstant::now();
    let mut backoff = FIRST_BACKOFF;
    loop {
        let now = match try_exclusive(file)? {
            LockAttempt::Taken => BootInstant::now(),
            LockAttempt::Held => return Ok(LockAttempt::Held),
        };
        if now >= deadline {
            return Ok(LockAttempt::Taken);
        }
        thread::sleep(backoff.min(deadline.since(now)));
        let max = if now.since(start) > LONG_WAIT { MAX_LONG_BACKOFF } else { MAX_BACKOFF };
        backoff = (backoff * 2).min(max);
    }
}

fn outcome(result: Result<(), TryLockError>) -> io::Result<LockAttempt> {
    match result {
        Ok(()) => Ok(LockAttempt::Held),
        Err(TryLockError::WouldBlock) => Ok(LockAttempt::Taken),
        // Interrupted by a signal: the caller tries again, as for a lock that is taken.
        Err(TryLockError::Error(err)) if err.kind() == ErrorKind::Interrupted => {
            Ok(LockAttempt::Taken)
        }
        Err(TryLockError::Error(err)) => Err(err),
    }
}
