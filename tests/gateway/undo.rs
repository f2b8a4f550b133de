//! Interruptions of a change: the undo, the guard and the removal of exactly one route.

use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal::{self, SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM};
use rackconnect_agent::netlink::{Attributes, Netlink, NetlinkError, Route, Writer};
use simulated_api::{Script, Step};

use crate::namespace::Namespace;
use crate::network::{GATEWAY, Network, PUBLIC, deployed};
use crate::set::{DEAD, as_nobody, dead};
use crate::support::ended;
use crate::watch::{Held, full_pipe, guards, kill, until, until_it_awaits_confirmation};

pub const TESTS: &[(&str, fn())] = &[
    ("undo::the_kernel_removes_what_was_foreseen", the_kernel_removes_what_was_foreseen),
    ("undo::another_route_is_not_removed", another_route_is_not_removed),
    (
        "undo::the_route_is_removed_by_another_in_the_middle",
        the_route_is_removed_by_another_in_the_middle,
    ),
    ("undo::another_route_goes_in_the_middle", another_route_goes_in_the_middle),
    ("undo::signals_in_the_middle_of_a_rollback", signals_in_the_middle_of_a_rollback),
    ("undo::signals_in_the_middle_of_an_undo", signals_in_the_middle_of_an_undo),
    (
        "undo::sigkill_of_both_in_the_middle_of_a_rollback",
        sigkill_of_both_in_the_middle_of_a_rollback,
    ),
    ("undo::signals_in_the_middle_of_finishing", signals_in_the_middle_of_finishing),
    ("undo::the_guard_is_killed_before_the_change", the_guard_is_killed_before_the_change),
    ("undo::the_guard_is_stopped_before_the_change", the_guard_is_stopped_before_the_change),
    ("undo::the_guard_is_stopped_before_the_end", the_guard_is_stopped_before_the_end),
    ("undo::the_guard_is_killed_before_the_end", the_guard_is_killed_before_the_end),
    ("undo::a_guard_whose_output_is_not_read", a_guard_whose_output_is_not_read),
    ("undo::the_tls_check_fails_after_the_change", the_tls_check_fails_after_the_change),
    ("undo::another_user_cannot_confirm", another_user_cannot_confirm),
    ("undo::another_user_is_told_what_waits", another_user_is_told_what_waits),
    (
        "undo::a_second_set_that_is_undone_leaves_the_first",
        a_second_set_that_is_undone_leaves_the_first,
    ),
    ("undo::no_rollback_beside_keep", no_rollback_beside_keep),
    ("undo::one_of_several_next_hops_is_not_enough", one_of_several_next_hops_is_not_enough),
    ("undo::confirmed_under_a_broken_configuration", confirmed_under_a_broken_configuration),
    ("undo::an_undo_that_waits_is_not_forgotten", an_undo_that_waits_is_not_forgotten),
    ("undo::a_check_creates_and_changes_nothing", a_check_creates_and_changes_nothing),
];

/// The fail points of a change, in order.
pub const SET: [&str; 7] = [
    "undo recorded",
    "guard armed",
    "route added",
    "route removed",
    "routes changed",
    "change verified",
    "guard gone",
];

/// The fail points of a rollback.
const ROLLBACK: [&str; 6] = [
    "undo recorded",
    "guard armed",
    "route put back",
    "added route removed",
    "undone",
    "guard gone",
];

/// The fail points at the end of an interrupted change.
const FINISH: [&str; 4] = ["undo begins", "route put back", "added route removed", "undone"];

/// The fail points of a change that is not confirmed.
const UNCONFIRMED: [&str; 11] = [
    SET[0],
    SET[1],
    SET[2],
    SET[3],
    SET[4],
    SET[5],
    "awaiting confirmation",
    ROLLBACK[2],
    ROLLBACK[3],
    ROLLBACK[4],
    ROLLBACK[5],
];

pub fn record(network: &Network) -> Option<String> {
    fs::read_to_string(network.folder.path().join("gateway-undo.json")).ok()
}

pub fn kill_guards(network: &Network, signal: Signal) {
    for guard in guards(network) {
        let _ = nix::sys::signal::kill(guard, signal);
    }
}

/// The route that the kernel removes when it is asked to remove `route`.
fn removed(namespace: &Namespace, route: &Route) -> Option<Route> {
    let bytes = route.to_bytes();
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_ECHO) as u16;
    let request = Attributes(&bytes[12..])
        .map(|attribute| attribute.unwrap())
        .fold(Writer::new(libc::RTM_DELROUTE, flags, &bytes[..12]), |writer, (kind, value)| {
            writer.attribute(kind, value)
        });
    namespace.run(move || {
        let mut told = None;
        let asked = Netlink::open().unwrap().request(&request, |message| {
            told = Some(Route::read(message.body)?);
            Ok(())
        });
        assert!(asked.is_ok() || asked.is_err_and(|why| matches!(why, NetlinkError::Rejected(_))));
        told
    })
}

/// The kernel removes the first route that has the attributes of the request, so the program has to
/// know which one that is.
fn the_kernel_removes_what_was_foreseen() {
    let network = Network::bare([deployed()]);
    let server = &network.server;
    let source: &[(u16, &[u8])] = &[(libc::RTA_PREFSRC, &[198, 51, 100, 7])];
    let more: &[(u16, &[u8])] = &[(libc::RTA_PRIORITY, &300u32.to_ne_bytes())];
    let mut routes = Vec::new();
    for metric in [0, 100] {
        for (gateway, interface) in
            [(PUBLIC, "eth0"), ("198.51.100.9", "eth0"), (GATEWAY, "eth1"), ("", "eth0")]
        {
            routes.push(server.route_with("default", gateway, interface, metric, &[]));
            let mut other = server.route("default", gateway, interface, metric);
            other.protocol = libc::RTPROT_STATIC;
            routes.push(other);
            if interface == "eth0" {
                routes.push(server.route_with("default", gateway, interface, metric, source));
            }
        }
    }
    routes.push(server.route_with("default", PUBLIC, "eth0", 0, more));
    // Tables of three routes in several orders, with a request for each route.
    let mut compared = 0;
    for first in 0..routes.len() {
        for wanted in &routes {
            let table = [first, first * 7 + 3, first * 5 + 11]
                .map(|number| routes[number % routes.len()].clone());
            let table: Vec<Route> = {
                let there = server.defaults();
                there.iter().for_each(|route| assert!(server.remove(route)));
                let mut added: Vec<&Route> = Vec::new();
                for route in &table {
                    if !added.contains(&route) {
                        added.push(route);
                        server.append(route);
                    }
                }
                server.defaults()
            };
            let foreseen = table.iter().find(|other| wanted.may_match(other)).cloned();
            assert_eq!(removed(server, wanted), foreseen, "{wanted:?} of {table:?}");
            compared += usize::from(foreseen.is_some_and(|other| other != *wanted));
        }
    }
    assert!(compared > 20, "only {compared} were others");
}

/// Regression: to the kernel a metric of 0 and a missing source match anything, so the route of
/// metric 100 was removed in place of one that was gone already.
fn another_route_is_not_removed() {
    let network = Network::bare([deployed()]);
    let server = &network.server;
    let gone = server.route("default", PUBLIC, "eth0", 0);
    let more: &[(u16, &[u8])] =
        &[(libc::RTA_PREFSRC, &[198, 51, 100, 7]), (libc::RTA_FLOW, &7u32.to_ne_bytes())];
    for metric in [0, 100] {
        for twin in [None, Some(server.route("default", "198.51.100.9", "eth0", metric))] {
            for in_front in [true, false] {
                let like = server.route_with("default", PUBLIC, "eth0", metric, more);
                server.append(&like);
                match (&twin, in_front) {
                    (Some(twin), true) => server.prepend(twin),
                    (Some(twin), false) => server.append(twin),
                    (None, _) => {}
                }
                let before = server.defaults();
                assert!(!server.remove(&gone));
                assert_eq!(server.defaults(), before);
                // The route was removed after the program had read the table.
                let (wanted, mut seen) = (gone.clone(), before.clone());
                seen.insert(0, gone.clone());
                let done =
                    server.run(move || Netlink::open().unwrap().remove_among(&seen, &wanted));
                assert_eq!(done, Ok(false));
                assert_eq!(server.defaults(), before);
                before.iter().for_each(|route| assert!(server.remove(route)));
            }
        }
    }
    // If it is behind another route with the same attributes, neither is removed.
    server.append(&server.route_with("default", PUBLIC, "eth0", 0, more));
    server.append(&gone);
    let before = server.defaults();
    let wanted = gone.clone();
    assert_eq!(
        server.run(move || Netlink::open().unwrap().remove(&wanted)),
        Err(NetlinkError::Ambiguous)
    );
    assert_eq!(server.defaults(), before);
}

fn the_route_is_removed_by_another_in_the_middle() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 0), (PUBLIC, "eth0", 100)]);
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "route added");
    assert!(network.server.remove(&network.server.route("default", PUBLIC, "eth0", 0)));
    held.resume().expect(10).says("another process changed the default route at the same time");
    assert_eq!(network.server.routes(), before);
    assert_eq!(record(&network), None);
}

fn another_route_goes_in_the_middle() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 0), ("10.182.0.1", "eth1", 100)]);
    let held = Held::at(&network, &["gateway", "set"], "route removed");
    assert!(network.server.remove(&network.server.route("default", "10.182.0.1", "eth1", 100)));
    held.resume().expect(10).says("default via 10.182.0.1 dev eth1 proto boot metric 100 is gone");
    network.expect(&[(PUBLIC, 0)]);
}

/// Sends a signal to a held process and waits for its end. A signal that can be handled is deferred
/// until the step is complete.
fn signalled(held: Held, signal: Signal, steps: &str) -> Duration {
    kill(&held.child, signal);
    let start = Instant::now();
    let code = held.resume().code;
    match signal {
        SIGHUP => assert!(code.is_some(), "{steps}"),
        _ => assert_eq!(code, None, "{steps}"),
    }
    start.elapsed()
}

fn signals_in_the_middle_of_a_rollback() {
    let mut longest = Duration::ZERO;
    for signal in [SIGHUP, SIGTERM, SIGKILL] {
        let network = Network::unlimited(&[(PUBLIC, "eth0", 0), (PUBLIC, "eth0", 100)]);
        let before = network.server.routes();
        for step in ROLLBACK {
            network.run(&["gateway", "set"]).expect(0);
            let held = Held::at(&network, &["gateway", "rollback"], step);
            let start = Instant::now();
            signalled(held, signal, step);
            until("the guard is gone", || guards(&network).is_empty());
            longest = longest.max(start.elapsed());
            // There is no guard yet, so the next command undoes the change.
            if signal == SIGKILL && step == ROLLBACK[0] {
                network.expect(&[(GATEWAY, 0), (PUBLIC, 100)]);
                network
                    .run(&["gateway", "rollback"])
                    .expect(0)
                    .says("interrupted: it has been undone");
            }
            assert_eq!(network.server.routes(), before, "{signal} at {step}");
            network.run(&["gateway", "rollback"]).expect(10).says("no change");
            assert_eq!(record(&network), None);
        }
    }
    eprintln!("whole within {longest:?} of a signal in the middle of a rollback");
    if std::env::var_os("RACKCONNECT_ENDURANCE").is_some() {
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    }
}

fn signals_in_the_middle_of_an_undo() {
    for (signal, both) in [(SIGHUP, false), (SIGTERM, false), (SIGKILL, false), (SIGKILL, true)] {
        let network = Network::unlimited(&[(PUBLIC, "eth0", 0), (PUBLIC, "eth0", 100)]);
        let before = network.server.routes();
        for (number, step) in UNCONFIRMED.into_iter().enumerate() {
            let held = Held::at(&network, &["gateway", "set", "--confirm", "10ms"], step);
            if both {
                kill_guards(&network, SIGKILL);
            }
            signalled(held, signal, step);
            until("the guard is gone", || guards(&network).is_empty());
            assert!(!network.defaults().is_empty(), "{signal} at {step}");
            if both {
                network.run(&["gateway", "confirm"]).expect(10);
            } else if signal == SIGKILL && number == 0 {
                // There was no guard yet, and nothing was changed.
                network.run(&["gateway", "rollback"]).expect(0);
            }
            assert_eq!(network.server.routes(), before, "{signal} at {step}");
            assert_eq!(record(&network), None, "{signal} at {step}");
        }
    }
}

fn sigkill_of_both_in_the_middle_of_a_rollback() {
    let network = Network::unlimited(&[(PUBLIC, "eth0", 0)]);
    let before = network.server.routes();
    for step in ROLLBACK {
        network.run(&["gateway", "set"]).expect(0);
        let held = Held::at(&network, &["gateway", "rollback"], step);
        kill_guards(&network, SIGKILL);
        signalled(held, SIGKILL, step);
        assert!(!network.defaults().is_empty(), "{step}");
        let ended = network.run(&["gateway", "confirm"]);
        ended.expect(10).says(if step == ROLLBACK[5] {
            "no change"
        } else {
            "everything is put back"
        });
        assert_eq!(network.server.routes(), before, "{step}");
        assert_eq!(record(&network), None);
    }
}

/// Leaves a new route that is not verified, with neither a process nor a guard to undo it.
pub fn abandoned(network: &Network) {
    // The guard of a change that has to be confirmed waits for a minute before it undoes the change.
    let held = Held::at(network, &["gateway", "set", "--confirm", "50s"], "routes changed");
    kill_guards(network, SIGKILL);
    held.kill().wait().unwrap();
    until("the guard is gone", || guards(network).is_empty());
    network.expect(&[(DEAD, 0)]);
}

fn signals_in_the_middle_of_finishing() {
    let network = Network::unlimited(&[(PUBLIC, "eth0", 0)]);
    let api = network.api.as_ref().unwrap();
    api.set_script(
        "10.182.21.219".parse().unwrap(),
        Script::of([Step::new("DEPLOYED").gateway(DEAD)]),
    );
    let before = network.server.routes();
    for signal in [SIGHUP, SIGTERM, SIGKILL] {
        for step in FINISH {
            abandoned(&network);
            let held = Held::at(&network, &["gateway", "rollback"], step);
            assert!(!network.defaults().is_empty());
            signalled(held, signal, step);
            assert!(!network.defaults().is_empty());
            if signal == SIGKILL {
                network
                    .run(&["gateway", "rollback"])
                    .expect(0)
                    .says("interrupted: it has been undone");
            }
            assert_eq!(network.server.routes(), before, "{signal} at {step}");
            assert_eq!(record(&network), None);
        }
    }
}

/// Regression: the change was made although its guard was gone.
fn the_guard_is_killed_before_the_change() {
    let network = Network::usual();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "guard armed");
    kill_guards(&network, SIGKILL);
    held.resume().expect(10).says("killed or stopped; nothing was changed");
    assert_eq!(network.server.routes(), before);
    assert_eq!(record(&network), None);
}

fn the_guard_is_stopped_before_the_change() {
    let network = Network::usual();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "guard armed");
    kill_guards(&network, SIGSTOP);
    held.resume().expect(10).says("killed or stopped; nothing was changed");
    assert!(guards(&network).is_empty());
    assert_eq!(network.server.routes(), before);
}

/// Regression: a change that was kept was undone after 15 seconds, because the guard did not
/// answer.
fn the_guard_is_stopped_before_the_end() {
    let network = Network::usual();
    let before = network.server.routes();
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    let stopped = guards(&network);
    kill_guards(&network, SIGSTOP);
    network.run(&["gateway", "confirm"]).expect(0);
    ended(child.wait_with_output().unwrap()).expect(0);
    // The stopped guard is killed, so that it cannot continue later.
    assert!(guards(&network).is_empty());
    assert!(stopped.iter().all(|guard| nix::sys::signal::kill(*guard, SIGCONT).is_err()));
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(network.server.routes(), before);
}

fn the_guard_is_killed_before_the_end() {
    let network = Network::usual();
    let held = Held::at(&network, &["gateway", "set"], "change verified");
    kill_guards(&network, SIGKILL);
    held.resume().expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: in the middle of the undo the guard waited to write to a standard error that was not
/// read any more.
fn a_guard_whose_output_is_not_read() {
    let network = Network::usual();
    let before = network.server.routes();
    let (reader, full) = full_pipe();
    let mut command = network.agent(&["gateway", "set"]);
    command.stdout(Stdio::null()).stderr(full);
    let mut held = Held::start(&network, command, "routes changed");
    network.expect(&[(GATEWAY, 0)]);
    held.child.kill().unwrap();
    held.child.wait().unwrap();
    until("the guard has undone it", || {
        network.server.routes() == before && record(&network).is_none()
    });
    drop(reader);
    until("the guard is gone", || guards(&network).is_empty());
}

fn the_tls_check_fails_after_the_change() {
    let mut network = Network::usual();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "routes changed");
    network.expect(&[(GATEWAY, 0)]);
    network.replace_api(|port| {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("the API's port");
        thread::spawn(move || listener.incoming().for_each(drop));
    });
    held.resume()
        .expect(10)
        .says("the API was reachable before the change, but not after it")
        .says("everything is put back");
    assert_eq!(network.server.routes(), before);
    assert_eq!(record(&network), None);
}

/// The permissions of the socket do not matter.
fn another_user_cannot_confirm() {
    use std::os::unix::fs::PermissionsExt;
    let network = Network::usual();
    let Some(mut command) = as_nobody(network.agent(&["gateway", "confirm"])) else { return };
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    let socket = network.folder.path().join("gateway.sock");
    for path in [network.folder.path(), &socket] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    ended(network.spawn(command).wait_with_output().unwrap()).expect(10).says("Permission denied");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = as_nobody(network.agent(&["gateway", "confirm"])).unwrap();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    ended(network.spawn(command).wait_with_output().unwrap()).expect(10).says("no change");
    // The change still waits, and root can roll it back.
    network.run(&["gateway", "rollback"]).expect(0);
    ended(child.wait_with_output().unwrap()).expect(10).says("asked for it");
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: another user was told that there is nothing to confirm, instead of the change that
/// only root can confirm.
fn another_user_is_told_what_waits() {
    let network = Network::usual();
    if as_nobody(network.agent(&[])).is_none() {
        return;
    }
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    let socket = network.folder.path().join("gateway.sock");
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(network.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for as_root in [true, false] {
        let agent = |arguments: &[&str]| {
            if as_root {
                network.agent(arguments)
            } else {
                as_nobody(network.agent(arguments)).unwrap()
            }
        };
        let run = |command| ended(network.start(command).wait_with_output().unwrap());
        run(agent(&["gateway", "check"]))
            .expect(0)
            .says("waits for \"rackconnect gateway confirm\"");
        run(agent(&["gateway", "set"]))
            .expect(10)
            .says("waits for \"rackconnect gateway confirm\"");
    }
    // The waiting process is gone, and so is its socket.
    kill(&child, SIGKILL);
    child.wait_with_output().unwrap();
    until("the guard has undone it", || guards(&network).is_empty());
    network.expect(&[(PUBLIC, 0)]);
    assert!(!socket.exists());
}

/// Regression: the route that the first change had replaced was forgotten.
fn a_second_set_that_is_undone_leaves_the_first() {
    for both in [false, true] {
        let network = Network::usual();
        network.run(&["gateway", "set"]).expect(0);
        let after = network.server.routes();
        let api = network.api.as_ref().unwrap();
        api.set_script(
            "10.182.21.219".parse().unwrap(),
            Script::of([Step::new("DEPLOYED").gateway(DEAD)]),
        );
        if both {
            abandoned(&network);
            network.run(&["gateway", "confirm"]).expect(10).says("too late");
        } else {
            let mut child = network.start(network.agent(&["gateway", "set"]));
            until("the second is there", || network.defaults() == [(DEAD.to_owned(), 0)]);
            kill(&child, SIGKILL);
            child.wait().unwrap();
            until("the guard has undone it", || guards(&network).is_empty());
        }
        assert_eq!(network.server.routes(), after);
        network.run(&["gateway", "rollback"]).expect(0);
        network.expect(&[(PUBLIC, 0)]);
        assert_eq!(record(&network), None);
    }
}

/// Regression: the gateway was rolled back, and `keep` set it again a moment later.
fn no_rollback_beside_keep() {
    let network = Network::usual();
    let keep = network.start(network.agent(&["gateway", "keep"]));
    until("it is set", || {
        record(&network).is_some_and(|text| text.contains("\"kept\""))
            && guards(&network).is_empty()
    });
    network
        .run(&["gateway", "rollback"])
        .expect(10)
        .says("systemctl stop rackconnect-gateway")
        .says("nothing was changed");
    network.expect(&[(GATEWAY, 0)]);
    kill(&keep, SIGTERM);
    ended(keep.wait_with_output().unwrap()).expect(0);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: the kernel was asked for the route of a single packet, and answered with any of the
/// next hops.
fn one_of_several_next_hops_is_not_enough() {
    for order in [[0, 1], [1, 0]] {
        let network = Network::bare([deployed()]);
        let server = &network.server;
        let hop = |interface: &str, gateway: [u8; 4]| {
            // struct rtnexthop
            let mut hop = vec![16, 0, 0, 0];
            hop.extend(server.index(interface).to_ne_bytes());
            crate::namespace::attribute(&mut hop, libc::RTA_GATEWAY, &gateway);
            hop
        };
        let hops = [hop("eth0", [198, 51, 100, 1]), hop("eth1", [10, 182, 127, 198])];
        let hops = order.map(|number| hops[number].clone()).concat();
        let mut route =
            server.route_with("default", "", "", 100, &[(libc::RTA_MULTIPATH, hops.as_slice())]);
        route.scope = libc::RT_SCOPE_UNIVERSE;
        server.append(&route);
        let before = server.routes();
        let check = network.run(&["gateway", "check"]);
        check.expect(9);
        assert!(check.text().contains("kernel: by turns, now via"), "{}", check.text());
        network.run(&["gateway", "set"]).expect(0);
        network.expect(&[(GATEWAY, 0), ("", 100)]);
        assert!(network.run(&["gateway", "set"]).expect(0).text().contains("nothing to do"));
        network.run(&["gateway", "rollback"]).expect(0);
        assert_eq!(server.routes(), before);
    }
}

/// Regression: an error anywhere in the file lost the state directory that the file names.
fn confirmed_under_a_broken_configuration() {
    let network = Network::usual();
    let config = network.folder.path().join("config.toml");
    let state = network.folder.path().join("elsewhere");
    let line = format!("state_dir = {:?}\n", state.display().to_string());
    fs::write(&config, &line).unwrap();
    let agent = |arguments: &[&str]| {
        let mut command = network.agent(arguments);
        command.env("RACKCONNECT_CONFIG", &config).env_remove("RACKCONNECT_STATE_DIR");
        command
    };
    let run = |command| ended(network.start(command).wait_with_output().unwrap());
    let broken = [
        format!("region = dfw\n{line}[[[\n").into_bytes(),
        [b"# \xff\n".as_slice(), line.as_bytes()].concat(),
        format!("region = 7\nendpoint = 'x'\nwait_interval = \"-\"\n{line}").into_bytes(),
    ];
    for text in broken {
        fs::write(&config, &line).unwrap();
        run(agent(&["gateway", "set"])).expect(0);
        fs::write(&config, text).unwrap();
        run(agent(&["gateway", "set"])).expect(2);
        let mut command = agent(&["gateway", "rollback"]);
        for name in [
            "RACKCONNECT_STATE_DIR",
            "RACKCONNECT_REGION",
            "RACKCONNECT_INTERFACE",
            "RACKCONNECT_LOG",
        ] {
            command.env(name, std::ffi::OsString::from_vec(vec![b'/', 0xff]));
        }
        run(command).expect(0).says("RACKCONNECT_STATE_DIR is not UTF-8");
        network.expect(&[(PUBLIC, 0)]);
    }
    // If no state directory is given, the message names the one that was used.
    fs::write(&config, "[").unwrap();
    run(agent(&["gateway", "confirm"]))
        .expect(10)
        .says("a confirmation in /run/rackconnect-agent (--state-dir or");
}

/// Regression: the next `gateway set` deleted the record of an interrupted change that could not be
/// undone at that time.
fn an_undo_that_waits_is_not_forgotten() {
    let network = dead();
    let before = network.server.routes();
    abandoned(&network);
    network.server.up("eth0", false);
    let api = network.api.as_ref().unwrap();
    api.set_script("10.182.21.219".parse().unwrap(), Script::of([deployed()]));
    network
        .run(&["gateway", "set"])
        .expect(10)
        .says("could not be put back")
        .says("is not undone yet");
    network.expect(&[(DEAD, 0)]);
    network.server.up("eth0", true);
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(network.server.routes(), before);
    assert_eq!(record(&network), None);
}

fn a_check_creates_and_changes_nothing() {
    let network = dead();
    abandoned(&network);
    for (arguments, code) in
        [(&["gateway", "check"][..], 0), (&["gateway"], 0), (&["gateway", "set", "--dry-run"], 10)]
    {
        let ended = network.run(arguments);
        ended.expect(code).says("199 was interrupted: \"rackconnect gateway rollback\" undoes it");
        network.expect(&[(DEAD, 0)]);
    }
    assert_eq!(network.run(&["gateway", "rollback"]).expect(0).text(), "put back\n");
    network.expect(&[(PUBLIC, 0)]);
    assert_eq!(network.run(&["gateway", "check"]).expect(9).stderr.lines().count(), 1);
}
