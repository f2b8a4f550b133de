//! Section 2: the way to the API.

use std::net::Ipv4Addr;

use crate::doctor::check::{Check, Finding, Judgement};
use crate::doctor::evidence::{ApiFailure, Evidence, KernelEvidence, RouteSample, Unread, known};
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
    Check { id: "network.api", title: "answer of the API", needs: &[], judge: api },
];

/// How the system configures an interface anew, whatever it uses.
const CONFIGURE: &str = "netplan apply || ifup";

fn servicenet_link<'a>(evidence: &Evidence, kernel: &'a KernelEvidence) -> Option<&'a Link> {
    let mac = evidence.xenstore().ok().and_then(|it| it.servicenet_mac.as_deref());
    servicenet::interface(kernel, mac)
}

fn interface(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let Some(link) = servicenet_link(evidence, kernel) else {
        let networks = SERVICENET.map(|network| format!("{network}/{PREFIX}")).join(" or ");
        let cause = format!(
            "no interface is on ServiceNet (an address in {networks}), by which alone the API can be \
             reached"
        );
        let remedy = format!(
            "if the server has it, let nova-agent configure it: systemctl restart nova-agent; or: \
             {CONFIGURE} eth1"
        );
        return Ok(Finding::fail(cause, remedy).with(describe_links(kernel)));
    };
    let name = &link.name;
    if !link.is_up() {
        let cause = format!("the ServiceNet interface {name} is down");
        return Ok(Finding::fail(cause, format!("ip link set {name} up; or: {CONFIGURE} {name}")));
    }
    let addresses: Vec<String> =
        kernel.addresses_of(link.index).map(|address| address.to_string()).collect();
    if addresses.is_empty() {
        let cause = format!("the ServiceNet interface {name} has no address");
        return Ok(Finding::fail(cause, format!("{CONFIGURE} {name}")));
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

/// What is wrong with the way to one of ServiceNet's networks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum RouteFault {
    /// There is no route to it, and this is where packets go.
    Missing(Ipv4Addr),
    /// There is one, but packets go elsewhere.
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
    // A route that is narrower than the network need not hold for the sample.
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
                    "there is no route to {to}, a network of ServiceNet: its packets go {hop}, by the \
                     default route"
                ),
            };
            Finding::fail(cause, format!("ip route add {to} via {router_text} dev {}", link.name))
        }
        Some(RouteFault::Captured(network)) => {
            let cause = format!(
                "packets for {network}/{PREFIX}, a network of ServiceNet, go {} in spite of its route",
                hop_of(*network)
            );
            let remedy = format!(
                "find what sends them there, and remove it: ip rule; ip route get {}",
                Ipv4Addr::from_bits(network.to_bits() + 1)
            );
            Finding::fail(cause, remedy)
        }
    };
    Ok(finding.with(lines))
}

fn api(evidence: &Evidence) -> Judgement {
    let api = match &evidence.api {
        Err(late @ Unread::NoAnswer(_)) => {
            return Ok(Finding::fail(format!("the API: {late}"), "see: rackconnect status -v"));
        }
        api => known(api)?,
    };
    let endpoint = &api.endpoint;
    let first = [
        api.status.as_ref().err(),
        api.tasks.as_ref().err(),
        api.features.as_ref().err(),
        api.gateway.as_ref().err(),
    ]
    .into_iter()
    .flatten()
    .next();
    Ok(match first {
        None if api.status == Ok(None) => Finding::warning(
            format!("{endpoint} does not know this server: HTTP 404"),
            "wait for the automation to begin: rackconnect wait; if it never does, ask Rackspace support",
        ),
        None => Finding::pass(format!("{endpoint} answers")),
        Some(ApiFailure::Forbidden(why)) => Finding::fail(
            format!("the API answers with HTTP 403: {why}"),
            "find what asks it, and stop it: ps aux | grep -E 'curl|ohai|facter|rcrun'",
        ),
        Some(ApiFailure::LimitUsedUp(why)) => Finding::warning(
            why.clone(),
            "wait a minute; rackconnect processes share the limit, so stop those that are not needed",
        ),
        Some(ApiFailure::Unreachable(why)) => {
            Finding::fail(why.clone(), "repair what is wrong above; then: rackconnect status -v")
        }
        Some(ApiFailure::NotUnderstood(why)) => Finding::fail(
            why.clone(),
            "report it: rackconnect doctor --report FILE; see also: rackconnect status --format json",
        ),
        Some(ApiFailure::NotAsked) => Finding::skipped("the API was not asked"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Severity::{Fail, Pass, Skipped, Warning};
    use crate::doctor::checks::prepared::{assert_found, healthy, via};

    fn with_kernel(change: impl FnOnce(&mut KernelEvidence)) -> Evidence {
        let mut evidence = healthy();
        change(evidence.kernel.as_mut().unwrap());
        evidence
    }

    #[test]
    fn the_interface() {
        let id = "network.servicenet.interface";
        assert_found(&healthy(), id, Pass, "eth1 is up, 10.182.21.219");
        let down = assert_found(&with_kernel(|it| it.links[2].flags = 0), id, Fail, "eth1 is down");
        assert!(down.remedy.starts_with("ip link set eth1 up"));
        let bare = with_kernel(|it| it.addresses.clear());
        assert_found(&bare, id, Fail, "eth1 has no address");
        let mut none = with_kernel(|it| {
            it.addresses.clear();
            it.routes.clear();
        });
        none.server.as_mut().unwrap().xenstore = Err(Unread::NeedsRoot("xenstore".to_owned()));
        assert_found(&none, id, Fail, "no interface is on ServiceNet");
        assert_found(&none, "network.servicenet.route", Skipped, "no ServiceNet interface");
    }

    #[test]
    fn the_routes() {
        let id = "network.servicenet.route";
        assert_found(&healthy(), id, Pass, "both through 10.182.0.1 on eth1");
        let gateway = Some(via([10, 182, 127, 198].into()));
        let missing = with_kernel(|it| {
            it.routes.remove(1);
            it.samples[1].hop = gateway;
        });
        let found = assert_found(&missing, id, Fail, "no route to 10.208.0.0/12");
        assert!(found.cause.contains("go via 10.182.127.198 dev eth1"), "{}", found.cause);
        assert_eq!(found.remedy, "ip route add 10.208.0.0/12 via 10.182.0.1 dev eth1");
        let captured = with_kernel(|it| it.samples[0].hop = gateway);
        assert_found(&captured, id, Fail, "packets for 10.176.0.0/12");
        let none = with_kernel(|it| {
            it.routes.clear();
            it.samples[0].hop = None;
        });
        let found = assert_found(&none, id, Fail, "there is no route to 10.176.0.0/12");
        assert_eq!(found.remedy, "ip route add 10.176.0.0/12 via 10.182.0.1 dev eth1");
    }

    #[test]
    fn the_answer() {
        let id = "network.api";
        assert_found(&healthy(), id, Pass, "answers");
        let with_status = |status| {
            let mut evidence = healthy();
            evidence.api.as_mut().unwrap().status = status;
            evidence
        };
        assert_found(&with_status(Ok(None)), id, Warning, "HTTP 404");
        let late =
            Evidence { api: Err(Unread::NoAnswer(std::time::Duration::from_secs(9))), ..healthy() };
        assert_found(&late, id, Fail, "no answer within 9s");
        let why = || "why".to_owned();
        for (failure, severity) in [
            (ApiFailure::Forbidden(why()), Fail),
            (ApiFailure::LimitUsedUp(why()), Warning),
            (ApiFailure::Unreachable(why()), Fail),
            (ApiFailure::NotUnderstood(why()), Fail),
        ] {
            assert_found(&with_status(Err(failure)), id, severity, "why");
        }
    }
}
