//! The decisions of `gateway keep`, over times that are passed in. Pure.
//!
//! Its law: while the gateway that was last verified is in effect, and the API was asked since it was last lost, nothing is
//! done but listening. With no default route at all, the last verified gateway is put back at once, and again and again with
//! a back-off of up to a minute; that is never given up. Another's default route is replaced [`REPLACEMENTS`] times in
//! [`WINDOW`] and not once more. The API is asked only after a loss, and less and less often while it brings nothing.

use std::time::Duration;

use crate::clock::BootInstant;

/// How often another's default route is replaced in [`WINDOW`].
pub const REPLACEMENTS: usize = 5;

/// The span in which [`REPLACEMENTS`] holds.
pub const WINDOW: Duration = Duration::from_secs(600);

/// The longest pause between two tries of anything.
const LONGEST: Duration = Duration::from_secs(60);

/// The first pause after a question that brought nothing.
const FIRST_ASK: Duration = Duration::from_secs(5);

/// The first pause after the gateway could not be put back, and the shortest ever.
const FIRST_RESTORE: Duration = Duration::from_secs(1);

/// Where the kernel sends packets for the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Through the gateway that was last verified.
    Ours,
    /// Nowhere.
    Nowhere,
    /// Elsewhere.
    Elsewhere,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Listen for events, until then at the latest.
    Listen(Option<BootInstant>),
    /// Put the last verified gateway back.
    Restore,
    /// Ask the API, and set what it says.
    Ask,
}

/// The state.
#[derive(Clone, Debug)]
pub struct Keeper {
    /// Whether a gateway was ever verified.
    verified: bool,
    /// Whether the API is to be asked.
    curious: bool,
    /// Whether it is being asked.
    asking: bool,
    ask: Backoff,
    restore: Backoff,
    /// When another's default route was replaced.
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

    fn failed(&mut self, now: BootInstant, chance: f64) {
        let pause =
            self.first.saturating_mul(2u32.saturating_pow(self.failures.min(16))).min(LONGEST);
        self.failures += 1;
        self.last = Some(now);
        self.due = now + pause.mul_f64(1.0 - 0.1 * chance.clamp(0.0, 1.0));
    }

    fn succeeded(&mut self, now: BootInstant) {
        self.failures = 0;
        self.last = Some(now);
        self.due = now;
    }

    /// Something has changed: another try is worth it, but not at once after the last.
    fn hurry(&mut self) {
        if let Some(last) = self.last {
            self.due = self.due.min(last + self.first);
        }
    }
}

impl Keeper {
    /// The state at the beginning. `remembers`: whether a gateway is known that was verified earlier.
    pub fn new(now: BootInstant, remembers: bool) -> Keeper {
        Keeper {
            verified: remembers,
            curious: true,
            asking: false,
            ask: Backoff::new(FIRST_ASK, now),
            restore: Backoff::new(FIRST_RESTORE, now),
            replaced: Vec::new(),
        }
    }

    /// What to do next.
    pub fn next(&mut self, now: BootInstant, sight: Sight) -> Step {
        let mut due = None;
        match sight {
            Sight::Ours => self.restore.failures = 0,
            Sight::Nowhere if self.verified => {
                self.curious = true;
                if self.restore.due <= now {
                    return Step::Restore;
                }
                due = Some(self.restore.due);
            }
            Sight::Nowhere | Sight::Elsewhere => self.curious = true,
        }
        match self.curious && !self.asking {
            false => Step::Listen(due),
            true if self.ask.due <= now => Step::Ask,
            true => Step::Listen(Some(due.map_or(self.ask.due, |due| due.min(self.ask.due)))),
        }
    }

    /// The kernel said that something has changed.
    pub fn heard(&mut self) {
        self.ask.hurry();
        self.restore.hurry();
    }

    /// The gateway was put back, or could not be.
    pub fn restored(&mut self, now: BootInstant, done: bool, chance: f64) {
        match done {
            true => self.restore.succeeded(now),
            false => self.restore.failed(now, chance),
        }
    }

    /// The API is being asked. It may take its time: a lost default route does not wait for it.
    pub fn asking(&mut self) {
        self.asking = true;
    }

    /// Asking, or setting what was heard, brought nothing.
    pub fn failed(&mut self, now: BootInstant, chance: f64) {
        self.asking = false;
        self.ask.failed(now, chance);
    }

    /// The gateway that the API says is in effect, and verified.
    pub fn verified(&mut self, now: BootInstant) {
        self.verified = true;
        self.curious = false;
        self.asking = false;
        self.ask.succeeded(now);
        self.restore.succeeded(now);
    }

    /// Whether another's default route may be replaced once more.
    pub fn may_replace(&mut self, now: BootInstant) -> bool {
        self.replaced.retain(|then| now.since(*then) < WINDOW);
        self.replaced.len() < REPLACEMENTS
    }

    /// Another's default route was replaced. A try that was put back is none: nobody contends for a gateway that is dead.
    pub fn replaced(&mut self, now: BootInstant) {
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
    fn at_first_the_api_is_asked_and_then_nothing_happens() {
        let mut keeper = Keeper::new(at(0), false);
        assert_eq!(keeper.next(at(0), Sight::Elsewhere), Step::Ask);
        keeper.verified(at(1));
        assert_eq!(keeper.next(at(1), Sight::Ours), Step::Listen(None));
        keeper.heard();
        assert_eq!(keeper.next(at(9_999), Sight::Ours), Step::Listen(None));
    }

    #[test]
    fn nothing_to_put_back_before_anything_was_verified() {
        let mut keeper = Keeper::new(at(0), false);
        assert_eq!(keeper.next(at(0), Sight::Nowhere), Step::Ask);
        keeper.failed(at(0), 0.0);
        assert_eq!(keeper.next(at(1), Sight::Nowhere), Step::Listen(Some(at(5))));
    }

    #[test]
    fn what_was_verified_earlier_is_put_back_and_asked_for() {
        let mut keeper = Keeper::new(at(0), true);
        assert_eq!(keeper.next(at(0), Sight::Nowhere), Step::Restore);
        keeper.restored(at(0), true, 0.0);
        assert_eq!(keeper.next(at(0), Sight::Ours), Step::Ask);
        assert_eq!(Keeper::new(at(0), true).next(at(0), Sight::Elsewhere), Step::Ask);
    }

    #[test]
    fn a_lost_default_is_put_back_at_once_and_the_api_asked_afterwards() {
        let mut keeper = Keeper::new(at(0), false);
        keeper.verified(at(0));
        assert_eq!(keeper.next(at(100), Sight::Nowhere), Step::Restore);
        keeper.restored(at(100), true, 0.0);
        assert_eq!(keeper.next(at(100), Sight::Ours), Step::Ask);
        keeper.failed(at(100), 0.0);
        assert_eq!(keeper.next(at(100), Sight::Ours), Step::Listen(Some(at(105))));
        // Lost again, while the API is being asked.
        assert_eq!(keeper.next(at(105), Sight::Ours), Step::Ask);
        keeper.asking();
        assert_eq!(keeper.next(at(106), Sight::Ours), Step::Listen(None));
        assert_eq!(keeper.next(at(106), Sight::Nowhere), Step::Restore);
        keeper.restored(at(106), true, 0.0);
        keeper.failed(at(115), 0.0);
        // And while it is down.
        assert_eq!(keeper.next(at(116), Sight::Nowhere), Step::Restore);
    }

    #[test]
    fn putting_back_is_never_given_up() {
        let mut keeper = Keeper::new(at(0), false);
        keeper.verified(at(0));
        let mut now = at(10);
        let mut pauses = Vec::new();
        for _ in 0..50 {
            match keeper.next(now, Sight::Nowhere) {
                Step::Restore => keeper.restored(now, false, 0.0),
                Step::Ask => keeper.failed(now, 0.0),
                Step::Listen(until) => {
                    let until = until.unwrap();
                    pauses.push(until.since(now).as_secs());
                    now = until;
                }
            }
        }
        assert!(pauses.iter().all(|pause| *pause <= 60), "{pauses:?}");
        // A link that comes back is not waited for that long.
        keeper.restored(now, false, 0.0);
        keeper.failed(now, 0.0);
        keeper.heard();
        assert_eq!(keeper.next(now, Sight::Nowhere), Step::Listen(Some(now + FIRST_RESTORE)));
        assert_eq!(keeper.next(now + FIRST_RESTORE, Sight::Nowhere), Step::Restore);
    }

    #[test]
    fn five_replacements_in_ten_minutes() {
        let mut keeper = Keeper::new(at(0), false);
        for minute in 0..5 {
            assert!(keeper.may_replace(at(minute * 60)));
            keeper.replaced(at(minute * 60));
        }
        assert!(!keeper.may_replace(at(599)));
        assert!(keeper.may_replace(at(600)));
        keeper.replaced(at(600));
        assert!(!keeper.may_replace(at(601)));
    }

    /// A gateway that does not answer was taken for a contention after five tries in 40 s.
    #[test]
    fn a_dead_gateway_is_tried_less_and_less_often_and_never_given_up() {
        let mut keeper = Keeper::new(at(0), false);
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..20 {
            assert_eq!(keeper.next(now, Sight::Elsewhere), Step::Ask);
            keeper.asking();
            assert!(keeper.may_replace(now));
            keeper.failed(now, 0.0);
            let Step::Listen(Some(until)) = keeper.next(now, Sight::Elsewhere) else {
                panic!("no pause")
            };
            pauses.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(pauses[..6], [5, 10, 20, 40, 60, 60]);
    }

    proptest! {
        /// Whatever is seen: no two questions within nearly five seconds, no two failed restorations within nearly one, and
        /// never a sleep of more than a minute while something is wrong.
        #[test]
        fn no_storm_and_no_sleep(
            sights in proptest::collection::vec((0..3u8, any::<bool>(), 0..5_000u64, any::<bool>(), 0.0..1.0f64), 1..200),
        ) {
            let mut now = BootInstant(Duration::from_secs(1_000));
            let mut keeper = Keeper::new(now, false);
            let (mut asked, mut tried): (Option<BootInstant>, Option<BootInstant>) = (None, None);
            for (sight, good, millis, event, chance) in sights {
                if event {
                    keeper.heard();
                }
                let sight = [Sight::Ours, Sight::Nowhere, Sight::Elsewhere][usize::from(sight)];
                match keeper.next(now, sight) {
                    Step::Ask => {
                        if let Some(asked) = asked {
                            prop_assert!(now.since(asked) >= FIRST_ASK.mul_f64(0.89));
                        }
                        if good {
                            keeper.verified(now);
                            (asked, tried) = (None, None);
                        } else {
                            keeper.failed(now, chance);
                            asked = Some(now);
                        }
                    }
                    Step::Restore => {
                        if let Some(tried) = tried {
                            prop_assert!(now.since(tried) >= FIRST_RESTORE.mul_f64(0.89));
                        }
                        keeper.restored(now, good, chance);
                        tried = (!good).then_some(now);
                    }
                    Step::Listen(None) => prop_assert_eq!(sight, Sight::Ours),
                    Step::Listen(Some(until)) => prop_assert!(until.since(now) <= LONGEST),
                }
                if sight == Sight::Ours {
                    tried = None;
                }
                now = now + Duration::from_millis(millis);
            }
        }
    }
}
