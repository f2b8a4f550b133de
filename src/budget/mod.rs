//! The request limit: thirty requests a minute, then the API answers 403.
//!
//! Source: "The RackConnect v2.0 API": 30 requests a minute from each server; "the counter resets each minute". How
//! that minute is aligned is unknown, so no 60 seconds whatever may hold more than 30.
//!
//! The limit is the server's, so its processes share one [`Window`]: the law, and why it holds, is in `window`. `record`
//! is its bytes, `store` the file and the lock, `status` the file for those who only want to read.
//!
//! Where nothing can be shared, a process counts for itself and keeps to 6 requests a minute. That the state is locked
//! by another process is no such case at once: dozens of processes that were held up together (by a disk that is busy for
//! two seconds) would each send one at once. Each goes on trying for as long as six a minute would keep it waiting anyway.

mod record;
pub mod status;
mod store;
mod window;

use std::path::PathBuf;
use std::time::Duration;

pub use window::{LIMIT, LONGEST, NoPlace, Place, RESERVE, WINDOW, Why, Window};

use crate::clock::Moment;
use store::{PATIENCE, Store, Useless};

/// How many requests a process sends in [`WINDOW`] that shares nothing with the others.
pub const ALONE: usize = 6;

/// What then lies between two requests of a wait; and how long a process that finds the state locked tries to have it.
const GAP: Duration = Duration::from_secs(WINDOW.as_secs() / ALONE as u64);

/// How soon it tries again. Most of the time it is trying.
const AGAIN: Duration = Duration::from_millis(50);

/// The server's budget, as one process sees it.
pub struct Budget {
    store: Store,
    /// The requests of this process.
    own: Window,
    /// When the last one was sent.
    last: Option<Moment>,
    /// Whether `own` knows of requests that the store does not.
    unshared: bool,
    /// Whether the next request counts as one of a process alone.
    alone: bool,
    /// Since when the next request tries to have the lock, and when it tried last.
    locked: Option<(Moment, Moment)>,
    /// Whether it was said that nothing can be shared.
    said: bool,
}

/// A place that was taken, for one request.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    shared: Option<Place>,
    own: Option<Place>,
}

impl Ticket {
    /// Whether it is too old for a request to be sent now.
    pub fn is_stale(&self, now: Moment) -> bool {
        self.shared.or(self.own).is_none_or(|place| place.is_stale(now))
    }
}

impl Budget {
    /// The budget in that state directory.
    pub fn new(folder: PathBuf) -> Budget {
        Budget {
            store: Store::new(folder),
            own: Window::default(),
            last: None,
            unshared: false,
            alone: false,
            locked: None,
            said: false,
        }
    }

    /// Whether a place could be taken now, leaving `reserve` to others.
    ///
    /// # Errors
    /// When to try again.
    pub fn look(&mut self, reserve: usize) -> Result<(), NoPlace> {
        self.alone = false;
        match self.together(|window, now| window.look(now, reserve))? {
            Some(()) => Ok(()),
            None => {
                // What was no use a moment ago is not tried again for the same request.
                self.alone = true;
                self.look_alone(Moment::now(), reserve)
            }
        }
    }

    /// How many of the [`LIMIT`] requests could be sent now, as far as all processes together know.
    ///
    /// # Errors
    /// Why there is no shared state that could tell: a sentence.
    pub fn free(&mut self) -> Result<usize, String> {
        self.store.with(|window, now| window.free(now)).map_err(|useless| useless.why)
    }

    /// Takes a place for a request that is sent at once and has an answer by `deadline` or never.
    ///
    /// # Errors
    /// When to try again.
    pub fn take(&mut self, deadline: Moment, reserve: usize) -> Result<Ticket, NoPlace> {
        let shared = match std::mem::take(&mut self.alone) {
            true => None,
            false => self.together(|window, now| window.take(now, deadline, reserve))?,
        };
        let now = Moment::now();
        if shared.is_none() {
            self.look_alone(now, reserve)?;
            self.unshared = true;
        }
        self.locked = None;
        self.last = Some(now);
        Ok(Ticket { shared, own: self.own.take(now, deadline, 0).ok() })
    }

    /// The answer was read, and it was not a 403.
    pub fn answered(&mut self, ticket: Ticket) {
        if let Some(place) = ticket.own {
            self.own.answered(place, Moment::now());
        }
        if let Some(place) = ticket.shared
            && let Err(useless) = self.shared(|window, now| window.answered(place, now))
        {
            log::debug!("the place stays busy for longer than it has to: {}", useless.why);
        }
    }

    /// The answer was a 403. Answers with how many there were in a row, with nothing asked for a minute before each.
    pub fn forbidden(&mut self, ticket: Ticket) -> u32 {
        let own = ticket.own.map_or(1, |place| self.own.forbidden(place, Moment::now()));
        let Some(place) = ticket.shared else { return own };
        self.shared(|window, now| window.forbidden(place, now)).unwrap_or_else(|useless| {
            log::debug!("the others hear later that nothing is to be asked: {}", useless.why);
            self.unshared = true;
            own
        })
    }

    /// The law of a process that counts for itself. What a wait asks is spread evenly, so that news is never long in
    /// coming.
    fn look_alone(&self, now: Moment, reserve: usize) -> Result<(), NoPlace> {
        match self.last {
            Some(last) if reserve > 0 && last + GAP > now => Err(NoPlace { until: last + GAP, why: Why::Alone }),
            _ => self.own.look(now, LIMIT - ALONE),
        }
    }

    /// It was tried, here or by a process that tried for this one, and another one held the lock. Whether to try on before
    /// the next request is one of a process alone. If nobody has tried for a while, it begins anew.
    pub fn goes_on_trying(&mut self, now: Moment) -> bool {
        let tried = self.locked.filter(|(_, last)| now.since(*last) < 3 * PATIENCE);
        let since = tried.map_or(now - PATIENCE, |(since, _)| since);
        self.locked = Some((since, now));
        now < since + GAP
    }

    /// What `act` makes of the shared window for the next request; none if that is one of a process alone.
    fn together<R>(
        &mut self,
        act: impl FnOnce(&mut Window, Moment) -> Result<R, NoPlace>,
    ) -> Result<Option<R>, NoPlace> {
        let Useless { is_locked, why } = match self.shared(act) {
            Ok(result) => {
                self.locked = None;
                return result.map(Some);
            }
            Err(useless) => useless,
        };
        let now = Moment::now();
        if is_locked && self.goes_on_trying(now) {
            return Err(NoPlace { until: now + AGAIN, why: Why::Locked });
        }
        if !self.said {
            log::warn!(
                "the request limit cannot be shared with other processes, so this one keeps to {ALONE} requests a \
                 minute: {why}"
            );
            self.said = true;
        }
        Ok(None)
    }

    /// What `act` makes of the shared window.
    fn shared<R>(&mut self, act: impl FnOnce(&mut Window, Moment) -> R) -> Result<R, Useless> {
        let own = self.unshared.then_some(&self.own);
        let result = self.store.with(|window, now| {
            if let Some(own) = own {
                window.merge(own, now);
            }
            act(window, now)
        })?;
        self.unshared = false;
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone() -> Budget {
        Budget::new(PathBuf::from("/proc/no/such/folder"))
    }

    #[test]
    fn a_process_alone_keeps_to_six_a_minute() {
        let mut budget = alone();
        let deadline = Moment::now() + Duration::from_secs(10);
        for _ in 0..ALONE {
            budget.look(0).unwrap();
            let ticket = budget.take(deadline, 0).unwrap();
            budget.answered(ticket);
        }
        let now = Moment::now();
        let again = budget.take(deadline, 0).unwrap_err().until;
        assert!(again > now + Duration::from_secs(30) && again <= now + WINDOW);
    }

    #[test]
    fn what_a_wait_asks_alone_is_spread_evenly() {
        let mut budget = alone();
        let start = Moment::now();
        let ticket = budget.take(start, RESERVE).unwrap();
        budget.answered(ticket);
        assert_eq!(
            budget.look_alone(start, RESERVE),
            Err(NoPlace { until: budget.last.unwrap() + GAP, why: Why::Alone })
        );
        assert_eq!(budget.look_alone(start + Duration::from_secs(11), RESERVE), Ok(()));
        assert_eq!(budget.look_alone(start, 0), Ok(()));
    }

    /// The state came to be of use between a look that went wrong and the next one.
    #[test]
    fn alone_for_one_request_was_alone_for_the_next_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        std::fs::write(&state, "in the way").unwrap();
        let mut budget = Budget::new(state.clone());
        budget.look(0).unwrap();
        std::fs::remove_file(&state).unwrap();
        budget.look(0).unwrap();
        let ticket = budget.take(Moment::now() + Duration::from_secs(10), 0).unwrap();
        assert!(ticket.shared.is_some());
        assert_eq!(budget.free(), Ok(LIMIT - 1));
    }

    #[test]
    fn a_403_that_could_not_be_told_is_told_later() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut budget = Budget::new(state.clone());
        let ticket = budget.take(Moment::now() + Duration::from_secs(10), 0).unwrap();
        std::fs::rename(&state, folder.path().join("away")).unwrap();
        std::fs::write(&state, "in the way").unwrap();
        assert_eq!(budget.forbidden(ticket), 1);
        std::fs::remove_file(&state).unwrap();
        std::fs::rename(folder.path().join("away"), &state).unwrap();
        assert_eq!(budget.look(0).unwrap_err().why, Why::Forbidden(1));
        assert_eq!(Budget::new(state).look(0).unwrap_err().why, Why::Forbidden(1), "another process");
    }

    #[test]
    fn a_process_goes_on_trying_to_have_the_lock_for_ten_seconds() {
        let mut budget = alone();
        let at = |millis| Moment(Duration::from_secs(1_000) + Duration::from_millis(millis));
        assert!((0..9).all(|n| budget.goes_on_trying(at(n * 1_050))));
        assert!(!budget.goes_on_trying(at(9_000)));
        // A process that has not tried for a while begins anew.
        assert!(budget.goes_on_trying(at(13_000)));
    }

    #[test]
    fn a_403_holds_a_process_alone_off_too() {
        let mut budget = alone();
        let ticket = budget.take(Moment::now(), 0).unwrap();
        assert_eq!(budget.forbidden(ticket), 1);
        assert!(budget.take(Moment::now(), 0).is_err());
    }
}
