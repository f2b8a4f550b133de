//! The state that processes share on disk: one way to open, check, lock, read and replace files and
//! directories, for all modules.

pub mod boot;
pub mod dir;
pub mod file;
pub mod kept_dir;
pub mod lock;
pub mod replacement;
pub mod status_file;
pub mod trust;
pub mod user;
