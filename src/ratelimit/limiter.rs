//! One process's use of the server's rate window.
//!
//! A process remembers its own permits. Every user may be able to write the shared file, so a
//! permit that is missing there was lost or erased: it is added again before anything else.

use std::time::Duration;

use super::open_file::SharedFileError;
use super::shared_file::{LOCK_TIMEOUT, LockedWindow, SharedFile, UsedFile};
use super::window::{LimitCause, PERMITS, Permit, RateLimited, RateWindow, WINDOW};
use crate::clock::BootInstant;
use crate::state::kept_dir::KeptStateDir;

/// How many requests a process that shares nothing sends in [`WINDOW`].
const LOCAL_PERMITS: usize = 6;

/// The time between two requests of such a process's wait; and how long a process that finds the
/// window locked keeps trying to lock it.
const LOCAL_INTERVAL: Duration = Duration::from_secs(WINDOW.as_secs() / LOCAL_PERMITS as u64);

/// The pause between two attempts, each of which waits for the lock for [`LOCK_TIMEOUT`].
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// How long the lock is waited for after the response was read, which must not be delayed.
const LOCK_TIMEOUT_AFTER_RESPONSE: Duration = Duration::from_millis(100);

/// The server's rate window as this process uses it.
pub struct RateLimiter {
    file: SharedFile,
    /// The permits of this process.
    own: RateWindow,
    /// When this process last took one.
    last_taken: Option<BootInstant>,
    /// Whether `own` knows of a block that the shared window does not.
    has_unshared_block: bool,
    /// Whether the next request counts as process-local.
    is_local: bool,
    /// The attempts to lock the window for the next request, if any has failed.
    lock_attempts: Option<LockAttempts>,
    /// Whether it was logged that the window cannot be shared.
    has_warned: bool,
}

/// When the attempts to lock the window were made.
#[derive(Clone, Copy)]
struct LockAttempts {
    first: BootInstant,
    last: BootInstant,
}

/// The permission to send one request now.
#[derive(Clone, Copy, Debug)]
pub struct LimiterPermit {
    permit: Permit,
    is_shared: bool,
}

impl LimiterPermit {
    /// Whether it is too old for a request to be sent now.
    pub fn is_stale(&self, now: BootInstant) -> bool {
        self.permit.is_stale(now)
    }
}

impl RateLimiter {
    /// The limiter of that state directory.
    pub fn new(state_dir: impl Into<KeptStateDir>) -> RateLimiter {
        RateLimiter {
            file: SharedFile::new(state_dir.into()),
            own: RateWindow::default(),
            last_taken: None,
            has_unshared_block: false,
            is_local: false,
            lock_attempts: None,
            has_warned: false,
        }
    }

    /// Whether a permit could be taken now, leaving `reserved` permits to others. A locked window
    /// is not waited for beyond `deadline`.
    ///
    /// # Errors
    /// When to try again.
    pub fn check(&mut self, deadline: BootInstant, reserved: usize) -> Result<(), RateLimited> {
        self.is_local = false;
        if self.lock_attempts.is_none() && !self.has_unshared_block && self.seems_free(reserved) {
            return Ok(());
        }
        match self.shared_or_local(deadline, |window, now| window.check(now, reserved))? {
            Some(()) => Ok(()),
            None => {
                // For this request `take` does not try again to share the window.
                self.is_local = true;
                self.check_local(BootInstant::now(), reserved)
            }
        }
    }

    /// Whether a permit is free, as far as can be seen without the lock. [`RateLimiter::take`]
    /// decides it.
    fn seems_free(&mut self, reserved: usize) -> bool {
        let Some((mut window, now)) = self.file.peek() else { return false };
        self.add_own(&mut window, now);
        window.check(now, reserved).is_ok()
    }

    /// How many requests could be sent now, according to the shared window.
    ///
    /// # Errors
    /// Why the window cannot be shared: a sentence.
    pub fn free_permits(&mut self, deadline: BootInstant) -> Result<usize, String> {
        let free = self.shared(UsedFile::Current, deadline, |window, now| window.free_permits(now));
        self.close();
        free.map_err(|err| err.message().to_owned())
    }

    /// Takes a permit for a request that is sent now. Its response is waited for until `deadline`.
    ///
    /// # Errors
    /// When to try again.
    pub fn take(
        &mut self,
        deadline: BootInstant,
        reserved: usize,
    ) -> Result<LimiterPermit, RateLimited> {
        let shared = if std::mem::take(&mut self.is_local) {
            None
        } else {
            self.shared_or_local(deadline, |window, now| window.take(now, deadline, reserved))?
        };
        let now = BootInstant::now();
        let permit = match shared {
            Some(permit) => {
                self.own.enter(permit.until);
                permit
            }
            None => {
                self.check_local(now, reserved)?;
                self.own.take(now, deadline, 0)?
            }
        };
        self.lock_attempts = None;
        self.last_taken = Some(now);
        Ok(LimiterPermit { permit, is_shared: shared.is_some() })
    }

    /// The response was read, and it was not a 403.
    pub fn answered(&mut self, LimiterPermit { permit, is_shared }: LimiterPermit) {
        if !is_shared {
            self.own.answered(permit, BootInstant::now());
            return;
        }
        let recorded = self.shared(UsedFile::OfPermit, after_response(), |window, now| {
            window.answered(permit, now);
            now
        });
        match recorded {
            Ok(now) => self.own.answered(permit, now),
            Err(err) => log::debug!("a permit stays taken longer than needed: {}", err.message()),
        }
    }

    /// The response was a 403. Returns the number of consecutive 403s: no request was sent in the
    /// minute before each of them but the first.
    pub fn forbidden(&mut self, LimiterPermit { permit, is_shared }: LimiterPermit) -> u32 {
        if is_shared {
            let deadline = after_response();
            let recorded = self.shared(UsedFile::OfPermit, deadline, |window, now| {
                (window.forbidden(permit, now), now)
            });
            match recorded {
                Ok((count, now)) => {
                    self.own.forbidden(permit, now);
                    return count;
                }
                Err(err) => {
                    log::debug!("other processes learn of the 403 later: {}", err.message());
                }
            }
        }
        self.has_unshared_block = true;
        self.own.forbidden(permit, BootInstant::now())
    }

    /// Closes the shared file, at the end of a request without a response.
    pub fn close(&mut self) {
        self.file.close();
    }

    /// The limit of a process that shares nothing. The requests of a wait, which leaves permits to
    /// others, are spread evenly, so that the next one is never far away.
    fn check_local(&self, now: BootInstant, reserved: usize) -> Result<(), RateLimited> {
        match self.last_taken {
            Some(last) if reserved > 0 && last + LOCAL_INTERVAL > now => {
                Err(RateLimited { until: last + LOCAL_INTERVAL, cause: LimitCause::ProcessLocal })
            }
            _ => self.own.check(now, PERMITS - LOCAL_PERMITS),
        }
    }

    /// Records that this process, or its leader, found the window locked. Returns whether to try
    /// again; if not, the next request counts against the process-local limit. After a while
    /// without an attempt, the next one counts as the first again.
    pub fn record_locked(&mut self, now: BootInstant) -> bool {
        let recent =
            self.lock_attempts.filter(|attempts| now.since(attempts.last) < 3 * LOCK_TIMEOUT);
        // The attempt that failed at `now` began about one timeout before.
        let first = recent.map_or(now - LOCK_TIMEOUT, |attempts| attempts.first);
        self.lock_attempts = Some(LockAttempts { first, last: now });
        now < first + LOCAL_INTERVAL
    }

    /// What `act` returns for the shared window; `None` if the window cannot be shared, so that the
    /// next request counts as process-local.
    fn shared_or_local<R>(
        &mut self,
        deadline: BootInstant,
        act: impl FnOnce(&mut RateWindow, BootInstant) -> Result<R, RateLimited>,
    ) -> Result<Option<R>, RateLimited> {
        let err = match self.shared(UsedFile::Current, deadline, act) {
            Ok(result) => {
                self.lock_attempts = None;
                return result.map(Some);
            }
            Err(err) => err,
        };
        let now = BootInstant::now();
        if matches!(err, SharedFileError::Locked(_)) && self.record_locked(now) {
            return Err(RateLimited { until: now + LOCK_RETRY, cause: LimitCause::Locked });
        }
        if !self.has_warned {
            log::warn!(
                "the rate limit cannot be shared with other processes, so this one keeps to \
                 {LOCAL_PERMITS} requests a minute: {}",
                err.message()
            );
            self.has_warned = true;
        }
        Ok(None)
    }

    /// What `act` returns for the shared window, after this process's own permits and blocks were
    /// added to it.
    fn shared<R>(
        &mut self,
        used: UsedFile,
        deadline: BootInstant,
        act: impl FnOnce(&mut RateWindow, BootInstant) -> R,
    ) -> Result<R, SharedFileError> {
        let mut locked = self.lock(used, deadline)?;
        let result = act(&mut locked.window, locked.now);
        self.file.commit(locked)?;
        self.has_unshared_block = false;
        Ok(result)
    }

    fn lock(
        &mut self,
        used: UsedFile,
        deadline: BootInstant,
    ) -> Result<LockedWindow, SharedFileError> {
        let mut locked = self.file.lock(used, deadline)?;
        if self.has_unshared_block {
            locked.window.merge(&self.own, locked.now);
        } else {
            self.add_own(&mut locked.window, locked.now);
        }
        Ok(locked)
    }

    /// Adds this process's own permits and blocks to the shared window.
    fn add_own(&self, window: &mut RateWindow, now: BootInstant) {
        window.add_permits(&self.own, now);
        window.add_block(&self.own, now);
    }
}

/// How long a lock is waited for after a response was read.
fn after_response() -> BootInstant {
    BootInstant::now() + LOCK_TIMEOUT_AFTER_RESPONSE
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::ratelimit::RESERVED_PERMITS;

    fn process_local() -> RateLimiter {
        RateLimiter::new(std::path::PathBuf::from("/proc/no/such/folder"))
    }

    fn in_ten_seconds() -> BootInstant {
        BootInstant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_process_local_limit_is_six_a_minute() {
        let mut limiter = process_local();
        let deadline = in_ten_seconds();
        for _ in 0..LOCAL_PERMITS {
            limiter.check(deadline, 0).unwrap();
            let permit = limiter.take(deadline, 0).unwrap();
            limiter.answered(permit);
        }
        let now = BootInstant::now();
        let again = limiter.take(deadline, 0).unwrap_err().until;
        assert!(again > now + Duration::from_secs(30) && again <= now + WINDOW);
    }

    #[test]
    fn the_requests_of_a_wait_that_shares_nothing_are_spread_evenly() {
        let mut limiter = process_local();
        let start = BootInstant::now();
        let permit = limiter.take(start, RESERVED_PERMITS).unwrap();
        limiter.answered(permit);
        let until = limiter.last_taken.unwrap() + LOCAL_INTERVAL;
        let later = start + Duration::from_secs(11);
        assert_eq!(
            limiter.check_local(start, RESERVED_PERMITS),
            Err(RateLimited { until, cause: LimitCause::ProcessLocal })
        );
        assert_eq!(limiter.check_local(later, RESERVED_PERMITS), Ok(()));
        assert_eq!(limiter.check_local(start, 0), Ok(()));
    }

    /// The state became usable between a check that failed and the next one.
    #[test]
    fn process_local_for_one_request_was_process_local_for_the_next_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::write(&state, "in the way").unwrap();
        let mut limiter = RateLimiter::new(state.clone());
        limiter.check(in_ten_seconds(), 0).unwrap();
        fs::remove_file(&state).unwrap();
        limiter.check(in_ten_seconds(), 0).unwrap();
        let permit = limiter.take(in_ten_seconds(), 0).unwrap();
        assert!(permit.is_shared);
        assert_eq!(limiter.free_permits(in_ten_seconds()), Ok(PERMITS - 1));
    }

    #[test]
    fn a_403_that_could_not_be_shared_is_shared_later() {
        let folder = tempfile::tempdir().unwrap();
        let (state, away) = (folder.path().join("state"), folder.path().join("away"));
        let mut limiter = RateLimiter::new(state.clone());
        let permit = limiter.take(in_ten_seconds(), 0).unwrap();
        fs::rename(&state, &away).unwrap();
        fs::write(&state, "in the way").unwrap();
        assert_eq!(limiter.forbidden(permit), 1);
        fs::remove_file(&state).unwrap();
        fs::rename(away, &state).unwrap();
        let cause =
            |limiter: &mut RateLimiter| limiter.check(in_ten_seconds(), 0).unwrap_err().cause;
        assert_eq!(cause(&mut limiter), LimitCause::Forbidden(1));
        assert_eq!(cause(&mut RateLimiter::new(state)), LimitCause::Forbidden(1));
    }

    /// Every user that can write the file could make a process forget what it had sent.
    #[test]
    fn erased_permits_are_remembered_by_the_process_that_took_them() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut limiter = RateLimiter::new(state.clone());
        limiter.check(in_ten_seconds(), 0).unwrap();
        let empty = fs::read(state.join("budget")).unwrap();
        for taken in 0..PERMITS {
            let permit = limiter.take(in_ten_seconds(), 0).unwrap();
            if taken % 2 == 0 {
                limiter.answered(permit);
            }
            // In place, as a user without write access to the directory could do it.
            fs::write(state.join("budget"), &empty).unwrap();
        }
        let cause = limiter.take(in_ten_seconds(), 0).unwrap_err().cause;
        assert_eq!(cause, LimitCause::UsedUp);
        assert_eq!(limiter.free_permits(in_ten_seconds()), Ok(0));
    }

    /// The 403 was forgotten as well, and the next request was sent immediately.
    #[test]
    fn an_erased_403_still_blocks_the_process_that_received_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut limiter = RateLimiter::new(state.clone());
        limiter.check(in_ten_seconds(), 0).unwrap();
        let empty = fs::read(state.join("budget")).unwrap();
        let permit = limiter.take(in_ten_seconds(), 0).unwrap();
        assert_eq!(limiter.forbidden(permit), 1);
        fs::write(state.join("budget"), &empty).unwrap();
        let cause = limiter.take(in_ten_seconds(), 0).unwrap_err().cause;
        assert_eq!(cause, LimitCause::Forbidden(1));
    }

    /// A permit that was shared and then answered was counted twice.
    #[test]
    fn own_permits_are_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut limiter = RateLimiter::new(folder.path().join("state"));
        for taken in 1..=3 {
            let permit = limiter.take(in_ten_seconds(), 0).unwrap();
            limiter.answered(permit);
            assert_eq!(limiter.free_permits(in_ten_seconds()), Ok(PERMITS - taken));
        }
    }

    /// A state directory, its limiter, and the shared file, which is locked.
    fn locked_window() -> (tempfile::TempDir, RateLimiter, fs::File) {
        let folder = tempfile::tempdir().unwrap();
        let mut limiter = RateLimiter::new(folder.path().to_owned());
        limiter.check(in_ten_seconds(), 0).unwrap();
        let file = fs::File::open(folder.path().join("budget")).unwrap();
        file.lock().unwrap();
        (folder, limiter, file)
    }

    /// `facts --deadline 1s` took two seconds: it waited for the lock for a second, twice.
    #[test]
    fn a_locked_window_is_not_waited_for_beyond_the_deadline() {
        let (_folder, mut limiter, _file) = locked_window();
        let start = Instant::now();
        for _ in 0..30 {
            assert!(limiter.free_permits(BootInstant::now()).is_err());
        }
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }

    /// Only the permit itself needs the lock; but a process that has found the window locked makes
    /// no connection before it is unlocked.
    #[test]
    fn a_free_permit_is_seen_without_the_lock_until_that_was_missing() {
        let (_folder, mut limiter, file) = locked_window();
        limiter.check(BootInstant::now(), 0).unwrap();
        let cause = |err: RateLimited| err.cause;
        assert_eq!(
            limiter.take(BootInstant::now(), 0).map(|_| ()).map_err(cause),
            Err(LimitCause::Locked)
        );
        assert_eq!(limiter.check(BootInstant::now(), 0).map_err(cause), Err(LimitCause::Locked));
        file.unlock().unwrap();
        limiter.check(in_ten_seconds(), 0).unwrap();
        limiter.take(in_ten_seconds(), 0).unwrap();
    }

    #[test]
    fn a_locked_window_is_tried_for_ten_seconds() {
        let mut limiter = process_local();
        let at = |millis| BootInstant(Duration::from_secs(1_000) + Duration::from_millis(millis));
        assert!((0..9).all(|n| limiter.record_locked(at(n * 1_050))));
        assert!(!limiter.record_locked(at(9_000)));
        // A process that has not tried for a while begins anew.
        assert!(limiter.record_locked(at(13_000)));
    }

    #[test]
    fn a_403_blocks_a_process_local_limit_too() {
        let mut limiter = process_local();
        let permit = limiter.take(BootInstant::now(), 0).unwrap();
        assert_eq!(limiter.forbidden(permit), 1);
        assert!(limiter.take(BootInstant::now(), 0).is_err());
    }
}
