//! Evidence from the kernel's network and from the API.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Reading;
use crate::api::dns::NameserverAnswer;
use crate::api::inspect::Validity;
use crate::model::{NamedStatus, Status};
use crate::netlink::{Address, Link, NextHop, Route};

/// The kernel's interfaces and routes.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelEvidence {
    /// All interfaces.
    pub(crate) links: Vec<Link>,
    /// All IPv4 addresses.
    pub(crate) addresses: Vec<Address>,
    /// The default routes, the one in use first.
    pub(crate) defaults: Vec<Route>,
    /// The routes into 10.0.0.0/8 that are wide enough to be ServiceNet's.
    pub(crate) routes: Vec<Route>,
    /// Where a packet for the internet would go.
    pub(crate) internet: Option<NextHop>,
    /// Whether packets for the internet are distributed among several gateways.
    pub(crate) is_split: bool,
    /// Where packets for ServiceNet would go.
    pub(crate) samples: Vec<RouteSample>,
}

/// Where a packet for one of ServiceNet's networks would go: for its
/// [`sample_address`](crate::doctor::servicenet::sample_address).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteSample {
    /// The base of the network.
    pub(crate) network: Ipv4Addr,
    /// The route; none if there is no route.
    pub(crate) hop: Option<NextHop>,
}

/// The API's answers.
#[derive(Clone, Debug)]
pub(crate) struct ApiEvidence {
    /// The URL.
    pub(crate) endpoint: String,
    /// The status; none if the API does not know this server (404).
    pub(crate) status: ApiReading<Status>,
    /// The tasks.
    pub(crate) tasks: ApiReading<Vec<NamedStatus>>,
    /// The features.
    pub(crate) features: ApiReading<Vec<NamedStatus>>,
    /// The gateway; none if none is assigned (404).
    pub(crate) gateway: ApiReading<IpAddr>,
    /// How many seconds this server's clock is ahead of the API's, if its responses say so.
    pub(crate) clock_offset: Option<i64>,
    /// The rate limit, or why it cannot be shared.
    pub(crate) limit: Result<LimitEvidence, String>,
}

/// The rate limit, after the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitEvidence {
    /// How many requests could be sent now.
    pub(crate) free: usize,
    /// How many consecutive 403s block all requests now.
    pub(crate) consecutive_403s: Option<u32>,
}

/// The path to the API, step by step.
#[derive(Clone, Debug)]
pub(crate) struct PathEvidence {
    /// The host of the endpoint.
    pub(crate) host: String,
    /// Its addresses, or why there are none.
    pub(crate) lookup: Result<Vec<IpAddr>, String>,
    /// How long that took.
    pub(crate) lookup_time: Duration,
    /// The answer of each nameserver.
    pub(crate) nameservers: Vec<NameserverAnswer>,
    /// Where a packet for the API would go.
    pub(crate) hop: Option<NextHop>,
    /// The connection.
    pub(crate) connection: Reading<ConnectionEvidence>,
    /// The server's certificate; none for an endpoint without TLS.
    pub(crate) tls: Reading<Option<TlsEvidence>>,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionEvidence {
    /// The address and port.
    pub(crate) address: SocketAddr,
    /// How long it took.
    pub(crate) time: Duration,
}

/// The API server's certificate and clock, compared with this server's roots and clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsEvidence {
    /// The trusted roots or, if the certificate is trusted, those that it is trusted by.
    pub(crate) roots: String,
    /// Whether the certificate is trusted, or why not.
    pub(crate) verdict: Result<(), String>,
    /// The name of the certificate's issuer, if it could be read.
    pub(crate) issuer: Option<String>,
    /// When the certificate is valid.
    pub(crate) validity: Option<Validity>,
    /// This server's clock, in seconds since 1970.
    pub(crate) now: u64,
    /// The API server's clock at that moment, if a response has it.
    pub(crate) server_now: Option<u64>,
}

/// The API's answer to one request: none for a 404.
pub(crate) type ApiReading<T> = Result<Option<T>, ApiFailure>;

/// Why the API gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiFailure {
    /// It answered 403: something else on this server uses the rate limit too.
    Forbidden(String),
    /// The requests of this program's own processes use the limit up.
    LimitUsedUp(String),
    /// It could not be reached.
    Unreachable(String),
    /// Its answer was not understood.
    NotUnderstood(String),
    /// No request was sent, because an earlier one failed.
    NotSent,
}

impl fmt::Display for ApiFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiFailure::Forbidden(reason)
            | ApiFailure::LimitUsedUp(reason)
            | ApiFailure::Unreachable(reason)
            | ApiFailure::NotUnderstood(reason) => f.write_str(reason),
            ApiFailure::NotSent => {
                f.write_str("the API was not asked, since an earlier request failed")
            }
        }
    }
}

impl KernelEvidence {
    /// The name of an interface.
    pub(crate) fn name(&self, index: u32) -> String {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("#{index}"), |link| link.name.clone())
    }

    /// A route in the notation of `ip route`.
    pub(crate) fn describe(&self, hop: Option<NextHop>) -> String {
        let Some(hop) = hop else { return "no route".to_owned() };
        let via = hop.gateway.map(|gateway| format!("via {gateway} "));
        let interface = hop.interface.map_or_else(String::new, |index| self.name(index));
        format!("{}dev {interface}", via.unwrap_or_default())
    }

    /// The IPv4 addresses of an interface.
    pub(crate) fn addresses_of(&self, index: u32) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses.iter().filter(move |address| address.interface == index).filter_map(
            |address| match address.local {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            },
        )
    }
}
