//! The options: each with its environment variables, its key in the configuration file, its default
//! and its help texts. Parsing, configuration, help, manual and completions read this table.

mod common;
mod own;
mod spec;

pub use common::*;
pub use own::*;
pub use spec::{CommandSet, KeyType, OptionSpec, Visibility};

/// All options, in the order of the help.
pub const OPTIONS: &[&OptionSpec] = &[
    &CHECK,
    &FORMAT,
    &SOURCE,
    &NO_API,
    &FOR,
    &TIMEOUT,
    &INTERVAL,
    &OK_IF,
    &THROUGH_FAILED,
    &ONLY,
    &LIST,
    &EXPLAIN,
    &REPORT,
    &ROOT,
    &AGAIN,
    &HOOK_LIMIT,
    &STAMP_DIR,
    &AS,
    &DRY_RUN,
    &FORCE,
    &WAIT,
    &KEEP_OLD_METRIC,
    &PROBE,
    &CONFIRM,
    &INTERFACE,
    &REGION,
    &ENDPOINT,
    &CA_FILE,
    &CONNECT_TIMEOUT,
    &REQUEST_TIMEOUT,
    &DEADLINE,
    &STATE_DIR,
    &CONFIG,
    &QUIET,
    &VERBOSE,
    &HELP,
    &VERSION,
];
