//! The command line: what the user asks for, before anything is done about it.

pub mod completions;
pub mod definitions;
pub mod help;
pub mod man;
mod parser;
pub mod values;

pub use definitions::{COMMANDS, Command, CommandSpec, OPTIONS, Opt};
pub use parser::{Arguments, Invocation, alike, parse, verbosity};
