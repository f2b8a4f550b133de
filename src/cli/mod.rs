//! The command line: what the user asks for, before anything is done about it.

pub mod completions;
pub mod help;
pub mod man;
pub mod options;
mod parse;

pub use options::{COMMANDS, Command, CommandSpec, OPTIONS, Opt};
pub use parse::{Arguments, Invocation, alike, parse, verbosity};
