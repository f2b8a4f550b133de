//! The endpoint: the URL below which the operations are.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

/// A valid endpoint: https, or plain http to a loopback address, since others could read and answer
/// any other plain request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
    target: ConnectTarget,
}

/// The destination of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTarget {
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is used.
    pub is_tls: bool,
}

impl Endpoint {
    /// Parses a URL.
    ///
    /// # Errors
    /// The end of a sentence: what is wrong with the URL.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let target = target_of(url).map_err(|reason| format!("{url:?} {reason}"))?;
        Ok(Endpoint { base: url.trim_end_matches('/').to_owned(), target })
    }

    /// The URL of an operation's path and query.
    pub fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    /// The host and port of the API.
    pub fn connect_target(&self) -> ConnectTarget {
        self.target.clone()
    }
}

/// The destination in the URL of an endpoint, or why it is not a valid one.
fn target_of(url: &str) -> Result<ConnectTarget, String> {
    const FORM: &str = "an endpoint is https://HOST[:PORT]";
    // http::Uri silently drops a fragment.
    if url.contains('#') {
        return Err(format!("has a fragment (#…): {FORM}"));
    }
    // http::Uri accepts other letters in a path, and HTTP does not.
    if !url.is_ascii() {
        return Err("has letters beyond ASCII: write them percent-encoded".to_owned());
    }
    let uri = url.parse::<Uri>().map_err(|err| format!("is not a URL ({err}): {FORM}"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(format!("is not a complete URL: {FORM}"));
    };
    if authority.as_str().contains('@') {
        return Err("has user info (…@): the API takes no credentials".to_owned());
    }
    if uri.query().is_some() {
        return Err(format!("has a query (?…): {FORM}"));
    }
    let host = bare(authority.host());
    if host.is_empty() {
        return Err("names no host".to_owned());
    }
    // http::Uri accepts any digits after the colon.
    let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if !after_host.is_empty() && uri.port_u16().is_none_or(|port| port == 0) {
        return Err("has an invalid port".to_owned());
    }
    let is_loopback = || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let (is_tls, default_port) = match scheme {
        "https" => (true, 443),
        "http" if is_loopback() => (false, 80),
        "http" => {
            return Err("is plain http, which is accepted only for a loopback address: use https"
                .to_owned());
        }
        _ => return Err("is neither https nor http".to_owned()),
    };
    let port = uri.port_u16().unwrap_or(default_port);
    Ok(ConnectTarget { host: host.to_owned(), port, is_tls })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

/// A host without the brackets around an IPv6 address.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        for (url, base) in [
            (
                "https://dfw.api.rackconnect.rackspace.com",
                "https://dfw.api.rackconnect.rackspace.com",
            ),
            ("https://10.1.2.3:8443/", "https://10.1.2.3:8443"),
            ("https://[::1]:8443/prefix/", "https://[::1]:8443/prefix"),
            ("http://127.0.0.2:80", "http://127.0.0.2:80"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(Endpoint::parse(url).map(|endpoint| endpoint.base), Ok(base.to_owned()));
        }
    }

    #[test]
    fn refused() {
        for url in [
            "",
            "dfw",
            "/v1",
            "dfw.api.rackconnect.rackspace.com:443",
            "ftp://127.0.0.1",
            "http://10.1.2.3",
            "http://localhost",
            "http://127.0.0.1.example.com",
            "https://",
            "https://:443",
            "https://user@host",
            "https://user:pass@host",
            "http://127.0.0.1@example.com",
            "https://host?x",
            "https://host/#x",
            "https://host:0",
            "https://host:99999",
            "https://host:x",
            "https://ho st",
            "https://host\u{1b}[31m",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }
}
