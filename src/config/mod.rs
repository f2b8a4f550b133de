//! Settings: flag, then environment, then configuration file, then detection or the default.

mod file;
mod format;
mod resolve;

pub use format::{OutputFormat, api_format, output_format, unsupported_format};
pub use resolve::Settings;
