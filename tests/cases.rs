//! The case files: what the API does, what the program is run with, what must be seen. CONTRIBUTING.md
//! says how to add one; `support/case_file.rs` describes the format.
//!
//! `tests/cases/` holds behaviour, one sentence each; `tests/campaign/` holds faults by the hundred.

#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};
use support::case_file::{self, Case};

fn main() {
    let mut arguments = Arguments::from_args();
    // They mostly wait.
    arguments.test_threads = arguments.test_threads.or(Some(32));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let cases: Vec<(String, Case)> = case_file::read_all(&root, "cases");
    assert!(cases.len() > 100, "the case files were not found");
    let trials = cases
        .into_iter()
        .map(|(name, case)| Trial::test(name, move || case_file::run(&case).map_err(Failed::from)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
