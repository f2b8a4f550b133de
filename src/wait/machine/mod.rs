//! The decisions of a wait, as a state machine over time that is passed in. It reads no clock, no
//! network and no random numbers.
//!
//! Its law: while the goal is not reached, a poll about it follows the last one after at most
//! 1.1 intervals (after a 403 or without a permit of the rate limit, when that allows); nothing
//! else ever delays it. It ends with the goal, with a status that allows no other end, or at the
//! deadline, and never by a response that was not understood.
//!
//! xenstore is a second source, and a lesser one: see `local`.

mod local;
mod observe;
mod record;
mod state;
mod step;

pub use state::Machine;
pub use step::Step;

#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod tests;
