//! Hooks: programs of a directory that run in the order of their names, once per deployment of the
//! server.
//!
//! Which entries are hooks (`select`) and what a stamp says (`stamp`) are decided without I/O.
//! `identity` reads what distinguishes one deployment of a server from another, `stamp_dir` is the
//! directory of the stamps, `runner` runs one hook, `run` all of them.

pub mod identity;
mod run;
pub mod runner;
mod select;
mod stamp;
mod stamp_dir;

pub use run::{HooksRequest, Repeat, RunMode, run};
