//! The law, against processes that come, are held up, are killed, and come again, in any order, over one window that is
//! stored as bytes between any two of their steps.

use proptest::prelude::*;

use super::*;
use crate::ratelimit::codec::{self, SIZE};

const BOOT: codec::BootId = [1; 16];
const REQUEST: Duration = Duration::from_secs(10);

/// Where a process is.
#[derive(Clone, Copy)]
enum Process {
    Idle,
    /// It has a place, and is about to send.
    Took(Place, BootInstant),
    /// Its request arrives then; its deadline.
    Sent(Place, BootInstant, BootInstant),
}

struct World {
    now: BootInstant,
    disk: [u8; SIZE],
    processes: Vec<Process>,
    arrivals: Vec<BootInstant>,
    /// When the last one to find no place is to try again.
    again: BootInstant,
}

/// A step: which process, how much later, what becomes of it, and how late its request is (a part of the time it has).
type Step = (usize, u64, u8, f64);

impl World {
    fn with<R>(&mut self, act: impl FnOnce(&mut Window, BootInstant) -> R) -> R {
        let Ok(Some(mut window)) = codec::decode(&self.disk, &BOOT, self.now) else {
            panic!("what was written can be read")
        };
        let result = act(&mut window, self.now);
        self.disk = codec::encode(&window, &BOOT);
        result
    }

    fn take(&mut self, reserve: usize) -> Process {
        let deadline = self.now + REQUEST;
        match self.with(|window, now| window.take(now, deadline, reserve)) {
            Ok(place) => Process::Took(place, deadline),
            Err(NoPlace { until, .. }) => {
                assert!(until > self.now, "there is always a later moment to try again");
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
            && let Process::Took(place, _) = self.take(0)
        {
            self.arrivals.push(now);
            self.with(|window, now| window.answered(place, now));
        }
    }

    fn step(&mut self, (process, later, what, lateness): Step) {
        self.now = match what {
            // To the very moment at which a place may be free.
            30.. => self.now.max(self.again),
            _ => self.now + Duration::from_millis(later),
        };
        let now = self.now;
        let process = process % self.processes.len();
        // SIGKILL, and started again. What is on its way arrives all the same.
        if what == 0 {
            self.processes[process] = Process::Idle;
            return;
        }
        let reserve = if what % 2 == 0 { RESERVE } else { 0 };
        self.processes[process] = match self.processes[process] {
            Process::Idle => self.take(reserve),
            Process::Took(place, deadline) if place.is_stale(now) || now >= deadline => {
                self.take(reserve)
            }
            Process::Took(place, deadline) => {
                let arrival = now + deadline.since(now).mul_f64(lateness);
                self.arrivals.push(arrival);
                Process::Sent(place, arrival, deadline)
            }
            // No answer in time.
            Process::Sent(_, _, deadline) if now > deadline => Process::Idle,
            Process::Sent(place, arrival, _) if arrival <= now => {
                match what {
                    1 => {
                        self.with(|window, now| window.forbidden(place, now));
                    }
                    _ => self.with(|window, now| window.answered(place, now)),
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
        steps in prop::collection::vec((any::<usize>(), 0u64..1_000, 0u8..40, 0.0..=1.0), 1..1_500),
    ) {
        let mut world = World {
            now: BootInstant(Duration::from_secs(1_000)),
            disk: codec::encode(&Window::default(), &BOOT),
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
            let within = world.arrivals[i..].iter().take_while(|later| later.since(*first) < WINDOW).count();
            prop_assert!(within <= LIMIT, "{within} from {first:?} on");
        }
    }
}
