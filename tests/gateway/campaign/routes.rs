//! Changes of the default route with faults of the API and of the kernel. Afterwards, the default
//! routes must be the same as before, or the gateway must be set and the command must have
//! succeeded.

use std::net::IpAddr;

use libtest_mimic::{Failed, Trial};
use nix::libc;
use rackconnect_agent::netlink::Route;
use simulated_api::Step;

use super::{Row, has_code};
use crate::network::{GATEWAY, Network, PUBLIC, deployed};
use crate::support::Ended;

/// The commands of a row, one after the other on one server.
const COMMANDS: [&str; 6] = [
    "gateway check --deadline {deadline}",
    "gateway show --as netplan --deadline {deadline}",
    "gateway set --dry-run --deadline {deadline}",
    "gateway set --wait --timeout {timeout}",
    "gateway set --deadline {deadline}",
    "gateway rollback",
];

/// How the commands of a row end, and their time limit, which is long for commands that succeed,
/// for slow machines.
#[derive(Clone, Copy, Debug)]
struct Expected {
    codes: [i32; COMMANDS.len()],
    deadline: &'static str,
    timeout: &'static str,
}

const fn done(codes: [i32; COMMANDS.len()]) -> Expected {
    Expected { codes, deadline: "50s", timeout: "50s" }
}

const fn waited_for(codes: [i32; COMMANDS.len()]) -> Expected {
    Expected { timeout: "2s", ..done(codes) }
}

const UNREACHABLE: Expected = Expected { deadline: "2s", ..waited_for([7, 7, 7, 124, 7, 10]) };
const NOT_UNDERSTOOD: Expected = waited_for([8, 8, 8, 124, 8, 10]);
const NOT_ASSIGNED: Expected = waited_for([3, 3, 3, 124, 3, 10]);
/// The gateway is on no interface, or cannot be a neighbour.
const NOT_HERE: Expected = done([9, 1, 10, 10, 10, 10]);
/// It is planned, but does not work.
const UNDONE: Expected = done([9, 0, 0, 10, 10, 10]);
/// The automation may still set it itself.
const TOO_EARLY: Expected = waited_for([9, 0, 10, 124, 10, 10]);
/// A route that is not changed comes first.
const IN_THE_WAY: Expected = done([9, 0, 10, 10, 10, 10]);
/// The second `set` has nothing to do, and the rollback undoes the first.
const SET: Expected = done([9, 0, 0, 0, 0, 0]);

/// Faults of the API.
const API_FAULTS: &[(&str, Expected)] = &[
    ("http-500", UNREACHABLE),
    ("http-502", UNREACHABLE),
    ("http-503", UNREACHABLE),
    ("reset", UNREACHABLE),
    ("close", UNREACHABLE),
    ("stall", UNREACHABLE),
    ("stall-head", UNREACHABLE),
    ("stall-body", UNREACHABLE),
    ("truncate", UNREACHABLE),
    ("cut", UNREACHABLE),
    ("stall-handshake", UNREACHABLE),
    ("reset-handshake", UNREACHABLE),
    ("cert-expired", UNREACHABLE),
    ("cert-wrong-name", UNREACHABLE),
    ("cert-unknown-issuer", UNREACHABLE),
    ("http-204", NOT_UNDERSTOOD),
    ("http-400", NOT_UNDERSTOOD),
    ("http-418", NOT_UNDERSTOOD),
    ("redirect", NOT_UNDERSTOOD),
    ("html", NOT_UNDERSTOOD),
    ("garbage", NOT_UNDERSTOOD),
    ("control", NOT_UNDERSTOOD),
    ("empty", NOT_UNDERSTOOD),
    ("huge", NOT_UNDERSTOOD),
    ("body-half", NOT_UNDERSTOOD),
    ("body-nul", NOT_UNDERSTOOD),
    ("body-utf16", NOT_UNDERSTOOD),
    ("http-404", NOT_ASSIGNED),
];

/// Gateways assigned by the API.
const GATEWAYS: &[(&str, Expected)] = &[
    ("0.0.0.0", NOT_UNDERSTOOD),
    ("224.0.0.1", NOT_UNDERSTOOD),
    ("255.255.255.255", NOT_UNDERSTOOD),
    ("127.0.0.1", NOT_UNDERSTOOD),
    ("169.254.169.254", NOT_HERE),
    ("192.0.2.77", NOT_HERE),
    ("10.182.128.1", NOT_HERE),
    ("10.182.21.219", NOT_HERE),
    ("10.182.127.255", NOT_HERE),
    ("10.182.0.0", NOT_HERE),
    ("2001:db8::1", NOT_HERE),
    ("10.182.99.99", UNDONE),
];

/// Statuses, and features that are missing: whether the gateway may be set.
const STATUSES: &[(&str, Expected)] = &[
    ("DEPLOYED", SET),
    ("DEPLOYING", TOO_EARLY),
    ("FAILED", SET),
    ("UNPROCESSABLE", SET),
    ("REBUILDING", TOO_EARLY),
];

/// The routes and interfaces in the kernel.
type Prepare = fn(&Network);

const KERNEL: &[(&str, Prepare, Expected)] = &[
    ("no default route", |network| replace(network, &[]), SET),
    ("the gateway behind another default route", |network| add(network, GATEWAY, "eth1", 100), SET),
    (
        "the gateway already",
        |network| replace(network, &[(GATEWAY, "eth1", 0)]),
        done([0, 0, 0, 0, 0, 10]),
    ),
    ("two default routes of one metric", |network| add(network, "198.51.100.2", "eth0", 0), SET),
    (
        "a default route of a high metric",
        |network| replace(network, &[(PUBLIC, "eth0", u32::MAX)]),
        SET,
    ),
    ("a blackhole", |network| add_kind(network, libc::RTN_BLACKHOLE), IN_THE_WAY),
    (
        "an unreachable default route",
        |network| add_kind(network, libc::RTN_UNREACHABLE),
        IN_THE_WAY,
    ),
    ("a prohibited default route", |network| add_kind(network, libc::RTN_PROHIBIT), IN_THE_WAY),
    ("ServiceNet is down", |network| network.server.up("eth1", false), UNREACHABLE),
    ("the router is down", |network| network.router.up("s1", false), UNREACHABLE),
    ("the public interface is down", |network| network.server.up("eth0", false), SET),
];

fn add(network: &Network, gateway: &str, interface: &str, metric: u32) {
    network.server.append(&network.server.route("default", gateway, interface, metric));
}

fn replace(network: &Network, with: &[(&str, &str, u32)]) {
    for route in network.server.defaults() {
        network.server.remove(&route);
    }
    with.iter().for_each(|(gateway, interface, metric)| add(network, gateway, interface, *metric));
}

/// A first default route without a destination.
fn add_kind(network: &Network, kind: u8) {
    let mut route = network.server.route("default", "", "", 0);
    (route.kind, route.scope) = (kind, libc::RT_SCOPE_UNIVERSE);
    network.server.prepend(&route);
}

pub fn trials() -> impl Iterator<Item = Trial> {
    let api = API_FAULTS.iter().map(|(fault, expected)| {
        let step = deployed().fault(fault);
        row(format!("the API: {fault}"), step, |_| {}, *expected)
    });
    let gateways = GATEWAYS.iter().map(|(gateway, expected)| {
        let step = Step::new("DEPLOYED").gateway(gateway);
        row(format!("the gateway {gateway}"), step, |_| {}, *expected)
    });
    let statuses = STATUSES.iter().map(|(status, expected)| {
        let step = Step::new(status).gateway(GATEWAY);
        row(format!("the status {status}"), step, |_| {}, *expected)
    });
    let kernel = KERNEL
        .iter()
        .map(|(name, prepare, expected)| row((*name).to_owned(), deployed(), *prepare, *expected));
    api.chain(gateways).chain(statuses).chain(kernel)
}

fn row(name: String, step: Step, prepare: Prepare, expected: Expected) -> Trial {
    Trial::test(format!("campaign/routes/{name}"), move || run(step, prepare, expected))
}

fn run(step: Step, prepare: Prepare, expected: Expected) -> Result<(), Failed> {
    let network = Network::with([step], &[(PUBLIC, "eth0", 0)]);
    prepare(&network);
    let initial = network.server.defaults();
    let mut row = Row::default();
    for (number, command) in COMMANDS.iter().enumerate() {
        let before = network.server.defaults();
        let arguments =
            command.replace("{deadline}", expected.deadline).replace("{timeout}", expected.timeout);
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let child = network.start(network.agent(&arguments));
        row.case(&arguments.join(" "), child, |ended| {
            let after = network.server.defaults();
            has_code(ended, expected.codes[number])?;
            check_routes(&initial, &before, &after, ended)
        });
    }
    row.end()
}

/// The rule: a command changes nothing; or it succeeds and the gateway is set; or the original
/// routes are restored.
fn check_routes(
    initial: &[Route],
    before: &[Route],
    after: &[Route],
    ended: &Ended,
) -> Result<(), String> {
    let gateway: Option<IpAddr> = GATEWAY.parse().ok();
    let is_set = after.first().is_some_and(|route| route.gateway == gateway);
    match ended.code {
        _ if before == after => Ok(()),
        Some(0) if is_set || after == initial => Ok(()),
        _ => Err(format!("the default routes were {before:?} and are {after:?}")),
    }
}
