//! The decisions of `gateway keep`, from the time and the kernel's state. No I/O.
//!
//! While the last verified gateway is in use, and the API was asked since it was last lost, nothing
//! happens. Without any default route the last verified gateway is restored at once, and if that
//! fails, again and again with a backoff of up to a minute. A default route of another process is
//! replaced at most [`MAX_REPLACEMENTS`] times in [`REPLACEMENT_WINDOW`]. The API is asked only
//! at the start and after a loss, with the same backoff until the gateway is verified again.

use std::time::Duration;

use crate::clock::BootInstant;

/// How often default routes of other processes are replaced in [`REPLACEMENT_WINDOW`].
pub(crate) const MAX_REPLACEMENTS: usize = 5;

/// The period for [`MAX_REPLACEMENTS`].
pub(crate) const REPLACEMENT_WINDOW: Duration = Duration::from_secs(600);

/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The pause after the first failed lookup.
const FIRST_LOOKUP_BACKOFF: Duration = Duration::from_secs(5);

/// The pause after the first failed restore.
const FIRST_RESTORE_BACKOFF: Duration = Duration::from_secs(1);

/// Where the kernel sends packets for the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteState {
    /// Through the last verified gateway.
    Verified,
    /// There is no default route.
    Missing,
    /// Through another gateway.
    Other,
}

/// What `gateway keep` does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeeperStep {
    /// Wait for kernel events, at most until this time.
    Listen(Option<BootInstant>),
    /// Restore the last verified gateway.
    Restore,
    /// Ask the API for the gateway and set it.
    LookUp,
}

/// The state of `gateway keep`.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    /// Whether there is a verified gateway, which can be restored.
    has_verified: bool,
    /// Whether the API has to be asked.
    needs_lookup: bool,
    /// Whether a lookup is in progress.
    is_looking_up: bool,
    lookup: Backoff,
    restore: Backoff,
    /// When default routes of other processes were replaced.
    replaced: Vec<BootInstant>,
}

#[derive(Clone, Debug)]
struct Backoff {
    first: Duration,
    due: BootInstant,
    last: Option<BootInstant>,
    failures: u32,
}

impl Backoff {
    fn new(first: Duration, now: BootInstant) -> Backoff {
        Backoff { first, due: now, last: None, failures: 0 }
    }

    fn failed(&mut self, now: BootInstant, random_unit: f64) {
        let pause =
            self.first.saturating_mul(2u32.saturating_pow(self.failures.min(16))).min(MAX_BACKOFF);
        self.failures += 1;
        self.last = Some(now);
        self.due = now + pause.mul_f64(1.0 - 0.1 * random_unit.clamp(0.0, 1.0));
    }

    fn succeeded(&mut self, now: BootInstant) {
        self.failures = 0;
        self.last = Some(now);
        self.due = now;
    }

    /// After a change of the system: the next attempt is due sooner, but not at once after the last
    /// one.
    fn hurry(&mut self) {
        if let Some(last) = self.last {
            self.due = self.due.min(last + self.first);
        }
    }
}

impl Keeper {
    /// The state at the start, without a verified gateway.
    pub(crate) fn new(now: BootInstant) -> Keeper {
        Keeper {
            has_verified: false,
            needs_lookup: true,
            is_looking_up: false,
            lookup: Backoff::new(FIRST_LOOKUP_BACKOFF, now),
            restore: Backoff::new(FIRST_RESTORE_BACKOFF, now),
            replaced: Vec::new(),
        }
    }

    /// The state at the start if an earlier process has verified a gateway.
    pub(crate) fn with_verified_gateway(now: BootInstant) -> Keeper {
        Keeper { has_verified: true, ..Keeper::new(now) }
    }

    /// What to do next.
    pub(crate) fn next(&mut self, now: BootInstant, state: RouteState) -> KeeperStep {
        let mut due = None;
        match state {
            RouteState::Verified => self.restore.failures = 0,
            RouteState::Missing if self.has_verified => {
                self.needs_lookup = true;
                if self.restore.due <= now {
                    return KeeperStep::Restore;
                }
                due = Some(self.restore.due);
            }
            RouteState::Missing | RouteState::Other => self.needs_lookup = true,
        }
        match self.needs_lookup && !self.is_looking_up {
            false => KeeperStep::Listen(due),
            true if self.lookup.due <= now => KeeperStep::LookUp,
            true => KeeperStep::Listen(Some(
                due.map_or(self.lookup.due, |due| due.min(self.lookup.due)),
            )),
        }
    }

    /// The kernel reported a change.
    pub(crate) fn event(&mut self) {
        self.lookup.hurry();
        self.restore.hurry();
    }

    /// There is a default route again.
    pub(crate) fn restored(&mut self, now: BootInstant) {
        self.restore.succeeded(now);
    }

    /// The gateway could not be restored.
    pub(crate) fn restore_failed(&mut self, now: BootInstant, random_unit: f64) {
        self.restore.failed(now, random_unit);
    }

    /// A lookup has started. A lost default route is restored without waiting for its end.
    pub(crate) fn lookup_started(&mut self) {
        self.is_looking_up = true;
    }

    /// The lookup failed, or its result could not be set.
    pub(crate) fn lookup_failed(&mut self, now: BootInstant, random_unit: f64) {
        self.is_looking_up = false;
        self.lookup.failed(now, random_unit);
    }

    /// The API's gateway is in use and verified.
    pub(crate) fn verified(&mut self, now: BootInstant) {
        self.has_verified = true;
        self.needs_lookup = false;
        self.is_looking_up = false;
        self.lookup.succeeded(now);
        self.restore.succeeded(now);
    }

    /// Whether a default route of another process may be replaced again.
    pub(crate) fn may_replace(&mut self, now: BootInstant) -> bool {
        self.replaced.retain(|then| now.since(*then) < REPLACEMENT_WINDOW);
        self.replaced.len() < MAX_REPLACEMENTS
    }

    /// A default route of another process was replaced, and the change was kept.
    pub(crate) fn replaced(&mut self, now: BootInstant) {
        self.replaced.push(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_step_is_a_lookup_and_then_there_is_nothing_to_do() {
        let mut keeper = Keeper::new(at(0));
        assert_eq!(keeper.next(at(0), RouteState::Other), KeeperStep::LookUp);
        keeper.verified(at(1));
        assert_eq!(keeper.next(at(1), RouteState::Verified), KeeperStep::Listen(None));
        keeper.event();
        assert_eq!(keeper.next(at(9_999), RouteState::Verified), KeeperStep::Listen(None));
    }

    #[test]
    fn nothing_is_restored_before_a_gateway_was_verified() {
        let mut keeper = Keeper::new(at(0));
        assert_eq!(keeper.next(at(0), RouteState::Missing), KeeperStep::LookUp);
        keeper.lookup_failed(at(0), 0.0);
        assert_eq!(keeper.next(at(1), RouteState::Missing), KeeperStep::Listen(Some(at(5))));
    }

    #[test]
    fn a_gateway_verified_earlier_is_restored_and_then_looked_up() {
        let mut keeper = Keeper::with_verified_gateway(at(0));
        assert_eq!(keeper.next(at(0), RouteState::Missing), KeeperStep::Restore);
        keeper.restored(at(0));
        assert_eq!(keeper.next(at(0), RouteState::Verified), KeeperStep::LookUp);
        let mut keeper = Keeper::with_verified_gateway(at(0));
        assert_eq!(keeper.next(at(0), RouteState::Other), KeeperStep::LookUp);
    }

    #[test]
    fn a_lost_default_route_is_restored_at_once_before_a_lookup() {
        let mut keeper = Keeper::new(at(0));
        keeper.verified(at(0));
        assert_eq!(keeper.next(at(100), RouteState::Missing), KeeperStep::Restore);
        keeper.restored(at(100));
        assert_eq!(keeper.next(at(100), RouteState::Verified), KeeperStep::LookUp);
        keeper.lookup_failed(at(100), 0.0);
        assert_eq!(keeper.next(at(100), RouteState::Verified), KeeperStep::Listen(Some(at(105))));
        // Lost again, while the API is being asked.
        assert_eq!(keeper.next(at(105), RouteState::Verified), KeeperStep::LookUp);
        keeper.lookup_started();
        assert_eq!(keeper.next(at(106), RouteState::Verified), KeeperStep::Listen(None));
        assert_eq!(keeper.next(at(106), RouteState::Missing), KeeperStep::Restore);
        keeper.restored(at(106));
        keeper.lookup_failed(at(115), 0.0);
        // And while it is down.
        assert_eq!(keeper.next(at(116), RouteState::Missing), KeeperStep::Restore);
    }

    #[test]
    fn restoring_is_retried_forever() {
        let mut keeper = Keeper::new(at(0));
        keeper.verified(at(0));
        let mut now = at(10);
        let mut pauses = Vec::new();
        for _ in 0..50 {
            match keeper.next(now, RouteState::Missing) {
                KeeperStep::Restore => keeper.restore_failed(now, 0.0),
                KeeperStep::LookUp => keeper.lookup_failed(now, 0.0),
                KeeperStep::Listen(until) => {
                    let until = until.unwrap();
                    pauses.push(until.since(now).as_secs());
                    now = until;
                }
            }
        }
        assert!(pauses.iter().all(|pause| *pause <= 60), "{pauses:?}");
        // After an event, such as a link that comes back, the wait is shorter.
        keeper.restore_failed(now, 0.0);
        keeper.lookup_failed(now, 0.0);
        keeper.event();
        assert_eq!(
            keeper.next(now, RouteState::Missing),
            KeeperStep::Listen(Some(now + FIRST_RESTORE_BACKOFF))
        );
        assert_eq!(
            keeper.next(now + FIRST_RESTORE_BACKOFF, RouteState::Missing),
            KeeperStep::Restore
        );
    }

    #[test]
    fn five_replacements_in_ten_minutes() {
        let mut keeper = Keeper::new(at(0));
        for minute in 0..5 {
            assert!(keeper.may_replace(at(minute * 60)));
            keeper.replaced(at(minute * 60));
        }
        assert!(!keeper.may_replace(at(599)));
        assert!(keeper.may_replace(at(600)));
        keeper.replaced(at(600));
        assert!(!keeper.may_replace(at(601)));
    }

    /// A gateway that did not answer was treated as contention after five attempts in 40 s.
    #[test]
    fn a_dead_gateway_is_retried_less_often_but_forever() {
        let mut keeper = Keeper::new(at(0));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            assert_eq!(keeper.next(now, RouteState::Other), KeeperStep::LookUp);
            keeper.lookup_started();
            assert!(keeper.may_replace(now));
            keeper.lookup_failed(now, 0.0);
            let KeeperStep::Listen(Some(until)) = keeper.next(now, RouteState::Other) else {
                panic!("no pause")
            };
            pauses.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(pauses[..6], [5, 10, 20, 40, 60, 60]);
    }

    proptest! {
        /// In any sequence of states there are no two lookups within almost five seconds and no two
        /// failed restores within almost one, and no wait of more than a minute while the route is
        /// not the verified one.
        #[test]
        fn attempts_are_neither_too_frequent_nor_too_rare(
            states in proptest::collection::vec((0..3u8, any::<bool>(), 0..5_000u64, any::<bool>(), 0.0..1.0f64), 1..200),
        ) {
            let mut now = BootInstant(Duration::from_secs(1_000));
            let mut keeper = Keeper::new(now);
            let (mut asked, mut tried): (Option<BootInstant>, Option<BootInstant>) = (None, None);
            for (state, good, millis, event, random_unit) in states {
                if event {
                    keeper.event();
                }
                let state = [RouteState::Verified, RouteState::Missing, RouteState::Other][usize::from(state)];
                match keeper.next(now, state) {
                    KeeperStep::LookUp => {
                        if let Some(asked) = asked {
                            prop_assert!(now.since(asked) >= FIRST_LOOKUP_BACKOFF.mul_f64(0.89));
                        }
                        if good {
                            keeper.verified(now);
                            (asked, tried) = (None, None);
                        } else {
                            keeper.lookup_failed(now, random_unit);
                            asked = Some(now);
                        }
                    }
                    KeeperStep::Restore => {
                        if let Some(tried) = tried {
                            prop_assert!(now.since(tried) >= FIRST_RESTORE_BACKOFF.mul_f64(0.89));
                        }
                        if good { keeper.restored(now) } else { keeper.restore_failed(now, random_unit) }
                        tried = (!good).then_some(now);
                    }
                    KeeperStep::Listen(None) => prop_assert_eq!(state, RouteState::Verified),
                    KeeperStep::Listen(Some(until)) => prop_assert!(until.since(now) <= MAX_BACKOFF),
                }
                if state == RouteState::Verified {
                    tried = None;
                }
                now = now + Duration::from_millis(millis);
            }
        }
    }
}
