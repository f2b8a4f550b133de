//! The hooks: programs of a folder that run in the order of their names, once per deployment of the server.
//!
//! What is run, skipped or refused (`choose`) and whether it was done already (`stamp`) are decided from what is passed
//! in. `identity` reads what tells one deployment of a server from another, `run` starts programs.

pub mod identity; // What tells one deployment from another.
pub mod runner; // One hook, with its output, its limit and its end.
pub mod select; // What to run, to skip, to refuse.
pub mod stamp; // What was done already.
