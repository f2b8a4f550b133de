//! Hooks: programs in a directory that run in the order of their names, once per deployment of the
//! server.
//!
//! `select` decides which entries are hooks, and `stamp` whether a hook is done, without I/O.
//! `identity` reads the ids of the deployment, `stamp_dir` is the directory of the stamps, `runner`
//! runs one hook, `run` all of them.

pub mod identity;
mod run;
pub mod runner;
mod select;
mod stamp;
mod stamp_dir;

/// The text of a stamp, for fuzzers. What was renewed once needs no renewal.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_stamp_for_fuzzing(text: &str) {
    let ids = vec![("cloud-init".to_owned(), "i-1".to_owned())];
    let _ = stamp::is_of(text, &ids);
    let renewed = stamp::renewed(text, &ids);
    assert!(stamp::is_of(&renewed, &ids));
    assert_eq!(stamp::renewed(&renewed, &ids), renewed);
    let name = stamp::name(std::path::Path::new(text));
    assert!(name.len() <= 255 && !name.contains('/'), "{name}");
}

pub use run::{HooksRequest, Repeat, RunMode, run};
