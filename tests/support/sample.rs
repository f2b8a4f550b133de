//! Which rows of the campaigns' tables are run.
//!
//! By default every third row of each table, from one that a seed selects: neighbours in a table
//! are of a kind, and three seeds in succession run all rows. A row that found a fault is always
//! run.

use std::io::Write;

/// Runs all rows, as `.ci/run` does.
const ALL_ROWS: &str = "RACKCONNECT_ALL_ROWS";

/// Another seed than 0.
const SEED: &str = "RACKCONNECT_SEED";

/// One row in so many is run.
const ONE_IN: usize = 3;

/// Whether all rows are run, and those that take minutes.
pub fn is_everything() -> bool {
    std::env::var_os(ALL_ROWS).is_some()
}

fn seed() -> usize {
    std::env::var(SEED).ok().map_or(0, |seed| seed.parse().expect("RACKCONNECT_SEED is a number"))
}

/// Whether the row of that index in its table is run.
pub fn has(index: usize) -> bool {
    is_everything() || (index + seed()).is_multiple_of(ONE_IN)
}

/// Prints the summary of a campaign, also where the test runner captures what tests print.
pub fn summarize(campaign: &str, rows: [usize; 2], cases: usize, failures: usize) {
    let [run, all] = rows;
    let how = if is_everything() {
        String::new()
    } else {
        format!(" (seed {}; {ALL_ROWS}=1 runs all)", seed())
    };
    let line =
        format!("{campaign}: {run} of {all} rows{how}, {cases} cases, {failures} failures\n");
    let _ = std::io::stdout().write_all(line.as_bytes());
}
