//! The state directory: what the processes of this server leave for each other.

pub mod file;
pub mod lock;
pub mod status_file;
