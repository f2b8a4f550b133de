//! The decisions of a wait, as a state machine that is passed the time. It does no I/O and uses no
//! clock and no random numbers.
//!
//! Its law: until the goal is reached, the next poll about it is due at most 1.1 intervals after
//! the last one, or when the rate limit allows it. Nothing else ever delays it. The wait ends with
//! the goal, with a status that makes it impossible, or at the deadline, and never because of a
//! response that was not understood.
//!
//! xenstore is a second source, which counts less than the API: see `local`.

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
