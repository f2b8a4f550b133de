//! A process that is held up in the middle of a change, by a terminal that is stopped or by a
//! signal, for longer than the guard waits: what it would have done next must not happen any more.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::thread;

use nix::sys::signal::Signal::{SIGKILL, SIGSTOP};
use simulated_api::Step;

use crate::network::{GATEWAY, Network, PUBLIC};
use crate::set::{DEAD, dead};
use crate::undo::{kill_guards, record};
use crate::watch::{Held, guards, kill, until};

pub const TESTS: &[(&str, fn())] = &[
    ("held::it_goes_on_after_the_guard_has_undone_it", it_goes_on_after_the_guard_has_undone_it),
    ("held::stopped_while_it_waits_for_a_confirmation", stopped_while_it_waits_for_a_confirmation),
    ("held::a_kept_change_is_not_undone", a_kept_change_is_not_undone),
    ("held::the_guard_is_killed_between_the_steps", the_guard_is_killed_between_the_steps),
    ("held::the_undo_is_forgotten_between_the_steps", the_undo_is_forgotten_between_the_steps),
    ("held::the_new_route_goes_between_the_steps", the_new_route_goes_between_the_steps),
    ("held::a_lost_record_disarmed_the_guard", a_lost_record_disarmed_the_guard),
    (
        "held::one_route_that_could_not_come_back_kept_the_others",
        one_route_that_could_not_come_back_kept_the_others,
    ),
];

/// The signal that ended the process. Panics if it is still stopped or held.
fn ended_by(child: &mut Child) -> Option<i32> {
    let mut status = None;
    until("it is ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().signal()
}

/// Regression: the process went on after the guard had undone its change, and removed the old
/// route, which was the only one; there was neither a guard nor a record any more.
fn it_goes_on_after_the_guard_has_undone_it() {
    let run = |step| {
        let network = Network::usual();
        let before = network.server.routes();
        let mut held = Held::at(&network, &["gateway", "set"], step);
        assert_eq!(guards(&network).len(), 1);
        until("the guard has undone it", || guards(&network).is_empty());
        assert_eq!(ended_by(&mut held.child), Some(SIGKILL as i32), "held at {step}");
        assert_eq!(network.server.routes(), before, "held at {step}");
        assert_eq!(record(&network), None);
    };
    // Side by side, since the guard of each waits for 18 seconds.
    thread::scope(|scope| {
        for step in ["route added", "route removed"] {
            scope.spawn(move || run(step));
        }
    });
}

/// Regression: the process kept the lock forever, although its change had been undone.
fn stopped_while_it_waits_for_a_confirmation() {
    let network = Network::usual();
    let before = network.server.routes();
    let arguments = ["gateway", "set", "--confirm", "1s"];
    let held = Held::at(&network, &arguments, "awaiting confirmation");
    kill(&held.child, SIGSTOP);
    let mut child = held.release();
    until("the guard has undone it", || guards(&network).is_empty());
    assert_eq!(ended_by(&mut child), Some(SIGKILL as i32));
    assert_eq!(network.server.routes(), before);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
}

/// The change is not undone, and the process is not killed, however long its last message takes.
fn a_kept_change_is_not_undone() {
    let network = Network::usual();
    let mut held = Held::at(&network, &["gateway", "set"], "change verified");
    let kept = record(&network).unwrap().replace("\"pending\"", "\"kept\"");
    fs::write(network.folder.path().join("gateway-undo.json"), &kept).unwrap();
    until("the guard is gone", || guards(&network).is_empty());
    assert_eq!(held.child.try_wait().unwrap(), None);
    network.expect(&[(GATEWAY, 0)]);
    held.resume().expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0)]);
}

fn the_guard_is_killed_between_the_steps() {
    let network = Network::usual();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "route added");
    kill_guards(&network, SIGKILL);
    held.resume().expect(10).says("killed or stopped; everything is put back");
    assert_eq!(network.server.routes(), before);
    assert_eq!(record(&network), None);
}

fn the_undo_is_forgotten_between_the_steps() {
    let network = Network::usual();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "route added");
    fs::remove_file(network.folder.path().join("gateway-undo.json")).unwrap();
    let ended = held.resume();
    ended.expect(10).says("the guard has undone it or is about to; everything is put back");
    assert!(!ended.stderr.contains("removed: default via 198.51.100.1"), "{}", ended.stderr);
    assert_eq!(network.server.routes(), before);
}

/// Regression: the old route was removed, and there was no default route until the undo.
fn the_new_route_goes_between_the_steps() {
    let network = Network::usual();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "route added");
    assert!(network.server.remove(&network.server.defaults()[0]));
    let ended = held.resume();
    ended.expect(10).says("another process removed the new default route");
    assert!(!ended.stderr.contains("removed: default via 198.51.100.1"), "{}", ended.stderr);
    assert_eq!(network.server.routes(), before);
}

/// Regression: the dead gateway stayed, and the routes before the change were not known any more.
fn a_lost_record_disarmed_the_guard() {
    let network = dead();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "routes changed");
    fs::remove_file(network.folder.path().join("gateway-undo.json")).unwrap();
    held.kill().wait().unwrap();
    until("the guard is gone", || guards(&network).is_empty());
    assert_eq!(network.server.routes(), before);
}

/// Regression: the undo ended at the first route that could not be restored, so the dead gateway
/// stayed, alone or in turn with the routes that were.
fn one_route_that_could_not_come_back_kept_the_others() {
    let other = "10.182.0.1";
    for before in
        [[(other, "eth1", 0), (PUBLIC, "eth0", 0)], [(PUBLIC, "eth0", 0), (other, "eth1", 0)]]
    {
        let network = Network::with([Step::new("DEPLOYED").gateway(DEAD)], &before);
        let held = Held::at(&network, &["gateway", "set"], "routes changed");
        network.server.up("eth0", false);
        held.resume().expect(1).says("could not be put back").says("ip route prepend");
        assert_eq!(network.defaults(), [(other.to_owned(), 0)]);
        assert!(record(&network).is_some_and(|record| record.contains("pending")));
    }
}
