//! The request limit: thirty requests a minute, then the API answers 403.
//!
//! Source: "The RackConnect v2.0 API": 30 requests a minute from each server; "the counter resets each minute". How
//! that minute is aligned is unknown, so no 60 seconds whatever may hold more than 30.
//!
//! The limit is the server's, so its processes share one [`Window`]: the law, and why it holds, is in `window`. `codec`
//! is its bytes, `shared_file` the file and the lock.
//!
//! Where nothing can be shared, a process counts for itself and keeps to 6 requests a minute. That the state is locked
//! by another process is no such case at once: dozens of processes that were held up together (by a disk that is busy for
//! two seconds) would each send one at once. Each goes on trying for as long as six a minute would keep it waiting anyway.

mod codec;
mod limiter;
pub mod shared_file;
mod window;

pub use limiter::{ALONE, Budget, Ticket};
pub use window::{LIMIT, LONGEST, MIN_INTERVAL, NoPlace, Place, RESERVE, WINDOW, Why, Window};
