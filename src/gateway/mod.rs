//! The default gateway: compared with the API's, set without losing the old one, undone, kept.
//!
//! Decisions are functions of plain data: `policy` (may the gateway be set now), `interface` (where
//! it is), `plan` (what is changed, and what undoes it), `keeper` (what `gateway keep` does next)
//! and `export` (the same as configuration of a network manager).
//!
//! A change runs through `lookup` (what the API says), `resolve` (what there is to do) and `apply`
//! (the transaction). The transaction writes a `record` to the `journal`, arms the `guard` (a
//! process that undoes the change if this one dies), and uses `verify` and `confirm`. `undo` and
//! `rollback` take a change back. Only `undo` is shared between the transaction and its guard.

mod apply;
pub(crate) mod check;
pub(crate) mod confirm;
pub(crate) mod export;
pub(crate) mod export_facts;
pub(crate) mod guard;
mod interface;
pub(crate) mod journal;
pub(crate) mod keep;
mod keep_error;
mod keeper;
pub(crate) mod kernel;
pub(crate) mod lookup;
pub(crate) mod names;
mod outcome;
mod plan;
pub(crate) mod policy;
mod probe;
pub(crate) mod record;
pub(crate) mod resolve;
pub(crate) mod rollback;
mod route_events;
mod running_lookup;
pub(crate) mod set;
pub(crate) mod undo;
mod verify;
