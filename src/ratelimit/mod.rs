//! The rate limit: thirty requests a minute, then the API answers 403.
//!
//! Source: "The RackConnect v2.0 API": 30 requests a minute from each server; "the counter resets
//! each minute". How that minute is aligned is unknown, so no 60 seconds may hold more than 30.
//!
//! The limit is the server's, so its processes share one [`RateWindow`]. `window` is the law and
//! why it holds, `codec` its bytes, `shared_file` the file and the lock, `limiter` one process's
//! use of it.
//!
//! A process that can share nothing keeps to 6 requests a minute. A window that another process has
//! locked is no such case at once: dozens of processes that were delayed together (by a disk that
//! is busy for two seconds) would each send a request at once. Each goes on trying for as long as
//! six a minute would keep it waiting anyway.

pub(crate) mod codec;
mod limiter;
mod shared_file;
mod window;

pub use limiter::{LimiterPermit, RateLimiter};
pub use shared_file::check as check_shared_file;
pub use window::{
    LimitCause, MAX_REQUEST_TIME, MIN_INTERVAL, PERMITS, RESERVED_PERMITS, RateLimited, RateWindow,
    WINDOW,
};
