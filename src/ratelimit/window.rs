//! The law of the limit, as a pure function of the times that are passed in.
//!
//! **The law.** No 60 seconds, wherever they begin, hold more than 30 requests as the server sees them arrive.
//!
//! **Why it holds.** There are 30 places. A request is sent by whoever took a place for it, once and at most a second
//! later, so it arrives after its place became busy. It arrives before its answer was read and, if none was read, before
//! its deadline (what is not sent by then is never sent). A place is busy until 60 s after that moment. So a place is busy
//! from before its request arrives until at least 60 s after it arrived: of two requests of one place the second arrives
//! more than 60 s after the first, and 60 s hold at most one request of each place. Nobody frees a place early: whoever
//! dies leaves it busy until 60 s after the deadline. It matters nowhere who holds a place, so all processes share one
//! window, kept by [`super::shared_file`] on a clock that neither steps nor stops.
//!
//! Outside the law are a process that is stopped between its last look at the clock and the send, the kernel's
//! retransmissions after a deadline and, if the state is destroyed, what was sent before that and has no answer.
//!
//! **After a 403** something else uses the limit too. All hold off for 60 s; then the first to take a place asks for all,
//! and the others hold off until it has its answer (or its deadline has passed).

use std::time::Duration;

use crate::clock::BootInstant;

/// How many requests the server answers in [`WINDOW`].
pub const LIMIT: usize = 30;

/// How many places a wait leaves free, so that a person's command gets through at once.
pub const RESERVE: usize = 6;

/// The span in which [`LIMIT`] holds, and for which everything holds off after a 403.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The shortest interval between two requests of a wait: 20 requests a minute, which leave a third of
/// the limit to others.
pub const MIN_INTERVAL: Duration = Duration::from_secs(3);

/// The longest that a request may take. It bounds what a place can cost, and so which times are possible in a state that
/// others can write.
pub const LONGEST: Duration = Duration::from_secs(120);

/// How old a place may be when its request is sent.
const STALE: Duration = Duration::from_secs(1);

/// How often to look whether the one that asks for all after a 403 has its answer.
const GLANCE: Duration = Duration::from_secs(1);

/// Why a request is not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace {
    /// When to try again.
    pub until: BootInstant,
    /// What is in the way.
    pub why: Why,
}

/// What is in the way of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The requests of our own processes.
    UsedUp,
    /// The API answered 403, so often in a row, with nothing asked from here for a minute before each but the first:
    /// something else on this server uses the limit, too.
    Forbidden(u32),
    /// Another process holds the lock of the shared window.
    Locked,
    /// A process that counts for itself spreads its few requests.
    Alone,
}

/// A place that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    index: usize,
    taken: BootInstant,
    until: BootInstant,
    /// Whether its request asks for all after a 403.
    asks_for_all: bool,
}

impl Place {
    /// Whether it is too old for a request to be sent now.
    pub fn is_stale(&self, now: BootInstant) -> bool {
        now.since(self.taken) > STALE
    }
}

/// The places and until when each is busy, and what a 403 left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Free where that is past.
    pub(super) busy_until: [BootInstant; LIMIT],
    /// Nothing is sent before that.
    pub(super) held_until: BootInstant,
    /// How many 403s came with nothing else in between; as long as it is not zero, whoever takes a place asks for all.
    pub(super) series: u32,
    /// Whether one asks for all now, and `held_until` is its deadline.
    pub(super) asking: bool,
}

impl Window {
    /// Whether a place could be taken, leaving `reserve` places free.
    ///
    /// # Errors
    /// There is no place before the moment in it; whether there is one then is not certain.
    pub fn look(&self, now: BootInstant, reserve: usize) -> Result<(), NoPlace> {
        if self.held_until > now {
            let until =
                if self.asking { self.held_until.min(now + GLANCE) } else { self.held_until };
            return Err(NoPlace { until, why: Why::Forbidden(self.series.max(1)) });
        }
        let mut busy: Vec<BootInstant> =
            self.busy_until.iter().copied().filter(|until| *until > now).collect();
        let allowed = LIMIT - reserve;
        if busy.len() < allowed {
            return Ok(());
        }
        // So many must end first that fewer than `allowed` are left. One whose answer is not there yet ends earlier than
        // it says if the answer comes, but no answer frees a place in less than a window.
        busy.sort_unstable();
        Err(NoPlace { until: busy[busy.len() - allowed].min(now + WINDOW), why: Why::UsedUp })
    }

    /// How many places are free.
    pub fn free(&self, now: BootInstant) -> usize {
        match self.held_until > now {
            true => 0,
            false => self.busy_until.iter().filter(|until| **until <= now).count(),
        }
    }

    /// Takes a place for a request whose deadline is `deadline`, leaving `reserve` places free.
    ///
    /// # Errors
    /// As for [`Window::look`].
    pub fn take(
        &mut self,
        now: BootInstant,
        deadline: BootInstant,
        reserve: usize,
    ) -> Result<Place, NoPlace> {
        self.look(now, reserve)?;
        let deadline = deadline.clamp(now, now + LONGEST);
        let until = deadline + WINDOW;
        let index = self
            .busy_until
            .iter()
            .position(|until| *until <= now)
            .expect("fewer than all are busy");
        self.busy_until[index] = until;
        let asks_for_all = self.series > 0;
        if asks_for_all {
            self.asking = true;
            self.held_until = deadline;
        }
        Ok(Place { index, taken: now, until, asks_for_all })
    }

    /// The answer to the request of `place` was read, and it was not a 403.
    pub fn answered(&mut self, place: Place, now: BootInstant) {
        self.read(place, now);
        // An answer to what was sent before the 403 says nothing of the time after it.
        if place.asks_for_all {
            self.held_until = BootInstant::default();
            self.series = 0;
            self.asking = false;
        }
    }

    /// The server answered the request of `place` with 403. Answers with how many came in a row: after the first one
    /// nothing was asked for a minute before each.
    pub fn forbidden(&mut self, place: Place, now: BootInstant) -> u32 {
        self.read(place, now);
        self.held_until = self.held_until.max(now + WINDOW);
        self.asking = false;
        // Several may have been under way when the first came.
        self.series =
            if place.asks_for_all { self.series.saturating_add(1) } else { self.series.max(1) };
        self.series
    }

    fn read(&mut self, place: Place, now: BootInstant) {
        let until = place.until.min(now + WINDOW);
        match self.busy_until[place.index] == place.until {
            true => self.busy_until[place.index] = until,
            // The state was lost in the meantime: the place is entered anew.
            false => self.enter(until),
        }
    }

    /// Enters a place into a window that does not know it.
    fn enter(&mut self, until: BootInstant) {
        if let Some(first) = self.busy_until.iter_mut().min()
            && *first < until
        {
            *first = until;
        }
    }

    /// Takes in what another window knows that is (in part) about other requests.
    pub fn merge(&mut self, other: &Window, now: BootInstant) {
        let mut common = self.busy_until;
        for until in other.busy_until.into_iter().filter(|until| *until > now) {
            match common.iter_mut().find(|known| **known == until) {
                Some(known) => *known = BootInstant::default(),
                None => self.enter(until),
            }
        }
        self.held_until = self.held_until.max(other.held_until);
        self.series = self.series.max(other.series);
        self.asking |= other.asking;
    }

    /// What is to be assumed where nothing can be known: that all places were taken just now, and are used by whoever took
    /// them (and who enters them anew once the answer is read).
    pub fn unknown(now: BootInstant) -> Window {
        Window { busy_until: [now + STALE + WINDOW; LIMIT], ..Window::default() }
    }

    /// Whether requests can have led to it.
    pub fn is_possible(&self, now: BootInstant) -> bool {
        let last = now + LONGEST + WINDOW;
        self.busy_until.iter().all(|until| *until <= last)
            && self.held_until <= now + LONGEST.max(WINDOW)
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

    fn used_up(until: u64) -> Result<Place, NoPlace> {
        Err(NoPlace { until: at(until), why: Why::UsedUp })
    }

    #[test]
    fn thirty_then_wait_for_the_first_to_end() {
        let mut window = Window::default();
        for second in 0..30 {
            let place = window.take(at(second), at(second + 10), 0).unwrap();
            window.answered(place, at(second + 1));
        }
        assert_eq!(window.take(at(30), at(40), 0), used_up(61));
        assert_eq!(window.take(at(60), at(70), 0), used_up(61));
        assert_eq!((window.free(at(60)), window.free(at(61))), (0, 1));
        assert!(window.take(at(61), at(71), 0).is_ok());
        assert_eq!(window.take(at(61), at(71), 0), used_up(62));
    }

    #[test]
    fn a_wait_leaves_the_reserve() {
        let mut window = Window::default();
        for _ in 0..LIMIT - RESERVE {
            let place = window.take(at(0), at(10), RESERVE).unwrap();
            window.answered(place, at(1));
        }
        assert_eq!(window.take(at(2), at(12), RESERVE), used_up(61));
        for _ in 0..RESERVE {
            assert!(window.take(at(2), at(12), 0).is_ok());
        }
        assert_eq!(window.take(at(2), at(12), 0), used_up(61));
        // The wait has to outlast the person's places too: without an answer they are busy until 12 + 60.
        assert_eq!(window.take(at(62), at(72), RESERVE).map(|_| ()), Ok(()));
    }

    #[test]
    fn without_an_answer_a_place_is_busy_from_the_deadline_on() {
        let mut window = Window::default();
        for _ in 0..LIMIT {
            window.take(at(0), at(10), 0).unwrap();
        }
        assert_eq!(window.take(at(60), at(70), 0), used_up(70));
        // As long as answers may still come, that is no reason to give up a command that has the time.
        assert_eq!(window.take(at(1), at(11), 0), used_up(61));
    }

    #[test]
    fn a_deadline_is_never_further_away_than_the_longest_request() {
        let mut window = Window::default();
        window.take(at(0), at(100_000), 0).unwrap();
        assert!(window.is_possible(at(0)));
        assert!(!Window { held_until: at(121), ..Window::default() }.is_possible(at(0)));
        assert!(!Window { busy_until: [at(181); LIMIT], ..Window::default() }.is_possible(at(0)));
    }

    #[test]
    fn after_a_403_all_hold_off_then_one_asks_for_all() {
        let held = |until, often| Err(NoPlace { until: at(until), why: Why::Forbidden(often) });
        let mut window = Window::default();
        let early = window.take(at(0), at(10), 0).unwrap();
        let other = window.take(at(0), at(10), 0).unwrap();
        assert_eq!(window.forbidden(other, at(5)), 1);
        // What was sent before the 403 ends nothing.
        window.answered(early, at(6));
        assert_eq!(window.take(at(6), at(16), 0), held(65, 1));
        let first = window.take(at(65), at(75), 0).unwrap();
        assert_eq!(window.take(at(65), at(75), 0), held(66, 1), "somebody asks for all");
        assert_eq!(window.forbidden(first, at(66)), 2);
        let second = window.take(at(126), at(136), 0).unwrap();
        // It dies: after its deadline the next one asks for all.
        assert_eq!(window.take(at(135), at(145), 0), held(136, 2));
        let third = window.take(at(136), at(146), 0).unwrap();
        assert_ne!(second, third);
        window.answered(third, at(137));
        assert!(window.take(at(137), at(147), 0).is_ok());
        let place = window.take(at(137), at(147), 0).unwrap();
        assert_eq!(window.forbidden(place, at(138)), 1, "another series");
    }

    #[test]
    fn what_a_new_window_does_not_know_is_entered() {
        let mut old = Window::default();
        let places: Vec<Place> = (0..LIMIT).map(|_| old.take(at(0), at(10), 0).unwrap()).collect();
        let mut new = Window::default();
        new.answered(places[7], at(3));
        assert_eq!(new.busy_until.iter().filter(|until| **until > at(3)).count(), 1);
        new.merge(&old, at(4));
        assert_eq!(
            new.take(at(4), at(14), 0),
            used_up(64),
            "31 are known, and 30 find room: the first to end goes"
        );
    }
}
