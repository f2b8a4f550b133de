//! Settings: flag, then environment, then configuration file, then detection or the default.

mod file;
mod resolve;

pub use resolve::Settings;
