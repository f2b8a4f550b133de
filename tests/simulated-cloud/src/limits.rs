//! The limits of Cloud Servers: the number of requests in a window of time, for the whole account.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::wire::Response;

/// The limits, and the requests that count towards them.
#[derive(Clone, Debug)]
pub struct Limits {
    gets: u32,
    others: u32,
    window: Duration,
    started: Instant,
    used: [u32; 2],
}

impl Limits {
    /// This many GET requests and this many others in each window. Documented are a thousand and a
    /// hundred a minute.
    pub fn new(gets: u32, others: u32, window: Duration) -> Limits {
        Limits { gets, others, window, started: Instant::now(), used: [0, 0] }
    }

    /// Counts a request. Returns the error response if it exceeds a limit.
    pub(crate) fn count(&mut self, method: &str, now: SystemTime) -> Option<Response> {
        if self.started.elapsed() >= self.window {
            *self = Limits::new(self.gets, self.others, self.window);
        }
        let (used, limit) = match method {
            "GET" => (&mut self.used[0], self.gets),
            _ => (&mut self.used[1], self.others),
        };
        if *used < limit {
            *used += 1;
            return None;
        }
        let remaining = self.window.saturating_sub(self.started.elapsed()).as_secs() + 1;
        let until =
            humantime::format_rfc3339_seconds(now + Duration::from_secs(remaining)).to_string();
        let body = json!({"overLimit": {"code": 413, "message": "OverLimit Retry...",
                                        "retryAfter": until}});
        Some(Response::json(413, &body).with("Retry-After", &remaining.to_string()))
    }
}
