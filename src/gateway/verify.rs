//! Verifies that a new gateway works, within [`VERIFY_TIMEOUT`]. Only connections that worked
//! before the change have to work after it.

use std::fmt;
use std::net::IpAddr;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use nix::libc;

use super::kernel;
use super::names::{describe_next_hop, describe_route};
use super::probe::{Destination, Phase, Reached, reach_all};
use crate::api::reach::Target;
use crate::clock::BootInstant;
use crate::error::Error;
use crate::model::Probe;
use crate::netlink::{Link, Netlink, Route, family_of};

/// How long verification may take in all.
pub(crate) const VERIFY_TIMEOUT: Duration = Duration::from_secs(8);

/// How long the connections may take, so that their result is known before [`VERIFY_TIMEOUT`].
const CONNECTIONS_TIMEOUT: Duration = Duration::from_millis(7_500);

/// How long the connections may take before the change.
const SELECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often the gateway's entry in the neighbour table is read.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long the gateway may take to respond to ARP. The kernel gives up after three requests, a
/// second apart.
const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a change is not verified.
#[derive(Clone, Debug)]
pub(crate) enum VerifyError {
    /// The kernel sends packets elsewhere.
    NotUsed { gateway: IpAddr, interface: String, instead: String, cause: NotUsedCause },
    /// The kernel distributes packets among several default routes.
    Split(IpAddr),
    /// Something that was reachable before is not any more.
    Unreachable { name: String, err: String },
    /// The gateway does not respond to ARP.
    NoNeighbour { gateway: IpAddr, interface: String },
    /// The neighbour table could not be used.
    Neighbour(String),
    /// Not everything responded in time.
    TimedOut,
    /// A signal told the program to end.
    Signalled,
    /// The kernel did not respond.
    Kernel(Error),
}

/// What makes the kernel send packets elsewhere.
#[derive(Clone, Debug)]
pub(crate) enum NotUsedCause {
    /// This default route, which another process put in front.
    RouteInFront(String),
    /// A rule, or a more specific route.
    RuleOrRoute,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::NotUsed { gateway, interface, instead, cause } => {
                write!(
                    f,
                    "the kernel would not send a packet for the internet through {gateway} on \
                     {interface}, but {instead} "
                )?;
                match cause {
                    NotUsedCause::RouteInFront(route) => {
                        write!(f, "(another process put a default route in front: {route})")
                    }
                    NotUsedCause::RuleOrRoute => f.write_str(
                        "(a rule or a more specific route takes precedence over the default \
                         routes of the main table: see \"ip rule\" and \"ip route\")",
                    ),
                }
            }
            VerifyError::Split(gateway) => write!(
                f,
                "not every packet for the internet would go through {gateway}: there is another \
                 default route of the same metric"
            ),
            VerifyError::Unreachable { name, err } => {
                write!(f, "{name} was reachable before the change, but not after it: {err}")
            }
            VerifyError::NoNeighbour { gateway, interface } => {
                write!(f, "{gateway} does not answer on {interface} (ARP)")
            }
            VerifyError::Neighbour(err) => f.write_str(err),
            VerifyError::TimedOut => f.write_str("not everything responded in time"),
            VerifyError::Signalled => f.write_str("a signal told the program to end"),
            VerifyError::Kernel(err) => err.fmt(f),
        }
    }
}

impl From<Error> for VerifyError {
    fn from(err: Error) -> VerifyError {
        VerifyError::Kernel(err)
    }
}

/// The destinations that must still be reachable after a change.
#[derive(Clone, Default)]
pub(crate) struct Checks {
    destinations: Vec<Destination>,
}

/// The change to verify.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    /// The gateway.
    pub(crate) gateway: IpAddr,
    /// Its interface.
    pub(crate) link: &'a Link,
    /// The default route through it.
    pub(crate) route: &'a Route,
}

impl Checks {
    /// Tries all probes at the same time, and selects those that are reachable now. The caller has
    /// just received a response from the API, which is not tried again.
    pub(crate) fn select(api: Option<Target>, probes: Vec<Probe>) -> Checks {
        let api = api.map(|target| Destination::Api(Box::new(target)));
        let all = api.into_iter().chain(probes.into_iter().map(Destination::probe));
        let mut destinations = Vec::new();
        for reached in reach_all(Phase::BeforeChange, all, BootInstant::now() + SELECT_TIMEOUT) {
            match reached.result {
                Ok(()) => destinations.push(reached.destination),
                Err(err) => log::warn!(
                    "{} does not answer now ({err}), so it is not checked after the change",
                    reached.destination.name()
                ),
            }
        }
        Checks { destinations }
    }

    /// Verifies a change. `is_signalled` returns whether a signal told the program to end.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub(crate) fn verify(
        &self,
        netlink: &mut Netlink,
        expected: Expected<'_>,
        is_signalled: &dyn Fn() -> bool,
    ) -> Result<(), VerifyError> {
        let start = BootInstant::now();
        check_used(netlink, expected)?;
        let results = reach_all(
            Phase::AfterChange,
            self.destinations.iter().cloned(),
            start + CONNECTIONS_TIMEOUT,
        );
        let mut unfinished = self.destinations.len();
        let mut neighbour = NeighbourCheck::start(netlink, expected.gateway, expected.link)?;
        loop {
            neighbour.poll(netlink, start)?;
            unfinished -= successes(&results)?;
            if unfinished == 0 && neighbour.is_done() {
                return check_used(netlink, expected);
            }
            if is_signalled() {
                return Err(VerifyError::Signalled);
            }
            if BootInstant::now().since(start) >= VERIFY_TIMEOUT {
                return Err(VerifyError::TimedOut);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// How many connections succeeded since the last call.
fn successes(results: &Receiver<Reached>) -> Result<usize, VerifyError> {
    let mut count = 0;
    while let Ok(Reached { destination, result }) = results.try_recv() {
        let name = destination.name().to_owned();
        result.map_err(|err| VerifyError::Unreachable { name, err })?;
        count += 1;
    }
    Ok(count)
}

/// Checks that the kernel sends packets for the internet through the gateway.
fn check_used(netlink: &mut Netlink, expected: Expected<'_>) -> Result<(), VerifyError> {
    let Expected { gateway, link, route } = expected;
    if kernel::is_used(netlink, gateway, Some(link.index))? {
        return Ok(());
    }
    let family = family_of(gateway);
    if kernel::is_split(netlink, family)? {
        return Err(VerifyError::Split(gateway));
    }
    let names = kernel::interface_names(netlink);
    let hop = kernel::internet(netlink, family)?;
    let cause = match kernel::defaults(netlink, family)?.first() {
        Some(first) if first != route => NotUsedCause::RouteInFront(describe_route(first, &names)),
        _ => NotUsedCause::RuleOrRoute,
    };
    let instead = describe_next_hop(hop, &names);
    Err(VerifyError::NotUsed { gateway, interface: link.name.clone(), instead, cause })
}

/// Whether the gateway responds to ARP. A new request is sent: an old entry proves nothing.
enum NeighbourCheck<'a> {
    /// It responded, or does not have to.
    Done,
    /// A request was sent.
    Requested(IpAddr, &'a Link),
}

impl<'a> NeighbourCheck<'a> {
    fn start(
        netlink: &mut Netlink,
        gateway: IpAddr,
        link: &'a Link,
    ) -> Result<NeighbourCheck<'a>, VerifyError> {
        if !link.has_arp() {
            log::debug!("{} does not use ARP: not checking the neighbour", link.name);
            return Ok(NeighbourCheck::Done);
        }
        let known = netlink.neighbour(link.index, gateway);
        if let Ok(Some(state)) = known
            && state & (libc::NUD_PERMANENT | libc::NUD_NOARP) != 0
        {
            log::debug!("the neighbour entry of {gateway} is static: not checking it");
            return Ok(NeighbourCheck::Done);
        }
        known.and_then(|_| netlink.probe_neighbour(link.index, gateway)).map_err(|err| {
            VerifyError::Neighbour(format!(
                "cannot send an ARP request for {gateway} on {}: {err}",
                link.name
            ))
        })?;
        Ok(NeighbourCheck::Requested(gateway, link))
    }

    fn is_done(&self) -> bool {
        matches!(self, NeighbourCheck::Done)
    }

    fn poll(&mut self, netlink: &mut Netlink, start: BootInstant) -> Result<(), VerifyError> {
        let NeighbourCheck::Requested(gateway, link) = *self else { return Ok(()) };
        let silent = VerifyError::NoNeighbour { gateway, interface: link.name.clone() };
        let state = netlink.neighbour(link.index, gateway).map_err(|err| {
            VerifyError::Neighbour(format!("cannot read the neighbour table: {err}"))
        })?;
        match state {
            Some(state) if state & libc::NUD_REACHABLE != 0 => {
                *self = NeighbourCheck::Done;
                Ok(())
            }
            Some(state) if state & libc::NUD_FAILED != 0 => Err(silent),
            _ if BootInstant::now().since(start) >= NEIGHBOUR_TIMEOUT => Err(silent),
            _ => Ok(()),
        }
    }
}
