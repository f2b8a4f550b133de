//! Locks between processes: flock(2), by std. A lock ends when its file is closed, so that nothing can
//! fail at its end.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};

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
