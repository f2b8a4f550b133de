//! The API of a region: its responses, and how many requests it can answer.

/// The time of a response: at least this, and up to that much longer.
pub const LATENCY: f64 = 0.03;
pub const LATENCY_SPREAD: f64 = 0.02;

/// A response of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The status.
    Deploying,
    /// The status.
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
    /// An API that comes up at this time and answers this many requests a second.
    pub fn new(down_until: f64, capacity: u64) -> Endpoint {
        Endpoint { down_until, capacity, second: 0, answered: 0 }
    }

    /// The response to a request at `now` of a server that is deployed at `deployed_at`.
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
