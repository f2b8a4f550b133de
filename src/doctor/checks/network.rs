//! Section 2: the way to the API.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::api::dns::NameserverAnswer;
use crate::doctor::check::{Check, Finding, Judgement, Need, first_failed, repair_first};
use crate::doctor::evidence::{Evidence, KernelEvidence, RouteSample, Unread, known};
use crate::doctor::resolv_conf;
use crate::doctor::servicenet::{self, PREFIX, SERVICENET, leads_into};
use crate::netlink::{Link, Route};

/// The checks of this section.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "network.servicenet.interface",
        title: "ServiceNet interface",
        needs: &[],
        judge: interface,
    },
    Check { id: "network.servicenet.route", title: "ServiceNet routes", needs: &[], judge: routes },
    Check { id: "network.resolver", title: "resolv.conf", needs: &[], judge: resolver },
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

/// The command that reconfigures an interface, for every network manager.
fn configure(name: &str) -> String {
    format!("netplan apply || ifup {name}")
}

fn servicenet_link<'a>(evidence: &Evidence, kernel: &'a KernelEvidence) -> Option<&'a Link> {
    let mac = evidence.xenstore().ok().and_then(|it| it.servicenet_mac.as_deref());
    servicenet::interface(kernel, mac)
}

fn interface(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let Some(link) = servicenet_link(evidence, kernel) else {
        let networks = SERVICENET.map(|network| format!("{network}/{PREFIX}")).join(" or ");
        let cause = format!(
            "no interface has an address on ServiceNet ({networks}), Rackspace's private network, and \
             the API can be reached through no other"
        );
        let remedy = "systemctl restart nova-agent  # it configures the interface, usually eth1, if \
                      the server is attached to ServiceNet";
        return Ok(Finding::fail(cause, remedy).with(describe_links(kernel)));
    };
    let name = &link.name;
    if !link.is_up() {
        let cause = format!("the ServiceNet interface {name} is down");
        let remedy =
            format!("ip link set {name} up  # if it has no address then: {}", configure(name));
        return Ok(Finding::fail(cause, remedy));
    }
    let addresses: Vec<String> =
        kernel.addresses_of(link.index).map(|address| address.to_string()).collect();
    if addresses.is_empty() {
        let cause = format!("the ServiceNet interface {name} has no address");
        return Ok(Finding::fail(cause, configure(name)));
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

/// A problem with the route to one of ServiceNet's networks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RouteFault {
    /// There is no route to it; packets go this way.
    Missing(Ipv4Addr),
    /// There is one, but packets go another way.
    Captured(Ipv4Addr),
}

fn route_fault(kernel: &KernelEvidence, sample: &RouteSample) -> Option<RouteFault> {
    let route = kernel.routes.iter().find(|route| leads_into(route, sample.network));
    let Some(route) = route else { return Some(RouteFault::Missing(sample.network)) };
    let goes_by = |route: &Route| {
        sample.hop.is_some_and(|hop| {
            // On-link: the sample is in the server's own subnet.
            hop.interface == route.interface
                && (hop.gateway.is_none() || hop.gateway == route.gateway)
        })
    };
    let mut ours = kernel.routes.iter().filter(|route| leads_into(route, sample.network));
    // A route that is narrower than the network need not contain the sample.
    let is_narrow = route.prefix > PREFIX && sample.hop.is_some_and(|it| it.gateway.is_some());
    match ours.any(goes_by) || is_narrow && sample.hop == kernel.internet {
        true => None,
        false => Some(RouteFault::Captured(sample.network)),
    }
}

fn routes(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let Some(link) = servicenet_link(evidence, kernel) else {
        return Ok(Finding::skipped("there is no ServiceNet interface"));
    };
    let router = servicenet::router(kernel, link);
    let router_text = router.map_or_else(|| "ROUTER".to_owned(), |router| router.to_string());
    let lines: Vec<String> = kernel
        .samples
        .iter()
        .map(|it| format!("{}/{PREFIX} {}", it.network, kernel.describe(it.hop)))
        .collect();
    let faults: Vec<RouteFault> =
        kernel.samples.iter().filter_map(|sample| route_fault(kernel, sample)).collect();
    let hop_of = |network: Ipv4Addr| {
        let sample = kernel.samples.iter().find(|sample| sample.network == network);
        kernel.describe(sample.and_then(|sample| sample.hop))
    };
    let finding = match faults.first() {
        None => Finding::pass(format!("both through {router_text} on {}", link.name)),
        Some(RouteFault::Missing(network)) => {
            let to = format!("{network}/{PREFIX}");
            let hop = hop_of(*network);
            let cause = match hop.as_str() {
                "nowhere" => format!("there is no route to {to}, a network of ServiceNet"),
                hop => format!(
                    "packets for {to}, a network of ServiceNet, take the default route ({hop}) and \
                     are lost, since they have no route of their own"
                ),
            };
            let missing = faults.iter().filter_map(|fault| match fault {
                RouteFault::Missing(network) => Some(network),
                RouteFault::Captured(_) => None,
            });
            let commands: Vec<String> = missing
                .map(|it| format!("ip route add {it}/{PREFIX} via {router_text} dev {}", link.name))
                .collect();
            let remedy = format!(
                "{}  # until the next reboot; to keep it, add it to the interface's configuration",
                commands.join(" && ")
            );
            Finding::fail(cause, remedy)
        }
        Some(RouteFault::Captured(network)) => {
            let cause = format!(
                "packets for {network}/{PREFIX}, a network of ServiceNet, go {}, although there is a \
                 route for them",
                hop_of(*network)
            );
            let remedy = format!(
                "ip rule; ip route get {}  # shows the rule or the narrower route that takes them: \
                 remove it",
                Ipv4Addr::from_bits(network.to_bits() + 1)
            );
            Finding::fail(cause, remedy)
        }
    };
    Ok(finding.with(lines))
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
    let Some(text) = &known(&evidence.system)?.resolv_conf else {
        let cause = "there is no /etc/resolv.conf, so 127.0.0.1 is asked for every name";
        let remedy = "echo nameserver ADDRESS > /etc/resolv.conf  # ADDRESS: a nameserver's, as on \
                      a server that works";
        return Ok(match has_name(evidence) {
            true => Finding::warning(cause, remedy),
            false => Finding::info(cause),
        });
    };
    let lines = || text.lines().map(str::to_owned);
    Ok(match resolv_conf::oddities(text).first() {
        None => Finding::unremarkable().with(lines()),
        Some(odd) => Finding::warning(
            format!("/etc/resolv.conf: {odd}"),
            "vi /etc/resolv.conf  # if the error comes back, correct what writes the file",
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
    let text = known(&evidence.system).ok().and_then(|system| system.resolv_conf.as_deref());
    let servers = resolv_conf::nameservers(text.unwrap_or_default()).join(", ");
    let found = match &path.lookup {
        Ok(found) => found,
        Err(why) => {
            let cause = format!("{why}, after {time} (nameservers: {servers})");
            let remedy = "vi /etc/resolv.conf  # name other nameservers, as on a server that works; \
                          rackconnect doctor --only network -v shows what each answers";
            return Ok(Finding::fail(cause, remedy).with(lines));
        }
    };
    let addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
    let line = format!("{} is {}, after {time}", path.host, addresses.join(", "));
    if path.lookup_time > SLOW_LOOKUP {
        let remedy = format!(
            "vi /etc/resolv.conf  # remove the nameserver that does not answer; there are {servers}"
        );
        return Ok(Finding::warning(line, remedy).with(lines));
    }
    if let Some(bad) = path.nameservers.iter().find(|answer| answer.outcome.is_err()) {
        let kind = if bad.record_type == "AAAA" { " (IPv6 addresses)" } else { "" };
        let cause = format!(
            "nameserver {}{kind}; this program manages without, but others wait or fail",
            describe_answer(bad)
        );
        let remedy =
            format!("vi /etc/resolv.conf  # name another nameserver in place of {}", bad.server);
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
        Err(why) => format!("{server} {why} when asked for {record_type}"),
    }
}

fn connection(evidence: &Evidence) -> Judgement {
    let path = known(&evidence.path)?;
    let kernel = known(&evidence.kernel);
    let hop = kernel.as_ref().map_or_else(|_| String::new(), |kernel| kernel.describe(path.hop));
    match &path.connection {
        Ok(connection) => {
            let cause = format!("{} after {}", connection.address, span(connection.time));
            Ok(Finding::pass(cause).with([hop]))
        }
        Err(Unread::Failed(why)) => {
            let address = why.rsplit_once(':').map_or(why.as_str(), |(address, _)| address);
            let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
            let cause = format!("cannot connect to the API at {why}; packets go {hop}");
            let before = CHECKS.iter().take_while(|check| check.id != "network.connection");
            let remedy = match first_failed(before, evidence) {
                Some(id) => repair_first(id),
                None => format!(
                    "traceroute -n {ip}; iptables -S OUTPUT  # shows where packets end, and whether \
                     this server's firewall rejects them"
                ),
            };
            Ok(Finding::fail(cause, remedy))
        }
        Err(unread) => Err(unread.clone()),
    }
}

#[cfg(test)]
mod tests;
