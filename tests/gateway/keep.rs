//! `gateway keep`.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM};
use simulated_api::{Script, Step};
use simulated_xenstore::{Config as Store, Fault, Simulator as Xenstore};

use crate::network::{GATEWAY, Network, PUBLIC, deployed};
use crate::set::{DEAD, dead};
use crate::support::{Ended, ended};
use crate::undo::{abandoned, kill_guards};
use crate::watch::{Held, guards, kill, until};

pub const TESTS: &[(&str, fn())] = &[
    ("keep::sets_and_leaves", sets_and_leaves),
    ("keep::a_right_default_is_only_kept", a_right_default_is_only_kept),
    ("keep::restores_without_the_api", restores_without_the_api),
    ("keep::does_not_wait_for_an_api_that_hangs", does_not_wait_for_an_api_that_hangs),
    ("keep::restores_when_the_link_is_up_again", restores_when_the_link_is_up_again),
    (
        "keep::replaces_the_default_route_of_another_process_after_a_lookup",
        replaces_the_default_route_of_another_process_after_a_lookup,
    ),
    ("keep::one_behind_ours_goes_too", one_behind_ours_goes_too),
    ("keep::does_not_fight", does_not_fight),
    ("keep::waits_for_the_gateway", waits_for_the_gateway),
    ("keep::waits_while_deploying", waits_while_deploying),
    ("keep::irrelevant_events_cause_no_request", irrelevant_events_cause_no_request),
    ("keep::the_gateway_moves", the_gateway_moves),
    ("keep::sigkill_and_a_new_start", sigkill_and_a_new_start),
    ("keep::ends_by_other_signals", ends_by_other_signals),
    ("keep::an_ipv6_gateway_is_refused", an_ipv6_gateway_is_refused),
    ("keep::remembers_the_verified_gateway", remembers_the_verified_gateway),
    ("keep::one_alone", one_alone),
    ("keep::does_not_delay_the_boot", does_not_delay_the_boot),
    ("keep::a_dead_gateway_is_retried_with_a_backoff", a_dead_gateway_is_retried_with_a_backoff),
    ("keep::a_flood_of_events", a_flood_of_events),
    (
        "keep::an_undo_that_cannot_be_finished_does_not_stop_it",
        an_undo_that_cannot_be_finished_does_not_stop_it,
    ),
    ("keep::restores_in_spite_of_a_held_lock", restores_in_spite_of_a_held_lock),
    ("keep::restores_without_its_state_directory", restores_without_its_state_directory),
    (
        "keep::temporary_failures_at_the_start_do_not_end_it",
        temporary_failures_at_the_start_do_not_end_it,
    ),
    (
        "keep::it_remembers_what_was_before_an_undo_that_is_stuck",
        it_remembers_what_was_before_an_undo_that_is_stuck,
    ),
];

/// A running `gateway keep` with the messages that it sends to systemd.
struct Keep {
    child: Child,
    notify: UnixDatagram,
    told: Vec<String>,
}

impl Keep {
    fn start(network: &Network) -> Keep {
        Keep::start_with(network, |_| {})
    }

    fn start_with(network: &Network, with: impl FnOnce(&mut Command)) -> Keep {
        let path = network.folder.path().join("notify");
        let _ = std::fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).unwrap();
        notify.set_nonblocking(true).unwrap();
        let mut command = network.agent(&["gateway", "keep", "-v"]);
        command.env("NOTIFY_SOCKET", &path);
        with(&mut command);
        if std::env::var_os("SHOW").is_some() {
            command.stderr(std::process::Stdio::inherit());
            let child = network.spawn(command);
            return Keep { child, notify, told: Vec::new() };
        }
        Keep { child: network.start(command), notify, told: Vec::new() }
    }

    fn told(&mut self, what: &str) -> bool {
        let mut buffer = [0; 1000];
        while let Ok(length) = self.notify.recv(&mut buffer) {
            self.told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        self.told.iter().any(|line| line.contains(what))
    }

    #[track_caller]
    fn until(&mut self, what: &str) {
        until(what, || self.told(what));
    }

    fn end(mut self, signal: nix::sys::signal::Signal) -> Ended {
        kill(&self.child, signal);
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        assert!(self.told("STOPPING=1"), "{:?}", self.told);
        Ended {
            code: status.code().or(status.signal().map(|signal| 128 + signal)),
            stdout: Vec::new(),
            stderr,
        }
    }
}

fn sets_and_leaves() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    assert!(keep.told("STATUS=10.182.127.198 on eth1 is the default gateway"));
    network.expect(&[(GATEWAY, 0)]);
    keep.end(SIGTERM).expect(0);
    network.expect(&[(GATEWAY, 0)]);
}

fn a_right_default_is_only_kept() {
    let network =
        Network::with([Step::new("DEPLOYING").gateway(GATEWAY)], &[(GATEWAY, "eth1", 100)]);
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    network.server.remove(&network.server.defaults()[0]);
    until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 100)]);
    keep.end(SIGTERM).expect(0);
}

fn restores_without_the_api() {
    let mut network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    network.stop_api();
    for _ in 0..3 {
        network.server.remove(&network.server.defaults()[0]);
        until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    }
    keep.end(SIGTERM).expect(0).says("was lost: 10.182.127.198 is put back");
}

/// Regression: a lost route was not restored while a request was waiting for the API.
fn does_not_wait_for_an_api_that_hangs() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    let asked = network.requests().len();
    let api = network.api.as_ref().unwrap();
    api.set_script("10.182.21.219".parse().unwrap(), Script::of([deployed().fault("stall")]));
    network.server.remove(&network.server.defaults()[0]);
    until("it asks", || network.requests().len() > asked);
    for _ in 0..3 {
        network.server.remove(&network.server.defaults()[0]);
        until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    }
    assert_eq!(network.requests().len(), asked + 1, "the first question is still open");
    // SIGTERM ends it during the request.
    keep.end(SIGTERM).expect(0);
}

fn restores_when_the_link_is_up_again() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    network.server.up("eth1", false);
    keep.until("cannot be put back");
    network.expect(&[]);
    network.server.up("eth1", true);
    for servicenet in ["10.176.0.0/12", "10.208.0.0/12"] {
        network.server.append(&network.server.route(servicenet, "10.182.0.1", "eth1", 0));
    }
    until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    keep.end(SIGTERM).expect(0);
}

fn replaces_the_default_route_of_another_process_after_a_lookup() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    let asked = network.requests().len();
    network.server.prepend(&network.server.route("default", PUBLIC, "eth0", 0));
    until("ours is back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    until("it has asked", || network.requests().len() == asked + 2);
    keep.end(SIGTERM).expect(0);
}

/// Regression: a default route of the same metric behind its own was left, and the kernel
/// distributed packets between the two.
fn one_behind_ours_goes_too() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    network.server.append(&network.server.route("default", PUBLIC, "eth0", 0));
    until("ours is alone", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    keep.end(SIGTERM).expect(0);
}

fn does_not_fight() {
    let network = Network::with([deployed()], &[(GATEWAY, "eth1", 0)]);
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    let public = network.server.route("default", PUBLIC, "eth0", 0);
    for _ in 0..5 {
        until("it is kept", || {
            network.defaults() == [(GATEWAY.to_owned(), 0)] && guards(&network).is_empty()
        });
        network.server.prepend(&public);
        until("ours is back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    }
    until("it is kept", || guards(&network).is_empty());
    network.server.prepend(&public);
    let ended = ended(keep.child.wait_with_output().unwrap());
    ended.expect(10).says("again and again");
    assert_eq!(network.defaults()[0].0, PUBLIC);
}

fn waits_for_the_gateway() {
    let network =
        Network::with([Step::new("DEPLOYING").requests(2), deployed()], &[(PUBLIC, "eth0", 0)]);
    let mut keep = Keep::start(&network);
    keep.until("STATUS=waiting: no gateway is assigned");
    // Ready at once, although there is no gateway to set yet.
    keep.until("READY=1");
    network.expect(&[(PUBLIC, 0)]);
    keep.until("is the default gateway");
    network.expect(&[(GATEWAY, 0)]);
    keep.end(SIGTERM).expect(0);
}

fn waits_while_deploying() {
    let network = Network::with(
        [Step::new("DEPLOYING").gateway(GATEWAY).requests(3), deployed()],
        &[(PUBLIC, "eth0", 0)],
    );
    let mut keep = Keep::start(&network);
    keep.until("STATUS=waiting: the status is DEPLOYING");
    network.expect(&[(PUBLIC, 0)]);
    keep.until("is the default gateway");
    keep.end(SIGTERM).expect(0);
}

fn irrelevant_events_cause_no_request() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    let asked = network.requests().len();
    for number in 0..50 {
        let route = network.server.route(&format!("192.0.2.{number}/32"), PUBLIC, "eth0", 0);
        network.server.append(&route);
        network.server.remove(&route);
    }
    network.server.append(&network.server.route("default", PUBLIC, "eth0", 500));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(network.requests().len(), asked);
    network.expect(&[(GATEWAY, 0), (PUBLIC, 500)]);
    keep.end(SIGTERM).expect(0);
}

fn the_gateway_moves() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    network.router.address("s1", "10.182.100.1", 17);
    let api = network.api.as_ref().unwrap();
    api.set_script(
        "10.182.21.219".parse().unwrap(),
        Script::of([Step::new("DEPLOYED").gateway("10.182.100.1")]),
    );
    // No request is sent until the route is lost. Then the old gateway is restored at once, and the
    // new one is set after the API has answered.
    network.server.remove(&network.server.defaults()[0]);
    keep.until("10.182.127.198 is put back");
    keep.until("10.182.100.1 on eth1 is the default gateway");
    network.expect(&[("10.182.100.1", 0)]);
    keep.end(SIGTERM).expect(0);
}

fn sigkill_and_a_new_start() {
    let network =
        Network::with([Step::new("DEPLOYED").gateway("10.182.127.199")], &[(PUBLIC, "eth0", 0)]);
    let held = Held::at(&network, &["gateway", "keep"], "routes changed");
    kill_guards(&network, SIGKILL);
    held.kill().wait().unwrap();
    network.expect(&[("10.182.127.199", 0)]);
    let mut keep = Keep::start(&network);
    keep.until("waiting: 10.182.127.199 does not answer on eth1 (ARP); everything is put back");
    // It tries again, so the routes are read after its end.
    keep.end(SIGTERM).expect(0).says("interrupted: it has been undone");
    network.expect(&[(PUBLIC, 0)]);
}

fn ends_by_other_signals() {
    for signal in [SIGINT, SIGHUP] {
        let network = Network::usual();
        let mut keep = Keep::start(&network);
        keep.until("READY=1");
        keep.end(signal).expect(128 + signal as i32);
        network.expect(&[(GATEWAY, 0)]);
    }
}

/// Regression: the last verified gateway was forgotten when the process ended.
fn remembers_the_verified_gateway() {
    let mut network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    network.stop_api();
    network.server.remove(&network.server.defaults()[0]);
    let endpoint = "https://10.191.5.5:8443";
    let mut command = crate::support::bare_agent(&["gateway", "keep"]);
    command
        .env("RACKCONNECT_ENDPOINT", endpoint)
        .env("RACKCONNECT_STATE_DIR", network.folder.path());
    let child = network.start(command);
    until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    kill(&child, SIGTERM);
    ended(child.wait_with_output().unwrap()).expect(0).says("was lost: 10.182.127.198 is put back");
}

fn one_alone() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    network.run(&["gateway", "keep"]).expect(10).says("runs already");
    keep.end(SIGTERM).expect(0);
}

/// Regression: booting waited for an API that hung, or for a region that was never known.
fn does_not_delay_the_boot() {
    let network = Network::usual();
    let api = network.api.as_ref().unwrap();
    api.set_script("10.182.21.219".parse().unwrap(), Script::of([deployed().fault("stall")]));
    let store =
        Xenstore::start(Store::default().with("vm-data/provider_data/provider", "Rackspace"))
            .unwrap();
    for region in [true, false] {
        let mut keep = Keep::start_with(&network, |command| {
            command.env("RACKCONNECT_DEADLINE", "1h").env("RACKCONNECT_REQUEST_TIMEOUT", "1h");
            if !region {
                command.env_remove("RACKCONNECT_ENDPOINT").env("XENSTORED_PATH", store.path());
            }
        });
        keep.until("READY=1");
        assert!(keep.told("STATUS=waiting for the API"), "{:?}", keep.told);
        network.expect(&[(PUBLIC, 0)]);
        keep.end(SIGTERM).expect(0);
    }
}

/// Regression: it waited forever.
fn an_ipv6_gateway_is_refused() {
    let network = Network::with([Step::new("DEPLOYED").gateway("fd00::1")], &[(PUBLIC, "eth0", 0)]);
    network.run(&["gateway", "keep"]).expect(10).says("IPv6");
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: events of its own changes triggered another attempt every five seconds, and it gave
/// up after five of them.
fn a_dead_gateway_is_retried_with_a_backoff() {
    let network =
        Network::with([Step::new("DEPLOYED").gateway("10.182.127.199")], &[(PUBLIC, "eth0", 0)]);
    let mut keep = Keep::start(&network);
    keep.until("everything is put back");
    let asked = network.requests().len();
    until("it tries again", || network.defaults()[0].0 != PUBLIC);
    until("that is put back, too", || {
        network.defaults()[0].0 == PUBLIC && guards(&network).is_empty()
    });
    let twice = network.requests().len();
    assert!(twice > asked);
    until("it asks again", || network.requests().len() > twice);
    let log = network.api.as_ref().unwrap().log();
    let pause = log[twice].at - log[twice - 1].at;
    // An attempt takes 5 s, and the second backoff is 10 s, less at most a tenth.
    assert!(pause > Duration::from_secs(10), "{pause:?}");
    keep.end(SIGTERM).expect(0);
}

/// More events than the socket holds, while the process is stopped.
fn a_flood_of_events() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    kill(&keep.child, nix::sys::signal::Signal::SIGSTOP);
    for number in 0..4_000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        network.server.append(&network.server.route(
            &format!("198.18.{high}.{low}/32"),
            PUBLIC,
            "eth0",
            0,
        ));
    }
    network.server.remove(&network.server.defaults()[0]);
    kill(&keep.child, nix::sys::signal::Signal::SIGCONT);
    until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    keep.end(SIGTERM).expect(0).says("kernel notifications were lost");
}

/// Leaves a change to the dead gateway that cannot be undone: its process and its guard are killed,
/// and the interface of the old route is gone.
fn stuck(network: &Network) {
    abandoned(network);
    network.server.up("eth0", false);
}

fn script(network: &Network, step: Step) {
    network.api.as_ref().unwrap().set_script("10.182.21.219".parse().unwrap(), Script::of([step]));
}

/// Regression: with an undo that cannot be finished it never set a gateway again, even without any
/// default route.
fn an_undo_that_cannot_be_finished_does_not_stop_it() {
    for lost in [false, true] {
        let network = dead();
        stuck(&network);
        script(&network, deployed());
        if lost {
            network.server.remove(&network.server.defaults()[0]);
        }
        let mut keep = Keep::start(&network);
        keep.until("10.182.127.198 on eth1 is the default gateway");
        network.expect(&[(GATEWAY, 0)]);
        keep.end(SIGTERM).expect(0).says("could not be put back");
        // The route that could not be restored then can still be rolled back to.
        network.server.up("eth0", true);
        network.run(&["gateway", "rollback"]).expect(0);
        network.expect(&[(PUBLIC, 0)]);
    }
    // It also can after another dead gateway.
    let network = dead();
    stuck(&network);
    script(&network, Step::new("DEPLOYED").gateway("10.182.127.200"));
    let mut keep = Keep::start(&network);
    keep.until("10.182.127.200 does not answer on eth1 (ARP); everything is put back");
    network.expect(&[(DEAD, 0)]);
    network.server.up("eth0", true);
    until("the undo is finished", || network.defaults() == [(PUBLIC.to_owned(), 0)]);
    keep.end(SIGTERM).expect(0);
}

/// Regression: it knew no verified gateway, because the last change had not been verified.
fn it_remembers_what_was_before_an_undo_that_is_stuck() {
    let mut network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    network.server.remove(&network.server.defaults()[0]);
    network.server.append(&network.server.route("default", PUBLIC, "eth0", 0));
    script(&network, Step::new("DEPLOYED").gateway(DEAD));
    stuck(&network);
    network.server.remove(&network.server.defaults()[0]);
    // The API's CA file is removed with it.
    let mut command = network.agent(&["gateway", "keep"]);
    command.env_remove("RACKCONNECT_CA_FILE");
    network.stop_api();
    let child = network.start(command);
    until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    kill(&child, SIGTERM);
    ended(child.wait_with_output().unwrap()).expect(0).says("was lost: 10.182.127.198 is put back");
}

/// Regression: a lost default route was not restored while another process held the lock.
fn restores_in_spite_of_a_held_lock() {
    let network = Network::usual();
    let mut keep = Keep::start(&network);
    keep.until("READY=1");
    script(&network, Step::new("DEPLOYED").gateway("10.182.100.1"));
    network.router.address("s1", "10.182.100.1", 17);
    let mut set = network.start(network.agent(&["gateway", "set", "--confirm", "1h"]));
    until("it waits", || network.folder.path().join("gateway.sock").exists());
    until("the new one is there", || network.defaults() == [("10.182.100.1".to_owned(), 0)]);
    keep.until("STATUS=waiting: another change of the default route is under way");
    // There is a default route, so no other one is added.
    network.expect(&[("10.182.100.1", 0)]);
    network.server.remove(&network.server.defaults()[0]);
    until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    // A process that hangs holds the lock as well.
    kill(&set, SIGSTOP);
    network.server.remove(&network.server.defaults()[0]);
    until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    keep.end(SIGTERM).expect(0).says("is put back beside another change");
    kill(&set, SIGKILL);
    set.wait().unwrap();
}

/// Regression: without a usable state directory there was no lock, and a lost default route was not
/// restored.
fn restores_without_its_state_directory() {
    for spoilt in [false, true] {
        let mut network = Network::usual();
        let folder = network.folder.path().join("state");
        let mut keep = Keep::start_with(&network, |command| {
            command.env("RACKCONNECT_STATE_DIR", &folder);
        });
        keep.until("READY=1");
        network.stop_api();
        std::fs::remove_dir_all(&folder).unwrap();
        if spoilt {
            std::fs::write(&folder, "").unwrap();
        }
        network.server.remove(&network.server.defaults()[0]);
        until("it is put back", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
        let ended = keep.end(SIGTERM);
        ended.expect(0).says("the default route was lost: 10.182.127.198 is put back");
        assert_eq!(ended.stderr.contains("is put back without a lock"), spoilt, "{}", ended.stderr);
    }
}

/// Regression: a xenstore that did not answer for two seconds was reported as a wrong
/// configuration, and a state directory that could not be created as another running `keep`.
/// systemd does not restart it after either.
fn temporary_failures_at_the_start_do_not_end_it() {
    let network = Network::usual();
    let provider = "vm-data/provider_data/provider";
    let store =
        Xenstore::start(Store::default().with(provider, "Rackspace").fault(Fault::Stall)).unwrap();
    let agent = || {
        let mut command = network.agent(&["gateway", "keep"]);
        command.env_remove("RACKCONNECT_ENDPOINT").env("XENSTORED_PATH", store.path());
        command
    };
    let mut keep = Keep::start_with(&network, |command| {
        command
            .env_remove("RACKCONNECT_ENDPOINT")
            .env("XENSTORED_PATH", store.path())
            .env("RACKCONNECT_DEADLINE", "1h");
    });
    keep.until("READY=1");
    // xenstore answers, and the request that waits for the region continues with it.
    store.fault(Fault::None);
    store.set("vm-data/provider_data/region", "iad");
    let mut stderr = std::io::BufReader::new(keep.child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("region iad (xenstore") {
        assert_ne!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap(), 0, "{said}");
    }
    keep.child.stderr = Some(stderr.into_inner());
    keep.end(SIGTERM).expect(0);
    assert!(said.contains("the region is not known yet: xenstore"), "{said}");

    let in_the_way = network.folder.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let mut command = network.agent(&["gateway", "keep"]);
    command.env("RACKCONNECT_STATE_DIR", in_the_way.join("state"));
    ended(network.start(command).wait_with_output().unwrap())
        .expect(1)
        .says("cannot create the state directory");

    // An error that is permanent ends it.
    store.remove("vm-data/provider_data/region");
    store.set(provider, "Amazon");
    ended(network.start(agent()).wait_with_output().unwrap()).expect(2).says("\"Amazon\"");
    store.set(provider, "Rackspace");
    let mut command = agent();
    command.env("XENSTORED_PATH", in_the_way.join("none"));
    ended(network.start(command).wait_with_output().unwrap()).expect(2).says("is not known (");
}
