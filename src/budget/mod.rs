//! The request limit: thirty requests a minute, then the API answers 403.
//!
//! Source: "The RackConnect v2.0 API": 30 requests a minute from each server; "the counter resets each minute". How
//! that minute is aligned is unknown, so no 60 seconds whatever may hold more than 30.

mod window;

pub use window::{LIMIT, Place, RESERVE, WINDOW, Window};
