//! The state of each server: its position in the script, its requests and its limit. The time is
//! passed in, so that nothing here depends on a clock.

use crate::script::{Fault, Operation, Script, Step};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// One server.
pub(crate) struct Server {
    script: Script,
    /// The index of the current step.
    step: usize,
    /// When that step started; `None` before the server's first connection.
    started: Option<Instant>,
    /// The requests and handshakes during that step.
    requests: u32,
    handshakes: u32,
    /// The last minute with a request, and the number of requests in it.
    minute: (u128, u32),
    /// The arrival times of the requests, since the simulator's start.
    pub arrivals: VecDeque<Duration>,
    pub counts: Counts,
}

/// Counts of events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// TCP connections accepted.
    pub connections: u64,
    /// TLS handshakes completed, as far as the simulator can tell.
    pub handshakes: u64,
    /// TLS handshakes that failed or that the client abandoned.
    pub failed_handshakes: u64,
    /// Requests received, including those over the limit.
    pub requests: u64,
    /// Requests over the limit (answered with 403).
    pub over_limit: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.connections += other.connections;
        self.handshakes += other.handshakes;
        self.failed_handshakes += other.failed_handshakes;
        self.requests += other.requests;
        self.over_limit += other.over_limit;
    }
}

impl Server {
    pub fn new(script: Script) -> Server {
        Server {
            script,
            step: 0,
            started: None,
            requests: 0,
            handshakes: 0,
            minute: (0, 0),
            arrivals: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Replaces the script and starts it from its first step. The limit and the counts continue.
    pub fn set_script(&mut self, script: Script) {
        self.script = script;
        self.step = 0;
        self.started = None;
        self.requests = 0;
        self.handshakes = 0;
    }

    /// The index of the current step. Does not start the script.
    pub fn step(&mut self, now: Instant) -> usize {
        if self.started.is_some() {
            self.skip_expired_steps(now);
        }
        self.step
    }

    /// Moves to the next step, if there is one.
    pub fn advance(&mut self, now: Instant) {
        self.skip_expired_steps(now);
        self.enter_next_step(now);
    }

    /// Counts an accepted connection, and returns its handshake fault.
    pub fn accept(&mut self, now: Instant) -> Option<Fault> {
        self.counts.connections += 1;
        let fault = self.handshake_fault(now);
        self.handshakes += 1;
        if self.current().handshakes.is_some_and(|limit| self.handshakes >= limit) {
            self.enter_next_step(now);
        }
        fault
    }

    /// The fault of a handshake at this time.
    pub fn handshake_fault(&mut self, now: Instant) -> Option<Fault> {
        self.skip_expired_steps(now);
        self.current().fault.filter(|fault| fault.is_of_handshake())
    }

    /// Counts a request of any kind, and returns whether it is within the limit. `minute` is the
    /// number of the minute in which it arrived.
    pub fn count_request(&mut self, at: Duration, minute: u128, limit: u32) -> bool {
        self.counts.requests += 1;
        self.arrivals.push_back(at);
        if self.minute.0 != minute {
            self.minute = (minute, 0);
        }
        self.minute.1 = self.minute.1.saturating_add(1);
        let within = self.minute.1 <= limit;
        if !within {
            self.counts.over_limit += 1;
        }
        within
    }

    /// The index of the step that answers a request for an operation, and the step. The request
    /// must be within the limit.
    pub fn take_step(&mut self, operation: Operation, now: Instant) -> (usize, Step) {
        self.skip_expired_steps(now);
        let taken = (self.step, self.current());
        let step = &taken.1;
        if step.count.is_none_or(|counted| counted == operation) {
            self.requests += 1;
            if step.requests.is_some_and(|limit| self.requests >= limit) {
                self.enter_next_step(now);
            }
        }
        taken
    }

    /// Whether the script has bodies for this path.
    pub fn knows(&self, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        self.script.steps.iter().any(|step| step.other.contains_key(path))
    }

    fn current(&self) -> Step {
        self.script.steps.get(self.step).cloned().unwrap_or_default()
    }

    /// Starts the script if necessary, and skips the steps whose time is over.
    fn skip_expired_steps(&mut self, now: Instant) {
        let mut started = *self.started.get_or_insert(now);
        while let Some(lasts) = self.current().lasts
            && let Some(end) = started.checked_add(lasts)
            && end <= now
            && self.enter_next_step(end)
        {
            started = end;
        }
    }

    fn enter_next_step(&mut self, started: Instant) -> bool {
        if self.step + 1 >= self.script.steps.len() {
            return false;
        }
        self.step += 1;
        self.started = Some(started);
        self.requests = 0;
        self.handshakes = 0;
        true
    }
}

/// The most of these ordered times in any window of this length (the end is excluded).
pub fn max_in_any_window(times: impl IntoIterator<Item = Duration>, window: Duration) -> usize {
    let mut inside = VecDeque::new();
    let mut most = 0;
    for time in times {
        inside.push_back(time);
        while inside.front().is_some_and(|&first| time - first >= window) {
            inside.pop_front();
        }
        most = most.max(inside.len());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn status(taken: (usize, Step)) -> String {
        taken.1.status.unwrap_or_default()
    }

    #[test]
    fn requests_end_every_step_but_the_last() {
        let now = Instant::now();
        let mut server =
            Server::new(Script::of([Step::new("A").requests(2), Step::new("B").requests(1)]));
        let answers: Vec<_> =
            (0..5).map(|_| status(server.take_step(Operation::Details, now))).collect();
        assert_eq!(answers, ["A", "A", "B", "B", "B"]);
    }

    #[test]
    fn only_the_counted_operation_ends_a_step() {
        let now = Instant::now();
        let counted =
            Step { count: Some(Operation::AutomationStatus), ..Step::new("A").requests(1) };
        let mut server = Server::new(Script::of([counted, Step::new("B")]));
        assert_eq!(status(server.take_step(Operation::Details, now)), "A");
        assert_eq!(status(server.take_step(Operation::AutomationStatus, now)), "A");
        assert_eq!(status(server.take_step(Operation::Details, now)), "B");
    }

    #[test]
    fn time_starts_with_the_first_connection_and_can_skip_steps() {
        let start = Instant::now();
        let script = Script::of([
            Step::new("A").lasts(seconds(2)),
            Step::new("B").lasts(seconds(3)),
            Step::new("C"),
        ]);
        let mut server = Server::new(script);
        assert_eq!(server.step(start + seconds(100)), 0);
        let start = start + seconds(100);
        server.accept(start);
        assert_eq!(server.step(start + seconds(1)), 0);
        assert_eq!(status(server.take_step(Operation::Details, start + seconds(2))), "B");
        assert_eq!(server.step(start + seconds(4)), 1);
        assert_eq!(server.step(start + seconds(60)), 2);
    }

    #[test]
    fn handshakes_end_a_step() {
        let now = Instant::now();
        let mut server = Server::new(Script::of([
            Step::new("A").fault("cert-expired").handshakes(2),
            Step::new("B").fault("slow"),
        ]));
        assert_eq!(server.accept(now), Some(Fault::CertExpired));
        assert_eq!(server.accept(now), Some(Fault::CertExpired));
        assert_eq!(server.accept(now), None);
        assert_eq!(server.counts.connections, 3);
    }

    #[test]
    fn advance_and_set_script() {
        let now = Instant::now();
        let mut server = Server::new(Script::of([Step::new("A"), Step::new("B")]));
        server.advance(now);
        server.advance(now);
        assert_eq!(server.step(now), 1);
        server.set_script(Script::of([Step::new("C")]));
        assert_eq!(status(server.take_step(Operation::Details, now)), "C");
        server.set_script(Script::default());
        assert_eq!(server.take_step(Operation::Details, now).1, Step::default());
    }

    #[test]
    fn the_counter_restarts_each_minute() {
        let mut server = Server::new(Script::default());
        let count = |server: &mut Server, minute| {
            (0..40).filter(|_| server.count_request(Duration::ZERO, minute, 30)).count()
        };
        assert_eq!(count(&mut server, 7), 30);
        assert_eq!(count(&mut server, 8), 30);
        assert_eq!(server.counts.over_limit, 20);
    }

    #[test]
    fn windows() {
        let most =
            |times: &[u64]| max_in_any_window(times.iter().map(|&t| seconds(t)), seconds(60));
        assert_eq!(most(&[]), 0);
        assert_eq!(most(&[5, 5, 5]), 3);
        assert_eq!(most(&[0, 60]), 1);
        assert_eq!(most(&[0, 59, 60, 61, 118, 119]), 4);
        assert_eq!(most(&[0, 10, 200, 210, 220, 500]), 3);
    }
}
