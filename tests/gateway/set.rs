//! `gateway set`, `confirm` and `rollback`.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal::{self, SIGHUP, SIGINT, SIGKILL, SIGTERM};
use rackconnect_agent::netlink::{Netlink, Writer};
use simulated_api::Step;

use crate::namespace::Namespace;
use crate::network::{GATEWAY, GATEWAY_OF_19, HOST, Network, PUBLIC, PUBLIC_HOST, deployed};
use crate::support::ended;
use crate::undo::abandoned;
use crate::watch::{Held, guards, kill, until, until_it_awaits_confirmation, until_it_says};

pub const TESTS: &[(&str, fn())] = &[
    ("set::replaces_the_default_and_rolls_back", replaces_the_default_and_rolls_back),
    ("set::replaces_at_the_same_metric", replaces_at_the_same_metric),
    ("set::no_default_before", no_default_before),
    ("set::three_defaults", three_defaults),
    ("set::two_at_one_metric", two_at_one_metric),
    ("set::ours_is_one_of_several", ours_is_one_of_several),
    ("set::a_rule_goes_before_the_main_table", a_rule_goes_before_the_main_table),
    ("set::ours_is_the_second_of_two", ours_is_the_second_of_two),
    ("set::a_default_without_a_gateway", a_default_without_a_gateway),
    ("set::every_attribute_comes_back", every_attribute_comes_back),
    ("set::several_next_hops_are_not_touched", several_next_hops_are_not_touched),
    (
        "set::other_types_of_service_and_tables_are_not_touched",
        other_types_of_service_and_tables_are_not_touched,
    ),
    (
        "set::nothing_to_do_needs_no_privilege_and_no_status",
        nothing_to_do_needs_no_privilege_and_no_status,
    ),
    ("set::no_privilege_is_refused", no_privilege_is_refused),
    ("set::a_kernel_that_refuses_leaves_everything", a_kernel_that_refuses_leaves_everything),
    ("set::a_dry_run_only_prints", a_dry_run_only_prints),
    ("set::while_the_automation_may_set_the_gateway", while_the_automation_may_set_the_gateway),
    ("set::features_that_cannot_be_understood", features_that_cannot_be_understood),
    ("set::addresses_that_cannot_be", addresses_that_cannot_be),
    ("set::a_gateway_ending_in_255", a_gateway_ending_in_255),
    ("set::a_named_interface", a_named_interface),
    ("set::an_interface_of_odd_characters", an_interface_of_odd_characters),
    ("set::the_old_one_is_kept_if_asked", the_old_one_is_kept_if_asked),
    ("set::waits_for_the_address_and_the_automation", waits_for_the_address_and_the_automation),
    ("set::gives_up_waiting", gives_up_waiting),
    ("set::a_change_to_a_dead_gateway_is_undone", a_change_to_a_dead_gateway_is_undone),
    ("set::an_old_neighbour_entry_does_not_count", an_old_neighbour_entry_does_not_count),
    ("set::an_entry_of_the_administrator_is_believed", an_entry_of_the_administrator_is_believed),
    ("set::an_interface_without_arp", an_interface_without_arp),
    (
        "set::probes_that_answered_before_must_answer_after",
        probes_that_answered_before_must_answer_after,
    ),
    ("set::the_interface_goes_down_before_the_change", the_interface_goes_down_before_the_change),
    ("set::the_route_is_changed_before_the_change", the_route_is_changed_before_the_change),
    ("set::the_interface_goes_down_after_the_change", the_interface_goes_down_after_the_change),
    ("set::a_route_of_another_process_stays", a_route_of_another_process_stays),
    ("set::no_confirmation", no_confirmation),
    ("set::confirmed_from_another_session", confirmed_from_another_session),
    ("set::rolled_back_from_another_session", rolled_back_from_another_session),
    (
        "set::confirm_and_rollback_without_anything_to_do",
        confirm_and_rollback_without_anything_to_do,
    ),
    ("set::enter_on_the_terminal", enter_on_the_terminal),
    ("set::in_the_background_of_a_terminal", in_the_background_of_a_terminal),
    ("set::a_second_set_remembers_the_first", a_second_set_remembers_the_first),
    ("set::a_relative_state_folder", a_relative_state_folder),
    ("set::the_terminal_goes_away", the_terminal_goes_away),
    ("set::one_change_at_a_time", one_change_at_a_time),
    ("set::sigterm_undoes_and_then_ends", sigterm_undoes_and_then_ends),
    ("set::sighup_does_not_interrupt", sighup_does_not_interrupt),
    ("set::sigkill_is_undone_by_the_guard", sigkill_is_undone_by_the_guard),
    ("set::held_until_the_guard_has_ended", held_until_the_guard_has_ended),
    ("set::taken_by_another_before_it_is_confirmed", taken_by_another_before_it_is_confirmed),
    ("set::a_rollback_that_fails_is_not_done_later", a_rollback_that_fails_is_not_done_later),
    ("set::a_rollback_of_what_another_has_taken", a_rollback_of_what_another_has_taken),
    ("set::signals_end_it_again_after_an_undo", signals_end_it_again_after_an_undo),
    (
        "set::sigkill_of_both_is_undone_by_the_next_command",
        sigkill_of_both_is_undone_by_the_next_command,
    ),
    ("set::a_folder_that_others_can_write_is_refused", a_folder_that_others_can_write_is_refused),
    ("set::standard_output_without_a_reader", standard_output_without_a_reader),
];

fn replaces_the_default_and_rolls_back() {
    let network = Network::usual();
    let before = network.server.routes();
    let ended = network.run(&["gateway", "set"]);
    ended.expect(0);
    assert_eq!(
        ended.text(),
        "10.182.127.198 on eth1 becomes the default gateway:\n\
         + default via 10.182.127.198 dev eth1 proto static\n\
         - default via 198.51.100.1 dev eth0 proto boot\n\
         set: 10.182.127.198 on eth1 is the default gateway\n"
    );
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "check"]).expect(0);
    let requests = network.requests().len();
    assert!(network.run(&["gateway", "set"]).expect(0).text().contains("nothing to do"));
    assert_eq!(network.requests().len(), requests + 1);
    assert_eq!(
        network.run(&["gateway", "rollback"]).expect(0).text(),
        "put back: default via 198.51.100.1 dev eth0 proto boot\n"
    );
    assert_eq!(network.server.routes(), before);
    network.run(&["gateway", "rollback"]).expect(10).says("no change");
}

fn replaces_at_the_same_metric() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 100)]);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 100)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 100)]);
}

fn no_default_before() {
    let network = Network::bare([deployed()]);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    assert!(network.run(&["gateway", "rollback"]).expect(0).text().contains("no default route"));
    network.expect(&[]);
}

fn three_defaults() {
    let network = Network::with(
        [deployed()],
        &[(PUBLIC, "eth0", 0), (PUBLIC, "eth0", 100), ("10.182.0.1", "eth1", 200)],
    );
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0), (PUBLIC, 100), ("10.182.0.1", 200)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0), (PUBLIC, 100), ("10.182.0.1", 200)]);
}

fn two_at_one_metric() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 0), ("10.182.0.1", "eth1", 0)]);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0), ("10.182.0.1", 0)]);
}

/// Regression: the route in table 77 was taken for a default route of the main table with the same
/// metric as ours.
fn a_rule_goes_before_the_main_table() {
    let network = Network::usual();
    let mut other = network.server.route("default", PUBLIC, "eth0", 0);
    other.table = 77;
    network.server.append(&other);
    // struct fib_rule_hdr: packets for 198.41.0.0/16 go by table 77 (FR_ACT_TO_TBL is 1), before
    // the main table's rule.
    let rule = [libc::AF_INET as u8, 16, 0, 0, 77, 0, 0, 1, 0, 0, 0, 0];
    let flags =
        (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    let request = Writer::new(libc::RTM_NEWRULE, flags, &rule)
        .attribute(1, &[198, 41, 0, 0])
        .attribute(6, &100u32.to_ne_bytes());
    network
        .server
        .run(move || Netlink::open().unwrap().request(&request, |_| Ok(())).expect("a rule"));
    network
        .run(&["gateway", "set"])
        .expect(10)
        .says("but via 198.51.100.1 dev eth0 (a rule or a more specific");
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: the kernel distributes packets among routes of one metric, and the check saw only
/// ours. networkd appends its route behind ours.
fn ours_is_one_of_several() {
    let network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    let public = network.server.route("default", PUBLIC, "eth0", 0);
    network.server.append(&public);
    network.expect(&[(GATEWAY, 0), (PUBLIC, 0)]);
    let check = network.run(&["gateway", "check"]);
    assert!(
        check.expect(9).says("not every packet").text().contains("kernel: by turns, now "),
        "{}",
        check.text()
    );
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "check"]).expect(0);
    // The rollback restores the order of the routes.
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(GATEWAY, 0), (PUBLIC, 0)]);
    network.server.prepend(&network.server.route("default", "198.51.100.9", "eth0", 0));
    network.server.append(&network.server.route("default", "10.182.0.1", "eth1", 0));
    let before = network.server.routes();
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(network.server.routes(), before);
}

fn ours_is_the_second_of_two() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 0)]);
    network.run(&["gateway", "set"]).expect(0);
    let public = network.server.route("default", PUBLIC, "eth0", 0);
    network.server.prepend(&public);
    network.expect(&[(PUBLIC, 0), (GATEWAY, 0)]);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0), (GATEWAY, 0)]);
}

fn a_default_without_a_gateway() {
    let network = Network::bare([deployed()]);
    network.server.append(&network.server.route("default", "", "eth0", 0));
    let before = network.server.routes();
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(network.server.routes(), before);
}

fn every_attribute_comes_back() {
    let network = Network::bare([deployed()]);
    let server = &network.server;
    // advmss and mtu (RTAX_ADVMSS, RTAX_MTU), a preferred source, a realm.
    let metrics = [8u16.to_ne_bytes(), 8u16.to_ne_bytes()].concat();
    let metrics = [
        metrics,
        1400u32.to_ne_bytes().to_vec(),
        [8u16.to_ne_bytes(), 2u16.to_ne_bytes()].concat(),
        1450u32.to_ne_bytes().to_vec(),
    ]
    .concat();
    let more: &[(u16, &[u8])] = &[
        (libc::RTA_PREFSRC, &[198, 51, 100, 7]),
        (libc::RTA_FLOW, &7u32.to_ne_bytes()),
        (libc::RTA_METRICS, &metrics),
    ];
    let mut route = server.route_with("default", PUBLIC, "eth0", 42, more);
    route.protocol = 16;
    server.append(&route);
    let before = server.routes();
    assert_eq!((before[0].metric, before[0].protocol), (42, 16), "{before:?}");
    assert_eq!(before[0].source, Some("198.51.100.7".parse().unwrap()));
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 42)]);
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(server.routes(), before);
    // A gateway that is on-link because of the flag.
    assert!(server.remove(&before[0]));
    let mut onlink = server.route("default", "198.18.0.1", "eth0", 0);
    onlink.flags = rackconnect_agent::netlink::ONLINK;
    server.append(&onlink);
    let before = server.routes();
    network.run(&["gateway", "set"]).expect(0);
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(server.routes(), before);
}

fn several_next_hops_are_not_touched() {
    let network = Network::bare([deployed()]);
    let server = &network.server;
    // Two of struct rtnexthop, each with a gateway.
    let hop = |interface: &str, gateway: [u8; 4]| {
        let mut hop = vec![16, 0, 0, 0];
        hop.extend(server.index(interface).to_ne_bytes());
        crate::namespace::attribute(&mut hop, libc::RTA_GATEWAY, &gateway);
        hop
    };
    let hops = [hop("eth0", [198, 51, 100, 1]), hop("eth1", [10, 182, 0, 1])].concat();
    let several = |metric| {
        server.route_with("default", "", "", metric, &[(libc::RTA_MULTIPATH, hops.as_slice())])
    };
    let scoped = |metric| {
        let mut route = several(metric);
        route.scope = libc::RT_SCOPE_UNIVERSE;
        route
    };
    server.append(&scoped(0));
    let before = server.routes();
    network.run(&["gateway", "set"]).expect(10).says("not touched");
    assert_eq!(server.routes(), before);
    server.append(&scoped(100));
    let multipath = server.defaults();
    assert!(server.remove(&multipath[0]));
    let before = server.routes();
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0), ("", 100)]);
    network.run(&["gateway", "rollback"]).expect(0);
    assert_eq!(server.routes(), before);
}

fn other_types_of_service_and_tables_are_not_touched() {
    let network = Network::usual();
    let server = &network.server;
    let mut tos = server.route("default", PUBLIC, "eth0", 0);
    tos.tos = 0x10;
    server.append(&tos);
    let mut other = server.route("default", PUBLIC, "eth0", 0);
    other.table = 77;
    server.append(&other);
    let strangers = |network: &Network| {
        let mut routes = network.server.routes();
        routes.retain(|route| route.prefix > 0 || route.tos != 0);
        routes
    };
    let before = strangers(&network);
    network.run(&["gateway", "set"]).expect(0);
    assert_eq!(strangers(&network), before);
    assert!(server.remove(&other), "the route of the other table is still there");
    network.expect(&[(GATEWAY, 0)]);
}

/// Runs a command as an unprivileged user; none in a user namespace of the test's own, which has a
/// single user.
pub fn as_nobody(mut command: Command) -> Option<Command> {
    let whole =
        fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"));
    if !whole {
        eprintln!("NOT RUN as another user: there is none in this user namespace");
        return None;
    }
    command.uid(65_534).gid(65_534);
    Some(command)
}

fn nothing_to_do_needs_no_privilege_and_no_status() {
    let network =
        Network::with([Step::new("DEPLOYING").gateway(GATEWAY)], &[(GATEWAY, "eth1", 100)]);
    assert_eq!(
        network.run(&["gateway", "set"]).expect(0).text(),
        "nothing to do: 10.182.127.198 on eth1 is the default gateway\n"
    );
    let Some(command) = as_nobody(network.agent(&["gateway", "set"])) else { return };
    ended(network.start(command).wait_with_output().unwrap()).expect(0);
    assert_eq!(network.requests(), ["/v1/gateway_ip", "/v1/gateway_ip"]);
}

fn no_privilege_is_refused() {
    let network = Network::usual();
    let Some(command) = as_nobody(network.agent(&["gateway", "set"])) else { return };
    ended(network.start(command).wait_with_output().unwrap()).expect(10).says("CAP_NET_ADMIN");
    let Some(command) = as_nobody(network.agent(&["gateway", "set", "--dry-run"])) else { return };
    ended(network.start(command).wait_with_output().unwrap()).expect(0);
    let Some(command) = as_nobody(network.agent(&["gateway", "check"])) else { return };
    ended(network.start(command).wait_with_output().unwrap()).expect(9);
    network.expect(&[(PUBLIC, 0)]);
}

/// A process in a new user namespace has every capability there, but none over the network
/// namespace that it came from.
fn a_kernel_that_refuses_leaves_everything() {
    let network = Network::usual();
    let agent = network.agent(&["gateway", "set"]);
    let mut command = Command::new("unshare");
    command.arg("-U").arg("--").arg(agent.get_program()).args(agent.get_args()).env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if Command::new("unshare")
        .args(["-U", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        ended(network.start(command).wait_with_output().unwrap()).expect(10);
    }
    network.expect(&[(PUBLIC, 0)]);
}

fn a_dry_run_only_prints() {
    let network = Network::usual();
    let before = network.server.routes();
    let ended = network.run(&["gateway", "set", "--dry-run", "--keep-old-metric", "500"]);
    ended.expect(0);
    assert_eq!(
        ended.text(),
        "10.182.127.198 on eth1 becomes the default gateway:\n\
         + default via 198.51.100.1 dev eth0 proto boot metric 500\n\
         + default via 10.182.127.198 dev eth1 proto static\n\
         - default via 198.51.100.1 dev eth0 proto boot\n"
    );
    assert_eq!(network.server.routes(), before);
    let is_ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("gateway");
    assert_eq!(fs::read_dir(network.folder.path()).unwrap().flatten().filter(is_ours).count(), 0);
}

fn while_the_automation_may_set_the_gateway() {
    let feature = |status: &str, feature: &str| {
        Step::new(status).gateway(GATEWAY).feature("configure_network_stack", feature)
    };
    for (step, code) in [
        (Step::new("DEPLOYING").gateway(GATEWAY), 10),
        (Step::new("REBUILDING").gateway(GATEWAY), 10),
        (Step { status: None, ..deployed() }, 10),
        (Step::new("FAILED").gateway(GATEWAY), 0),
        (Step::new("UNPROCESSABLE").gateway(GATEWAY), 0),
        (feature("DEPLOYING", "DISABLED"), 0),
        (feature("FAILED", "ENABLED"), 10),
        (feature("DEPLOYING", "ENABLED"), 10),
        (feature("DEPLOYED", "ENABLED"), 0),
    ] {
        let about = format!("{step:?}");
        let network = Network::with([step], &[(PUBLIC, "eth0", 0)]);
        let ended = network.run(&["gateway", "set"]);
        assert_eq!(ended.code, Some(code), "{about}: {}", ended.stderr);
        network.expect(&[(if code == 0 { GATEWAY } else { PUBLIC }, 0)]);
        if code != 0 {
            network.run(&["gateway", "set", "--force"]).expect(0);
            network.expect(&[(GATEWAY, 0)]);
        }
    }
}

fn features_that_cannot_be_understood() {
    let step = Step {
        only: vec![simulated_api::Operation::AutomationFeatures],
        ..Step::new("FAILED").gateway(GATEWAY).fault("html")
    };
    let network = Network::with([step], &[(PUBLIC, "eth0", 0)]);
    network
        .run(&["gateway", "set"])
        .expect(0)
        .says("warning: the API's response is not the automation features");
    network.expect(&[(GATEWAY, 0)]);
}

fn addresses_that_cannot_be() {
    for (gateway, says) in [
        ("192.0.2.77", "not on-link"),
        ("10.182.128.1", "not on-link"),
        ("10.182.21.219", "own address"),
        ("10.182.127.255", "broadcast"),
    ] {
        let network =
            Network::with([Step::new("DEPLOYED").gateway(gateway)], &[(PUBLIC, "eth0", 0)]);
        network
            .run(&["gateway", "set", "--force"])
            .expect(10)
            .says(says)
            .says("nothing was changed");
        network.expect(&[(PUBLIC, 0)]);
    }
    for (answer, code) in [("224.0.0.1", 8), ("0.0.0.0", 8), ("nonsense", 8)] {
        let network =
            Network::with([Step::new("DEPLOYED").gateway(answer)], &[(PUBLIC, "eth0", 0)]);
        network.run(&["gateway", "set"]).expect(code);
        network.expect(&[(PUBLIC, 0)]);
    }
}

fn a_gateway_ending_in_255() {
    let network = Network::named([Step::new("DEPLOYED").gateway(GATEWAY_OF_19)], "eth1", 19);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY_OF_19, 0)]);
}

fn a_named_interface() {
    let network = Network::usual();
    network.run(&["gateway", "set", "--interface", "eth0"]).expect(10).says("not on-link on eth0");
    network.run(&["gateway", "set", "--interface", "eth7"]).expect(10).says("no interface");
    network.run(&["gateway", "set", "--interface", "a/b"]).expect(2);
    // The public interface has an address in the same subnet: ServiceNet's routes tell the
    // interfaces apart.
    network.server.address("eth0", "10.182.99.99", 17);
    network.run(&["gateway", "set", "--interface", "eth1"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.run(&["gateway", "set"]).expect(0);
    assert_eq!(network.server.defaults()[0].interface, Some(network.server.index("eth1")));
}

fn an_interface_of_odd_characters() {
    let network = Network::named([deployed()], "é\u{1b}[1m-;$x", 17);
    let ended = network.run(&["gateway", "set"]);
    ended.expect(0);
    assert!(ended.text().contains("dev é\\u{1b}[1m-;$x"), "{}", ended.text());
    network.expect(&[(GATEWAY, 0)]);
    let ended = network.run(&["gateway", "check", "--format", "json"]);
    ended.expect(0);
    let object: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(object["used"]["interface"], "é\u{1b}[1m-;$x");
    network.run(&["gateway", "set", "--interface", "é\u{1b}[1m-;$x"]).expect(0);
}

fn the_old_one_is_kept_if_asked() {
    let network = Network::usual();
    network
        .run(&["gateway", "set", "--keep-old-metric", "0"])
        .expect(10)
        .says("is not greater than");
    network.run(&["gateway", "set", "--keep-old-metric", "-1"]).expect(2);
    network.run(&["gateway", "set", "--keep-old-metric", "500"]).expect(0);
    network.expect(&[(GATEWAY, 0), (PUBLIC, 500)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0)]);
}

fn waits_for_the_address_and_the_automation() {
    let steps = [
        Step::new("DEPLOYING").requests(1),
        Step::new("DEPLOYING").gateway(GATEWAY).requests(3),
        deployed(),
    ];
    let network = Network::with(steps, &[(PUBLIC, "eth0", 0)]);
    let ended = network.run(&["gateway", "set", "--wait", "--interval", "3s"]);
    ended
        .expect(0)
        .says("waiting: no gateway is assigned")
        .says("waiting: the status is DEPLOYING");
    network.expect(&[(GATEWAY, 0)]);
}

fn gives_up_waiting() {
    let network = Network::with([Step::new("DEPLOYING")], &[(PUBLIC, "eth0", 0)]);
    network.run(&["gateway", "set", "--wait", "--timeout", "1s"]).expect(124);
    let network = Network::with([Step::new("DEPLOYING").gateway(GATEWAY)], &[(PUBLIC, "eth0", 0)]);
    network.run(&["gateway", "set", "--wait", "--timeout", "1s"]).expect(124);
    network.expect(&[(PUBLIC, 0)]);
}

/// An address that no host has.
pub const DEAD: &str = "10.182.127.199";

pub fn dead() -> Network {
    Network::with([Step::new("DEPLOYED").gateway(DEAD)], &[(PUBLIC, "eth0", 0)])
}

fn a_change_to_a_dead_gateway_is_undone() {
    let network = dead();
    let before = network.server.routes();
    network
        .run(&["gateway", "set"])
        .expect(10)
        .says("does not answer on eth1 (ARP); everything is put back");
    assert_eq!(network.server.routes(), before);
    network.run(&["gateway", "rollback"]).expect(10);
    assert!(guards(&network).is_empty());
}

fn neighbour(namespace: &Namespace, interface: &str, address: [u8; 4], mac: &[u8], state: u16) {
    let mut fixed = [0; 12];
    fixed[0] = libc::AF_INET as u8;
    fixed[4..8].copy_from_slice(&namespace.index(interface).to_ne_bytes());
    fixed[8..10].copy_from_slice(&state.to_ne_bytes());
    let flags =
        (libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
    let request = Writer::new(libc::RTM_NEWNEIGH, flags, &fixed)
        .attribute(libc::NDA_DST, &address)
        .attribute(libc::NDA_LLADDR, mac);
    namespace
        .run(move || Netlink::open().unwrap().request(&request, |_| Ok(())).expect("a neighbour"));
}

const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn an_old_neighbour_entry_does_not_count() {
    for state in [libc::NUD_REACHABLE, libc::NUD_STALE] {
        let network = dead();
        neighbour(&network.server, "eth1", [10, 182, 127, 199], &NOBODY, state);
        network.run(&["gateway", "set"]).expect(10).says("(ARP)");
        network.expect(&[(PUBLIC, 0)]);
    }
}

fn an_entry_of_the_administrator_is_believed() {
    let network = dead();
    neighbour(&network.server, "eth1", [10, 182, 127, 199], &NOBODY, libc::NUD_PERMANENT);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(DEAD, 0)]);
}

fn an_interface_without_arp() {
    let network = dead();
    network.server.flag("eth1", libc::IFF_NOARP, true);
    // Without ARP each end needs a neighbour entry for the other.
    neighbour(
        &network.server,
        "eth1",
        [10, 182, 0, 1],
        &network.router.mac("s1"),
        libc::NUD_PERMANENT,
    );
    neighbour(
        &network.router,
        "s1",
        [10, 182, 21, 219],
        &network.server.mac("eth1"),
        libc::NUD_PERMANENT,
    );
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(DEAD, 0)]);
}

fn probes_that_answered_before_must_answer_after() {
    let network = Network::usual();
    network
        .run(&["gateway", "set", "--probe", PUBLIC_HOST])
        .expect(10)
        .says("203.0.113.20 was reachable before");
    network.expect(&[(PUBLIC, 0)]);
    let probes = [HOST, &format!("{HOST}:80"), "192.0.2.222:9"];
    network
        .run(&[
            "gateway",
            "set",
            "--probe",
            probes[0],
            "--probe",
            probes[1],
            "--probe",
            "203.0.113.10:9",
        ])
        .expect(0)
        .says("203.0.113.10:9 does not answer now");
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "set", "--probe", "a b"]).expect(2);
}

fn the_interface_goes_down_before_the_change() {
    let network = Network::usual();
    let held = Held::at(&network, &["gateway", "set"], "planned");
    network.server.up("eth1", false);
    held.resume().expect(10).says("nothing was changed");
    network.expect(&[(PUBLIC, 0)]);
}

fn the_route_is_changed_before_the_change() {
    let network = Network::usual();
    let held = Held::at(&network, &["gateway", "set"], "planned");
    let other = network.server.route("default", "10.182.0.1", "eth1", 0);
    network.server.prepend(&other);
    held.resume()
        .expect(10)
        .says("changed the default routes in the meantime; nothing was changed");
    network.expect(&[("10.182.0.1", 0), (PUBLIC, 0)]);
}

fn the_interface_goes_down_after_the_change() {
    let network = dead();
    let held = Held::at(&network, &["gateway", "set"], "routes changed");
    network.server.up("eth1", false);
    held.resume().expect(10);
    network.expect(&[(PUBLIC, 0)]);
}

fn a_route_of_another_process_stays() {
    let network = dead();
    let held = Held::at(&network, &["gateway", "set"], "routes changed");
    let ours = network.server.defaults().remove(0);
    let other = network.server.route("default", "10.182.0.1", "eth1", 0);
    network.server.prepend(&other);
    network.server.remove(&ours);
    held.resume().expect(10).says("left as it is");
    network.expect(&[("10.182.0.1", 0)]);
}

fn no_confirmation() {
    let network = Network::usual();
    network
        .run(&["gateway", "set", "--confirm", "1s"])
        .expect(10)
        .says("not confirmed within 1s; everything is put back");
    network.expect(&[(PUBLIC, 0)]);
    network.run(&["gateway", "confirm"]).expect(10);
}

fn confirmed_from_another_session() {
    let network = Network::usual();
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    let requests = network.requests().len();
    // Also with a configuration that cannot be read.
    let broken = network.folder.path().join("broken.toml");
    fs::write(&broken, "region = 7\nstate_dir = '/nowhere'\n[").unwrap();
    let mut confirm = network.agent(&["gateway", "confirm"]);
    confirm.env("RACKCONNECT_CONFIG", &broken).env("RACKCONNECT_REGION", "nowhere");
    let answer = ended(network.start(confirm).wait_with_output().unwrap());
    assert_eq!(answer.expect(0).text(), "the change is kept\n");
    ended(child.wait_with_output().unwrap()).expect(0);
    assert_eq!(network.requests().len(), requests);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "confirm"]).expect(10).says("waits for a confirmation");
}

fn rolled_back_from_another_session() {
    let network = Network::usual();
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    network.run(&["gateway", "rollback"]).expect(0);
    ended(child.wait_with_output().unwrap())
        .expect(10)
        .says("gateway rollback\" asked for it; everything is put back");
    network.expect(&[(PUBLIC, 0)]);
}

fn confirm_and_rollback_without_anything_to_do() {
    let network = Network::usual();
    network.run(&["gateway", "confirm"]).expect(10);
    network.run(&["gateway", "rollback"]).expect(10);
    let mut lost = network.agent(&["gateway", "rollback"]);
    lost.env("RACKCONNECT_STATE_DIR", "/nowhere/at/all");
    ended(network.start(lost).wait_with_output().unwrap()).expect(10);
    assert!(network.requests().is_empty());
    // A change that another process has replaced since is not undone.
    network.run(&["gateway", "set"]).expect(0);
    let ours = network.server.defaults().remove(0);
    network.server.prepend(&network.server.route("default", "10.182.0.1", "eth1", 0));
    network.server.remove(&ours);
    network.run(&["gateway", "rollback"]).expect(10).says("another process");
    network.expect(&[("10.182.0.1", 0)]);
}

fn enter_on_the_terminal() {
    let network = Network::usual();
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = network.agent(&["gateway", "set"]);
    command.stdin(pty.slave).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = network.spawn(command);
    // On a terminal the change waits for Enter without --confirm. An Enter typed before the
    // question does not count.
    nix::unistd::write(&pty.master, b"\n").unwrap();
    until_it_says(&mut child, "in 1m unless it is confirmed: press Enter");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "the early Enter counted");
    nix::unistd::write(&pty.master, b"\n").unwrap();
    ended(child.wait_with_output().unwrap()).expect(0);
    network.expect(&[(GATEWAY, 0)]);
}

/// Regression: the process was stopped (SIGTTOU) with the new route in place, until the guard undid
/// the change.
fn in_the_background_of_a_terminal() {
    let network = Network::usual();
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let agent = network.agent(&["gateway", "set", "--confirm", "50s"]);
    // A new session on the terminal, with a shell that has job control: a command with "&" is in
    // the background.
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "sh", "-mc", "\"$@\" & wait $!", "sh"])
        .arg(agent.get_program())
        .args(agent.get_args());
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(pty.slave).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = network.spawn(command);
    until_it_awaits_confirmation(&mut child);
    network.run(&["gateway", "confirm"]).expect(0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    network.expect(&[(GATEWAY, 0)]);
}

/// Regression: the second change did not record the default route that the first one had replaced.
fn a_second_set_remembers_the_first() {
    let network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    // The route is lost, as after a restart of the network service.
    let ours = network.server.defaults().remove(0);
    network.server.remove(&ours);
    // A change that fails in between does not lose the record either.
    network.run(&["gateway", "set", "--confirm", "10ms"]).expect(10).says("not confirmed");
    network.expect(&[]);
    network.run(&["gateway", "set"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: the guard has another working directory, and did not find the record.
fn a_relative_state_folder() {
    let network = Network::usual();
    let mut command = network.agent(&["gateway", "set"]);
    command.current_dir(network.folder.path()).env("RACKCONNECT_STATE_DIR", "state");
    ended(network.start(command).wait_with_output().unwrap()).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    assert!(network.folder.path().join("state/gateway-undo.json").exists());
}

fn the_terminal_goes_away() {
    let network = Network::usual();
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = network.agent(&["gateway", "set", "--confirm", "3s"]);
    command.stdin(pty.slave).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = network.spawn(command);
    until("it waits", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    drop(pty.master);
    kill(&child, SIGHUP);
    ended(child.wait_with_output().unwrap()).expect(10).says("not confirmed");
    network.expect(&[(PUBLIC, 0)]);
}

fn one_change_at_a_time() {
    let network = Network::usual();
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    network.server.prepend(&network.server.route("default", "10.182.0.1", "eth1", 0));
    network.run(&["gateway", "set"]).expect(10).says("waits for \"rackconnect gateway confirm\"");
    network.server.remove(&network.server.route("default", "10.182.0.1", "eth1", 0));
    network.run(&["gateway", "check"]).expect(0);
    network.run(&["gateway", "confirm"]).expect(0);
    ended(child.wait_with_output().unwrap()).expect(0);
}

fn sigterm_undoes_and_then_ends() {
    let undoes = |network: Network, signal: Signal, mut child: Child| {
        kill(&child, signal);
        assert_eq!(child.wait().unwrap().signal(), Some(signal as i32));
        network.expect(&[(PUBLIC, 0)]);
    };
    for signal in [SIGTERM, SIGINT] {
        let network = dead();
        let held = Held::at(&network, &["gateway", "set"], "routes changed");
        kill(&held.child, signal);
        undoes(network, signal, held.release());
    }
    let network = Network::usual();
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    undoes(network, SIGTERM, child);
}

fn sighup_does_not_interrupt() {
    let network = dead();
    let held = Held::at(&network, &["gateway", "set"], "routes changed");
    kill(&held.child, SIGHUP);
    held.resume().expect(10).says("(ARP)");
    network.expect(&[(PUBLIC, 0)]);
}

fn sigkill_is_undone_by_the_guard() {
    let network = dead();
    let before = network.server.routes();
    let held = Held::at(&network, &["gateway", "set"], "routes changed");
    // The guard ignores the signals that are sent to a whole session or process group.
    for guard in guards(&network) {
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            nix::sys::signal::kill(guard, signal).unwrap();
        }
    }
    held.kill().wait().unwrap();
    until("the guard has undone it", || network.server.routes() == before);
    until("the guard is gone", || guards(&network).is_empty());
    network.run(&["gateway", "rollback"]).expect(10).says("no change");
}

/// Regression: the change was applied without a guard, and reported as undone.
fn held_until_the_guard_has_ended() {
    let network = Network::usual();
    let held = Held::at(&network, &["gateway", "set"], "guard armed");
    network.expect(&[(PUBLIC, 0)]);
    // The record is gone, as after a guard that has ended.
    fs::remove_file(network.folder.path().join("gateway-undo.json")).unwrap();
    held.resume().expect(10);
    network.expect(&[(PUBLIC, 0)]);
}

/// Regression: a default route of another program was kept as if it were the confirmed one.
fn taken_by_another_before_it_is_confirmed() {
    let network = Network::usual();
    let mut child = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until_it_awaits_confirmation(&mut child);
    let ours = network.server.defaults().remove(0);
    network.server.append(&network.server.route("default", "10.182.0.1", "eth1", 0));
    network.server.remove(&ours);
    network.run(&["gateway", "confirm"]).expect(10).says("another process");
    ended(child.wait_with_output().unwrap()).expect(10).says("before it was confirmed");
    network.expect(&[("10.182.0.1", 0)]);
    network.run(&["gateway", "rollback"]).expect(10).says("no change");
}

/// Regression: the next command, even one that only reads, restored the old route much later.
fn a_rollback_that_fails_is_not_done_later() {
    let network = Network::usual();
    network.run(&["gateway", "set"]).expect(0);
    network.server.up("eth0", false);
    network.run(&["gateway", "rollback"]).expect(1).says("could not be put back");
    network.server.up("eth0", true);
    network.run(&["gateway", "check"]).expect(0);
    network.expect(&[(GATEWAY, 0)]);
    network.run(&["gateway", "rollback"]).expect(0);
    network.expect(&[(PUBLIC, 0)]);
    assert!(guards(&network).is_empty());
}

/// Regression: the fallback route was removed, and the rollback reported as successful.
fn a_rollback_of_what_another_has_taken() {
    let network = Network::usual();
    network.run(&["gateway", "set", "--keep-old-metric", "500"]).expect(0);
    let ours = network.server.defaults().remove(0);
    network.server.prepend(&network.server.route("default", "10.182.0.1", "eth1", 0));
    network.server.remove(&ours);
    network.run(&["gateway", "rollback"]).expect(10).says("since: nothing is put back");
    network.expect(&[("10.182.0.1", 0), (PUBLIC, 500)]);
}

fn signals_end_it_again_after_an_undo() {
    let network = Network::usual();
    let waits = network.start(network.agent(&["gateway", "set", "--confirm", "50s"]));
    until("it waits", || network.defaults() == [(GATEWAY.to_owned(), 0)]);
    for guard in guards(&network) {
        nix::sys::signal::kill(guard, SIGKILL).unwrap();
    }
    kill(&waits, SIGKILL);
    waits.wait_with_output().unwrap();
    let api = network.api.as_ref().unwrap();
    let asked = network.requests().len();
    api.set_script(
        "10.182.21.219".parse().unwrap(),
        simulated_api::Script::of([deployed().fault("stall")]),
    );
    let check = network.start(network.agent(&["gateway", "set"]));
    until("it asks", || network.requests().len() > asked);
    network.expect(&[(PUBLIC, 0)]);
    kill(&check, SIGINT);
    assert_eq!(check.wait_with_output().unwrap().status.signal(), Some(SIGINT as i32));
}

fn sigkill_of_both_is_undone_by_the_next_command() {
    let network = dead();
    let before = network.server.routes();
    for command in [&["gateway", "set"][..], &["gateway", "rollback"], &["gateway", "confirm"]] {
        abandoned(&network);
        let ended = network.run(command);
        ended.says("interrupted: it has been undone");
        assert_eq!(network.server.routes(), before);
    }
}

fn a_folder_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let network = Network::usual();
    fs::set_permissions(network.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    network.run(&["gateway", "set"]).expect(10).says("is writable by other users");
    network.expect(&[(PUBLIC, 0)]);
    let mut command = network.agent(&["gateway", "set"]);
    command.env("RACKCONNECT_STATE_DIR", "/proc/nowhere");
    ended(network.start(command).wait_with_output().unwrap()).expect(10);
    network.expect(&[(PUBLIC, 0)]);
}

fn standard_output_without_a_reader() {
    let network = Network::usual();
    let mut command = network.agent(&["gateway", "set"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped());
    ended(network.spawn(command).wait_with_output().unwrap()).expect(0);
    network.expect(&[(GATEWAY, 0)]);
}
