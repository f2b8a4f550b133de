//! What processes leave on disk for each other and for later: one way to open, check, lock, read
//! and replace files and directories, for all modules.

pub mod boot;
pub mod dir;
pub mod file;
pub mod lock;
pub mod status_file;
pub mod trust;
