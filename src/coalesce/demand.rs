//! The combined demand of a leader's followers. No I/O, no clock.

use std::time::Duration;

use super::protocol::Demand;
use crate::clock::BootInstant;
use crate::ratelimit::MIN_INTERVAL;

/// When the last request was sent, and when the next one may be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestTimes {
    /// When the last request was sent, by any process.
    pub last: Option<BootInstant>,
    /// When a request may be sent for one-shot followers.
    pub at_once: BootInstant,
    /// When the rate limit allows the next request that leaves the reserved permits.
    pub not_before: BootInstant,
    /// The factor by which intervals are stretched: at least 1.
    pub stretch: f64,
}

/// When the next request is due; `None` if no follower needs one.
pub(super) fn due(
    followers: impl Iterator<Item = Demand>,
    times: RequestTimes,
) -> Option<BootInstant> {
    let interval = followers.map(interval).min()?;
    Some(match times.last {
        _ if interval.is_zero() => times.at_once,
        Some(last) => (last + interval.mul_f64(times.stretch)).max(times.not_before),
        None => times.not_before,
    })
}

/// How long after the last request a follower needs the next one.
fn interval(demand: Demand) -> Duration {
    match demand.interval {
        Some(_) if demand.is_new => MIN_INTERVAL,
        interval => interval.unwrap_or_default(),
    }
}

/// How many permits the next request leaves to others; `own`: without one-shot followers.
pub(super) fn reserved(followers: impl Iterator<Item = Demand>, own: usize) -> usize {
    let one_shot = followers.filter(|demand| demand.interval.is_none());
    one_shot.map(|demand| demand.reserved).fold(own, usize::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratelimit::RESERVED_PERMITS;

    fn at(seconds: u64) -> BootInstant {
        BootInstant(Duration::from_secs(seconds))
    }

    fn every(seconds: u64) -> Demand {
        let interval = Some(Duration::from_secs(seconds));
        Demand { interval, reserved: RESERVED_PERMITS, is_new: false }
    }

    const AT_ONCE: Demand = Demand { interval: None, reserved: 0, is_new: true };

    fn schedule(last: u64) -> RequestTimes {
        RequestTimes { last: Some(at(last)), at_once: at(101), not_before: at(0), stretch: 1.1 }
    }

    #[test]
    fn the_shortest_interval_counts_and_is_stretched() {
        assert_eq!(due([].into_iter(), schedule(100)), None);
        assert_eq!(due([every(30), every(10)].into_iter(), schedule(100)), Some(at(111)));
    }

    #[test]
    fn a_new_subscriber_waits_for_the_shortest_interval_only() {
        let new = Demand { is_new: true, ..every(30) };
        let due = due([every(30), new].into_iter(), RequestTimes { stretch: 1.0, ..schedule(100) });
        assert_eq!(due, Some(at(100) + MIN_INTERVAL));
    }

    #[test]
    fn the_rate_limit_delays_intervals_and_not_what_is_needed_at_once() {
        let limited = RequestTimes { not_before: at(160), ..schedule(100) };
        assert_eq!(due([every(5)].into_iter(), limited), Some(at(160)));
        assert_eq!(due([every(5), AT_ONCE].into_iter(), limited), Some(at(101)));
        assert_eq!(
            due([every(5)].into_iter(), RequestTimes { last: None, ..limited }),
            Some(at(160))
        );
    }

    #[test]
    fn a_one_shot_follower_lowers_the_reserve() {
        assert_eq!(reserved([every(5)].into_iter(), RESERVED_PERMITS), RESERVED_PERMITS);
        assert_eq!(reserved([every(5), AT_ONCE].into_iter(), RESERVED_PERMITS), 0);
    }
}
