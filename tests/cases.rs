//! Runs the case files, which define what the API does, the commands and the expected results.
//! CONTRIBUTING.md says how to add one; `support/case_file.rs` describes the format.
//!
//! `tests/cases/` has the behaviour, one sentence per file. `tests/campaign/` has hundreds of
//! faults, which also run in random sequences, several on one server.

#[path = "support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libtest_mimic::{Arguments, Failed, Trial};
use support::case_file::{self, Case};
use support::{Random, sample};

/// The number of random sequences, and of cases in each.
const SEQUENCES: u64 = 40;
const SEQUENCE_LENGTH: usize = 5;

fn main() {
    let mut arguments = Arguments::from_args();
    // The cases mostly wait.
    arguments.test_threads = arguments.test_threads.or(Some(48));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let cases: Vec<(String, Case)> = case_file::read_all(&root, "cases");
    assert!(cases.len() > 100, "the case files were not found");
    let campaign: Vec<(String, Case)> = case_file::read_all(&root, "campaign");
    let mut trials: Vec<Trial> = cases
        .into_iter()
        .map(|(name, case)| {
            let is_run = !case.takes_a_minute || sample::is_everything();
            Trial::test(name, move || case_file::run(&case).map_err(Failed::from))
                .with_ignored_flag(!is_run)
        })
        .collect();
    let tally = Arc::new(Tally::default());
    for seed in 0..SEQUENCES {
        let cases = sequence(&campaign, seed);
        trials.push(tally.trial(format!("campaign/sequences/{seed}"), move || {
            case_file::run_in_turn(&cases.iter().collect::<Vec<_>>())
        }));
    }
    for (name, case) in campaign {
        trials.push(tally.trial(format!("campaign/{name}"), move || case_file::run(&case)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    tally.print();
    conclusion.exit();
}

/// Selects cases of the campaign by a seed, to run one after the other on one server.
fn sequence(campaign: &[(String, Case)], seed: u64) -> Vec<Case> {
    let possible: Vec<&Case> =
        campaign.iter().map(|(_, case)| case).filter(|case| case.can_share_server()).collect();
    let mut random = Random::new(seed);
    (0..SEQUENCE_LENGTH).map(|_| possible[random.below(possible.len())].clone()).collect()
}

/// Counts the results of the campaign.
#[derive(Default)]
struct Tally {
    run: AtomicUsize,
    failed: AtomicUsize,
}

impl Tally {
    fn trial(
        self: &Arc<Tally>,
        name: String,
        run: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Trial {
        let tally = self.clone();
        Trial::test(name, move || {
            tally.run.fetch_add(1, Ordering::Relaxed);
            run().map_err(|err| {
                tally.failed.fetch_add(1, Ordering::Relaxed);
                Failed::from(err)
            })
        })
    }

    fn print(&self) {
        let (run, failed) = (self.run.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        if run > 0 {
            println!("campaign: {run} cases, {failed} failures\n");
        }
    }
}
