//! The command line: the definition of commands and options, parsing, help, manual, completions.

mod commands;
pub mod completions;
pub mod help;
pub mod man;
pub mod options;
mod parser;
pub mod values;

pub use commands::{COMMANDS, CloudCommand, Command, CommandSpec};
pub use options::{OPTIONS, OptionSpec, option_specs};
pub use parser::{Arguments, HelpLength, HelpTopic, Invocation, parse, similar, verbosity};
