//! The answer of each nameserver, and how long it took: for a diagnosis. A lookup ends as soon as
//! it has addresses; a survey waits for all answers.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::message::RecordType;
use super::query::{Query, QueryState};
use super::resolv_conf::ResolvConf;
use super::stub;
use crate::clock::BootInstant;

/// One nameserver's answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameserverAnswer {
    /// The nameserver.
    pub server: IpAddr,
    /// `A` or `AAAA`.
    pub record_type: &'static str,
    /// How long it took or, without an answer, was waited for.
    pub time: Duration,
    /// The addresses, possibly zero of them; or why there is no answer: the end of a sentence that
    /// begins with the nameserver.
    pub outcome: Result<Vec<IpAddr>, String>,
}

/// Queries all nameservers for the addresses of an absolute name, until `deadline`.
pub(super) fn survey(
    conf: &ResolvConf,
    name: &str,
    deadline: BootInstant,
) -> Vec<NameserverAnswer> {
    let random = RandomState::new();
    let servers = conf.nameservers.iter();
    let questions = servers.flat_map(|it| [(*it, RecordType::A), (*it, RecordType::Aaaa)]);
    let mut queries: Vec<Query<'_>> = questions
        .enumerate()
        .filter_map(|(number, (server, record_type))| {
            Query::new(server, record_type, name, random.hash_one(number) as u16)
        })
        .collect();
    let times = ask_all(&mut queries, conf.timeout, deadline);
    queries.into_iter().zip(times).map(|(query, time)| answer(query, time)).collect()
}

/// Sends all queries, again after each `timeout`, until all are answered or `deadline`. Returns how
/// long each of them took.
fn ask_all(queries: &mut [Query<'_>], timeout: Duration, deadline: BootInstant) -> Vec<Duration> {
    let start = BootInstant::now();
    let mut times = vec![None; queries.len()];
    let mut next_sending = start;
    loop {
        let now = BootInstant::now();
        for (time, query) in times.iter_mut().zip(&*queries) {
            if time.is_none() && !query.is_open() {
                *time = Some(now.since(start));
            }
        }
        if now >= deadline || queries.iter().all(|query| !query.is_open()) {
            break;
        }
        if now >= next_sending {
            queries.iter_mut().for_each(Query::send);
            next_sending = now + timeout.max(Duration::from_secs(1));
        }
        if let Err(err) = stub::proceed(queries, deadline.min(next_sending)) {
            let open = queries.iter_mut().filter(|query| query.is_open());
            open.for_each(|query| query.fail(io::Error::from(err)));
        }
    }
    let waited = BootInstant::now().since(start);
    times.into_iter().map(|time| time.unwrap_or(waited)).collect()
}

fn answer(query: Query<'_>, time: Duration) -> NameserverAnswer {
    NameserverAnswer {
        server: query.server.ip(),
        record_type: match query.record_type {
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
        },
        time,
        outcome: match query.state {
            QueryState::Addresses(addresses) => Ok(addresses),
            QueryState::NoAddress => Ok(Vec::new()),
            QueryState::NoSuchName => Err("says that there is no such name".to_owned()),
            QueryState::Failed(err) => Err(err.to_string()),
            QueryState::Open => Err("does not answer".to_owned()),
        },
    }
}
