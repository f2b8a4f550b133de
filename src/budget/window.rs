//! The law of the limit, as a pure function of the times that are passed in.
//!
//! A place is taken just before a request is sent, and is busy until 60 s after its answer was read; without an answer,
//! until 60 s after the request's deadline. Whenever the server saw the request arrive, it was between these two, so
//! while at most 30 places exist no 60 seconds at the server hold more than 30 arrivals.

use std::time::Duration;

use crate::clock::Moment;

/// How many requests the server answers in [`WINDOW`].
pub const LIMIT: usize = 30;

/// How many places a wait leaves free, so that a person's command gets through at once.
pub const RESERVE: usize = 6;

/// The span in which [`LIMIT`] holds, and for which everything holds off after a 403.
pub const WINDOW: Duration = Duration::from_secs(60);

/// A place that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// The places and until when each is busy.
#[derive(Clone, Debug, Default)]
pub struct Window {
    busy_until: Vec<Moment>,
    held_until: Option<Moment>,
}

impl Window {
    /// Takes a place for a request whose deadline is `deadline`, leaving `reserve` places free.
    ///
    /// # Errors
    /// The moment at which to try again.
    pub fn take(&mut self, now: Moment, deadline: Moment, reserve: usize) -> Result<Place, Moment> {
        if let Some(held) = self.held_until.filter(|held| *held > now) {
            return Err(held);
        }
        let until = deadline.max(now) + WINDOW;
        let mut busy: Vec<Moment> = self.busy_until.iter().copied().filter(|until| *until > now).collect();
        let allowed = LIMIT - reserve;
        if busy.len() >= allowed {
            // So many must end first that fewer than `allowed` are left.
            busy.sort_unstable();
            return Err(busy[busy.len() - allowed]);
        }
        match self.busy_until.iter().position(|until| *until <= now) {
            Some(free) => {
                self.busy_until[free] = until;
                Ok(Place(free))
            }
            None => {
                self.busy_until.push(until);
                Ok(Place(self.busy_until.len() - 1))
            }
        }
    }

    /// The answer to the request of `place` was read.
    pub fn answered(&mut self, place: Place, now: Moment) {
        let until = &mut self.busy_until[place.0];
        *until = (*until).min(now + WINDOW);
    }

    /// The server answered 403: something else on this server uses the limit too.
    pub fn forbidden(&mut self, now: Moment) {
        self.held_until = Some(now + WINDOW);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn thirty_then_wait_for_the_first_to_end() {
        let mut window = Window::default();
        for second in 0..30 {
            let place = window.take(at(second), at(second + 10), 0).unwrap();
            window.answered(place, at(second + 1));
        }
        assert_eq!(window.take(at(30), at(40), 0), Err(at(61)));
        assert_eq!(window.take(at(60), at(70), 0), Err(at(61)));
        assert!(window.take(at(61), at(71), 0).is_ok());
        assert_eq!(window.take(at(61), at(71), 0), Err(at(62)));
    }

    #[test]
    fn a_wait_leaves_the_reserve() {
        let mut window = Window::default();
        for _ in 0..LIMIT - RESERVE {
            let place = window.take(at(0), at(10), RESERVE).unwrap();
            window.answered(place, at(1));
        }
        assert_eq!(window.take(at(2), at(12), RESERVE), Err(at(61)));
        for _ in 0..RESERVE {
            assert!(window.take(at(2), at(12), 0).is_ok());
        }
        assert_eq!(window.take(at(2), at(12), 0), Err(at(61)));
        // The wait has to outlast the person's places too: without an answer they are busy until 12 + 60.
        assert_eq!(window.take(at(62), at(72), RESERVE).map(|_| ()), Ok(()));
    }

    #[test]
    fn without_an_answer_a_place_is_busy_from_the_deadline_on() {
        let mut window = Window::default();
        for _ in 0..LIMIT {
            window.take(at(0), at(10), 0).unwrap();
        }
        assert_eq!(window.take(at(60), at(70), 0), Err(at(70)));
    }

    #[test]
    fn a_403_holds_off_for_a_minute() {
        let mut window = Window::default();
        window.forbidden(at(5));
        assert_eq!(window.take(at(6), at(16), 0), Err(at(65)));
        assert!(window.take(at(65), at(75), 0).is_ok());
    }

    proptest! {
        /// Whatever is asked when, answered or not, and however late a request arrives within its deadline:
        /// no 60 seconds hold more than 30 arrivals.
        #[test]
        fn the_law(asks in prop::collection::vec((0u64..4_000, 0u64..10_000, any::<bool>(), 0usize..=RESERVE), 1..300)) {
            let mut window = Window::default();
            let mut now = Duration::ZERO;
            let mut arrivals = Vec::new();
            for (gap, delay, answered, reserve) in asks {
                now += Duration::from_millis(gap);
                let deadline = Moment(now + Duration::from_secs(10));
                let Ok(place) = window.take(Moment(now), deadline, reserve) else { continue };
                let arrival = now + Duration::from_millis(delay);
                arrivals.push(arrival);
                if answered {
                    now = arrival;
                    window.answered(place, Moment(now));
                }
            }
            arrivals.sort_unstable();
            for (i, first) in arrivals.iter().enumerate() {
                let within = arrivals[i..].iter().take_while(|later| **later - *first < WINDOW).count();
                prop_assert!(within <= LIMIT);
            }
        }
    }
}
