//! The table of options: each with its environment variables, its key in the configuration file,
//! its default and its help texts. Parser, configuration, help, manual and completions use this
//! table.

#[cfg(feature = "cloud")]
mod cloud;
mod common;
mod own;
mod spec;
mod variants;

#[cfg(feature = "cloud")]
pub use cloud::*;
pub use common::*;
pub use own::*;
pub use spec::{AnyOption, CommandSet, KeyType, OptionSpec, ValueOption, Variant, Visibility};

/// The definitions of all options, in the order of the help.
pub fn option_specs() -> impl Iterator<Item = &'static OptionSpec> {
    OPTIONS.iter().map(|option| option.spec())
}

/// All options, in the order of the help.
pub const OPTIONS: &[&dyn AnyOption] = &[
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
    #[cfg(feature = "cloud")]
    &NAME,
    #[cfg(feature = "cloud")]
    &RACKCONNECT,
    #[cfg(feature = "cloud")]
    &HOST,
    #[cfg(feature = "cloud")]
    &ALL,
    #[cfg(feature = "cloud")]
    &ANY,
    #[cfg(feature = "cloud")]
    &DATA,
    #[cfg(feature = "cloud")]
    &UPLOAD,
    #[cfg(feature = "cloud")]
    &HEADER,
    #[cfg(feature = "cloud")]
    &PAGINATE,
    #[cfg(feature = "cloud")]
    &INCLUDE,
    #[cfg(feature = "cloud")]
    &OUTPUT,
    #[cfg(feature = "cloud")]
    &PROFILE,
    #[cfg(feature = "cloud")]
    &IDENTITY_URL,
    #[cfg(feature = "cloud")]
    &PASSCODE_FD,
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
