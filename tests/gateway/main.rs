//! The gateway commands, with the real binary, in network namespaces that the test makes itself: no
//! root, no `ip`.

mod broken_servers;
mod campaign;
mod check;
mod doctor;
mod documents;
mod endurance;
mod faults;
mod held;
mod keep;
mod nameserver;
mod namespace;
mod network;
mod notify;
mod set;
#[path = "../support/mod.rs"]
mod support;
mod undo;
mod watch;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // Before any thread starts: a process with several threads cannot enter a user namespace.
    let entered = namespace::enter();
    let mut arguments = Arguments::from_args();
    // Most tests wait for something.
    arguments.test_threads = arguments.test_threads.or(Some(32));
    if let Err(why) = &entered
        && !arguments.list
    {
        eprintln!(
            "\n*** NOT RUN: the gateway tests, since there are no namespaces here ({why}) ***\n"
        );
        return match std::env::var_os("RACKCONNECT_REQUIRE_NAMESPACES") {
            Some(_) => ExitCode::FAILURE,
            None => ExitCode::SUCCESS,
        };
    }
    let tests = [
        check::TESTS,
        set::TESTS,
        keep::TESTS,
        doctor::TESTS,
        documents::TESTS,
        endurance::TESTS,
        notify::TESTS,
        undo::TESTS,
        held::TESTS,
        faults::TESTS,
    ]
    .concat();
    let tests = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, tests.chain(campaign::trials()).collect());
    campaign::print_summary();
    conclusion.exit_code()
}
