//! Hooks: programs in a directory that run in the order of their names, once per deployment of the
//! server.
//!
//! `select` decides which entries are hooks, and `stamp` whether a hook is done, without I/O.
//! `identity` reads the ids of the deployment, `stamp_dir` is the directory of the stamps, `runner`
//! runs one hook, `run` all of them.

pub mod identity;
mod run;
pub mod runner;
mod select;
mod stamp;
mod stamp_dir;

pub use run::{HooksRequest, Repeat, RunMode, run};
