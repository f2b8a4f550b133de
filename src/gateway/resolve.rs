//! Resolves an assigned gateway into an action: nothing to do, or a change on an interface.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::interface::{self, InterfaceError, ROUTE_PREFIXES, ServiceNet};
use super::kernel;
use super::names::{InterfaceNames, describe_next_hop};
use super::plan::{self, Plan};
use crate::clock::BootInstant;
use crate::error::{Error, Kind};
use crate::netlink::{INET, Link, Netlink, Route, RouteType};
use crate::xenstore::{Connection, XenstoreError};

/// What there is to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Nothing: the kernel uses the gateway on that interface.
    Nothing { gateway: Ipv4Addr, interface: String },
    /// The gateway has to be set.
    Set(Box<ChangeRequest>),
}

/// A gateway to set, and where.
#[derive(Clone, Debug)]
pub(crate) struct ChangeRequest {
    /// The gateway.
    pub(crate) gateway: Ipv4Addr,
    /// The interface.
    pub(crate) link: Link,
    /// The names of all interfaces.
    pub(crate) names: InterfaceNames,
}

/// Why a gateway cannot be set.
#[derive(Clone, Debug)]
pub(crate) enum ResolveError {
    /// It is an IPv6 address.
    Ipv6(Ipv6Addr),
    /// It is on no suitable interface.
    Interface(InterfaceError),
    /// The kernel would not send packets for it directly on that interface.
    NotNeighbour { gateway: IpAddr, interface: String, instead: String },
    /// It is the default gateway of the main table, but is not used.
    Bypassed(Ipv4Addr),
    /// No plan could be made.
    Plan(String),
    /// The kernel did not respond.
    Kernel(Error),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Ipv6(gateway) => {
                write!(f, "{gateway} is an IPv6 address, but only an IPv4 gateway can be set")
            }
            ResolveError::Interface(err) => err.fmt(f),
            ResolveError::NotNeighbour { gateway, interface, instead } => write!(
                f,
                "{gateway} is not directly reachable on {interface}: the kernel would send packets \
                 for it {instead}"
            ),
            ResolveError::Bypassed(gateway) => write!(
                f,
                "{gateway} is the default gateway of the main table already, but a rule or a more \
                 specific route sends packets for the internet elsewhere"
            ),
            ResolveError::Plan(err) => f.write_str(err),
            ResolveError::Kernel(err) => err.fmt(f),
        }
    }
}

impl From<Error> for ResolveError {
    fn from(err: Error) -> ResolveError {
        ResolveError::Kernel(err)
    }
}

impl From<ResolveError> for Error {
    fn from(err: ResolveError) -> Error {
        match err {
            ResolveError::Kernel(err) => err,
            other => Error::new(Kind::Refused, format!("{other}; nothing was changed")),
        }
    }
}

/// Finds out where `gateway` is, and whether it has to be set. `interface`: the interface given by
/// the user. `deadline`: how long xenstore may be asked, if that is limited.
///
/// # Errors
/// See [`ResolveError`].
pub(crate) fn resolve(
    netlink: &mut Netlink,
    gateway: IpAddr,
    interface: Option<&str>,
    deadline: Option<BootInstant>,
) -> Result<Action, ResolveError> {
    let v4 = match gateway {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => return Err(ResolveError::Ipv6(v6)),
    };
    let network = kernel::network(netlink, INET)?;
    let names = InterfaceNames::of(&network.links);
    if let Some(hop) = kernel::internet(netlink, INET)?
        && hop.gateway == Some(gateway)
        && let Some(index) = hop.interface
        && interface.is_none_or(|interface| names.get(index) == Some(interface))
        && !kernel::is_split(netlink, INET)?
    {
        return Ok(Action::Nothing { gateway: v4, interface: names.name(index) });
    }
    let mut service_net = KernelAndXenstore { netlink, deadline };
    let link = interface::choose(&network, gateway, interface, &mut service_net)
        .map_err(ResolveError::Interface)?
        .clone();
    check_neighbour(netlink, gateway, &link, &names)?;
    Ok(Action::Set(Box::new(ChangeRequest { gateway: v4, link, names })))
}

/// Checks that the kernel, whose rules and routes decide, would send packets for the gateway
/// directly to it.
fn check_neighbour(
    netlink: &mut Netlink,
    gateway: IpAddr,
    link: &Link,
    names: &InterfaceNames,
) -> Result<(), ResolveError> {
    let hop = netlink
        .next_hop(gateway, Some(link.index))
        .map_err(|err| kernel::error("cannot ask the kernel for a route", err))?;
    match hop {
        Some(hop) if hop.gateway.is_none() && hop.kind == RouteType::Unicast => Ok(()),
        _ => Err(ResolveError::NotNeighbour {
            gateway,
            interface: link.name.clone(),
            instead: describe_next_hop(hop, names),
        }),
    }
}

/// Plans the change.
///
/// # Errors
/// See [`ResolveError`].
pub(crate) fn plan_change(
    netlink: &mut Netlink,
    request: &ChangeRequest,
    keep_old: Option<u32>,
) -> Result<Plan, ResolveError> {
    let defaults = kernel::defaults4(netlink)?;
    let plan = plan::plan(&defaults, request.gateway, request.link.index, keep_old)
        .map_err(|err| ResolveError::Plan(err.describe(&request.names)))?;
    if plan.changes.is_empty() { Err(ResolveError::Bypassed(request.gateway)) } else { Ok(plan) }
}

/// What xenstore and the kernel know about ServiceNet.
pub(crate) struct KernelAndXenstore<'a> {
    pub(crate) netlink: &'a mut Netlink,
    /// How long xenstore may be asked, if that is limited.
    pub(crate) deadline: Option<BootInstant>,
}

impl KernelAndXenstore<'_> {
    fn mac_in(&self, store: Connection) -> Result<Option<String>, XenstoreError> {
        store.with_deadline(self.deadline).servicenet_mac()
    }
}

impl ServiceNet for KernelAndXenstore<'_> {
    fn mac(&mut self) -> Option<Vec<u8>> {
        let mac = Connection::open().and_then(|store| self.mac_in(store)).inspect_err(|err| {
            log::debug!("cannot read the ServiceNet interface from xenstore: {err}");
        });
        mac.ok()??.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
    }

    fn routes(&mut self) -> Vec<Route> {
        let is_wide = |route: &Route| ROUTE_PREFIXES.contains(&route.prefix);
        self.netlink.routes(INET, is_wide).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use simulated_xenstore::{Config, Fault, Simulator};

    use super::*;

    /// It took two seconds, whatever was left of the command's deadline.
    #[test]
    fn reading_the_interface_from_xenstore_ignored_the_deadline() {
        let simulator = Simulator::start(Config::default().fault(Fault::Stall)).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let deadline = Some(BootInstant::default());
        let service_net = KernelAndXenstore { netlink: &mut netlink, deadline };
        let err = service_net.mac_in(Connection::open_at(simulator.path()).unwrap()).unwrap_err();
        assert!(err.to_string().ends_with("no answer within 0s"), "{err}");
    }
}
