//! The rate limit: thirty requests a minute, then the API answers 403.
//!
//! Source: "The RackConnect v2.0 API": 30 requests a minute from each server; "the counter resets
//! each minute". How that minute is aligned is unknown, so no 60 seconds may hold more than 30.
//!
//! The limit is the server's, so its processes share one [`RateWindow`]. `window` has the law and
//! its proof, `codec` the encoding, `open_file` finds or creates the file, `shared_file` locks,
//! reads and writes it, and `limiter` is one process's use of them.
//!
//! A process that cannot share the window sends at most 6 requests a minute. It does not resort to
//! that as soon as it finds the window locked: dozens of processes that are delayed together (by a
//! disk that is busy for two seconds) would then all send a request at the same time. Each of them
//! tries for ten seconds, the interval between two requests of such a process.

pub(crate) mod codec;
mod limiter;
mod open_file;
mod shared_file;
mod window;

pub use limiter::{LimiterPermit, RateLimiter};
pub use open_file::check as check_shared_file;
pub use window::{
    LimitCause, MAX_REQUEST_TIME, MIN_INTERVAL, PERMITS, RESERVED_PERMITS, RateLimited, RateWindow,
    WINDOW,
};
