//! `doctor` on servers that are broken in one way each: it has to name that first.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use simulated_api::Step;

use crate::network::{GATEWAY, Network, PUBLIC, deployed};
use crate::support::{Ended, PreparedServer, binary, ended};

pub const TESTS: &[(&str, fn())] = &[
    ("doctor::a_healthy_server_has_no_warning", healthy),
    ("doctor::nothing_on_the_server_is_changed", nothing_changes),
    ("doctor::each_fault_is_named_first", each_fault),
    ("doctor::a_wrong_clock_is_told_from_a_wrong_certificate", clocks),
    ("doctor::what_it_says_repairs_the_server", remedies),
    ("doctor::a_dead_nameserver_and_a_closed_port", dead_endpoints),
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
        "[PASS] network.connection: 10.191.5.5:8443 after ",
        "[PASS] network.tls: the certificate is trusted by only ",
        "[PASS] network.rate-limit: 26 of 30 requests a minute are free",
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
    let faults: [(&str, Break); 11] = [
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
        ("network.tls", |network, _| play(network, step().fault("cert-unknown-issuer"))),
        ("network.other-clients", |network, server| {
            play(network, step().fault("http-403"));
            let loops = "while :; do curl https://dfw.api.rackconnect.rackspace.com; done";
            server.process(77, "sh", &["sh", "-c", loops]);
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

/// Both make a certificate invalid; the Date of the API's response tells which it is.
fn clocks() {
    const YEARS: i64 = 2_000 * 365 * 86_400;
    for (fault, offset, id) in
        [("cert-not-yet-valid", YEARS, "network.clock"), ("cert-expired", 0, "network.tls")]
    {
        let network = Network::with_date([step().fault(fault)], offset);
        let server = PreparedServer::healthy("DEPLOYED");
        let found = doctor(&network, &server, &[]);
        let first = found.expect(1).stderr.lines().find(|line| line.starts_with("[FAIL]"));
        let first = first.unwrap_or_default();
        assert!(first.starts_with(&format!("[FAIL] {id}: ")), "{id}: {}", found.stderr);
        assert!(network.requests().len() <= 4, "{:?}", network.requests());
    }
    let network = Network::with_date([step()], 3_600);
    let found = doctor(&network, &PreparedServer::healthy("DEPLOYED"), &[]);
    found.expect(0).says("[WARNING] network.clock: the clock is 1h behind the API's");
}

/// What a person would do who knows nothing: run what stands behind the arrow, as it stands there.
fn remedies() {
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("NOT RUN: the remedies, since there is no ip(8) here");
        return;
    }
    let faults: [Break; 2] = [
        |network, _| {
            let route = network.server.route("10.176.0.0/12", "10.182.0.1", "eth1", 0);
            assert!(network.server.remove(&route));
        },
        |network, _| {
            let lost = network.server.defaults().remove(0);
            network.server.append(&network.server.route("default", PUBLIC, "eth0", 0));
            assert!(network.server.remove(&lost));
        },
    ];
    for break_it in faults {
        let (network, server) = (network(), PreparedServer::healthy("DEPLOYED"));
        break_it(&network, &server);
        let found = doctor(&network, &server, &[]);
        let remedy =
            found.expect(1).stderr.lines().find_map(|line| line.trim().strip_prefix("-> "));
        let command = remedy.and_then(|remedy| remedy.split("; ").next()).expect("a remedy");
        let agent = network.agent(&[]);
        let mut shell = Command::new("sh");
        let bin = network.folder.path().join("bin");
        std::fs::create_dir_all(&bin).expect("a directory");
        std::os::unix::fs::symlink(binary(), bin.join("rackconnect")).expect("a link");
        let path = std::env::var("PATH").expect("PATH");
        shell.args(["-c", command]).stdin(Stdio::null()).env_clear();
        shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", format!("{}:{path}", bin.display()));
        ended(network.start(shell).wait_with_output().expect("it ends")).expect(0);
        doctor(&network, &server, &[]).expect(0);
    }
}

/// In the namespace nothing leads to the nameservers of the machine.
fn dead_endpoints() {
    let (network, server) = (network(), PreparedServer::healthy("DEPLOYED"));
    let root = server.root().to_str().expect("UTF-8").to_owned();
    for (endpoint, id) in [
        ("https://dfw.api.rackconnect.rackspace.com", "network.name"),
        ("https://10.191.5.5:9", "network.connection"),
    ] {
        let mut agent = network.agent(&["doctor", "--root", &root]);
        agent.env("XENSTORED_PATH", server.xenstore.path()).env("RACKCONNECT_ENDPOINT", endpoint);
        let started = Instant::now();
        let found = ended(network.start(agent).wait_with_output().expect("the agent ends"));
        println!("{endpoint}: {:?}", started.elapsed());
        let first = found.expect(1).stderr.lines().find(|line| line.starts_with("[FAIL]"));
        let first = first.unwrap_or_default();
        assert!(first.starts_with(&format!("[FAIL] {id}: ")), "{id}: {}", found.stderr);
    }
}

/// Whatever swallows the packets, the answer comes in time.
fn dead_networks() {
    let faults: [(&str, Break); 4] = [
        ("xenstore and the API stall", |network, server| {
            server.xenstore.fault(simulated_xenstore::Fault::Stall);
            play(network, step().fault("stall"));
        }),
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
        assert!(found.expect(1).stderr.contains("[FAIL] network."), "{what}: {}", found.stderr);
    }
}
