//! `doctor` on servers that are broken in one way each: it has to name that first.

use std::time::{Duration, Instant};

use simulated_api::Step;

use crate::network::{GATEWAY, Network, PUBLIC, deployed};
use crate::support::{Ended, PreparedServer, ended};

pub const TESTS: &[(&str, fn())] = &[
    ("doctor::a_healthy_server_has_no_warning", healthy),
    ("doctor::nothing_on_the_server_is_changed", nothing_changes),
    ("doctor::each_fault_is_named_first", each_fault),
    ("doctor::a_dead_network_takes_ten_seconds_at_most", dead_networks),
];

/// A healthy server: its gateway is set.
fn network() -> Network {
    Network::with([step()], &[(GATEWAY, "eth1", 0)])
}

fn step() -> Step {
    deployed().task("Cloud Server Created: Add \"rackconnect\" user", "DEPLOYED")
}

fn doctor(network: &Network, server: &PreparedServer, arguments: &[&str]) -> Ended {
    let root = server.root().to_str().expect("UTF-8");
    let mut agent = network.agent(&[&["doctor", "--root", root], arguments].concat());
    agent.env("XENSTORED_PATH", server.xenstore.path());
    ended(network.start(agent).wait_with_output().expect("the agent ends"))
}

fn healthy() {
    let (network, server) = (network(), PreparedServer::healthy("DEPLOYED"));
    network.server.up("eth0", false);
    let found = doctor(&network, &server, &[]);
    found.expect(0);
    assert_eq!(found.stderr, "");
    let text = found.text();
    assert!(text.lines().count() <= 30, "{text}");
    for line in [
        "[PASS] network.servicenet.interface: eth1 is up, 10.182.21.219",
        "[PASS] network.servicenet.route: both through 10.182.0.1 on eth1",
        "[PASS] rackconnect.status: DEPLOYED",
        "[PASS] rackconnect.gateway: 10.182.127.198 is the API's and the kernel's: via \
         10.182.127.198 dev eth1",
        "gateway set would have nothing to do",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(network.requests().len() <= 4, "{:?}", network.requests());
}

fn nothing_changes() {
    let network = Network::with([step()], &[(PUBLIC, "eth0", 0), (GATEWAY, "eth1", 100)]);
    let server = PreparedServer::healthy("DEPLOYED");
    let (files, routes) = (server.contents(), network.server.routes());
    doctor(&network, &server, &["-v"]).expect(1);
    doctor(&network, &server, &["--format", "json"]).expect(1);
    assert_eq!(server.contents(), files);
    assert_eq!(network.server.routes(), routes);
    assert!(server.xenstore.log().iter().all(|request| request.kind <= 2));
}

type Break = fn(&Network, &PreparedServer);

fn each_fault() {
    let faults: [(&str, Break); 9] = [
        ("network.servicenet.interface", |network, _| network.server.up("eth1", false)),
        ("network.servicenet.route", |network, _| {
            let route = network.server.route("10.208.0.0/12", "10.182.0.1", "eth1", 0);
            assert!(network.server.remove(&route));
        }),
        // The default route takes ServiceNet's packets.
        ("network.servicenet.route", |network, _| {
            for servicenet in ["10.176.0.0/12", "10.208.0.0/12"] {
                let route = network.server.route(servicenet, "10.182.0.1", "eth1", 0);
                assert!(network.server.remove(&route));
            }
        }),
        ("network.api", |network, _| play(network, step().fault("http-403"))),
        ("network.api", |network, _| play(network, step().fault("http-503"))),
        ("rackconnect.status", |network, _| play(network, Step::new("FAILED"))),
        ("rackconnect.gateway", |network, _| {
            let lost = network.server.defaults().remove(0);
            network.server.append(&network.server.route("default", PUBLIC, "eth0", 0));
            assert!(network.server.remove(&lost));
        }),
        ("automation.sshd.port", |network, server| {
            play(network, Step::new("DEPLOYING"));
            server.write("etc/ssh/sshd_config", "Port 2222\nPermitRootLogin yes\n");
        }),
        ("automation.selinux", |network, server| {
            play(network, Step::new("DEPLOYING"));
            server.write("sys/fs/selinux/enforce", "1");
        }),
    ];
    for (number, (id, break_it)) in faults.into_iter().enumerate() {
        let (network, server) = (network(), PreparedServer::healthy("DEPLOYED"));
        break_it(&network, &server);
        let found = doctor(&network, &server, &[]);
        found.expect(1);
        let first = found.stderr.lines().find(|line| line.starts_with("[FAIL]"));
        let first = first.unwrap_or_default();
        assert!(
            first.starts_with(&format!("[FAIL] {id}: ")),
            "{number}, {id}:\n{}{}",
            found.stderr,
            found.text()
        );
    }
}

fn play(network: &Network, step: Step) {
    let server = "10.182.21.219".parse().expect("an address");
    let api = network.api.as_ref().expect("the API runs");
    api.set_script(server, simulated_api::Script::of([step]));
}

/// Whatever swallows the packets, the answer comes in time.
fn dead_networks() {
    let faults: [(&str, Break); 3] = [
        ("the API stalls", |network, _| play(network, step().fault("stall"))),
        ("the handshake stalls", |network, _| play(network, step().fault("stall-handshake"))),
        ("packets are swallowed", |network, _| {
            let forward = "/proc/sys/net/ipv4/ip_forward";
            network.router.run(move || std::fs::write(forward, "0").expect("a file"));
        }),
    ];
    for (what, break_it) in faults {
        let (network, server) = (network(), PreparedServer::healthy("DEPLOYED"));
        break_it(&network, &server);
        let started = Instant::now();
        let found = doctor(&network, &server, &[]);
        // Ten seconds by itself; the rest is for a busy machine.
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        println!("{what}: {:?}", started.elapsed());
        assert!(found.expect(1).stderr.contains("[FAIL] network.api"), "{what}: {}", found.stderr);
    }
}
