//! The law of the rate limit, as a pure function of the times that are passed in.
//!
//! **The law.** No 60 seconds, wherever they begin, hold more than 30 requests as the server sees
//! them arrive.
//!
//! **Why it holds.** There are 30 permit slots. A process takes a permit, which makes a slot busy,
//! and sends one request within the next second; so the request arrives after its slot became busy.
//! It arrives before its response is read or, if no response is read, before its deadline (after
//! which it is not sent any more). The slot stays busy until 60 s after that moment. So a slot is
//! busy from before its request arrives until at least 60 s after it arrived: of two requests in
//! one slot the second arrives more than 60 s after the first, and 60 s hold at most one request of
//! each slot. No process frees a slot early: one that dies leaves it busy until 60 s after the
//! deadline. It does not matter which process holds a permit, so all share one window, kept by
//! [`super::shared_file`] on a clock that neither steps nor stops.
//!
//! Not covered are a process that is stopped between its last reading of the clock and the send, a
//! packet that the network delivers after its request's deadline (the kernel sends none after it:
//! TCP_USER_TIMEOUT) and, if the state is destroyed, the requests of other processes that were sent
//! before and have no response.
//!
//! **A 403** means that something else uses the limit too. All processes are blocked for 60 s; then
//! the first to take a permit probes, and the others are blocked until it has its response (or its
//! deadline has passed).

use std::time::Duration;

use crate::clock::BootInstant;

/// How many requests the API answers in any [`WINDOW`]. Source: see the module `ratelimit`.
pub const PERMITS: usize = 30;

/// How many permits a wait leaves free, so that a person's command need not wait for one.
pub const RESERVED_PERMITS: usize = 6;

/// The time in which at most [`PERMITS`] requests are sent; all are blocked for it after a 403.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The shortest interval between two requests of a wait: 20 requests a minute, which leave a third
/// of the limit to others.
pub const MIN_INTERVAL: Duration = Duration::from_secs(3);

/// The longest that a request may take. It bounds how long a permit can make a slot busy, and so
/// the times that are possible in a file that others can write.
pub const MAX_REQUEST_TIME: Duration = Duration::from_secs(120);

/// How old a permit may be when its request is sent.
const MAX_PERMIT_AGE: Duration = Duration::from_secs(1);

/// How often the result of another process's probe is polled.
const PROBE_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A request may not be sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimited {
    /// When to try again.
    pub until: BootInstant,
    /// Why.
    pub cause: LimitCause,
}

/// Why a request may not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitCause {
    /// The requests of our own processes.
    UsedUp,
    /// This many consecutive 403s, each but the first after a minute without a request of ours:
    /// something else on this server uses the limit, too.
    Forbidden(u32),
    /// Another process holds the lock of the shared window.
    Locked,
    /// A process that shares nothing spreads its few requests evenly.
    ProcessLocal,
}

/// The permission to send one request within [`MAX_PERMIT_AGE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    taken: BootInstant,
    /// Until when its slot is busy if no response is read.
    pub(super) until: BootInstant,
    /// Whether its request probes for all after a 403.
    is_probe: bool,
}

impl Permit {
    /// Whether it is too old for a request to be sent now.
    pub fn is_stale(&self, now: BootInstant) -> bool {
        now.since(self.taken) > MAX_PERMIT_AGE
    }
}

/// The permit slots, and the block after a 403.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateWindow {
    /// Until when each slot is busy. Slots with the same time are interchangeable.
    pub(super) busy_until: [BootInstant; PERMITS],
    /// No request may be sent before this time.
    pub(super) blocked_until: BootInstant,
    /// If it is not zero, the next permit is a probe.
    pub(super) consecutive_403s: u32,
    /// Whether a probe is under way, whose deadline is `blocked_until`.
    pub(super) is_probing: bool,
}

impl RateWindow {
    /// Whether a permit could be taken, leaving `reserved` permits free.
    ///
    /// # Errors
    /// No permit is free before the time in it. Another process may take the one that is free then.
    pub fn check(&self, now: BootInstant, reserved: usize) -> Result<(), RateLimited> {
        if self.blocked_until > now {
            let until = if self.is_probing {
                self.blocked_until.min(now + PROBE_POLL_INTERVAL)
            } else {
                self.blocked_until
            };
            let cause = LimitCause::Forbidden(self.consecutive_403s.max(1));
            return Err(RateLimited { until, cause });
        }
        let mut busy: Vec<BootInstant> =
            self.busy_until.iter().copied().filter(|until| *until > now).collect();
        let allowed = PERMITS - reserved;
        if busy.len() < allowed {
            return Ok(());
        }
        // Slots have to become free until fewer than `allowed` are busy. A slot without a response
        // becomes free earlier if the response comes, but not before a whole window has passed.
        busy.sort_unstable();
        let until = busy[busy.len() - allowed].min(now + WINDOW);
        Err(RateLimited { until, cause: LimitCause::UsedUp })
    }

    /// How many permits are free.
    pub fn free_permits(&self, now: BootInstant) -> usize {
        if self.blocked_until > now {
            0
        } else {
            self.busy_until.iter().filter(|until| **until <= now).count()
        }
    }

    /// Takes a permit for a request whose deadline is `deadline`, leaving `reserved` permits free.
    ///
    /// # Errors
    /// As for [`RateWindow::check`].
    pub fn take(
        &mut self,
        now: BootInstant,
        deadline: BootInstant,
        reserved: usize,
    ) -> Result<Permit, RateLimited> {
        self.check(now, reserved)?;
        let deadline = deadline.clamp(now, now + MAX_REQUEST_TIME);
        let until = deadline + WINDOW;
        self.enter(until);
        let is_probe = self.consecutive_403s > 0;
        if is_probe {
            self.is_probing = true;
            self.blocked_until = deadline;
        }
        Ok(Permit { taken: now, until, is_probe })
    }

    /// The response to the request of `permit` was read, and it was not a 403.
    pub fn answered(&mut self, permit: Permit, now: BootInstant) {
        self.shorten(permit, now);
        // A response to a request from before the 403 says nothing about the time after it.
        if permit.is_probe {
            self.blocked_until = BootInstant::default();
            self.consecutive_403s = 0;
            self.is_probing = false;
        }
    }

    /// The response to the request of `permit` was a 403. Returns the number of consecutive 403s:
    /// no request was sent in the minute before each of them but the first.
    pub fn forbidden(&mut self, permit: Permit, now: BootInstant) -> u32 {
        self.shorten(permit, now);
        self.blocked_until = self.blocked_until.max(now + WINDOW);
        self.is_probing = false;
        // Several requests may have been under way when the first 403 came.
        self.consecutive_403s = if permit.is_probe {
            self.consecutive_403s.saturating_add(1)
        } else {
            self.consecutive_403s.max(1)
        };
        self.consecutive_403s
    }

    fn shorten(&mut self, permit: Permit, now: BootInstant) {
        let until = permit.until.min(now + WINDOW);
        match self.busy_until.iter_mut().find(|busy| **busy == permit.until) {
            Some(busy) => *busy = until,
            // The state has been lost since.
            None => self.enter(until),
        }
    }

    /// Makes the slot that becomes free first busy until `until`.
    pub(super) fn enter(&mut self, until: BootInstant) {
        if let Some(first) = self.busy_until.iter_mut().min()
            && *first < until
        {
            *first = until;
        }
    }

    /// Adds the busy slots of another window that this one does not have.
    pub(super) fn add_permits(&mut self, other: &RateWindow, now: BootInstant) {
        let mut common = self.busy_until;
        for until in other.busy_until.into_iter().filter(|until| *until > now) {
            match common.iter_mut().find(|known| **known == until) {
                Some(known) => *known = BootInstant::default(),
                None => self.enter(until),
            }
        }
    }

    /// Adds the block after a 403 that `other` knows of. Only a probe ends a block, and no probe is
    /// sent before its time is over, so a block that is missing here was lost or erased.
    pub(super) fn add_block(&mut self, other: &RateWindow, now: BootInstant) {
        if other.blocked_until > now
            && !other.is_probing
            && other.blocked_until > self.blocked_until
        {
            self.blocked_until = other.blocked_until;
            self.consecutive_403s = self.consecutive_403s.max(other.consecutive_403s).max(1);
            self.is_probing = false;
        }
    }

    /// Adds the permits and the block of another window, some of which this one may have already.
    pub(super) fn merge(&mut self, other: &RateWindow, now: BootInstant) {
        self.add_permits(other, now);
        self.blocked_until = self.blocked_until.max(other.blocked_until);
        self.consecutive_403s = self.consecutive_403s.max(other.consecutive_403s);
        self.is_probing |= other.is_probing;
    }

    /// The window that is assumed where nothing is known: all permits were just taken, and their
    /// holders send their requests (and enter the permits again when they have read the responses).
    pub(super) fn unknown(now: BootInstant) -> RateWindow {
        RateWindow { busy_until: [now + MAX_PERMIT_AGE + WINDOW; PERMITS], ..RateWindow::default() }
    }

    /// Whether requests can have led to this state.
    pub(super) fn is_possible(&self, now: BootInstant) -> bool {
        let last = now + MAX_REQUEST_TIME + WINDOW;
        self.busy_until.iter().all(|until| *until <= last)
            && self.blocked_until <= now + MAX_REQUEST_TIME.max(WINDOW)
    }

    /// The window by a clock (of another time namespace) that is `nanos` nanoseconds ahead.
    pub(super) fn shifted(&self, nanos: i128) -> RateWindow {
        let shift = |time: BootInstant| time.shifted(nanos);
        RateWindow {
            busy_until: self.busy_until.map(shift),
            blocked_until: shift(self.blocked_until),
            ..*self
        }
    }
}

#[cfg(test)]
mod law_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant(Duration::from_secs(seconds))
    }

    fn used_up(until: u64) -> Result<Permit, RateLimited> {
        Err(RateLimited { until: at(until), cause: LimitCause::UsedUp })
    }

    #[test]
    fn thirty_then_wait_for_the_first_to_end() {
        let mut window = RateWindow::default();
        for second in 0..30 {
            let permit = window.take(at(second), at(second + 10), 0).unwrap();
            window.answered(permit, at(second + 1));
        }
        assert_eq!(window.take(at(30), at(40), 0), used_up(61));
        assert_eq!(window.take(at(60), at(70), 0), used_up(61));
        assert_eq!((window.free_permits(at(60)), window.free_permits(at(61))), (0, 1));
        assert!(window.take(at(61), at(71), 0).is_ok());
        assert_eq!(window.take(at(61), at(71), 0), used_up(62));
    }

    #[test]
    fn a_wait_leaves_the_reserved_permits() {
        let mut window = RateWindow::default();
        for _ in 0..PERMITS - RESERVED_PERMITS {
            let permit = window.take(at(0), at(10), RESERVED_PERMITS).unwrap();
            window.answered(permit, at(1));
        }
        assert_eq!(window.take(at(2), at(12), RESERVED_PERMITS), used_up(61));
        for _ in 0..RESERVED_PERMITS {
            assert!(window.take(at(2), at(12), 0).is_ok());
        }
        assert_eq!(window.take(at(2), at(12), 0), used_up(61));
        // The person's permits, without a response, are busy until 12 + 60.
        assert_eq!(window.take(at(62), at(72), RESERVED_PERMITS).map(|_| ()), Ok(()));
    }

    #[test]
    fn without_a_response_a_slot_is_busy_from_the_deadline_on() {
        let mut window = RateWindow::default();
        for _ in 0..PERMITS {
            window.take(at(0), at(10), 0).unwrap();
        }
        assert_eq!(window.take(at(60), at(70), 0), used_up(70));
        // As long as responses may still come, a command that has the time need not give up.
        assert_eq!(window.take(at(1), at(11), 0), used_up(61));
    }

    #[test]
    fn a_deadline_is_never_further_away_than_the_longest_request() {
        let mut window = RateWindow::default();
        window.take(at(0), at(100_000), 0).unwrap();
        assert!(window.is_possible(at(0)));
        assert!(!RateWindow { blocked_until: at(121), ..RateWindow::default() }.is_possible(at(0)));
        let busy = RateWindow { busy_until: [at(181); PERMITS], ..RateWindow::default() };
        assert!(!busy.is_possible(at(0)));
    }

    #[test]
    fn after_a_403_all_are_blocked_then_one_probes() {
        let blocked = |until, count| {
            Err(RateLimited { until: at(until), cause: LimitCause::Forbidden(count) })
        };
        let mut window = RateWindow::default();
        let early = window.take(at(0), at(10), 0).unwrap();
        let other = window.take(at(0), at(11), 0).unwrap();
        assert_eq!(window.forbidden(other, at(5)), 1);
        // The response to a request from before the 403 ends nothing.
        window.answered(early, at(6));
        assert_eq!(window.take(at(6), at(16), 0), blocked(65, 1));
        let first = window.take(at(65), at(75), 0).unwrap();
        assert_eq!(window.take(at(65), at(75), 0), blocked(66, 1), "a probe is under way");
        assert_eq!(window.forbidden(first, at(66)), 2);
        let second = window.take(at(126), at(136), 0).unwrap();
        // Its process dies: after its deadline the next one probes.
        assert_eq!(window.take(at(135), at(145), 0), blocked(136, 2));
        let third = window.take(at(136), at(146), 0).unwrap();
        assert_ne!(second, third);
        window.answered(third, at(137));
        assert!(window.take(at(137), at(147), 0).is_ok());
        let permit = window.take(at(137), at(147), 0).unwrap();
        assert_eq!(window.forbidden(permit, at(138)), 1, "counted anew");
    }

    #[test]
    fn permits_that_a_new_window_does_not_know_are_added() {
        let mut old = RateWindow::default();
        let permits: Vec<Permit> =
            (0..PERMITS).map(|_| old.take(at(0), at(10), 0).unwrap()).collect();
        let mut new = RateWindow::default();
        new.answered(permits[7], at(3));
        assert_eq!(new.busy_until.iter().filter(|until| **until > at(3)).count(), 1);
        new.merge(&old, at(4));
        assert_eq!(
            new.take(at(4), at(14), 0),
            used_up(64),
            "31 are known for 30 slots: the first to end is dropped"
        );
    }

    #[test]
    fn the_window_by_another_clock() {
        let mut window = RateWindow::default();
        window.take(at(1_000), at(1_010), 0).unwrap();
        let ahead = window.shifted(86_400_000_000_000);
        assert_eq!(ahead.free_permits(at(87_469)), PERMITS - 1);
        assert_eq!(ahead.free_permits(at(87_470)), PERMITS);
        assert_eq!(ahead.shifted(-86_400_000_000_000), window);
        // A clock that is behind never makes a slot free that is busy.
        let behind = window.shifted(-999_000_000_000);
        assert_eq!(behind.free_permits(at(70)), PERMITS - 1);
    }
}
