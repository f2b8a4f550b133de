//! The endpoint: the URL below which the operations are.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

/// A checked endpoint: https, or plain http to a loopback address, since anything else could be
/// read and answered by others on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
}

impl Endpoint {
    /// Checks a URL.
    ///
    /// # Errors
    /// The end of a sentence that says what is wrong with it.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let wrong = |reason: &str| Err(format!("{url:?} {reason}"));
        // The fragment is looked for by hand: http::Uri drops it silently.
        if url.contains('#') {
            return wrong("has a fragment (#…): an endpoint is https://HOST[:PORT]");
        }
        let uri = match url.parse::<Uri>() {
            Ok(uri) => uri,
            Err(err) => {
                return wrong(&format!("is not a URL ({err}): an endpoint is https://HOST[:PORT]"));
            }
        };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return wrong("is not a whole URL: an endpoint is https://HOST[:PORT]");
        };
        if authority.as_str().contains('@') {
            return wrong("has user info (…@): the API takes no credentials");
        }
        if uri.query().is_some() {
            return wrong("has a query (?…): an endpoint is https://HOST[:PORT]");
        }
        let host = bare(authority.host());
        if host.is_empty() {
            return wrong("names no host");
        }
        // http::Uri accepts any digits after the colon.
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !port.is_empty() && uri.port_u16().is_none_or(|port| port == 0) {
            return wrong("has an invalid port");
        }
        match scheme {
            "https" => {}
            "http" if host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) => {}
            "http" => {
                return wrong(
                    "is plain http, which is accepted only for a loopback address: use https",
                );
            }
            _ => return wrong("is neither https nor http"),
        }
        Ok(Endpoint { base: url.trim_end_matches('/').to_owned() })
    }

    /// The URL of an operation's path and query.
    pub fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    /// What to connect to.
    pub fn connect_target(&self) -> ConnectTarget {
        // It was checked when it was made.
        let uri = self.base.parse::<Uri>().unwrap_or_default();
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        ConnectTarget { host: bare(uri.host().unwrap_or_default()).to_owned(), port, is_tls }
    }
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTarget {
    /// The host, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken there.
    pub is_tls: bool,
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
