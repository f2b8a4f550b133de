//! A host, and possibly a port, that must stay reachable (`--probe`).

use std::net::IpAddr;

/// The port of a probe without a given port.
const DEFAULT_PORT: u16 = 443;

/// A host to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// As it was given.
    pub name: String,
    /// The host.
    pub host: String,
    /// The port, if one was given.
    given_port: Option<u16>,
}

/// What a refused connection says about the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRefusal {
    /// It is reachable: no particular port was asked for.
    Reachable,
    /// It is not: its port was given.
    Unreachable,
}

impl Probe {
    /// Parses `HOST[:PORT]`; an IPv6 address with a port is in brackets.
    ///
    /// # Errors
    /// The end of a sentence: what is wrong.
    pub fn parse(text: &str) -> Result<Probe, String> {
        let invalid = || format!("{text:?} is not HOST or HOST:PORT");
        let (host, given_port) = match (text.parse::<IpAddr>(), text.rsplit_once(':')) {
            (Ok(_), _) | (_, None) => (text, None),
            (_, Some((host, port))) => (host, Some(port.parse::<u16>().map_err(|_| invalid())?)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty()
            || given_port == Some(0)
            || !(host.parse::<IpAddr>().is_ok() || host.chars().all(is_name))
        {
            return Err(invalid());
        }
        Ok(Probe { name: text.to_owned(), host: host.to_owned(), given_port })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.given_port.unwrap_or(DEFAULT_PORT)
    }

    /// What a refused connection means.
    pub fn on_refusal(&self) -> OnRefusal {
        match self.given_port {
            None => OnRefusal::Reachable,
            Some(_) => OnRefusal::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_parsed() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:22", "example.com", Some(22)),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:8080", "192.0.2.1", Some(8080)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:53", "2001:db8::1", Some(53)),
        ] {
            let probe = Probe::parse(text).unwrap();
            assert_eq!((probe.host.as_str(), probe.given_port), (host, port), "{text}");
        }
        for text in
            ["", ":80", "host:", "host:0", "host:99999", "ho st", "http://host/", "host:80:90"]
        {
            assert!(Probe::parse(text).is_err(), "{text}");
        }
    }
}
