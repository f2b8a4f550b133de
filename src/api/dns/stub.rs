//! The stub resolver: asks all nameservers at the same time, for IPv4 and IPv6 addresses
//! separately.
//!
//! What comes back good is used. A nameserver that answers one of the two questions wrongly, late
//! or never spoils nothing: once there are addresses, the rest gets a short grace period (RFC 8305,
//! section 3).

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

/// How long IPv6 addresses are waited for when there are IPv4 addresses.
const GRACE_FOR_IPV6: Duration = Duration::from_millis(50);

/// The other way round it is longer, because ServiceNet is IPv4 only. It is also how long another
/// nameserver may contradict the one that knows no IPv4 address.
const GRACE: Duration = Duration::from_millis(250);

/// The addresses of an absolute name, IPv6 and IPv4 in turn.
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

/// Asks until enough is known or the time is over.
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

/// Waits until a response can be read, or for so long, and reads what there is.
pub(super) fn proceed(queries: &mut [Query<'_>], until: BootInstant) -> nix::Result<()> {
    let (places, mut fds): (Vec<usize>, Vec<PollFd<'_>>) = queries
        .iter()
        .enumerate()
        .filter_map(|(place, query)| {
            query.poll_fd().map(|(fd, flags)| (place, PollFd::new(fd, flags)))
        })
        .unzip();
    match poll(&mut fds, until.poll_timeout()) {
        Err(Errno::EINTR) => return Ok(()),
        polled => polled?,
    };
    let is_ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
    for (place, _) in places.iter().zip(is_ready).filter(|(_, is_ready)| *is_ready) {
        queries[*place].proceed();
    }
    Ok(())
}

/// What is known of one kind of address, from all nameservers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// Nothing yet.
    Open,
    /// No nameserver can say it.
    Failed,
    /// At least one nameserver knows of no address.
    NoAddress,
    /// There are addresses.
    Addresses,
}

fn knowledge(queries: &[Query<'_>], record_type: RecordType) -> Knowledge {
    let own = || queries.iter().filter(|query| query.record_type == record_type);
    if own().any(|query| matches!(query.state, QueryState::Addresses(_))) {
        Knowledge::Addresses
    } else if own()
        .any(|query| matches!(query.state, QueryState::NoAddress | QueryState::NoSuchName))
    {
        Knowledge::NoAddress
    } else if own().any(Query::is_open) {
        Knowledge::Open
    } else {
        Knowledge::Failed
    }
}

/// How much longer to wait, if what is known is enough to end soon.
fn grace(queries: &[Query<'_>]) -> Option<Duration> {
    use Knowledge::{Addresses, NoAddress, Open};
    let [ipv4, ipv6] = [RecordType::A, RecordType::Aaaa].map(|kind| knowledge(queries, kind));
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
        // IPv4 says more, unless the name has IPv6 addresses only.
        return Err(match failure(&mut queries, RecordType::A) {
            LookupFailure::NoAddress => failure(&mut queries, RecordType::Aaaa),
            failure => failure,
        });
    }
    Ok(alternate(ipv6, ipv4))
}

/// Why there is no address of this kind.
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

/// One of each in turn, as long as there are both (RFC 8305, section 4).
pub(super) fn alternate(first: Vec<IpAddr>, second: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    let mut rest = [first.into_iter(), second.into_iter()];
    while rest.iter().any(|rest| !rest.as_slice().is_empty()) {
        all.extend(rest.iter_mut().filter_map(Iterator::next));
    }
    all
}
