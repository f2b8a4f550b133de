//! `doctor` on servers that are each broken in one way: it must name that fault first, and the
//! commands that it prints must repair the server.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use simple_dns::RCODE;
use simulated_api::{Config, Step};
use simulated_xenstore::Fault;

use crate::broken_servers::{BROKEN_SERVERS, Repair, Scene, step};
use crate::nameserver::Questions;
use crate::network::{GATEWAY, PUBLIC};
use crate::support::{Ended, config};

pub const TESTS: &[(&str, fn())] = &[
    ("doctor::a_healthy_server_has_no_warning", healthy),
    ("doctor::nothing_on_the_server_is_changed", nothing_changes),
    ("doctor::ten_broken_servers_are_told_what_is_wrong_first", ten_broken_servers),
    ("doctor::other_faults_are_named_first", other_faults),
    ("doctor::a_wrong_clock_is_told_from_a_wrong_certificate", clocks),
    ("doctor::nameservers_that_break_aaaa", broken_aaaa),
    ("doctor::what_it_prints_repairs_the_server", remedies),
    ("doctor::what_it_prints_can_be_undone", undone),
    ("doctor::the_command_shows_which_nameserver_is_dead", dead_nameservers),
    ("doctor::the_clock_is_set_by_the_api", the_time_of_the_api),
    ("doctor::a_dead_network_takes_ten_seconds_at_most", dead_networks),
];

/// The most requests that `doctor` may send.
const MAX_REQUESTS: usize = 4;

/// Checks that nothing but the count is on standard error.
#[track_caller]
fn expect_nothing_wrong(found: &Ended) {
    found.expect(0).says("0 failed, 0 warnings, ");
    assert_eq!(found.stderr.lines().count(), 1, "{}", found.stderr);
}

/// The first finding on standard error.
fn first_line(found: &Ended) -> &str {
    found.stderr.lines().next().unwrap_or_default()
}

#[track_caller]
fn expect_first(found: &Ended, beginning: &str) {
    let first = first_line(found);
    assert!(first.starts_with(beginning), "{beginning}:\n{}{}", found.stderr, found.text());
}

fn healthy() {
    let scene = Scene::healthy();
    let found = scene.doctor(&[]);
    expect_nothing_wrong(&found);
    let text = found.text();
    assert!(text.lines().count() <= 30, "{text}");
    for line in [
        "[PASS] network.servicenet.interface: eth1 is up, 10.182.21.219",
        "[PASS] network.servicenet.route: 10.176.0.0/12 and 10.208.0.0/12 via 10.182.0.1 on eth1",
        "[PASS] network.connection: connected to 10.191.5.5:8443 in ",
        "[PASS] network.tls: issued by Simulated RackConnect CA, trusted by ",
        "[PASS] network.rate-limit: 26 of 30 requests a minute are free",
        "[PASS] rackconnect.status: DEPLOYED",
        "[PASS] rackconnect.gateway: packets for the internet go via 10.182.127.198 dev eth1, \
         RackConnect's gateway",
        "gateway set would have nothing to do",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let requests = scene.network.requests();
    assert!(requests.len() <= MAX_REQUESTS, "{requests:?}");
}

fn nothing_changes() {
    let scene = Scene::healthy();
    let server = &scene.network.server;
    server.append(&server.route("default", GATEWAY, "eth1", 100));
    let files = || (scene.server.contents(), scene.server.modification_times());
    let (before, routes) = (files(), server.routes());
    scene.doctor(&["-v"]).expect(0);
    scene.doctor(&["--format", "json"]).expect(0);
    assert_eq!(files(), before);
    assert_eq!(server.routes(), routes);
    assert_eq!(scene.server.written_in_xenstore(), [""; 0]);
}

fn ten_broken_servers() {
    for broken in BROKEN_SERVERS {
        let scene = (broken.make)();
        let found = scene.doctor(&[]);
        expect_first(&found, broken.first_line);
        let is_failure = broken.first_line.starts_with("[FAIL]");
        found.expect(if is_failure { 1 } else { 0 });
        let remedy = found.stderr.lines().nth(1).unwrap_or_default();
        assert!(remedy.trim_start().starts_with("-> "), "{}:\n{}", broken.name, found.stderr);
        let requests = scene.network.requests();
        assert!(requests.len() <= MAX_REQUESTS, "{}: {requests:?}", broken.name);
    }
}

type Break = fn(&Scene);

fn other_faults() {
    let faults: [(&str, Break); 7] = [
        ("network.servicenet.interface", |scene| scene.network.server.up("eth1", false)),
        ("network.servicenet.route", |scene| {
            let server = &scene.network.server;
            assert!(server.remove(&server.route("10.208.0.0/12", "10.182.0.1", "eth1", 0)));
        }),
        ("network.tls", |scene| scene.play(step().fault("cert-unknown-issuer"))),
        ("network.api", |scene| scene.play(step().fault("http-403"))),
        ("network.api", |scene| scene.play(step().fault("http-503"))),
        ("rackconnect.status", |scene| scene.play(Step::new("FAILED"))),
        ("rackconnect.gateway", |scene| {
            let server = &scene.network.server;
            server.append(&server.route("default", GATEWAY, "eth1", 5));
            assert!(server.remove(&server.defaults()[0]));
            server.up("eth0", true);
            server.append(&server.route("default", PUBLIC, "eth0", 0));
        }),
    ];
    for (id, break_it) in faults {
        let scene = Scene::healthy();
        break_it(&scene);
        let found = scene.doctor(&[]);
        expect_first(found.expect(1), &format!("[FAIL] {id}: "));
    }
}

/// Both make a certificate invalid; the Date of the API's response tells which it is.
fn clocks() {
    let scene = Scene::healthy();
    scene.play(step().fault("cert-expired"));
    expect_first(scene.doctor(&[]).expect(1), "[FAIL] network.tls: ");
    let scene = Scene::with_config(Config { date_offset: Some(0), ..config() });
    scene.play(step().fault("cert-expired"));
    let found = scene.doctor(&[]);
    expect_first(
        found.expect(1),
        "[FAIL] network.tls: the API's certificate expired on 2014-01-01",
    );
    assert!(!found.stderr.contains("network.clock"), "{}", found.stderr);
    let scene = Scene::with_clock_behind(3_600);
    let found = scene.doctor(&[]);
    expect_first(found.expect(0), "[WARNING] network.clock: this server's clock is 1h behind");
}

/// Each fault makes other programs wait or fail; this program only warns.
fn broken_aaaa() {
    for (questions, says) in [
        (Questions::AaaaDropped, "does not answer"),
        (Questions::AaaaRefused(RCODE::ServerFailure), "responded with SERVFAIL"),
        (Questions::AaaaRefused(RCODE::NameError), "says that there is no such name"),
    ] {
        let mut scene = Scene::healthy();
        scene.look_up_by(questions);
        let found = scene.doctor(&["-v"]);
        let first =
            format!("[WARNING] network.name: nameserver 10.191.5.5 {says} when asked for AAAA");
        expect_first(found.expect(0), &first);
        assert!(found.text().contains("[PASS] network.api: "), "{}", found.text());
    }
}

/// What is printed below the first failure or warning.
#[track_caller]
fn first_remedy(found: &Ended) -> &str {
    found.stderr.lines().find_map(|line| line.trim().strip_prefix("-> ")).expect("a remedy")
}

/// The command in the explanation of a remedy, behind these words.
#[track_caller]
fn command_after<'a>(remedy: &'a str, words: &str) -> &'a str {
    remedy.split_once(words).unwrap_or_else(|| panic!("{words:?} is not in {remedy}")).1
}

/// Runs the printed command of the first failure, as a user who knows nothing of RackConnect would.
fn remedies() {
    if Command::new("ip").arg("-V").output().is_err() {
        eprintln!("NOT RUN: the remedies, since there is no ip(8) here");
        return;
    }
    let mut repaired = 0;
    for broken in BROKEN_SERVERS.iter().filter(|it| it.repair == Repair::ByCommands) {
        let scene = (broken.make)();
        let mut found = scene.doctor(&[]);
        // One fault can hide another.
        for _ in 0..3 {
            if found.code == Some(0) {
                break;
            }
            scene.shell(first_remedy(&found)).expect(0);
            found = scene.doctor(&[]);
        }
        expect_nothing_wrong(&found);
        repaired += 1;
    }
    assert!(repaired >= 4, "{repaired}");
}

/// The printed commands that undo a change for the time until DEPLOYED.
fn undone() {
    for name in ["sshd listens on port 2222", "SELinux is enforcing"] {
        let broken = BROKEN_SERVERS.iter().find(|it| it.name == name).expect("a broken server");
        let scene = (broken.make)();
        let before = scene.server.contents();
        let found = scene.doctor(&[]);
        let remedy = first_remedy(&found);
        scene.shell(remedy).expect(0);
        assert_ne!(scene.server.contents(), before, "{remedy}");
        let undo = command_after(remedy, "to undo it when the server is DEPLOYED: ");
        scene.shell(undo).expect(0);
        assert_eq!(scene.server.contents(), before, "{undo}");
    }
}

/// Where nothing can be repaired without a decision, the command shows what that needs.
fn dead_nameservers() {
    for (questions, code, says) in [
        (Questions::Dropped, 1, "       10.191.5.5 does not answer when asked for A\n"),
        (Questions::AaaaDropped, 0, "       10.191.5.5 does not answer when asked for AAAA\n"),
    ] {
        let mut scene = Scene::healthy();
        scene.look_up_by(questions);
        let found = scene.doctor(&[]);
        found.says(": rackconnect doctor --explain network.name");
        scene.shell(first_remedy(&found)).expect(code).says(says);
    }
}

/// A printed time would be wrong when it is pasted.
fn the_time_of_the_api() {
    if Command::new("curl").arg("-V").output().is_err() {
        eprintln!("NOT RUN: the time of the API, since there is no curl here");
        return;
    }
    let scene = Scene::with_clock_behind(3_600);
    let found = scene.doctor(&[]);
    let command = command_after(first_remedy(&found), "set it from the API's clock: ");
    scene.shell(command).expect(0);
    let set = fs::read_to_string(scene.set_clock()).expect("date was run");
    let time = set.trim_end().strip_prefix("-u -s ").expect("its arguments");
    let time = httpdate::parse_http_date(time).expect("a time");
    let ahead = time.duration_since(SystemTime::now()).expect("the API is ahead").as_secs();
    assert!((3_000..=3_600).contains(&ahead), "{ahead}");
}

/// It ends in time with every kind of dead network. Prints the table of docs/doctor.md.
fn dead_networks() {
    type Kill = fn(&mut Scene);
    let faults: [(&str, &str, Kill); 8] = [
        ("nothing is dead", "", |_| ()),
        ("packets are swallowed", "network.connection", |scene| {
            let forward = "/proc/sys/net/ipv4/ip_forward";
            scene.network.router.run(move || fs::write(forward, "0").expect("a file"));
        }),
        ("nothing listens at the port", "network.connection", |scene| {
            scene.endpoint = "https://10.191.5.5:9".to_owned();
        }),
        ("no nameserver answers", "network.name", |scene| scene.look_up_by(Questions::Dropped)),
        ("the handshake stalls", "network.tls", |scene| {
            scene.play(step().fault("stall-handshake"))
        }),
        ("the API stalls", "network.api", |scene| scene.play(step().fault("stall"))),
        ("xenstore stalls", "", |scene| scene.server.xenstore.fault(Fault::Stall)),
        ("xenstore and the API stall", "network.api", |scene| {
            scene.server.xenstore.fault(Fault::Stall);
            scene.play(step().fault("stall"));
        }),
    ];
    // Side by side, since they only wait.
    thread::scope(|scope| {
        for (what, check, kill) in faults {
            scope.spawn(move || dead_network(what, check, kill));
        }
    });
}

fn dead_network(what: &str, check: &str, kill: fn(&mut Scene)) {
    let mut scene = Scene::healthy();
    kill(&mut scene);
    let started = Instant::now();
    let found = scene.doctor(&[]);
    let time = started.elapsed();
    println!("| {what} | {:.1} s |", time.as_secs_f64());
    // It takes ten seconds at most; a busy machine may need longer.
    assert!(time < Duration::from_secs(100), "{what}: {time:?}");
    match check {
        "" => {
            found.expect(0);
        }
        check => assert!(
            found.expect(1).stderr.contains(&format!("[FAIL] {check}: ")),
            "{what}: {}",
            found.stderr
        ),
    }
}
