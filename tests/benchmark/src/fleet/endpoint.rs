//! The API of a region: its responses, and how many requests it can answer.

/// The shortest time of a response, in seconds.
pub const LATENCY: f64 = 0.03;

/// By how many seconds a response can take longer than [`LATENCY`].
pub const LATENCY_SPREAD: f64 = 0.02;

/// A response of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The status DEPLOYING.
    Deploying,
    /// The status DEPLOYED.
    Deployed,
    /// 503: it is down, or overloaded.
    Unavailable,
}

/// The API of a region.
pub struct Endpoint {
    /// When it comes up, in seconds.
    pub down_until: f64,
    /// The number of requests that it answers in each second.
    pub capacity: u64,
    second: u64,
    answered: u64,
}

impl Endpoint {
    /// An API that is down until this time, in seconds, and then answers this many requests a
    /// second.
    pub fn new(down_until: f64, capacity: u64) -> Endpoint {
        Endpoint { down_until, capacity, second: 0, answered: 0 }
    }

    /// The response to a request that a server sends at `now`, if it is deployed at `deployed_at`.
    /// Both times are in seconds.
    pub fn respond(&mut self, now: f64, deployed_at: f64) -> Response {
        if self.second != now as u64 {
            (self.second, self.answered) = (now as u64, 0);
        }
        if now < self.down_until || self.answered >= self.capacity {
            return Response::Unavailable;
        }
        self.answered += 1;
        // The time of a request is rounded to nanoseconds, and may be slightly early.
        if now + 1e-6 >= deployed_at { Response::Deployed } else { Response::Deploying }
    }
}
