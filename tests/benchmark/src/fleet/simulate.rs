//! The simulation: requests in the order of their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::client::{Behaviour, Client};
use super::endpoint::{Endpoint, LATENCY, LATENCY_SPREAD, Response};
use super::random::Random;

/// A scenario. All times are in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The number of servers.
    pub servers: usize,
    /// The client on them.
    pub behaviour: Behaviour,
    /// The waits start between 0 and this time.
    pub starts_within: f64,
    /// The shortest time from a server's start to its deployment, and how much longer it can be.
    pub deployed_after: (f64, f64),
    /// When the API comes up.
    pub down_until: f64,
    /// The number of requests that it answers in a second.
    pub capacity: u64,
}

/// The result of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The number of requests in each tenth of a second.
    pub tenths: Vec<u32>,
    /// The lateness of each wait (the time from its earliest possible end to its end), in seconds,
    /// sorted.
    pub lateness: Vec<f64>,
}

impl Outcome {
    /// The number of all requests.
    pub fn requests(&self) -> u64 {
        self.tenths.iter().map(|count| u64::from(*count)).sum()
    }

    /// The number of requests in each second.
    pub fn seconds(&self) -> Vec<u32> {
        self.tenths.chunks(10).map(|tenths| tenths.iter().sum()).collect()
    }

    /// The most requests in a second that begins at or after `from` seconds.
    pub fn peak_second(&self, from: usize) -> u32 {
        self.seconds().into_iter().skip(from).max().unwrap_or(0)
    }

    /// The most requests in a tenth of a second that begins at or after `from` seconds.
    pub fn peak_tenth(&self, from: usize) -> u32 {
        self.tenths.iter().skip(from * 10).copied().max().unwrap_or(0)
    }

    /// The lateness at this quantile, from 0 to 1, in seconds.
    pub fn lateness_of(&self, quantile: f64) -> f64 {
        let last = self.lateness.len().saturating_sub(1);
        self.lateness.get((last as f64 * quantile).round() as usize).copied().unwrap_or(0.0)
    }

    fn count(&mut self, at: f64) {
        let tenth = (at * 10.0) as usize;
        if self.tenths.len() <= tenth {
            self.tenths.resize(tenth + 1, 0);
        }
        self.tenths[tenth] += 1;
    }
}

/// A request that is due. The earliest comes first; nanoseconds, because floating-point times have
/// no total order.
type Due = Reverse<(u64, usize)>;

fn due(at: f64, server: usize) -> Due {
    Reverse(((at * 1e9) as u64, server))
}

struct Server {
    client: Client,
    deployed_at: f64,
    /// When its next request is due. Other entries of the queue are outdated.
    due: u64,
    has_ended: bool,
}

/// Runs a scenario. The same seed gives the same result.
pub fn simulate(scenario: &Scenario, seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    let mut endpoint = Endpoint::new(scenario.down_until, scenario.capacity);
    let mut outcome = Outcome { tenths: Vec::new(), lateness: Vec::new() };
    let mut queue: BinaryHeap<Due> = BinaryHeap::new();
    let mut servers: Vec<Server> = Vec::with_capacity(scenario.servers);
    for number in 0..scenario.servers {
        let started = random.seconds(scenario.starts_within);
        let client = Client::new(scenario.behaviour, started);
        let first = due(client.first_request(&mut random), number);
        let (least, more) = scenario.deployed_after;
        let deployed_at = started + least + random.seconds(more);
        queue.push(first);
        servers.push(Server { client, deployed_at, due: first.0.0, has_ended: false });
    }
    while let Some(Reverse((at, number))) = queue.pop() {
        let server = &mut servers[number];
        if server.has_ended || server.due != at {
            continue;
        }
        let asked = at as f64 / 1e9;
        outcome.count(asked);
        let response = endpoint.respond(asked, server.deployed_at);
        let now = asked + LATENCY + random.seconds(LATENCY_SPREAD);
        match server.client.next_request(asked, response, now, &mut random) {
            None => {
                server.has_ended = true;
                outcome.lateness.push(now - server.deployed_at.max(scenario.down_until));
            }
            Some(next) => {
                let change = server.client.request_at_change(server.deployed_at);
                let is_before = |change: &f64| *change > now && *change < next;
                let is_answered = response == Response::Deploying;
                let next = change.filter(|change| is_answered && is_before(change)).unwrap_or(next);
                let entry = due(next.max(now), number);
                server.due = entry.0.0;
                queue.push(entry);
            }
        }
    }
    outcome.lateness.sort_by(f64::total_cmp);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(behaviour: Behaviour) -> Scenario {
        Scenario {
            servers: 500,
            behaviour,
            starts_within: 30.0,
            deployed_after: (60.0, 120.0),
            down_until: 0.0,
            capacity: u64::MAX,
        }
    }

    #[test]
    fn the_same_seed_has_the_same_outcome() {
        let run = |seed| simulate(&burst(Behaviour::Agent), seed);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn every_wait_ends_but_not_before_the_deployment() {
        for behaviour in [
            Behaviour::Shell,
            Behaviour::Agent,
            Behaviour::WithoutJitter,
            Behaviour::StartingLate { most: 5.0 },
            Behaviour::FirstPause { least: 3.0, most: 5.5 },
            Behaviour::SlowingDown { after: 30.0, interval: 20.0 },
            Behaviour::WithXenstore,
        ] {
            let outcome = simulate(&burst(behaviour), 3);
            assert_eq!(outcome.lateness.len(), 500, "{behaviour:?}");
            assert!(outcome.lateness.iter().all(|late| *late > 0.0), "{behaviour:?}");
        }
    }

    #[test]
    fn the_agent_is_at_most_its_interval_with_jitter_late() {
        let outcome = simulate(&burst(Behaviour::Agent), 4);
        assert!(outcome.lateness_of(1.0) <= 5.5 + LATENCY + LATENCY_SPREAD);
        let told = simulate(&burst(Behaviour::WithXenstore), 4);
        assert!(told.lateness_of(1.0) <= LATENCY + LATENCY_SPREAD + 1e-5);
        assert!(told.requests() * 3 < outcome.requests());
    }

    /// After an outage the loops send their requests in waves, and the agents less so.
    #[test]
    fn jitter_spreads_the_requests_after_an_outage() {
        let outage = |behaviour| Scenario {
            servers: 5_000,
            starts_within: 1.0,
            deployed_after: (0.0, 0.0),
            down_until: 120.0,
            capacity: 500,
            ..burst(behaviour)
        };
        let shell = simulate(&outage(Behaviour::Shell), 5);
        let agent = simulate(&outage(Behaviour::Agent), 5);
        assert!(shell.peak_tenth(120) > agent.peak_tenth(120));
        assert!(shell.lateness_of(1.0) > 1.2 * agent.lateness_of(1.0));
    }
}
