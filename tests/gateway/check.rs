//! `gateway check`.

use rackconnect_agent::netlink::Route;
use serde_json::Value;
use simulated_api::Step;

use crate::network::{GATEWAY, Network, PUBLIC, deployed};
use crate::support::ended;

pub const TESTS: &[(&str, fn())] = &[
    ("check::the_gateway_is_the_default", the_gateway_is_the_default),
    ("check::another_is_the_default", another_is_the_default),
    ("check::there_is_no_default_route", there_is_no_default_route),
    ("check::none_is_assigned", none_is_assigned),
    ("check::an_ipv6_answer", an_ipv6_answer),
    ("check::as_other_programs_know_the_path", as_other_programs_know_the_path),
    ("check::a_more_specific_route_counts", a_more_specific_route_counts),
    ("check::default_routes_of_a_large_table", default_routes_of_a_large_table),
];

/// Reading stops behind the default routes; the result must be that of a whole dump.
fn default_routes_of_a_large_table() {
    let network = Network::with(
        [deployed()],
        &[(GATEWAY, "eth1", 100), (PUBLIC, "eth0", 200), (PUBLIC, "eth0", 4_000_000_000)],
    );
    let server = &network.server;
    server.append(&server.route("0.0.0.0/8", PUBLIC, "eth0", 0));
    server.append(&server.route("0.0.0.0/1", PUBLIC, "eth0", 0));
    let mut other_table = server.route("default", PUBLIC, "eth0", 0);
    other_table.table = 77;
    server.append(&other_table);
    let template = server.route("100.0.0.0/24", PUBLIC, "eth0", 0).to_bytes();
    let destination = template.windows(4).position(|bytes| bytes == [100, 0, 0, 0]).unwrap();
    server.append_many((0..20_000u32).map(|number| {
        let mut bytes = template.clone();
        bytes[destination + 1..destination + 3].copy_from_slice(&number.to_be_bytes()[2..]);
        Route::read(&bytes).unwrap()
    }));
    let all = server.routes();
    assert!(all.len() > 20_000);
    let whole: Vec<_> = all.into_iter().filter(|route| route.is_default()).collect();
    assert_eq!(server.defaults(), whole);
    let (default, specific) = (&whole[0], server.route("100.0.7.0/24", PUBLIC, "eth0", 0));
    // Removing a route reads the same list.
    assert!(server.remove(default) && server.remove(&specific));
    assert_eq!(server.defaults(), whole[1..]);
    network.run(&["gateway", "check"]).expect(9);
}

fn the_gateway_is_the_default() {
    let network = Network::with([deployed()], &[(GATEWAY, "eth1", 100), (PUBLIC, "eth0", 200)]);
    let ended = network.run(&["gateway", "check"]);
    ended.expect(0);
    assert_eq!(
        ended.text(),
        "API: 10.182.127.198\nkernel: via 10.182.127.198 dev eth1\n\
         default via 10.182.127.198 dev eth1 proto boot metric 100\n\
         default via 198.51.100.1 dev eth0 proto boot metric 200\n"
    );
    assert_eq!(network.requests(), ["/v1/gateway_ip"]);
    // With --interface only routes on that interface count.
    network.run(&["gateway", "check", "--interface", "eth1"]).expect(0);
    network
        .run(&["gateway", "check", "--interface", "eth0"])
        .expect(9)
        .says("is 10.182.127.198, but on eth1, not on eth0");
}

fn another_is_the_default() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 0), (GATEWAY, "eth1", 100)]);
    network.run(&["gateway", "check"]).expect(9);
    let ended = network.run(&["gateway", "check", "--format", "json"]);
    ended.expect(9);
    let object: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(object["gateway"], GATEWAY);
    assert_eq!(object["matches"], false);
    assert_eq!(object["used"]["gateway"], PUBLIC);
    assert_eq!(object["used"]["interface"], "eth0");
    assert_eq!(object["default_routes"][1]["metric"], 100);
    assert_eq!(object["default_routes"][1]["protocol"], "boot");
}

fn there_is_no_default_route() {
    let network = Network::bare([deployed()]);
    let ended = network.run(&["gateway", "check"]);
    ended.expect(9).says("there is no default route");
    assert_eq!(ended.text(), "API: 10.182.127.198\nkernel: nowhere\n");
    let ended = network.run(&["gateway", "check", "--format", "json"]);
    assert_eq!(
        ended.text(),
        "{\"gateway\":\"10.182.127.198\",\"matches\":false,\"used\":null,\"default_routes\":[]}\n"
    );
}

fn none_is_assigned() {
    let mut network = Network::with([Step::new("DEPLOYING")], &[(PUBLIC, "eth0", 0)]);
    let kernel =
        "kernel: via 198.51.100.1 dev eth0\ndefault via 198.51.100.1 dev eth0 proto boot\n";
    assert_eq!(network.run(&["gateway", "check"]).expect(3).text(), kernel);
    let object = network.run(&["gateway", "check", "--format", "json"]);
    assert!(
        object
            .expect(3)
            .text()
            .starts_with("{\"gateway\":null,\"matches\":false,\"used\":{\"gateway\":")
    );
    // The kernel's routes are also printed if the API cannot be reached.
    let mut command = network.agent(&["gateway", "check"]);
    network.stop_api();
    command.env_remove("RACKCONNECT_CA_FILE");
    assert_eq!(ended(network.start(command).wait_with_output().unwrap()).expect(7).text(), kernel);
}

fn an_ipv6_answer() {
    let network =
        Network::with([Step::new("DEPLOYED").gateway("2001:db8::1")], &[(PUBLIC, "eth0", 0)]);
    let ended = network.run(&["gateway", "check"]);
    ended.expect(9);
    assert_eq!(ended.text(), "API: 2001:db8::1\nkernel: nowhere\n");
    network.run(&["gateway", "set"]).expect(10).says("IPv6");
    network.expect(&[(PUBLIC, 0)]);
}

fn a_more_specific_route_counts() {
    let network = Network::with([deployed()], &[(GATEWAY, "eth1", 0)]);
    network.server.append(&network.server.route("128.0.0.0/1", PUBLIC, "eth0", 0));
    network.run(&["gateway", "check"]).expect(9);
    network.run(&["gateway", "set"]).expect(10).says("more specific route");
    network.expect(&[(GATEWAY, 0)]);
}

fn as_other_programs_know_the_path() {
    let network = Network::with([deployed()], &[(PUBLIC, "eth0", 0)]);
    for (program, says) in [
        ("networkd", "[Route]\nGateway=10.182.127.198\n"),
        (
            "netplan",
            "    eth1:\n      routes:\n        - to: 0.0.0.0/0\n          via: 10.182.127.198\n",
        ),
        (
            "ifupdown",
            "iface eth1 inet static\n    address 10.182.21.219\n    netmask 255.255.128.0\n    gateway 10.182.127.198\n",
        ),
        ("sysconfig", "GATEWAY=10.182.127.198\n"),
    ] {
        let ended = network.run(&["gateway", "show", "--as", program]);
        assert!(ended.expect(0).text().contains(says), "{}", ended.text());
        assert!(ended.text().contains("# eth0 has or had a default route"), "{}", ended.text());
    }
    // A default route that is gone from the kernel may still be in the configuration files.
    network.run(&["gateway", "set"]).expect(0);
    let ended = network.run(&["gateway", "show", "--as", "netplan"]);
    assert!(
        ended.expect(0).text().contains("# eth0 has or had a default route"),
        "{}",
        ended.text()
    );
    network.run(&["gateway", "rollback"]).expect(0);
    network.server.append(&network.server.route("default", "10.182.0.1", "eth1", 100));
    let ended = network.run(&["gateway", "show", "--as", "networkd"]);
    assert!(
        ended
            .expect(0)
            .text()
            .contains("# eth1 has or had a default route via 10.182.0.1: replace"),
        "{}",
        ended.text()
    );
    network.server.remove(&network.server.route("default", "10.182.0.1", "eth1", 100));
    network.run(&["gateway", "show", "--as", "wicked"]).expect(2);
    network.run(&["gateway", "show", "--as", "netplan", "--format", "text"]).expect(2);
    network.expect(&[(PUBLIC, 0)]);
}
