//! The state directory: what the processes of this server leave for each other.

pub mod status_file;
