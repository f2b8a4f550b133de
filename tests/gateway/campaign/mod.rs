//! The part of the campaign that needs separate networks: tables of faults. Each row is run with
//! every command that can meet its fault. A trial is a row; its commands are its cases.
//! Rows that are not in the sample (tests/support/sample.rs) are ignored tests:
//! `--include-ignored` runs them, too.

mod doctor;
mod lookup;
mod routes;

use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::support::{Ended, finish_within, sample};

/// How long a command may take before it counts as hanging.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

/// Rows that found a fault of the program, or are like one that did.
const FOUND_A_FAULT: [&str; 4] = [
    "campaign/routes/the API: body-nul",
    "campaign/routes/the API: body-utf16",
    "campaign/routes/the API: control",
    "campaign/doctor/xenstore: error-EACCES, without an endpoint",
];

static ALL_ROWS: AtomicUsize = AtomicUsize::new(0);
static ROWS: AtomicUsize = AtomicUsize::new(0);
static RUN: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicUsize = AtomicUsize::new(0);

/// All rows.
pub fn trials() -> Vec<Trial> {
    let tables = [
        lookup::trials().collect::<Vec<_>>(),
        routes::trials().collect(),
        doctor::trials().collect(),
    ];
    assert!(FOUND_A_FAULT.iter().all(|row| tables.iter().flatten().any(|it| it.name() == *row)));
    ALL_ROWS.store(tables.iter().map(Vec::len).sum(), Ordering::Relaxed);
    let sampled = |table: Vec<Trial>| {
        table.into_iter().enumerate().map(|(index, row)| {
            let is_run = sample::has(index) || FOUND_A_FAULT.contains(&row.name());
            row.with_ignored_flag(!is_run)
        })
    };
    tables.into_iter().flat_map(sampled).collect()
}

/// The summary, if any case was run.
pub fn print_summary() {
    let (run, failed) = (RUN.load(Ordering::Relaxed), FAILED.load(Ordering::Relaxed));
    if run > 0 {
        let rows = [ROWS.load(Ordering::Relaxed), ALL_ROWS.load(Ordering::Relaxed)];
        sample::summarize("campaign", rows, run, failed);
    }
}

/// The failures of the cases of a row.
#[derive(Default)]
struct Row {
    wrong: Vec<String>,
}

impl Row {
    /// Waits for the end of a case, and keeps its failure.
    fn case(
        &mut self,
        command: &str,
        child: Child,
        check: impl FnOnce(&Ended) -> Result<(), String>,
    ) {
        RUN.fetch_add(1, Ordering::Relaxed);
        let result = finish_within(child, RUN_TIMEOUT).and_then(|ended| {
            let result = if ended.stderr.contains("panicked") {
                Err("a panic".to_owned())
            } else {
                check(&ended)
            };
            result.map_err(|err| format!("{err}: {ended:?}"))
        });
        if let Err(err) = result {
            FAILED.fetch_add(1, Ordering::Relaxed);
            self.wrong.push(format!("rackconnect {command}: {err}"));
        }
    }

    fn end(self) -> Result<(), Failed> {
        ROWS.fetch_add(1, Ordering::Relaxed);
        if self.wrong.is_empty() { Ok(()) } else { Err(self.wrong.join("\n").into()) }
    }
}

/// Checks the exit code of a run.
fn has_code(ended: &Ended, code: i32) -> Result<(), String> {
    match ended.code {
        Some(found) if found == code => Ok(()),
        _ => Err(format!("the exit code is not {code}")),
    }
}
