//! The law, against processes that start, are delayed, are killed, and start again, in any order,
//! over one window that is stored as bytes between any two of their steps.

use proptest::prelude::*;

use super::*;
use crate::ratelimit::codec::{self, RECORD_BYTES};

const BOOT: codec::BootId = [1; 16];
const REQUEST: Duration = Duration::from_secs(10);

/// How far a process is.
#[derive(Clone, Copy)]
enum Process {
    Idle,
    /// It has a permit, and is about to send.
    Took(Permit, BootInstant),
    /// Its request arrives then; its deadline.
    Sent(Permit, BootInstant, BootInstant),
}

struct World {
    now: BootInstant,
    disk: [u8; RECORD_BYTES],
    processes: Vec<Process>,
    arrivals: Vec<BootInstant>,
    /// When the last one that got no permit is to try again.
    again: BootInstant,
}

/// A step: which process, how much later, what happens to it, and how late its request arrives (as
/// a part of its time).
type Step = (usize, u64, u8, f64);

impl World {
    fn with<R>(&mut self, act: impl FnOnce(&mut RateWindow, BootInstant) -> R) -> R {
        let Ok(Some(mut window)) = codec::decode(&self.disk, &BOOT, self.now) else {
            panic!("a written record can be read")
        };
        let result = act(&mut window, self.now);
        self.disk = codec::encode(&window, &BOOT);
        result
    }

    fn take(&mut self, reserved: usize) -> Process {
        let deadline = self.now + REQUEST;
        match self.with(|window, now| window.take(now, deadline, reserved)) {
            Ok(permit) => Process::Took(permit, deadline),
            Err(RateLimited { until, .. }) => {
                assert!(until > self.now, "there is always a later time to try again");
                self.again = until;
                Process::Idle
            }
        }
    }

    /// A whole request in no time.
    fn at_once(&mut self, process: usize) {
        let process = process % self.processes.len();
        let now = self.now;
        if let Process::Idle = self.processes[process]
            && let Process::Took(permit, _) = self.take(0)
        {
            self.arrivals.push(now);
            self.with(|window, now| window.answered(permit, now));
        }
    }

    fn step(&mut self, (process, later, what, lateness): Step) {
        self.now = match what {
            // The very moment at which a permit may be free.
            30.. => self.now.max(self.again),
            _ => self.now + Duration::from_millis(later),
        };
        let now = self.now;
        let process = process % self.processes.len();
        // SIGKILL, and started again. A request on its way still arrives.
        if what == 0 {
            self.processes[process] = Process::Idle;
            return;
        }
        let reserved = if what % 2 == 0 { RESERVED_PERMITS } else { 0 };
        self.processes[process] = match self.processes[process] {
            Process::Idle => self.take(reserved),
            Process::Took(permit, deadline) if permit.is_stale(now) || now >= deadline => {
                self.take(reserved)
            }
            Process::Took(permit, deadline) => {
                let arrival = now + deadline.since(now).mul_f64(lateness);
                self.arrivals.push(arrival);
                Process::Sent(permit, arrival, deadline)
            }
            // No response in time.
            Process::Sent(_, _, deadline) if now > deadline => Process::Idle,
            Process::Sent(permit, arrival, _) if arrival <= now => {
                match what {
                    1 => {
                        self.with(|window, now| window.forbidden(permit, now));
                    }
                    _ => self.with(|window, now| window.answered(permit, now)),
                }
                Process::Idle
            }
            waiting => waiting,
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_60_seconds_hold_more_than_30_arrivals(
        processes in 1usize..60,
        pace in 1u64..700,
        steps in prop::collection::vec(
            (any::<usize>(), 0u64..1_000, 0u8..40, 0.0..=1.0),
            1..1_500,
        ),
    ) {
        let mut world = World {
            now: BootInstant(Duration::from_secs(1_000)),
            disk: codec::encode(&RateWindow::default(), &BOOT),
            processes: vec![Process::Idle; processes],
            arrivals: Vec::new(),
            again: BootInstant::default(),
        };
        for (process, later, what, lateness) in steps {
            world.step((process, later * pace / 1_000, what, lateness));
            if what % 3 == 0 {
                world.at_once(process);
            }
        }
        world.arrivals.sort_unstable();
        for (i, first) in world.arrivals.iter().enumerate() {
            let is_within = |later: &&BootInstant| later.since(*first) < WINDOW;
            let within = world.arrivals[i..].iter().take_while(is_within).count();
            prop_assert!(within <= PERMITS, "{within} from {first:?} on");
        }
    }
}
