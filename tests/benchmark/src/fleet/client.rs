//! The client on a server: this agent, or a loop in a shell script.

use std::sync::LazyLock;
use std::time::Duration;

use rackconnect_agent::api::request::Failure;
use rackconnect_agent::clock::BootInstant;
use rackconnect_agent::error::{Error, Kind};
use rackconnect_agent::model::{Goal, OkIf, Status};
use rackconnect_agent::wait::{Machine, Policy, Poll, PollResult, Step, WaitQuery};
use rackconnect_agent::xenstore::{Snapshot, Value};

use super::endpoint::Response;
use super::random::Random;

/// The seconds between two requests: the agent's default, and the `sleep` of the loop.
const INTERVAL: f64 = 5.0;

/// The client on every server of a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Behaviour {
    /// `until [ "$(curl …)" = DEPLOYED ]; do sleep 5; done`.
    Shell,
    /// `rackconnect wait`.
    Agent,
    /// The same without the jitter of the interval.
    WithoutJitter,
    /// The same with a random delay of the first request.
    StartingLate {
        /// The longest delay, in seconds.
        most: f64,
    },
    /// The same with a first pause from a wider range than its jitter allows.
    FirstPause {
        /// The shortest pause, in seconds.
        least: f64,
        /// The longest pause, in seconds.
        most: f64,
    },
    /// The same with a longer interval after some time.
    SlowingDown {
        /// The time from its start to the change, in seconds.
        after: f64,
        /// The longer interval, in seconds.
        interval: f64,
    },
    /// The same on a server where xenstore reports changes.
    WithXenstore,
}

/// One server.
pub struct Client {
    behaviour: Behaviour,
    /// None for the loop.
    machine: Option<Machine>,
    started: f64,
    /// The subject of the next request.
    query: WaitQuery,
    /// The number of responses so far.
    responses: u32,
    has_slowed_down: bool,
}

impl Client {
    /// A server whose wait starts at this time, in seconds.
    pub fn new(behaviour: Behaviour, started: f64) -> Client {
        let machine = (behaviour != Behaviour::Shell).then(|| machine(INTERVAL, started));
        Client {
            behaviour,
            machine,
            started,
            query: WaitQuery::Status,
            responses: 0,
            has_slowed_down: false,
        }
    }

    /// When it sends its first request.
    pub fn first_request(&self, random: &mut Random) -> f64 {
        match self.behaviour {
            Behaviour::StartingLate { most } => self.started + random.seconds(most),
            // Every other client sends it at once.
            _ => self.started,
        }
    }

    /// The time of the next request, after one that was sent at `asked` and answered at `now`; none
    /// if the wait has ended.
    pub fn next_request(
        &mut self,
        asked: f64,
        response: Response,
        now: f64,
        random: &mut Random,
    ) -> Option<f64> {
        let Some(machine) = &mut self.machine else {
            return (response != Response::Deployed).then_some(now + INTERVAL);
        };
        if self.behaviour == Behaviour::WithXenstore {
            let snapshot = if response == Response::Deployed { &DEPLOYED } else { &DEPLOYING };
            machine.observe(Some(snapshot), instant(asked));
        }
        if let Behaviour::SlowingDown { after, interval } = self.behaviour
            && now >= self.started + after
            && !self.has_slowed_down
        {
            self.has_slowed_down = true;
            *machine = self::machine(interval, self.started);
        }
        let jitter = if self.behaviour == Behaviour::WithoutJitter { 0.0 } else { random.unit() };
        let result = result(self.query, response);
        let poll = Poll { query: self.query, asked: instant(asked), result };
        machine.record(&poll, instant(now), jitter);
        self.responses += 1;
        let (query, at) = match machine.step(instant(now)) {
            Step::Ask { query, at, .. } => (query, at.0.as_secs_f64()),
            Step::Rest(at) => (WaitQuery::Status, at.0.as_secs_f64()),
            Step::End(_) => return None,
        };
        self.query = query;
        Some(match self.behaviour {
            Behaviour::FirstPause { least, most } if self.responses == 1 => {
                asked + least + random.seconds(most - least)
            }
            _ => at,
        })
    }

    /// When it sends a request because the status changed at the time `changed`; none if it does
    /// not learn of changes.
    pub fn request_at_change(&self, changed: f64) -> Option<f64> {
        (self.behaviour == Behaviour::WithXenstore).then_some(changed.max(self.started))
    }
}

fn machine(interval: f64, started: f64) -> Machine {
    let policy = Policy {
        goal: Goal::Deployed,
        interval: Duration::from_secs_f64(interval),
        deadline: None,
        ok_if: OkIf::default(),
        through_failed: false,
        is_watched: false,
    };
    Machine::new(policy, instant(started))
}

fn instant(seconds: f64) -> BootInstant {
    BootInstant(Duration::from_secs_f64(seconds))
}

fn result(query: WaitQuery, response: Response) -> PollResult {
    match response {
        Response::Deploying | Response::Deployed if query == WaitQuery::Tasks => {
            PollResult::Tasks(Vec::new())
        }
        Response::Deploying => PollResult::Status(Status::Deploying),
        Response::Deployed => PollResult::Status(Status::Deployed),
        Response::Unavailable => {
            PollResult::Failure(Failure::Error(Error::new(Kind::Unreachable, "HTTP 503")))
        }
    }
}

/// The values in xenstore for this status of the API.
static DEPLOYING: LazyLock<Snapshot> = LazyLock::new(|| xenstore("DEPLOYING"));
static DEPLOYED: LazyLock<Snapshot> = LazyLock::new(|| xenstore("DEPLOYED"));

fn xenstore(status: &str) -> Snapshot {
    let text = |text: &str| Value::Text(text.to_owned());
    let roles = text(r#"["rack_connect"]"#);
    Snapshot::new(&text("Rackspace"), &roles, &text(status), &Value::Absent, true)
}
