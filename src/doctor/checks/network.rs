//! Section 2: the way to the API.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::api::dns::NameserverAnswer;
use crate::doctor::check::{
    Check, Finding, Judgement, Need, first_failed, repair_first, shell_word,
};
use crate::doctor::evidence::{Evidence, KernelEvidence, RouteSample, Unread, known};
use crate::doctor::resolv_conf;
use crate::doctor::servicenet::{self, PREFIX, SERVICENET, is_for, leads_into, sample_address};
use crate::netlink::{Link, NextHop, Route};

/// The checks of this section.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "network.servicenet.interface",
        title: "ServiceNet interface",
        needs: &[],
        judge: interface,
    },
    Check { id: "network.servicenet.route", title: "ServiceNet routes", needs: &[], judge: routes },
    Check { id: "network.resolver", title: "contents of resolv.conf", needs: &[], judge: resolver },
    Check { id: "network.name", title: "name lookup", needs: &[Need::Network], judge: name },
    Check {
        id: "network.connection",
        title: "connection",
        needs: &[Need::Network],
        judge: connection,
    },
];

/// A lookup that takes this long is slow: one nameserver did not answer, and another one was
/// queried.
const SLOW_LOOKUP: Duration = Duration::from_secs(1);

/// The command that shows which nameserver fails, and the beginning of its explanation.
const SHOW_ANSWERS: &str =
    "rackconnect doctor --only network.name -v  # shows what each nameserver answers";

/// What replaces a nameserver. This program knows no addresses of working ones.
const GOOD_ONE: &str =
    "one from Rackspace's documentation or from /etc/resolv.conf of a working server";

/// The command that reconfigures an interface, for every network manager.
fn configure(name: &str) -> String {
    format!("netplan apply || {{ ifdown {name}; ifup {name}; }}")
}

/// The id of the first check of this section that fails and comes before this one.
fn first_failed_before(id: &str, evidence: &Evidence) -> Option<&'static str> {
    first_failed(CHECKS.iter().take_while(|check| check.id != id), evidence)
}

/// Networks, as a list in a sentence.
fn list(networks: impl IntoIterator<Item = Ipv4Addr>) -> String {
    let texts: Vec<String> =
        networks.into_iter().map(|network| format!("{network}/{PREFIX}")).collect();
    texts.join(" and ")
}

fn servicenet_link<'a>(evidence: &Evidence, kernel: &'a KernelEvidence) -> Option<&'a Link> {
    let mac = evidence.xenstore().ok().and_then(|xenstore| xenstore.servicenet_mac.as_deref());
    servicenet::interface(kernel, mac)
}

/// Whether the endpoint is given and known to be outside of ServiceNet.
fn is_elsewhere(evidence: &Evidence) -> bool {
    let is_on_servicenet = |address: &IpAddr| match address {
        IpAddr::V4(v4) => servicenet::contains(*v4),
        IpAddr::V6(_) => false,
    };
    let found = known(&evidence.path).ok().and_then(|path| path.lookup.as_ref().ok());
    evidence.is_configured && found.is_some_and(|found| !found.iter().any(is_on_servicenet))
}

fn interface(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let Some(link) = servicenet_link(evidence, kernel) else {
        if is_elsewhere(evidence) {
            let cause = "no interface has an address on ServiceNet, and the given endpoint is not \
                         on ServiceNet either";
            return Ok(Finding::info(cause).with(describe_links(kernel)));
        }
        let cause = format!(
            "no interface has an address on ServiceNet ({}), Rackspace's private network, and the \
             API cannot be reached any other way",
            list(SERVICENET)
        );
        let remedy = "systemctl restart nova-agent  # it configures the interface, usually eth1, if \
                      the server is attached to ServiceNet";
        return Ok(Finding::fail(cause, remedy).with(describe_links(kernel)));
    };
    let (name, word) = (&link.name, shell_word(&link.name));
    if !link.is_up() {
        let cause = format!("the ServiceNet interface {name} is down");
        let remedy =
            format!("ip link set {word} up  # if it still has no address: {}", configure(&word));
        return Ok(Finding::fail(cause, remedy));
    }
    let addresses: Vec<String> =
        kernel.addresses_of(link.index).map(|address| address.to_string()).collect();
    if addresses.is_empty() {
        let cause = format!("the ServiceNet interface {name} has no address");
        return Ok(Finding::fail(cause, configure(&word)));
    }
    Ok(Finding::pass(format!("{name} is up, {}", addresses.join(", "))))
}

fn describe_links(kernel: &KernelEvidence) -> Vec<String> {
    let describe = |link: &Link| {
        let addresses: Vec<String> =
            kernel.addresses_of(link.index).map(|address| address.to_string()).collect();
        let state = if link.is_up() { "up" } else { "down" };
        format!("{}: {state} {}", link.name, addresses.join(" "))
    };
    kernel.links.iter().map(describe).collect()
}

/// Why packets to one of ServiceNet's networks do not reach its router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RouteFault {
    /// There is no route to this network.
    Missing,
    /// There is one, but a rule or a narrower route sends packets another way.
    Captured,
}

fn route_fault(kernel: &KernelEvidence, sample: &RouteSample) -> Option<RouteFault> {
    let routes: Vec<&Route> =
        kernel.routes.iter().filter(|route| leads_into(route, sample.network)).collect();
    if routes.is_empty() {
        return Some(RouteFault::Missing);
    }
    let is_used = |route: &Route| {
        sample.hop.is_some_and(|hop| {
            // There is no gateway if the address is in the server's own subnet.
            hop.interface == route.interface
                && (hop.gateway.is_none() || hop.gateway == route.gateway)
        })
    };
    // Routes that are narrower than the network need not include the address.
    let address = sample_address(sample.network);
    let including: Vec<&Route> =
        routes.into_iter().filter(|route| is_for(route, address)).collect();
    let is_captured = !including.is_empty() && !including.into_iter().any(is_used);
    is_captured.then_some(RouteFault::Captured)
}

fn routes(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let Some(link) = servicenet_link(evidence, kernel) else {
        return Ok(Finding::skipped("there is no ServiceNet interface"));
    };
    let samples = kernel.samples.iter();
    let lines = samples
        .map(|sample| format!("{}/{PREFIX} {}", sample.network, kernel.describe(sample.hop)));
    let fault_of = |sample| Some((route_fault(kernel, sample)?, sample));
    let finding = match kernel.samples.iter().find_map(fault_of) {
        None => {
            let router = servicenet::router(kernel, link);
            let via = router.map_or_else(String::new, |router| format!(" via {router}"));
            Finding::pass(format!("{}{via} on {}", list(SERVICENET), link.name))
        }
        Some((RouteFault::Missing, sample)) => missing_routes(evidence, kernel, link, sample.hop),
        Some((RouteFault::Captured, sample)) => captured_packets(kernel, sample),
    };
    Ok(finding.with(lines))
}

/// The finding for networks without a route. `hop`: where packets to the first one go instead.
fn missing_routes(
    evidence: &Evidence,
    kernel: &KernelEvidence,
    link: &Link,
    hop: Option<NextHop>,
) -> Finding {
    let is_missing =
        |sample: &&RouteSample| route_fault(kernel, sample) == Some(RouteFault::Missing);
    let networks: Vec<Ipv4Addr> =
        kernel.samples.iter().filter(is_missing).map(|sample| sample.network).collect();
    let mut cause = format!(
        "there is no route to {} (ServiceNet, Rackspace's private network)",
        list(networks.clone())
    );
    if hop.is_some() {
        let way = kernel.describe(hop);
        cause += &format!(", so packets take the default route ({way}) and are lost");
    }
    let broken = first_failed_before("network.servicenet.route", evidence);
    let (None, Some(router)) = (broken, servicenet::router(kernel, link)) else {
        return Finding::fail(cause, repair_first("network.servicenet.interface"));
    };
    let name = shell_word(&link.name);
    let add = |network| format!("ip route replace {network}/{PREFIX} via {router} dev {name}");
    let commands: Vec<String> = networks.iter().map(add).collect();
    let remedy = format!(
        "{}  # lasts until the next reboot; to make it permanent, add the routes to the \
         configuration of {name} (in /etc/netplan, /etc/network/interfaces or \
         /etc/sysconfig/network-scripts/route-{name})",
        commands.join(" && ")
    );
    Finding::fail(cause, remedy)
}

/// The finding for a network with a route that packets to it do not take.
fn captured_packets(kernel: &KernelEvidence, sample: &RouteSample) -> Finding {
    let cause = format!(
        "there is a route to {}/{PREFIX}, a network of ServiceNet, but packets take another way \
         ({})",
        sample.network,
        kernel.describe(sample.hop)
    );
    let remedy = format!(
        "ip rule; ip route get {}  # shows the rule or the narrower route that takes them: remove \
         it",
        sample_address(sample.network)
    );
    Finding::fail(cause, remedy)
}

/// A duration as text.
fn span(time: Duration) -> String {
    match time.as_millis() {
        milliseconds @ 0..1_000 => format!("{milliseconds} ms"),
        milliseconds => format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
    }
}

/// Whether the API's host is a name at all.
fn has_name(evidence: &Evidence) -> bool {
    known(&evidence.path).is_ok_and(|path| path.host.parse::<IpAddr>().is_err())
}

fn resolver(evidence: &Evidence) -> Judgement {
    let finding = |cause: &str, remedy: &str| {
        if has_name(evidence) { Finding::warning(cause, remedy) } else { Finding::info(cause) }
    };
    let text = match &known(&evidence.system)?.resolv_conf {
        Ok(text) => text,
        Err(Unread::Absent(_)) => {
            let cause = "there is no /etc/resolv.conf, so every lookup asks 127.0.0.1";
            let remedy = "vi /etc/resolv.conf  # write \"nameserver ADDRESS\", with an address from \
                          Rackspace's documentation or from /etc/resolv.conf of a working server";
            return Ok(finding(cause, remedy));
        }
        Err(Unread::Failed(reason)) => {
            let remedy = "Replace it with a text file that has lines \"nameserver ADDRESS\".";
            return Ok(finding(reason, remedy));
        }
        Err(unread) => return Err(unread.clone()),
    };
    let lines = || text.lines().map(str::to_owned);
    Ok(match resolv_conf::oddities(text).first() {
        None => Finding::unremarkable().with(lines()),
        Some(odd) => Finding::warning(
            format!("/etc/resolv.conf: {odd}"),
            "vi /etc/resolv.conf  # if the error comes back, correct the program that writes \
             it",
        )
        .with(lines()),
    })
}

fn name(evidence: &Evidence) -> Judgement {
    let path = known(&evidence.path)?;
    if !has_name(evidence) {
        return Ok(Finding::unremarkable());
    }
    let time = span(path.lookup_time);
    let lines: Vec<String> = path.nameservers.iter().map(describe_answer).collect();
    let text = known(&evidence.system).ok().and_then(|system| system.resolv_conf.as_deref().ok());
    let servers = resolv_conf::nameservers(text.unwrap_or_default()).join(", ");
    let found = match &path.lookup {
        Ok(found) => found,
        Err(reason) => {
            let cause = format!("{reason}, after {time} (nameservers: {servers})");
            let remedy = match first_failed_before("network.resolver", evidence) {
                Some(id) => repair_first(id),
                None => format!(
                    "{SHOW_ANSWERS}; in /etc/resolv.conf, replace each one that fails with \
                     {GOOD_ONE}"
                ),
            };
            return Ok(Finding::fail(cause, remedy).with(lines));
        }
    };
    let addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
    let line = format!("{} is {}, after {time}", path.host, addresses.join(", "));
    if let Some(bad) = path.nameservers.iter().find(|answer| answer.outcome.is_err()) {
        let kind = if bad.record_type == "AAAA" { "IPv6" } else { "IPv4" };
        let cause = format!(
            "nameserver {}, the {kind} addresses of {}; not urgent: rackconnect got an \
             address anyway, but every lookup by other programs may be slow or fail",
            describe_answer(bad),
            path.host
        );
        let remedy =
            format!("{SHOW_ANSWERS}; in /etc/resolv.conf, replace {} with {GOOD_ONE}", bad.server);
        return Ok(Finding::warning(cause, remedy).with(lines));
    }
    if path.lookup_time > SLOW_LOOKUP {
        let cause = format!("{line}, which is slow (nameservers: {servers})");
        let remedy = format!(
            "{SHOW_ANSWERS}; in /etc/resolv.conf, replace each one that is slow with \
             {GOOD_ONE}"
        );
        return Ok(Finding::warning(cause, remedy).with(lines));
    }
    Ok(Finding::pass(line).with(lines))
}

/// A description of a nameserver's answer.
fn describe_answer(answer: &NameserverAnswer) -> String {
    let NameserverAnswer { server, record_type, time, outcome } = answer;
    let time = span(*time);
    match outcome {
        Ok(addresses) if addresses.is_empty() => {
            format!("{server} knows no {record_type} record, after {time}")
        }
        Ok(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{server} answers {record_type} with {}, after {time}", addresses.join(", "))
        }
        Err(reason) => format!("{server} {reason} when asked for {record_type}"),
    }
}

fn connection(evidence: &Evidence) -> Judgement {
    let path = known(&evidence.path)?;
    let kernel = known(&evidence.kernel).ok();
    match &path.connection {
        Ok(connection) => {
            let cause = format!("connected to {} in {}", connection.address, span(connection.time));
            Ok(Finding::pass(cause).with(kernel.map(|kernel| kernel.describe(path.hop))))
        }
        Err(Unread::Failed(reason)) => {
            let way = match kernel {
                None => String::new(),
                Some(_) if path.hop.is_none() => "; this server has no route to it".to_owned(),
                Some(kernel) => format!("; packets go {}", kernel.describe(path.hop)),
            };
            let cause = format!("cannot connect to the API at {reason}{way}");
            let address = path.lookup.as_ref().ok().and_then(|found| found.first());
            let remedy = match (first_failed_before("network.connection", evidence), address) {
                (Some(id), _) => repair_first(id),
                (None, Some(address)) => format!(
                    "traceroute -n {address}; iptables -S OUTPUT  # shows where packets end, and \
                     whether this server's firewall rejects them"
                ),
                (None, None) => repair_first("network.name"),
            };
            Ok(Finding::fail(cause, remedy))
        }
        Err(unread) => Err(unread.clone()),
    }
}

#[cfg(test)]
mod tests;
