//! The default gateway: compares it with the API's, sets it, undoes the change, keeps it set.
//!
//! These modules decide, without I/O: `policy` (whether the gateway may be set now), `interface`
//! (which interface it is on), `plan` (the steps of a change and of its undo) and `keeper` (what
//! `gateway keep` does next). `export` writes the gateway as configuration for a network manager.
//!
//! A change runs through `lookup` (requests to the API), `resolve` (what there is to do) and
//! `apply` (the transaction). The transaction writes a `record` to the `journal`, arms the `guard`
//! (a process that undoes the change if this one dies), and uses `verify` and `confirm`. `undo` and
//! `rollback` undo a change. Only `undo` is shared between the transaction and its guard.

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
