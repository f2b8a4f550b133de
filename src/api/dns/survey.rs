//! What each nameserver answers, and after how long: for a diagnosis. A lookup ends as soon as it
//! knows enough; this waits for all.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
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
    /// How long it took, or was waited for.
    pub time: Duration,
    /// The addresses, which may be none; or why there is no answer, as the end of a sentence that
    /// begins with the nameserver.
    pub outcome: Result<Vec<IpAddr>, String>,
}

/// Asks all nameservers for the addresses of an absolute name, until `deadline`.
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
    let start = BootInstant::now();
    let mut times = vec![None; queries.len()];
    let mut next_sending = start;
    loop {
        let now = BootInstant::now();
        for (time, query) in times.iter_mut().zip(&queries) {
            if time.is_none() && !query.is_open() {
                *time = Some(now.since(start));
            }
        }
        if now >= deadline || queries.iter().all(|query| !query.is_open()) {
            break;
        }
        if now >= next_sending {
            queries.iter_mut().for_each(Query::send);
            next_sending = now + conf.timeout.max(Duration::from_secs(1));
        }
        if stub::proceed(&mut queries, deadline.min(next_sending)).is_err() {
            break;
        }
    }
    let waited = BootInstant::now().since(start);
    let answer = |(query, time): (Query<'_>, Option<Duration>)| NameserverAnswer {
        server: query.server.ip(),
        record_type: match query.record_type {
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
        },
        time: time.unwrap_or(waited),
        outcome: match query.state {
            QueryState::Addresses(addresses) => Ok(addresses),
            QueryState::NoAddress => Ok(Vec::new()),
            QueryState::NoSuchName => Err("says that there is no such name".to_owned()),
            QueryState::Failed(err) => Err(err.to_string()),
            QueryState::Open => Err("does not answer".to_owned()),
        },
    };
    queries.into_iter().zip(times).map(answer).collect()
}
