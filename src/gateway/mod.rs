//! The default gateway: compared with what the API says, set so that nothing is lost if it was wrong, undone, kept.
//!
//! The core decides over plain data: `choose` (which interface), `rules` (may it be set now), `plan` (what is done to the
//! routes, and what undoes it), `keeper` (what `gateway keep` does next), `native` (the same as other programs' configuration).
//! The edge acts: `kernel` (what is there now), `record` (the undo, on disk), `guard` (the process that undoes when this one
//! dies), `verify`, `change` (all of it in its order), `confirm`.

pub mod change;
pub mod confirm;
pub mod export;
pub mod guard;
pub mod interface;
pub mod journal;
pub mod keeper;
pub mod kernel;
pub mod plan;
pub mod policy;
pub mod verify;
