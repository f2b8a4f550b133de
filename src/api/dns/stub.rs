//! The stub resolver: queries all nameservers at the same time, for IPv4 and IPv6 addresses
//! separately.
//!
//! All valid answers are used. A nameserver that answers one of the two queries wrongly, late or
//! never does no harm: once there are addresses, the other answers get a short grace period
//! (RFC 8305, section 3).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, poll};

use super::error::LookupFailure;
use super::message::RecordType;
use super::query::{Query, QueryState};
use super::resolv_conf::ResolvConf;
use crate::clock::BootInstant;

/// How long IPv6 addresses are waited for once there are IPv4 addresses. Source: RFC 8305, section
/// 3.
const GRACE_FOR_IPV6: Duration = Duration::from_millis(50);

/// How long IPv4 addresses are waited for once there are IPv6 addresses: longer, because ServiceNet
/// has only IPv4. Also how long other nameservers are waited for once one has no IPv4 address.
const GRACE: Duration = Duration::from_millis(250);

/// The addresses of an absolute name, alternately IPv6 and IPv4.
///
/// # Errors
/// See [`LookupFailure`].
pub(super) fn resolve(
    conf: &ResolvConf,
    name: &str,
    deadline: BootInstant,
) -> Result<Vec<IpAddr>, LookupFailure> {
    let random = RandomState::new();
    let mut queries = Vec::new();
    for server in &conf.nameservers {
        for record_type in [RecordType::A, RecordType::Aaaa] {
            let id = random.hash_one(queries.len()) as u16;
            let query = Query::new(*server, record_type, name, id);
            queries.push(query.ok_or(LookupFailure::InvalidName)?);
        }
    }
    ask(conf, &mut queries, deadline);
    outcome(queries)
}

/// Sends the queries until there are enough answers or the time has passed.
fn ask(conf: &ResolvConf, queries: &mut [Query<'_>], deadline: BootInstant) {
    let start = BootInstant::now();
    let mut end = deadline.min(start + conf.timeout * conf.attempts);
    let mut sent = 0;
    loop {
        let now = BootInstant::now();
        if now >= end {
            return;
        }
        let mut next_sending = start + conf.timeout * sent;
        if sent < conf.attempts && now >= next_sending {
            queries.iter_mut().for_each(Query::send);
            sent += 1;
            next_sending = start + conf.timeout * sent;
        }
        match grace(queries) {
            Some(Duration::ZERO) => return,
            Some(grace) => end = end.min(now + grace),
            None => {}
        }
        let until = if sent < conf.attempts { end.min(next_sending) } else { end };
        if let Err(err) = proceed(queries, until) {
            let open = queries.iter_mut().filter(|query| query.is_open());
            open.for_each(|query| query.fail(io::Error::from(err)));
        }
    }
}

/// Waits until a response can be read, until `until` at most, and reads all that are there.
pub(super) fn proceed(queries: &mut [Query<'_>], until: BootInstant) -> nix::Result<()> {
    let (indexes, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = queries
        .iter()
        .enumerate()
        .filter_map(|(index, query)| {
            query.poll_fd().map(|(fd, flags)| (index, PollFd::new(fd, flags)))
        })
        .unzip();
    match poll(&mut fds, until.poll_timeout()) {
        Err(Errno::EINTR) => return Ok(()),
        polled => polled?,
    };
    let is_ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
    for (index, _) in indexes.iter().zip(is_ready).filter(|(_, is_ready)| *is_ready) {
        queries[*index].proceed();
    }
    Ok(())
}

/// The combined answer of all nameservers for one type of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CombinedAnswer {
    /// Nothing yet.
    Open,
    /// No nameserver could answer.
    Failed,
    /// At least one nameserver answered that there is no address.
    NoAddress,
    /// There are addresses.
    Addresses,
}

fn combined_answer(queries: &[Query<'_>], record_type: RecordType) -> CombinedAnswer {
    let own = || queries.iter().filter(|query| query.record_type == record_type);
    if own().any(|query| matches!(query.state, QueryState::Addresses(_))) {
        CombinedAnswer::Addresses
    } else if own()
        .any(|query| matches!(query.state, QueryState::NoAddress | QueryState::NoSuchName))
    {
        CombinedAnswer::NoAddress
    } else if own().any(Query::is_open) {
        CombinedAnswer::Open
    } else {
        CombinedAnswer::Failed
    }
}

/// How much longer to wait; `None` if there are not enough answers yet to end soon.
fn grace(queries: &[Query<'_>]) -> Option<Duration> {
    use CombinedAnswer::{Addresses, NoAddress, Open};
    let [ipv4, ipv6] = [RecordType::A, RecordType::Aaaa].map(|kind| combined_answer(queries, kind));
    match (ipv4, ipv6) {
        _ if !queries.iter().any(Query::is_open) => Some(Duration::ZERO),
        (Addresses, Open) => Some(GRACE_FOR_IPV6),
        (Open | NoAddress, Addresses) => Some(GRACE),
        (Addresses, _) | (_, Addresses) => Some(Duration::ZERO),
        (Open, _) | (_, Open) => None,
        _ => Some(GRACE),
    }
}

fn outcome(mut queries: Vec<Query<'_>>) -> Result<Vec<IpAddr>, LookupFailure> {
    let [ipv6, ipv4] = [RecordType::Aaaa, RecordType::A].map(|record_type| {
        let own = queries.iter_mut().filter(|query| query.record_type == record_type);
        own.map(|query| match &mut query.state {
            QueryState::Addresses(addresses) => std::mem::take(addresses),
            _ => Vec::new(),
        })
        .find(|addresses| !addresses.is_empty())
        .unwrap_or_default()
    });
    if ipv6.is_empty() && ipv4.is_empty() {
        // The failure for IPv4 is more informative, unless the name exists without IPv4 addresses.
        return Err(match failure(&mut queries, RecordType::A) {
            LookupFailure::NoAddress => failure(&mut queries, RecordType::Aaaa),
            failure => failure,
        });
    }
    Ok(alternate(ipv6, ipv4))
}

/// Why there is no address of this type.
fn failure(queries: &mut [Query<'_>], record_type: RecordType) -> LookupFailure {
    let mut failure = None;
    let mut is_open = false;
    for query in queries.iter_mut().filter(|query| query.record_type == record_type) {
        match std::mem::replace(&mut query.state, QueryState::Open) {
            QueryState::NoSuchName => return LookupFailure::NoSuchHost,
            QueryState::Addresses(_) | QueryState::NoAddress => return LookupFailure::NoAddress,
            QueryState::Failed(err) if failure.is_none() => {
                failure = Some(LookupFailure::Nameserver(query.server, err));
            }
            QueryState::Failed(_) => {}
            QueryState::Open => is_open = true,
        }
    }
    failure.filter(|_| !is_open).unwrap_or(LookupFailure::TimedOut)
}

/// Alternates between two lists as long as both have addresses (RFC 8305, section 4).
pub(super) fn alternate(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    let mut rest = [first.into_iter(), second.into_iter()];
    while rest.iter().any(|rest| !rest.as_slice().is_empty()) {
        all.extend(rest.iter_mut().filter_map(Iterator::next));
    }
    all
}
