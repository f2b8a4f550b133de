//! Many runs of `set` and `rollback`. `cargo test` does a few; `tests/system/gateway-endurance.sh`
//! does a hundred, and also checks times.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::SIGKILL;
use rackconnect_agent::netlink::{Events, Netlink, Route};

use crate::network::{GATEWAY, Network, PUBLIC};
use crate::undo::SET;
use crate::watch::{Held, guards, until};

pub const TESTS: &[(&str, fn())] = &[
    (
        "endurance::no_route_lookup_fails_and_only_planned_routes_change",
        no_route_lookup_fails_and_only_planned_routes_change,
    ),
    ("endurance::sigkill_at_any_step", sigkill_at_any_step),
    ("endurance::sigkill_of_both_at_any_step", sigkill_of_both_at_any_step),
];

/// The number of runs.
fn runs() -> Option<usize> {
    std::env::var("RACKCONNECT_ENDURANCE").ok()?.parse().ok()
}

fn no_route_lookup_fails_and_only_planned_routes_change() {
    let network = Network::unlimited(&[(PUBLIC, "eth0", 0), (PUBLIC, "eth0", 100)]);
    let before = network.server.routes();
    let done = Arc::new(AtomicBool::new(false));
    let (looked, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watchers = {
        let (done, looked, failed) = (done.clone(), looked.clone(), failed.clone());
        // Threads inherit the network namespace.
        network.server.run(move || {
            let mut events = Events::subscribe().unwrap();
            let ended = done.clone();
            let monitor = thread::spawn(move || {
                let mut changed: Vec<(u16, Route)> = Vec::new();
                loop {
                    match events.next_routes() {
                        Ok(more) => changed.extend(more),
                        Err(_) if ended.load(Ordering::SeqCst) => return changed,
                        Err(rackconnect_agent::netlink::NetlinkError::Timeout) => {}
                        Err(why) => panic!("events are lost: {why}"),
                    }
                }
            });
            let looker = thread::spawn(move || {
                let mut netlink = Netlink::open().unwrap();
                while !done.load(Ordering::SeqCst) {
                    looked.fetch_add(1, Ordering::SeqCst);
                    if netlink.next_hop("203.0.113.10".parse().unwrap(), None).unwrap().is_none() {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
            (monitor, looker)
        })
    };
    let rounds = runs().unwrap_or(5);
    for round in 0..rounds {
        network.run_of_run(round, &["gateway", "set"]).expect(0);
        assert_eq!(network.defaults()[0].0, GATEWAY);
        network.run_of_run(round, &["gateway", "rollback"]).expect(0);
        assert_eq!(network.server.routes(), before);
    }
    done.store(true, Ordering::SeqCst);
    let (monitor, looker) = watchers;
    looker.join().unwrap();
    let changed = monitor.join().unwrap();
    for (_, route) in &changed {
        let gateway = route.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        assert!(
            route.is_default()
                && route.metric == 0
                && [GATEWAY, PUBLIC].contains(&gateway.as_str()),
            "{route:?}"
        );
    }
    eprintln!(
        "{rounds} runs of set and rollback: {} look-ups, {} failed; {} events, all of planned routes",
        looked.load(Ordering::SeqCst),
        failed.load(Ordering::SeqCst),
        changed.len()
    );
    assert_eq!(changed.len(), rounds * 4);
    assert_eq!(failed.load(Ordering::SeqCst), 0);
}

/// SIGKILL for a whole control group: neither the process nor its guard can undo the change.
fn sigkill_of_both_at_any_step() {
    let network = Network::unlimited(&[(PUBLIC, "eth0", 0)]);
    let before = network.server.routes();
    network.run(&["gateway", "set"]).expect(0);
    let after = network.server.routes();
    network.run(&["gateway", "rollback"]).expect(0);
    let (mut healed, mut kept) = (0, 0);
    for run in 0..runs().unwrap_or(SET.len()) {
        let mut command = network.agent_of_run(run, &["gateway", "set"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let last = SET[run % SET.len()];
        let held = Held::start(&network, command, last);
        let delay = Duration::from_micros((run / SET.len() * 300 % 5_000) as u64);
        kill_after(held, delay, || {
            for guard in guards(&network) {
                let _ = nix::sys::signal::kill(guard, SIGKILL);
            }
        });
        until("the guard is gone", || guards(&network).is_empty());
        // There is always some default route.
        assert!(!network.defaults().is_empty(), "after {last:?}");
        network.run_of_run(run, &["gateway", "confirm"]).expect(10);
        if network.server.routes() != after {
            healed += 1
        } else {
            kept += 1;
            network.run_of_run(run, &["gateway", "rollback"]).expect(0);
        }
        assert_eq!(network.server.routes(), before, "after {last:?}");
    }
    eprintln!(
        "killed with its guard {} times: {healed} undone by the next command or not begun, {kept} kept",
        healed + kept
    );
}

/// Releases a held process, and kills it after that delay.
fn kill_after(held: Held, delay: Duration, others: impl Fn()) {
    let mut child = held.release();
    thread::sleep(delay);
    others();
    let _ = child.kill();
    child.wait().unwrap();
}

fn sigkill_at_any_step() {
    let network = Network::unlimited(&[(PUBLIC, "eth0", 0)]);
    let before = network.server.routes();
    network.run(&["gateway", "set"]).expect(0);
    let after = network.server.routes();
    network.run(&["gateway", "rollback"]).expect(0);
    let asked = runs();
    let (mut undone, mut kept, mut longest) = (0, 0, Duration::ZERO);
    for run in 0..asked.unwrap_or(SET.len()) {
        let mut command = network.agent_of_run(run, &["gateway", "set"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let last = SET[run % SET.len()];
        let held = Held::start(&network, command, last);
        // The runs cover every step, and different delays after it.
        let delay = Duration::from_micros((run / SET.len() * 300 % 5_000) as u64);
        kill_after(held, delay, || {});
        let start = Instant::now();
        until("the routing is whole, and stays so", || {
            let routes = network.server.routes();
            guards(&network).is_empty() && (routes == before || routes == after)
        });
        longest = longest.max(start.elapsed());
        if asked.is_some() {
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "{:?} after {last:?}",
                start.elapsed()
            );
        }
        if network.server.routes() == before {
            undone += 1
        } else {
            kept += 1;
            // The change was verified: the next command keeps it, and it can be rolled back.
            let check = network.run_of_run(run, &["gateway", "check"]);
            assert_eq!(check.expect(0).stderr, "", "after {last:?}");
            network.run_of_run(run, &["gateway", "rollback"]).expect(0);
        }
        assert_eq!(network.server.routes(), before, "after {last:?}");
    }
    eprintln!(
        "killed {} times: {undone} undone or not begun, {kept} kept, whole within {longest:?}",
        undone + kept
    );
}
