//! HTTP to Identity and to the services of its catalog: one request, one response, by one deadline.
//!
//! A token goes only to URLs that [`check_url`] accepts. Redirects are not followed, bodies are
//! bounded. Unlike on the server, the proxies of the environment are used (HTTPS_PROXY, ALL_PROXY,
//! NO_PROXY): these services know a user by the token, not by the address. A plain http URL, which
//! is one of this machine, is never sent through a proxy.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderValue, Method, Request, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, Proxy};
use zeroize::Zeroizing;

use super::tls_layer::TlsLayer;
use crate::api::tls::Roots;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};
use crate::model::Secret;

/// The largest body that is read: a page of a thousand servers is about four megabytes.
const MAX_BODY_BYTES: u64 = 32 << 20;

/// One request.
pub struct CloudRequest<'a> {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: &'a str,
    /// Headers with secrets in them: the token, the session of a second factor.
    pub secrets: &'a [(&'static str, &'a Secret)],
    /// The JSON body, if there is one.
    pub body: Option<&'a [u8]>,
    /// The end of it, whatever happens; the request timeout holds besides.
    pub deadline: BootInstant,
}

/// What came back.
pub struct CloudResponse {
    /// The status code.
    pub status_code: u16,
    /// The body, which may hold a token.
    pub body: Zeroizing<Vec<u8>>,
    /// What the server's clock said, if it did.
    pub date: Option<SystemTime>,
    /// How long to wait, from `Retry-After`.
    pub retry_after: Option<Duration>,
    /// `WWW-Authenticate`, which names the session of a second factor.
    pub challenge: Option<Secret>,
}

/// Sends requests. Connections are kept while it lives, one per host; threads share it.
pub struct HttpClient {
    agent: Agent,
    request_timeout: Duration,
}

impl HttpClient {
    /// A client that has not connected yet.
    pub fn new(roots: Roots, connect_timeout: Duration, request_timeout: Duration) -> HttpClient {
        let config = Agent::config_builder()
            .proxy(Proxy::try_from_env())
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(connect_timeout))
            .user_agent(concat!("rackconnect-agent/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(TlsLayer { config: roots.config });
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        HttpClient { agent, request_timeout }
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// No whole response came by the deadline.
    pub fn send(&self, request: &CloudRequest) -> Result<CloudResponse> {
        check_url(request.url)
            .map_err(|err| Error::new(Kind::NotUnderstood, format!("{} {err}", request.url)))?;
        let started = BootInstant::now();
        let timeout = request.deadline.since(started).min(self.request_timeout);
        log::debug!("{} {}", request.method, request.url);
        let response = self.exchange(request, timeout.max(Duration::from_millis(1)));
        let elapsed = BootInstant::now().since(started);
        match response {
            Ok(response) => {
                let (code, length) = (response.status_code, response.body.len());
                log::debug!("{code}, {length} bytes, after {elapsed:?}");
                Ok(response)
            }
            Err(err) => Err(describe(request.url, err, elapsed)),
        }
    }

    fn exchange(
        &self,
        request: &CloudRequest,
        timeout: Duration,
    ) -> std::result::Result<CloudResponse, ureq::Error> {
        let mut builder = Request::builder()
            .method(request.method.clone())
            .uri(request.url)
            .header("Accept", "application/json");
        for (name, secret) in request.secrets {
            let mut value = HeaderValue::from_str(secret.expose())
                .map_err(|_| ureq::Error::BadUri("a secret has control characters".to_owned()))?;
            value.set_sensitive(true);
            builder = builder.header(*name, value);
        }
        let is_plain = request.url.starts_with("http:");
        let mut response = match request.body {
            Some(body) => {
                let built = builder.header("Content-Type", "application/json").body(body)?;
                self.agent.run(self.configured(built, timeout, is_plain))?
            }
            None => self.agent.run(self.configured(builder.body(())?, timeout, is_plain))?,
        };
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let date = header("date").and_then(|text| httpdate::parse_http_date(&text).ok());
        let retry_after = header("retry-after").and_then(|text| parse_retry_after(&text, date));
        let challenge = header("www-authenticate").map(Secret::new);
        let status_code = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec()?;
        let body = Zeroizing::new(body);
        Ok(CloudResponse { status_code, body, date, retry_after, challenge })
    }

    fn configured<B: ureq::AsSendBody>(
        &self,
        request: Request<B>,
        timeout: Duration,
        is_plain: bool,
    ) -> Request<B> {
        let config = self.agent.configure_request(request).timeout_global(Some(timeout));
        if is_plain { config.proxy(None).build() } else { config.build() }
    }
}

/// Whether secrets may be sent to a URL: https, or http to a loopback address.
///
/// # Errors
/// The end of a sentence that begins with the URL.
pub fn check_url(url: &str) -> std::result::Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not a whole URL".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("has user info (…@)".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match scheme {
        "https" if !host.is_empty() => Ok(()),
        "http" if host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) => Ok(()),
        "http" => Err("is plain http, where anybody on the way could read a token".to_owned()),
        _ => Err("is neither https nor http".to_owned()),
    }
}

/// `Retry-After`: seconds, or a date, which is compared with the server's own clock.
fn parse_retry_after(text: &str, date: Option<SystemTime>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(date.unwrap_or_else(SystemTime::now)).unwrap_or_default())
}

/// The sentence for a request without a response. No header is ever part of it.
fn describe(url: &str, err: ureq::Error, elapsed: Duration) -> Error {
    let elapsed = crate::duration::human(elapsed);
    let unreachable = |reason: String| Error::new(Kind::Unreachable, reason);
    match err {
        ureq::Error::Timeout(_) => unreachable(format!("no response from {url} within {elapsed}")),
        ureq::Error::Io(err) if err.kind() == ErrorKind::TimedOut => {
            unreachable(format!("no response from {url} within {elapsed}"))
        }
        ureq::Error::Io(err) => unreachable(format!("no response from {url}: {}", plain(&err))),
        ureq::Error::HostNotFound => unreachable(format!("the name in {url} is unknown")),
        ureq::Error::ConnectionFailed => unreachable(format!("cannot connect to {url}")),
        ureq::Error::ConnectProxyFailed(reason) => {
            unreachable(format!("the proxy did not connect to {url}: {reason}"))
        }
        ureq::Error::BodyExceedsLimit(_) => Error::new(
            Kind::NotUnderstood,
            format!("the response from {url} is longer than {} MiB", MAX_BODY_BYTES >> 20),
        ),
        other => {
            Error::new(Kind::NotUnderstood, format!("the response from {url} is not HTTP: {other}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_to_https_and_to_this_machine_only() {
        for url in ["https://dfw.servers.api.rackspacecloud.com/v2/1", "http://127.0.0.1:8080/x"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in [
            "http://dfw.servers.api.rackspacecloud.com/v2/1",
            "http://127.0.0.1.example.com/",
            "http://localhost/",
            "https://user@example.com/",
            "ftp://127.0.0.1/",
            "/v2/1",
            "",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let date = httpdate::parse_http_date("Tue, 27 Nov 2012 17:22:08 GMT").ok();
        assert_eq!(parse_retry_after("7", date), Some(Duration::from_secs(7)));
        let in_ten = parse_retry_after("Tue, 27 Nov 2012 17:22:18 GMT", date);
        assert_eq!(in_ten, Some(Duration::from_secs(10)));
        assert_eq!(parse_retry_after("soon", date), None);
    }
}
