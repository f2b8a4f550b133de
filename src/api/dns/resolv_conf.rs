//! The settings in resolv.conf(5) that the resolver uses.
//!
//! No content is an error: unknown and invalid settings are skipped, and numbers are clamped.
//! `ndots` is ignored, because a name with a dot is always looked up as it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::address;

const PORT: u16 = 53;

/// The limits of glibc and musl.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH_DOMAINS: usize = 6;

const DEFAULT_TIMEOUT_SECONDS: u64 = 5;
const MAX_TIMEOUT_SECONDS: u64 = 30;
const DEFAULT_ATTEMPTS: u64 = 2;
const MAX_ATTEMPTS: u64 = 5;

/// The nameservers, and how to query them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    /// At least one.
    pub(super) nameservers: Vec<SocketAddr>,
    /// The domains in which a name without a dot is looked up.
    pub(super) search: Vec<String>,
    /// How long to wait before a query is sent again.
    pub(super) timeout: Duration,
    /// How often a query is sent; at least once.
    pub(super) attempts: u32,
}

impl ResolvConf {
    pub(super) fn parse(text: &str) -> ResolvConf {
        let mut nameservers = Vec::new();
        let mut search = Vec::new();
        let mut timeout = DEFAULT_TIMEOUT_SECONDS;
        let mut attempts = DEFAULT_ATTEMPTS;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => nameservers.extend(words.next().and_then(nameserver)),
                // The last of these lines counts.
                Some("search" | "domain") => search = words.filter_map(domain).collect(),
                Some("options") => {
                    for option in words {
                        if let Some(seconds) = number(option, "timeout:") {
                            timeout = seconds.clamp(1, MAX_TIMEOUT_SECONDS);
                        } else if let Some(times) = number(option, "attempts:") {
                            attempts = times.clamp(1, MAX_ATTEMPTS);
                        }
                    }
                }
                _ => {}
            }
        }
        nameservers.truncate(MAX_NAMESERVERS);
        search.truncate(MAX_SEARCH_DOMAINS);
        if nameservers.is_empty() {
            nameservers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        ResolvConf {
            nameservers,
            search,
            timeout: Duration::from_secs(timeout),
            attempts: u32::try_from(attempts).unwrap_or(1),
        }
    }
}

/// The unspecified address means this host, as it does for glibc.
fn nameserver(text: &str) -> Option<SocketAddr> {
    let mut address = address::parse(text)?;
    address.set_port(PORT);
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(address)
}

fn domain(text: &str) -> Option<String> {
    let domain = text.strip_suffix('.').unwrap_or(text);
    (!domain.is_empty()).then(|| domain.to_owned())
}

/// The number of an option, saturated. Text after the digits is ignored, as in glibc and musl.
fn number(option: &str, name: &str) -> Option<u64> {
    let value = option.strip_prefix(name)?;
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    (end > 0).then(|| value[..end].parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nameservers(text: &str) -> Vec<String> {
        ResolvConf::parse(text).nameservers.iter().map(ToString::to_string).collect()
    }

    fn numbers(text: &str) -> (u64, u32) {
        let conf = ResolvConf::parse(text);
        (conf.timeout.as_secs(), conf.attempts)
    }

    #[test]
    fn nameservers_and_their_defaults() {
        assert_eq!(nameservers(""), ["127.0.0.1:53"]);
        assert_eq!(nameservers("nameserver\nnameserver nonsense\n"), ["127.0.0.1:53"]);
        assert_eq!(nameservers("#nameserver 192.0.2.1\n; nameserver 192.0.2.1"), ["127.0.0.1:53"]);
        let text = "nameserver 192.0.2.1 # first\nnameserver\t2001:db8::1\n\
            nameserver fe80::1%lo\nnameserver 192.0.2.4\n";
        assert_eq!(nameservers(text), ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%1]:53"]);
    }

    #[test]
    fn the_unspecified_address_is_this_host() {
        assert_eq!(nameservers("nameserver 0.0.0.0"), ["127.0.0.1:53"]);
        assert_eq!(nameservers("nameserver ::"), ["[::1]:53"]);
    }

    /// `options attempts:0` ended every command that looks a name up with SIGFPE, and `timeout:0`
    /// ended a lookup immediately.
    #[test]
    fn zero_counts_as_one_and_large_numbers_are_clamped() {
        assert_eq!(numbers(""), (5, 2));
        for text in ["options attempts:0 timeout:0", "options attempts:00\noptions timeout:000x"] {
            assert_eq!(numbers(text), (1, 1), "{text}");
        }
        assert_eq!(numbers("options rotate timeout:2 ndots:5 attempts:3 edns0"), (2, 3));
        assert_eq!(numbers("options timeout:999 attempts:99999999999999999999999"), (30, 5));
        assert_eq!(numbers("options timeout: attempts:x timeout:-1 attempts"), (5, 2));
    }

    #[test]
    fn the_last_search_line_counts() {
        let search = |text| ResolvConf::parse(text).search;
        assert_eq!(search("domain example.com"), ["example.com"]);
        assert_eq!(search("search a.example. b.example ."), ["a.example", "b.example"]);
        assert_eq!(search("search a.example\nsearch b.example\n"), ["b.example"]);
        assert_eq!(search("search a b c d e f g h").len(), MAX_SEARCH_DOMAINS);
    }

    proptest! {
        #[test]
        fn no_content_breaks_it(text in "(?s)(nameserver |options |attempts:|timeout:|.){0,40}") {
            let conf = ResolvConf::parse(&text);
            prop_assert!(!conf.nameservers.is_empty() && conf.attempts > 0);
            prop_assert!(!conf.timeout.is_zero());
        }
    }
}
