//! Everything known about this server and RackConnect, as one JSON object, for Ansible, Facter and
//! Ohai.
//!
//! Every fact is itself an object: `value` and `source`, or `value` null and `reason`. The object
//! has to be printed in time (Ansible gives its facts ten seconds), so a source that is slow or
//! broken causes missing facts, not an error.

mod api;
mod fact;
mod xenstore;

use std::path::Path;

use crate::clock::BootInstant;
use crate::config::FactsSettings;
use crate::error::Error;
use crate::gateway::kernel;
use crate::model::Tree;
use crate::ratelimit::{PERMITS, RateLimiter};
use crate::region::{Detected, OnBrokenXenstore};
use crate::session::Session;
use crate::xenstore::{Server, metadata};
use api::ApiFacts;
use fact::{Fact, XENSTORE, as_tree, map, text};
use xenstore::XenstoreFacts;

/// The names of the facts, in their order.
const NAMES: [&str; 11] = [
    "agent_version",
    "region",
    "rackconnect_version",
    "status",
    "unprocessable_reason",
    "managed_operations",
    "features",
    "gateway",
    "servicenet_interface",
    "default_route",
    "request_budget",
];

/// Collects the facts.
pub fn collect(settings: FactsSettings) -> Tree {
    let FactsSettings { api, end, asks_api } = settings;
    let (started, state_dir) = (api.started, api.state_dir.value.clone());
    let session = Session::new(api, OnBrokenXenstore::GiveUp);
    // A slow xenstore leaves half of the time to the API.
    let half = started + end.since(started) / 2;
    // The region is looked up before xenstore is opened here: a device may allow only one reader.
    let region = region(session, half);
    let mut store = XenstoreFacts::open(end);
    store.set_deadline(half);
    let server = metadata::server(&store.value(metadata::PROVIDER), &store.value(metadata::ROLES));
    let mut api = ApiFacts::new(session, end, obstacle(session, asks_api, &server));
    let status = api.status();
    let features = api.features();
    let gateway = api.gateway();
    store.set_deadline(end);
    // xenstore replaces the API only if the API gave no response at all: its values may be left
    // over from before a rebuild.
    let uses_xenstore = !api.has_answered();
    let facts: [Fact; NAMES.len()] = [
        Ok((text(env!("CARGO_PKG_VERSION")), "rackconnect".to_owned())),
        region,
        version(&server),
        status.or_else(|err| {
            if uses_xenstore {
                store.word(metadata::STATUS).map_err(|second| both(&err, &second))
            } else {
                Err(err)
            }
        }),
        store.word(metadata::UNPROCESSABLE_REASON),
        store.word(metadata::MANAGED),
        features.or_else(|err| {
            if uses_xenstore {
                store.features().map_err(|second| both(&err, &second))
            } else {
                Err(err)
            }
        }),
        gateway,
        store.servicenet(),
        default_route(end),
        rate_limit(&state_dir, end),
    ];
    object(facts)
}

/// The object if the facts cannot be collected: each has `reason`.
pub fn unavailable(reason: &str) -> Tree {
    let mut facts: [Fact; NAMES.len()] = std::array::from_fn(|_| Err(reason.to_owned()));
    facts[0] = Ok((text(env!("CARGO_PKG_VERSION")), "rackconnect".to_owned()));
    object(facts)
}

/// Why a fact is missing in both of its sources.
fn both(first: &str, second: &str) -> String {
    format!("{first}; {second}")
}

fn object(facts: [Fact; NAMES.len()]) -> Tree {
    let entries = NAMES.into_iter().zip(facts);
    Tree::Map(entries.map(|(name, fact)| (name.to_owned(), as_tree(fact))).collect())
}

/// Why no request is sent to the API; none if requests are sent.
fn obstacle(session: &Session, asks_api: bool, server: &Server) -> Option<String> {
    let is_known = session.settings().endpoint.is_some() || session.region().known().is_some();
    match (asks_api, is_known) {
        (false, _) => Some("--no-api: the API was not asked".to_owned()),
        _ if server.is_certainly_another() => {
            Some("this is not a RackConnect v2 server".to_owned())
        }
        (true, false) => Some("the region is not known, so the API was not asked".to_owned()),
        (true, true) => None,
    }
}

fn region(session: &Session, end: BootInstant) -> Fact {
    match session.region().detect(end) {
        Detected::Known(region, source) => Ok((text(region.code()), source)),
        Detected::NotYet(reason) | Detected::Broken(reason) | Detected::Unknown(reason) => {
            Err(reason)
        }
    }
}

/// `v2`, `v3`, or `none` for a server without RackConnect.
fn version(server: &Server) -> Fact {
    let version = match server {
        Server::V2 => "v2",
        Server::V3 => "v3",
        Server::NoRole | Server::OtherProvider(_) => "none",
        Server::Unknown(reason) => return Err(reason.clone()),
    };
    Ok((text(version), XENSTORE.to_owned()))
}

/// How many permits of the rate limit are free after the requests for these facts.
fn rate_limit(state_dir: &Path, end: BootInstant) -> Fact {
    let free = RateLimiter::new(state_dir.to_owned()).free_permits(end)?;
    let value = map([("free", Tree::Number(free as u64)), ("limit", Tree::Number(PERMITS as u64))]);
    Ok((value, state_dir.display().to_string()))
}

/// The default route of the main table that is in effect.
fn default_route(end: BootInstant) -> Fact {
    let message = |err: Error| err.message;
    let mut netlink = kernel::open_until(end).map_err(message)?;
    let defaults = kernel::defaults4(&mut netlink).map_err(message)?;
    let route = defaults.first().ok_or("the kernel has no default route for IPv4")?;
    let name = kernel::namer(&mut netlink);
    let interface = route.interface.and_then(name).map_or(Tree::Nothing, Tree::Text);
    let gateway = route.gateway.map_or(Tree::Nothing, |gateway| text(&gateway.to_string()));
    let value = map([
        ("gateway", gateway),
        ("interface", interface),
        ("metric", Tree::Number(route.metric.into())),
    ]);
    Ok((value, "kernel".to_owned()))
}
