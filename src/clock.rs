//! The boot clock (CLOCK_BOOTTIME): it is never set, and it goes on during a suspend.
//!
//! Everything that waits or has a deadline is measured in [`BootInstant`]s. Pure code is passed the
//! time; only code that does I/O reads the clock.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::ops::{Add, Sub};
use std::time::Duration;

use nix::poll::PollTimeout;
use nix::time::{ClockId, clock_gettime};

/// A point in time, as the time since the server booted (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(pub Duration);

impl BootInstant {
    /// Later than every other time.
    pub const NEVER: BootInstant = BootInstant(Duration::MAX);

    /// Reads the clock.
    pub fn now() -> BootInstant {
        // Linux has CLOCK_BOOTTIME since 2.6.39, so the call cannot fail on any system that Rust
        // itself runs on.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the kernel has CLOCK_BOOTTIME");
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec()).unwrap_or(0);
        BootInstant(Duration::new(seconds, nanos))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: BootInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The same point in time by a clock that is `nanos` nanoseconds ahead.
    pub fn shifted(self, nanos: i128) -> BootInstant {
        if nanos == 0 {
            return self;
        }
        let unshifted = i128::try_from(self.0.as_nanos()).unwrap_or(i128::MAX);
        let shifted = unshifted.saturating_add(nanos).clamp(0, u64::MAX.into());
        BootInstant(Duration::from_nanos(u64::try_from(shifted).unwrap_or(u64::MAX)))
    }

    /// The timeout of a poll(2) that ends at this time, rounded up so that it does not end just
    /// before.
    pub fn poll_timeout(self) -> PollTimeout {
        let millis = self.since(BootInstant::now()).as_nanos().div_ceil(1_000_000);
        let millis = i32::try_from(millis).ok();
        millis.and_then(|millis| millis.try_into().ok()).unwrap_or(PollTimeout::MAX)
    }
}

impl Add<Duration> for BootInstant {
    type Output = BootInstant;
    fn add(self, duration: Duration) -> BootInstant {
        BootInstant(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for BootInstant {
    type Output = BootInstant;
    fn sub(self, duration: Duration) -> BootInstant {
        BootInstant(self.0.saturating_sub(duration))
    }
}

/// A random number from 0 to 1. std seeds its hashers from the kernel's random numbers.
pub fn random_unit() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}
