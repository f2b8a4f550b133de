//! `HOST[:PORT]`, as people write it.

use std::net::IpAddr;

/// A host, and a port if one was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// As it was written.
    pub text: String,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
}

impl HostPort {
    /// Parses `HOST[:PORT]`; an IPv6 address with a port stands in brackets.
    ///
    /// # Errors
    /// The end of a sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<HostPort, String> {
        let invalid = || format!("{text:?} is not HOST or HOST:PORT");
        let (host, port) = match (text.parse::<IpAddr>(), text.rsplit_once(':')) {
            (Ok(_), _) | (_, None) => (text, None),
            (_, Some((host, port))) => (host, Some(port.parse::<u16>().map_err(|_| invalid())?)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_host = host.parse::<IpAddr>().is_ok() || host.chars().all(is_name);
        if host.is_empty() || port == Some(0) || !is_host {
            return Err(invalid());
        }
        Ok(HostPort { text: text.to_owned(), host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_a_port() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", None),
            ("db.example:5432", "db.example", Some(5432)),
            ("::1", "::1", None),
            ("[::1]:80", "::1", Some(80)),
        ] {
            let parsed = HostPort::parse(text).unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port), "{text}");
        }
        for text in ["", ":80", "a b", "h:0", "h:99999", "h:x"] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }
}
