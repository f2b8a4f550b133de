//! Name lookups with a deadline. If a lookup fails, the addresses of the last successful one are
//! used.
//!
//! The C library is not used: its lookup has no deadline, it fails as a whole if a nameserver does
//! not answer for IPv6, and musl divides by the `attempts` of resolv.conf. The rules:
//!
//! - `/etc/hosts` first, then DNS.
//! - A name with a dot is complete. The `search` domains apply only to names without one.
//! - No content of `/etc/hosts` and `/etc/resolv.conf` is an error.

mod address;
mod error;
mod hosts;
mod message;
mod query;
mod resolv_conf;
mod stub;
mod survey;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

pub use error::{LookupError, LookupFailure};
use resolv_conf::ResolvConf;
pub use survey::NameserverAnswer;

use crate::clock::BootInstant;
use crate::state::file::{self, Links};

const HOSTS: &str = "/etc/hosts";
const MAX_HOSTS_BYTES: u64 = 4 << 20;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const MAX_RESOLV_CONF_BYTES: u64 = 64 << 10;

/// The longest name and label that DNS can have, in text (RFC 1035).
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// The parsers, for fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) mod parsers {
    use super::message::{self, RecordType};
    use super::{ResolvConf, hosts};

    /// A response to a query for `api.example` that has its id.
    pub(crate) fn response(bytes: &[u8]) {
        let Some((id, _)) = bytes.split_first_chunk() else { return };
        for record_type in [RecordType::A, RecordType::Aaaa] {
            let _ = message::response(bytes, u16::from_be_bytes(*id), "api.example", record_type);
        }
    }

    /// A hosts file.
    pub(crate) fn hosts(text: &str) {
        let _ = hosts::addresses(text, "api.example");
    }

    /// A resolv.conf, which always has a nameserver, a time and a number of attempts.
    pub(crate) fn resolv_conf(text: &str) {
        let read = ResolvConf::parse(text);
        assert!(!read.nameservers.is_empty() && read.attempts > 0 && !read.timeout.is_zero());
    }
}

/// The lookups of one name.
#[derive(Debug, Default)]
pub struct Lookup {
    last_good: Mutex<Vec<SocketAddr>>,
}

impl Lookup {
    /// The addresses of `host`, by `deadline`. If an earlier lookup was successful, this one ends
    /// after `refresh_timeout`, or earlier to leave time to connect to the earlier addresses.
    ///
    /// # Errors
    /// Why there is no address.
    pub fn addresses(
        &self,
        host: &str,
        port: u16,
        refresh_timeout: Duration,
        deadline: BootInstant,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = self.find(&NameSources::of_the_system(), host, refresh_timeout, deadline);
        found.map(|mut addresses| {
            addresses.iter_mut().for_each(|address| address.set_port(port));
            addresses
        })
    }

    fn find(
        &self,
        sources: &NameSources,
        host: &str,
        refresh_timeout: Duration,
        deadline: BootInstant,
    ) -> Result<Vec<SocketAddr>, LookupError> {
        let mut last_good = self.last_good.lock().expect("no panic under this lock");
        let now = BootInstant::now();
        let deadline = if last_good.is_empty() {
            deadline
        } else {
            now + refresh_timeout.min(deadline.since(now) / 3)
        };
        match sources.look_up(host, deadline) {
            Ok(addresses) => {
                last_good.clone_from(&addresses);
                Ok(addresses)
            }
            Err(reason) => {
                let err = LookupError { host: host.to_owned(), reason };
                if last_good.is_empty() {
                    return Err(err);
                }
                log::debug!("{err}; using the addresses of the last lookup");
                Ok(last_good.clone())
            }
        }
    }
}

/// The answers of all nameservers to queries for a host's addresses, until `deadline`: for a
/// diagnosis. Empty for an IP address and for a name that is not valid in DNS.
pub fn survey(host: &str, deadline: BootInstant) -> Vec<NameserverAnswer> {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.parse::<IpAddr>().is_ok() || is_localhost(name) || !is_valid(name) {
        return Vec::new();
    }
    survey::survey(&NameSources::of_the_system().resolv_conf, name, deadline)
}

/// The sources of addresses.
struct NameSources {
    /// The text of a hosts file.
    hosts: String,
    resolv_conf: ResolvConf,
}

impl NameSources {
    fn of_the_system() -> NameSources {
        NameSources {
            hosts: read(HOSTS, MAX_HOSTS_BYTES),
            resolv_conf: ResolvConf::parse(&read(RESOLV_CONF, MAX_RESOLV_CONF_BYTES)),
        }
    }

    /// The addresses, with port 0.
    fn look_up(&self, host: &str, deadline: BootInstant) -> Result<Vec<SocketAddr>, LookupFailure> {
        // A dot at the end means that the name is complete.
        let (name, is_complete) = match host.strip_suffix('.') {
            Some(name) => (name, true),
            None => (host, host.contains('.')),
        };
        let found = hosts::addresses(&self.hosts, name);
        if !found.is_empty() {
            return Ok(found);
        }
        if is_localhost(name) {
            let loopback = [IpAddr::from(Ipv6Addr::LOCALHOST), Ipv4Addr::LOCALHOST.into()];
            return Ok(loopback.map(|ip| SocketAddr::new(ip, 0)).to_vec());
        }
        if !is_valid(name) {
            return Err(LookupFailure::InvalidName);
        }
        let search = self.resolv_conf.search.iter().filter(|_| !is_complete);
        let mut names: Vec<String> = search.map(|domain| format!("{name}.{domain}")).collect();
        names.retain(|name| is_valid(name));
        names.push(name.to_owned());
        self.look_up_any(&names, deadline)
    }

    /// The addresses of the first name that has any. The names share the time until the deadline.
    fn look_up_any(
        &self,
        names: &[String],
        deadline: BootInstant,
    ) -> Result<Vec<SocketAddr>, LookupFailure> {
        let mut failure = LookupFailure::NoSuchHost;
        for (names_left, name) in (1..=names.len() as u32).rev().zip(names) {
            let now = BootInstant::now();
            let own_deadline = now + deadline.since(now) / names_left;
            match stub::resolve(&self.resolv_conf, name, own_deadline) {
                Ok(ips) => return Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()),
                // Any other failure is more informative.
                Err(LookupFailure::NoSuchHost) => {}
                Err(err) => failure = err,
            }
        }
        Err(failure)
    }
}

/// The text of a file; empty if the file cannot be read, as in the C library.
fn read(path: &str, max: u64) -> String {
    match file::read(Path::new(path), max, Links::Follow) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(err) => {
            log::debug!("{path} {err}");
            String::new()
        }
    }
}

/// Whether the name means this host (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.eq_ignore_ascii_case("localhost")
}

/// Whether this is a valid host name in DNS.
fn is_valid(name: &str) -> bool {
    let is_in_label = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    name.len() <= MAX_NAME_BYTES
        && name.split('.').all(|label| {
            (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(is_in_label)
        })
}

#[cfg(test)]
mod tests;
