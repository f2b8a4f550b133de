use super::*;
use crate::doctor::check::Severity::{Fail, Info, Pass, Skipped, Warning};
use crate::doctor::checks::fixtures::{assert_found, healthy, nameserver, via};
use crate::doctor::evidence::PathEvidence;

fn with_kernel(change: impl FnOnce(&mut KernelEvidence)) -> Evidence {
    let mut evidence = healthy();
    change(evidence.kernel.as_mut().unwrap());
    evidence
}

#[test]
fn the_interface() {
    let id = "network.servicenet.interface";
    assert_found(&healthy(), id, Pass, "eth1 is up, 10.182.21.219");
    let down =
        assert_found(&with_kernel(|kernel| kernel.links[2].flags = 0), id, Fail, "eth1 is down");
    assert!(down.remedy.starts_with("ip link set eth1 up"));
    let bare = with_kernel(|kernel| kernel.addresses.clear());
    assert_found(&bare, id, Fail, "eth1 has no address");
    let mut none = with_kernel(|kernel| {
        kernel.addresses.clear();
        kernel.routes.clear();
    });
    none.server.as_mut().unwrap().xenstore = Err(Unread::NeedsRoot("xenstore".to_owned()));
    assert_found(&none, id, Fail, "no interface has an address on ServiceNet");
    assert_found(&none, "network.servicenet.route", Skipped, "no ServiceNet interface");
}

#[test]
fn a_given_endpoint_outside_of_servicenet_needed_a_servicenet_interface() {
    let id = "network.servicenet.interface";
    let mut evidence = with_kernel(|kernel| {
        kernel.addresses.clear();
        kernel.routes.clear();
    });
    evidence.server.as_mut().unwrap().xenstore = Err(Unread::NeedsRoot("xenstore".to_owned()));
    evidence.is_configured = true;
    // The endpoint is given, but it is one of ServiceNet, or its address is not known.
    assert_found(&evidence, id, Fail, "cannot be reached any other way");
    evidence.path.as_mut().unwrap().lookup = Err("no nameserver answers".to_owned());
    assert_found(&evidence, id, Fail, "cannot be reached any other way");
    evidence.path.as_mut().unwrap().lookup = Ok(vec![[127, 0, 0, 1].into()]);
    assert_found(&evidence, id, Info, "the given endpoint is not on ServiceNet either");
    evidence.is_configured = false;
    assert_found(&evidence, id, Fail, "cannot be reached any other way");
}

#[test]
fn the_routes() {
    let id = "network.servicenet.route";
    assert_found(&healthy(), id, Pass, "10.176.0.0/12 and 10.208.0.0/12 via 10.182.0.1 on eth1");
    let gateway = Some(via([10, 182, 127, 198].into()));
    let missing = with_kernel(|kernel| {
        kernel.routes.remove(1);
        kernel.samples[1].hop = gateway;
    });
    let found = assert_found(&missing, id, Fail, "there is no route to 10.208.0.0/12");
    assert!(
        found.cause.contains("take the default route (via 10.182.127.198 dev eth1)"),
        "{}",
        found.cause
    );
    let command = "ip route replace 10.208.0.0/12 via 10.182.0.1 dev eth1  # ";
    assert!(found.remedy.starts_with(command), "{}", found.remedy);
    let captured = with_kernel(|kernel| kernel.samples[0].hop = gateway);
    let says =
        "there is a route to 10.176.0.0/12, a network of ServiceNet, but packets take another";
    assert_found(&captured, id, Fail, says);
    let none = with_kernel(|kernel| {
        kernel.routes.clear();
        kernel.samples[0].hop = None;
    });
    let found =
        assert_found(&none, id, Fail, "there is no route to 10.176.0.0/12 and 10.208.0.0/12 (");
    let commands = "ip route replace 10.176.0.0/12 via 10.182.0.1 dev eth1 && ip route replace \
                    10.208.0.0/12 via 10.182.0.1 dev eth1  # ";
    assert!(found.remedy.starts_with(commands), "{}", found.remedy);
}

/// Regression: a sample outside of the narrower routes was compared with the default route, and one
/// inside of them was not compared with the routes.
#[test]
fn routes_narrower_than_the_network_were_judged_by_the_default_route() {
    let id = "network.servicenet.route";
    let kernel_of = |destination: [u8; 4], hop: Option<NextHop>| {
        with_kernel(|kernel| {
            kernel.routes[0].destination = Some(destination.into());
            kernel.routes[0].prefix = 13;
            kernel.samples[0].hop = hop;
        })
    };
    let (outside, inside) = ([10, 184, 0, 0], [10, 176, 0, 0]);
    let internet = healthy().kernel.unwrap().internet;
    let bridge = Some(NextHop { gateway: None, interface: Some(2), ..via([0; 4].into()) });
    for hop in [internet, bridge, None] {
        assert_found(&kernel_of(outside, hop), id, Pass, "via 10.182.0.1 on eth1");
        assert_found(&kernel_of(inside, hop), id, Fail, "but packets take another way");
    }
}

fn with_path(change: impl FnOnce(&mut PathEvidence)) -> Evidence {
    let mut evidence = healthy();
    change(evidence.path.as_mut().unwrap());
    evidence
}

#[test]
fn the_name() {
    let id = "network.name";
    assert_found(&healthy(), id, Pass, "dfw.api.rackconnect.rackspace.com is 10.191.5.5");
    let dead = with_path(|path| path.lookup = Err("the name lookup timed out".to_owned()));
    assert_found(&dead, id, Fail, "timed out, after 0 ms (nameservers: 10.191.5.6)");
    let mut unrouted = dead;
    unrouted.kernel.as_mut().unwrap().routes.clear();
    let found = assert_found(&unrouted, id, Fail, "timed out");
    assert_eq!(found.remedy, "Repair network.servicenet.route first.");
    let slow = with_path(|path| path.lookup_time = Duration::from_secs(5));
    assert_found(&slow, id, Warning, "after 5.0 s");
    let broken = with_path(|path| {
        path.nameservers[1] = nameserver("AAAA", Err("does not answer".to_owned()));
    });
    let says = "nameserver 10.191.5.6 does not answer when asked for AAAA, the IPv6 addresses of \
                dfw.api.rackconnect.rackspace.com; not urgent: ";
    let found = assert_found(&broken, id, Warning, says);
    let says = "; in /etc/resolv.conf, replace 10.191.5.6 with one from Rackspace's documentation";
    assert!(found.remedy.contains(says), "{}", found.remedy);
    // The lookup is slow because of the nameserver.
    let mut slow_and_broken = broken;
    slow_and_broken.path.as_mut().unwrap().lookup_time = Duration::from_secs(5);
    let says = "nameserver 10.191.5.6 does not answer when asked for AAAA";
    assert_found(&slow_and_broken, id, Warning, says);
    let address = with_path(|path| path.host = "10.191.5.5".to_owned());
    assert_found(&address, id, Pass, "");
}

/// A route cannot be put back while its interface is down.
#[test]
fn the_routes_of_an_interface_that_is_down() {
    let down = with_kernel(|kernel| {
        kernel.links[2].flags = 0;
        kernel.routes.remove(1);
    });
    let found = assert_found(
        &down,
        "network.servicenet.route",
        Fail,
        "there is no route to 10.208.0.0/12 (",
    );
    assert_eq!(found.remedy, "Repair network.servicenet.interface first.");
}

#[test]
fn the_resolver() {
    let id = "network.resolver";
    assert_found(&healthy(), id, Pass, "");
    let mut evidence = healthy();
    evidence.system.as_mut().unwrap().resolv_conf = Ok("search example.com\n".to_owned());
    assert_found(&evidence, id, Warning, "no nameserver");
    let mut with = |unread: Unread| {
        evidence.system.as_mut().unwrap().resolv_conf = Err(unread);
        evidence.clone()
    };
    let irregular = with(Unread::Failed("/etc/resolv.conf is not a regular file".to_owned()));
    assert_found(&irregular, id, Warning, "is not a regular file");
    let unreadable = with(Unread::NeedsRoot("/etc/resolv.conf".to_owned()));
    assert_found(&unreadable, id, Skipped, "only root can read");
    let mut absent = with(Unread::Absent("there is no /etc/resolv.conf".to_owned()));
    assert_found(&absent, id, Warning, "no /etc/resolv.conf");
    absent.path.as_mut().unwrap().host = "10.191.5.5".to_owned();
    assert_found(&absent, id, Info, "no /etc/resolv.conf");
}

#[test]
fn the_connection() {
    let id = "network.connection";
    assert_found(&healthy(), id, Pass, "10.191.5.5:443");
    let refused = || Unread::Failed("10.191.5.5:443: Connection refused".to_owned());
    let closed = with_path(|path| path.connection = Err(refused()));
    let found = assert_found(&closed, id, Fail, "the API at 10.191.5.5:443: Connection");
    assert!(found.cause.ends_with("packets go via 10.182.0.1 dev eth1"), "{}", found.cause);
    assert!(found.remedy.contains("traceroute -n 10.191.5.5;"), "{}", found.remedy);
    let mut unrouted = with_path(|path| path.connection = Err(refused()));
    let kernel = unrouted.kernel.as_mut().unwrap();
    kernel.routes.clear();
    let found = assert_found(&unrouted, id, Fail, "cannot connect");
    assert_eq!(found.remedy, "Repair network.servicenet.route first.");
    unrouted.path.as_mut().unwrap().hop = None;
    let found = assert_found(&unrouted, id, Fail, "cannot connect");
    assert!(found.cause.ends_with("; this server has no route to it"), "{}", found.cause);
    let none = with_path(|path| path.connection = Err(Unread::NotTried("no name".to_owned())));
    assert_found(&none, id, Skipped, "no name");
}
