//! The limiter: the server's rate window, as one process uses it.

use std::path::PathBuf;
use std::time::Duration;

use super::shared_file::{PATIENCE, Store, Useless};
use super::window::{LIMIT, NoPlace, Place, WINDOW, Why, Window};
use crate::clock::BootInstant;

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
    last: Option<BootInstant>,
    /// Whether `own` knows of requests that the store does not.
    unshared: bool,
    /// Whether the next request counts as one of a process alone.
    alone: bool,
    /// Since when the next request tries to have the lock, and when it tried last.
    locked: Option<(BootInstant, BootInstant)>,
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
    pub fn is_stale(&self, now: BootInstant) -> bool {
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
                self.look_alone(BootInstant::now(), reserve)
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
    pub fn take(&mut self, deadline: BootInstant, reserve: usize) -> Result<Ticket, NoPlace> {
        let shared = match std::mem::take(&mut self.alone) {
            true => None,
            false => self.together(|window, now| window.take(now, deadline, reserve))?,
        };
        let now = BootInstant::now();
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
            self.own.answered(place, BootInstant::now());
        }
        if let Some(place) = ticket.shared
            && let Err(useless) = self.shared(|window, now| window.answered(place, now))
        {
            log::debug!("the place stays busy for longer than it has to: {}", useless.why);
        }
    }

    /// The answer was a 403. Answers with how many there were in a row, with nothing asked for a minute before each.
    pub fn forbidden(&mut self, ticket: Ticket) -> u32 {
        let own = ticket.own.map_or(1, |place| self.own.forbidden(place, BootInstant::now()));
        let Some(place) = ticket.shared else { return own };
        self.shared(|window, now| window.forbidden(place, now)).unwrap_or_else(|useless| {
            log::debug!("the others hear later that nothing is to be asked: {}", useless.why);
            self.unshared = true;
            own
        })
    }

    /// The law of a process that counts for itself. What a wait asks is spread evenly, so that news is never long in
    /// coming.
    fn look_alone(&self, now: BootInstant, reserve: usize) -> Result<(), NoPlace> {
        match self.last {
            Some(last) if reserve > 0 && last + GAP > now => {
                Err(NoPlace { until: last + GAP, why: Why::Alone })
            }
            _ => self.own.look(now, LIMIT - ALONE),
        }
    }

    /// It was tried, here or by a process that tried for this one, and another one held the lock. Whether to try on before
    /// the next request is one of a process alone. If nobody has tried for a while, it begins anew.
    pub fn goes_on_trying(&mut self, now: BootInstant) -> bool {
        let tried = self.locked.filter(|(_, last)| now.since(*last) < 3 * PATIENCE);
        let since = tried.map_or(now - PATIENCE, |(since, _)| since);
        self.locked = Some((since, now));
        now < since + GAP
    }

    /// What `act` makes of the shared window for the next request; none if that is one of a process alone.
    fn together<R>(
        &mut self,
        act: impl FnOnce(&mut Window, BootInstant) -> Result<R, NoPlace>,
    ) -> Result<Option<R>, NoPlace> {
        let Useless { is_locked, why } = match self.shared(act) {
            Ok(result) => {
                self.locked = None;
                return result.map(Some);
            }
            Err(useless) => useless,
        };
        let now = BootInstant::now();
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
    fn shared<R>(&mut self, act: impl FnOnce(&mut Window, BootInstant) -> R) -> Result<R, Useless> {
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
    use crate::ratelimit::RESERVE;

    fn alone() -> Budget {
        Budget::new(PathBuf::from("/proc/no/such/folder"))
    }

    #[test]
    fn a_process_alone_keeps_to_six_a_minute() {
        let mut budget = alone();
        let deadline = BootInstant::now() + Duration::from_secs(10);
        for _ in 0..ALONE {
            budget.look(0).unwrap();
            let ticket = budget.take(deadline, 0).unwrap();
            budget.answered(ticket);
        }
        let now = BootInstant::now();
        let again = budget.take(deadline, 0).unwrap_err().until;
        assert!(again > now + Duration::from_secs(30) && again <= now + WINDOW);
    }

    #[test]
    fn what_a_wait_asks_alone_is_spread_evenly() {
        let mut budget = alone();
        let start = BootInstant::now();
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
        let ticket = budget.take(BootInstant::now() + Duration::from_secs(10), 0).unwrap();
        assert!(ticket.shared.is_some());
        assert_eq!(budget.free(), Ok(LIMIT - 1));
    }

    #[test]
    fn a_403_that_could_not_be_told_is_told_later() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut budget = Budget::new(state.clone());
        let ticket = budget.take(BootInstant::now() + Duration::from_secs(10), 0).unwrap();
        std::fs::rename(&state, folder.path().join("away")).unwrap();
        std::fs::write(&state, "in the way").unwrap();
        assert_eq!(budget.forbidden(ticket), 1);
        std::fs::remove_file(&state).unwrap();
        std::fs::rename(folder.path().join("away"), &state).unwrap();
        assert_eq!(budget.look(0).unwrap_err().why, Why::Forbidden(1));
        assert_eq!(
            Budget::new(state).look(0).unwrap_err().why,
            Why::Forbidden(1),
            "another process"
        );
    }

    #[test]
    fn a_process_goes_on_trying_to_have_the_lock_for_ten_seconds() {
        let mut budget = alone();
        let at = |millis| BootInstant(Duration::from_secs(1_000) + Duration::from_millis(millis));
        assert!((0..9).all(|n| budget.goes_on_trying(at(n * 1_050))));
        assert!(!budget.goes_on_trying(at(9_000)));
        // A process that has not tried for a while begins anew.
        assert!(budget.goes_on_trying(at(13_000)));
    }

    #[test]
    fn a_403_holds_a_process_alone_off_too() {
        let mut budget = alone();
        let ticket = budget.take(BootInstant::now(), 0).unwrap();
        assert_eq!(budget.forbidden(ticket), 1);
        assert!(budget.take(BootInstant::now(), 0).is_err());
    }
}
