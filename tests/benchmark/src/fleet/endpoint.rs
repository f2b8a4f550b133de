//! The API of a region: what it answers when, and how much it can answer.

/// How long a response takes: this long, and up to that much longer.
pub const LATENCY: f64 = 0.03;
pub const LATENCY_SPREAD: f64 = 0.02;

/// What the API does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The status.
    Deploying,
    /// The status.
    Deployed,
    /// 503: it is down, or has too much to do.
    Unavailable,
}

/// The API of a region.
pub struct Endpoint {
    /// Until when it answers nothing, in seconds.
    pub down_until: f64,
    /// How many requests it answers in each second.
    pub capacity: u64,
    second: u64,
    answered: u64,
}

impl Endpoint {
    /// An API that is up from then on, and answers that many requests a second.
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
        // The time of a request is in whole nanoseconds, and so may be a bit early.
        if now + 1e-6 >= deployed_at { Response::Deployed } else { Response::Deploying }
    }
}
