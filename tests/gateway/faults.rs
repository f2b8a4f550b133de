//! Faults that were found by attacking the program, each with its regression test.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal::SIGTERM;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use rackconnect_agent::netlink::Route;
use simulated_api::Step;
use simulated_xenstore::{Config as Store, Simulator as Xenstore};

use crate::network::{GATEWAY, HOST, Network, PUBLIC, deployed};
use crate::support::{Ended, PATIENCE, ended, finish_within};
use crate::undo::record;
use crate::watch::{Held, full_pipe, guards, kill, until, until_it_awaits_confirmation};

pub const TESTS: &[(&str, fn())] = &[
    ("faults::one_connection_for_all_questions", one_connection_for_all_questions),
    (
        "faults::rollback_after_the_interface_was_created_again",
        rollback_after_the_interface_was_created_again,
    ),
    (
        "faults::unconfirmed_after_the_interface_was_created_again",
        unconfirmed_after_the_interface_was_created_again,
    ),
    ("faults::the_hint_names_an_interface_that_is_gone", the_hint_names_an_interface_that_is_gone),
    ("faults::three_thousand_default_routes", three_thousand_default_routes),
    (
        "faults::a_full_standard_error_does_not_delay_a_change",
        a_full_standard_error_does_not_delay_a_change,
    ),
    ("faults::a_signal_ends_it_while_output_blocks", a_signal_ends_it_while_output_blocks),
    (
        "faults::the_timeout_counts_while_the_region_is_unknown",
        the_timeout_counts_while_the_region_is_unknown,
    ),
    (
        "faults::anything_but_a_regular_file_does_not_hang_a_command",
        anything_but_a_regular_file_does_not_hang_a_command,
    ),
    ("faults::show_refuses_an_interface_without_as", show_refuses_an_interface_without_as),
    ("faults::no_enter_without_a_terminal", no_enter_without_a_terminal),
    ("faults::a_countdown_on_a_terminal", a_countdown_on_a_terminal),
    ("faults::another_default_in_front_is_named", another_default_in_front_is_named),
    ("faults::dead_probes_do_not_delay_a_good_one", dead_probes_do_not_delay_a_good_one),
    ("faults::onlink_is_shown", onlink_is_shown),
    ("faults::a_full_disk_blocked_a_rollback", a_full_disk_blocked_a_rollback),
    (
        "faults::a_full_disk_refuses_a_change_before_anything_is_changed",
        a_full_disk_refuses_a_change_before_anything_is_changed,
    ),
    (
        "faults::the_files_of_a_change_are_private_with_any_umask",
        the_files_of_a_change_are_private_with_any_umask,
    ),
    (
        "faults::a_verified_change_was_undone_when_the_disk_was_full",
        a_verified_change_was_undone_when_the_disk_was_full,
    ),
];

/// Regression: each request made a TLS connection of its own. The second connection here is the
/// verification: it shows that the API is reachable through the new gateway, so it must be new.
fn one_connection_for_all_questions() {
    let network = Network::with([Step::new("FAILED").gateway(GATEWAY)], &[(PUBLIC, "eth0", 0)]);
    network.run(&["gateway", "set"]).expect(0);
    let asked = ["/v1/gateway_ip", "/v1/automation_status", "/v1/automation_features?format=json"];
    assert_eq!(network.requests(), asked);
    assert_eq!(network.api.as_ref().unwrap().connections(), 2);
}

/// Deletes the public interface and creates it again under the same name, with another index.
fn make_again(network: &Network) {
    let before = network.server.index("eth0");
    network.server.delete("eth0");
    network.server.pair("eth0", &network.public, "p0");
    network.server.address("eth0", "198.51.100.7", 24);
    network.public.address("p0", PUBLIC, 24);
    assert_ne!(network.server.index("eth0"), before);
}

/// Regression: the old default route was not restored, because the record had only the index of its
/// interface.
fn rollback_after_the_interface_was_created_again() {
    let network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    make_again(&network);
    let ended = network.run(&["gateway", "rollback"]);
    assert!(ended.expect(0).text().contains("put back: default via 198.51.100.1 dev eth0"));
    network.expect(&[(PUBLIC, 0)]);
    assert_eq!(network.server.defaults()[0].interface, Some(network.server.index("eth0")));
}

/// Regression: `gateway set` ended with 1, and the default route was lost.
fn unconfirmed_after_the_interface_was_created_again() {
    let network = Network::usual();
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "2s"]));
    until_it_awaits_confirmation(&mut child);
    make_again(&network);
    ended(child.wait_with_output().unwrap()).expect(10).says("everything is put back");
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: the message suggested `ip route prepend default via 198.51.100.1 dev #2`, which is
/// not a valid command.
fn the_hint_names_an_interface_that_is_gone() {
    let network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    network.server.delete("eth0");
    let ended = network.run(&["gateway", "rollback"]);
    ended.expect(1).says("\"ip route prepend default via 198.51.100.1 dev eth0 proto boot\"");
    assert!(!ended.stderr.contains('#'), "{}", ended.stderr);
    network.expect(&[(GATEWAY, 0)]);
}

/// Regression: only 256 KiB of the record were read, so the guard did not find the change.
fn three_thousand_default_routes() {
    let network = Network::usual();
    let template = network.server.route("default", PUBLIC, "eth0", 1).to_bytes();
    let metric = template.windows(4).rposition(|bytes| bytes == 1u32.to_ne_bytes()).unwrap();
    network.server.append_many((1..3_000u32).map(|number| {
        let mut bytes = template.clone();
        bytes[metric..metric + 4].copy_from_slice(&number.to_ne_bytes());
        Route::read(&bytes).unwrap()
    }));
    let before = network.server.defaults();
    assert_eq!(before.len(), 3_000);
    network.run(&["gateway", "set"]).expect(0);
    assert_eq!(network.defaults()[0], (GATEWAY.to_owned(), 0));
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(network.server.defaults(), before);
}

/// Regression: while a stopped pager read standard error, the change stayed unverified or
/// unconfirmed.
fn a_full_standard_error_does_not_delay_a_change() {
    let network = Network::usual();
    let (reader, full) = full_pipe();
    let mut command = network.agent(&["gateway", "set", "--confirm", "1s"]);
    command.stdout(Stdio::null()).stderr(full);
    let mut child = network.spawn(command);
    until("the change is made", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    until("it is undone", || record(&network).is_none() && guards(&network).is_empty());
    network.expect(&[(PUBLIC, 0)]);
    // The messages are written when the reader continues.
    let mut reader = reader;
    let mut said = Vec::new();
    let reading = std::thread::spawn(move || reader.read_to_end(&mut said).map(|_| said));
    assert_eq!(child.wait().unwrap().code(), Some(10));
    let said = String::from_utf8(reading.join().unwrap().unwrap()).unwrap();
    assert!(said.contains("the new gateway works"), "{said}");
    assert!(said.contains("not confirmed within 1s"), "{said}");
}

/// Regression: SIGTERM was ignored while writing to standard error blocked.
fn a_signal_ends_it_while_output_blocks() {
    use std::os::unix::process::ExitStatusExt;
    let network = Network::usual();
    let (_reader, full) = full_pipe();
    let mut command = network.agent(&["gateway", "set"]);
    command.stdout(Stdio::null()).stderr(full);
    let mut child = network.spawn(command);
    until("the change is kept", || {
        record(&network).is_some_and(|record| record.contains("\"kept\""))
            && guards(&network).is_empty()
    });
    kill(&child, SIGTERM);
    until("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().signal(), Some(SIGTERM as i32));
    network.expect(&[(GATEWAY, 0)]);
}

/// Regression: the deadline of one request counted instead.
fn the_timeout_counts_while_the_region_is_unknown() {
    let network = Network::usual();
    let store = Store::default().with("vm-data/provider_data/provider", "Rackspace");
    let store = Xenstore::start(store).unwrap();
    let mut command = network.agent(&["gateway", "set", "--wait", "--timeout", "2s"]);
    command.env_remove("RACKCONNECT_ENDPOINT").env("XENSTORED_PATH", store.path());
    command.env("RACKCONNECT_DEADLINE", "1h").env("RACKCONNECT_REQUEST_TIMEOUT", "1h");
    let ended = finish_within(network.start(command), PATIENCE).unwrap();
    ended.expect(124).says("the region is not known yet");
}

/// Regression: `gateway rollback` hung on a FIFO in place of gateway.lock or the configuration
/// file.
fn anything_but_a_regular_file_does_not_hang_a_command() {
    let network = Network::usual();
    for name in ["gateway.lock", "gateway-undo.json", "gateway-keep.lock"] {
        let path = network.folder.path().join(name);
        for directory in [false, true] {
            if directory {
                fs::create_dir(&path).unwrap()
            } else {
                mkfifo(&path, Mode::S_IRWXU).unwrap()
            }
            network.run(&["gateway", "rollback"]).expect(10);
            network.run(&["gateway", "check"]).expect(9);
            if name == "gateway.lock" {
                network.run(&["gateway", "set"]).expect(10).says("gateway.lock");
                network.expect(&[(PUBLIC, 0)]);
            }
            if directory { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
    }
    network.run(&["gateway", "set"]).expect(0);
    let config = network.folder.path().join("config.toml");
    mkfifo(&config, Mode::S_IRWXU).unwrap();
    network.run(&["gateway", "rollback", "--config", config.to_str().unwrap()]).expect(0);
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: the option was ignored.
fn show_refuses_an_interface_without_as() {
    let network = Network::usual();
    network.run(&["gateway", "show", "--interface", "eth1"]).expect(2).says("--as");
    network.run(&["gateway", "show", "--as", "netplan", "--interface", "eth1"]).expect(0);
    network.run(&["gateway", "show", "--as", "netplan", "--interface", "eth0"]).expect(1);
}

fn no_enter_without_a_terminal() {
    let network = Network::usual();
    let ended = network.run(&["gateway", "set", "--confirm", "1s"]);
    ended.expect(10).says("run \"rackconnect gateway confirm\" in any session");
    assert!(!ended.stderr.contains("Enter"), "{}", ended.stderr);
}

fn a_countdown_on_a_terminal() {
    let network = Network::usual();
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = network.agent(&["gateway", "set", "--confirm", "3s"]);
    let slave = || pty.slave.try_clone().unwrap();
    command.env("TERM", "xterm").stdin(slave()).stdout(Stdio::null()).stderr(slave());
    let mut child = network.spawn(command);
    drop(pty.slave);
    let mut master = fs::File::from(pty.master);
    let (mut shown, mut buffer) = (String::new(), [0; 1024]);
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert_eq!(child.wait().unwrap().code(), Some(10));
    for left in ["in 3s", "in 2s", "in 1s"] {
        assert!(shown.contains(left), "{left}: {shown}");
    }
}

/// Regression: the message blamed a rule (`ip rule`).
fn another_default_in_front_is_named() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 100)]);
    let held = Held::at(&network, &["gateway", "set"], "routes changed");
    network.server.prepend(&network.server.route("default", "10.182.0.1", "eth1", 0));
    let ended = held.resume();
    ended.expect(10).says(
        "another process put a default route in front: default via 10.182.0.1 dev eth1 proto boot",
    );
    assert!(!ended.stderr.contains("ip rule"), "{}", ended.stderr);
    network.expect(&[("10.182.0.1", 0), (PUBLIC, 100)]);
}

/// Regression: probes were tried one after the other, some seconds each.
fn dead_probes_do_not_delay_a_good_one() {
    let network = Network::usual();
    // One after the other, they would take two minutes.
    let dead: Vec<String> = (101..141).map(|host| format!("198.51.100.{host}")).collect();
    let mut arguments = vec!["gateway", "set", "--probe", HOST];
    dead.iter().for_each(|probe| arguments.extend(["--probe", probe]));
    let child = network.start(network.agent(&arguments));
    let ended = finish_within(child, PATIENCE).unwrap();
    ended.expect(0).says("198.51.100.140 does not answer now");
    network.expect(&[(GATEWAY, 0)]);
}

fn onlink_is_shown() {
    let network = Network::bare([deployed()]);
    let mut onlink = network.server.route("default", "198.51.99.1", "eth0", 0);
    onlink.flags = rackconnect_agent::netlink::ONLINK;
    network.server.append(&onlink);
    let ended = network.run(&["gateway", "set"]);
    assert!(ended.expect(0).text().contains("198.51.99.1 dev eth0 proto boot onlink"));
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(network.server.defaults(), [onlink]);
}

/// Runs the program from a shell, after another command.
fn after(network: &Network, first: &str, arguments: &[&str]) -> Ended {
    let agent = network.agent(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first} && exec \"$0\" \"$@\"")]).arg(agent.get_program());
    command.args(agent.get_args()).env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ended(network.start(command).wait_with_output().unwrap())
}

/// No change begins until its record is on disk.
fn a_full_disk_refuses_a_change_before_anything_is_changed() {
    let network = Network::usual();
    after(&network, "ulimit -f 0", &["gateway", "set"]).expect(10).says("cannot store the undo");
    network.expect(&[(PUBLIC, 0)]);
    assert_eq!(record(&network), None);
    assert!(guards(&network).is_empty());
}

/// The modes are those in SECURITY.md.
fn the_files_of_a_change_are_private_with_any_umask() {
    use std::os::unix::fs::MetadataExt;
    for umask in ["umask 000", "umask 077"] {
        let network = Network::usual();
        after(&network, umask, &["gateway", "set"]).expect(0);
        for name in ["gateway-undo.json", "gateway.lock"] {
            let metadata = fs::metadata(network.folder.path().join(name)).unwrap();
            assert_eq!(metadata.mode() & 0o7777, 0o600, "{name}, {umask}");
        }
    }
}

/// Regression: the rollback wrote its record before it restored the route, and gave up if that
/// failed.
fn a_full_disk_blocked_a_rollback() {
    let network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    after(&network, "ulimit -f 0", &["gateway", "rollback"])
        .expect(0)
        .says("cannot store the undo");
    network.expect(&[(PUBLIC, 0)]);
    assert_eq!(record(&network), None);
    // Without a record there is nothing to undo.
    network.run(&["gateway", "rollback"]).expect(10);
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: a verified route was removed again because "kept" could not be written to the
/// record.
fn a_verified_change_was_undone_when_the_disk_was_full() {
    let network = Network::usual();
    let held = Held::at(&network, &["gateway", "set"], "change verified");
    let pid = format!("--pid={}", held.child.id());
    let limited = Command::new("prlimit").args([&pid, "--fsize=0"]).status();
    assert!(limited.unwrap().success(), "prlimit(1) of util-linux");
    held.resume().expect(0).says("the change is kept, but");
    network.expect(&[(GATEWAY, 0)]);
    assert_eq!(record(&network), None);
    assert!(guards(&network).is_empty());
    // The next command does not undo it either.
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
}
