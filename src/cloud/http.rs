//! HTTP to Identity and to the services of its catalog: one request, one response, by one deadline.
//!
//! A token is sent only to URLs that [`check_url`] accepts. Redirects are not followed. Bodies that
//! are read into memory are bounded; others are streamed. Unlike on the server, the proxies of the
//! environment are used (HTTPS_PROXY, ALL_PROXY, NO_PROXY), because these services identify a user
//! by the token, not by the address. A plain http URL, which is always on this machine, is never
//! requested through a proxy.

use std::time::Duration;

use ureq::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use ureq::http::{HeaderName, HeaderValue, Method, Request, request};
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Proxy, SendBody};

use super::proxy::ProxyLayer;
use super::resolver::SystemResolver;
use super::response::{CloudResponse, describe};
use super::tls_layer::TlsLayer;
use super::upload::Upload;
use super::url::check_url;
use super::wipe::WipeLayer;
use crate::api::failure::tls_message;
use crate::api::tls::Roots;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::model::Secret;

/// How long an upload waits for `100 Continue`, which not every service sends.
const EXPECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The body of a request.
#[derive(Clone, Copy)]
pub enum RequestBody<'a> {
    /// No body.
    None,
    /// An empty body, with `Content-Length: 0`.
    Empty,
    /// These bytes, with this content type.
    Bytes(&'a [u8], &'static str),
    /// A file.
    File(&'a Upload),
}

/// How the body of a response is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// Into memory, within the time limit of the request.
    Read,
    /// After success, by the caller, as it is received.
    Streamed,
}

/// One request.
#[derive(Clone, Copy)]
pub struct CloudRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The whole URL.
    pub url: &'a str,
    /// Headers with secrets in them: the token, the session of a second factor.
    pub secrets: &'a [(&'static str, &'a Secret)],
    /// Other headers. They replace the default ones.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The body.
    pub body: RequestBody<'a>,
    /// How the body of the response is read.
    pub response_body: ResponseBody,
    /// When the request ends at the latest; the request timeout applies as well.
    pub deadline: BootInstant,
}

impl CloudRequest<'_> {
    /// Whether the request may take as long as data is transferred. The request timeout then limits
    /// each wait for more data.
    pub fn is_transfer(&self) -> bool {
        matches!(self.body, RequestBody::File(_)) || self.response_body == ResponseBody::Streamed
    }
}

/// Sends requests. Connections are kept open for further requests; threads share them.
pub struct HttpClient {
    agent: Agent,
    request_timeout: Duration,
    /// The given CA file and the origin of that setting.
    ca_file: Option<String>,
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
            .timeout_await_100(Some(EXPECT_TIMEOUT))
            .user_agent(concat!("rackconnect-agent/", env!("CARGO_PKG_VERSION")))
            .build();
        let connector =
            ().chain(ProxyLayer::default())
                .chain(TcpConnector::default())
                .chain(TlsLayer { config: roots.config })
                .chain(WipeLayer);
        let agent = Agent::with_parts(config, connector, SystemResolver);
        HttpClient { agent, request_timeout, ca_file: roots.named }
    }

    /// Sends a request and reads the response, or only its head if the body is to be streamed.
    ///
    /// # Errors
    /// There is no response by the deadline.
    pub fn send(&self, request: &CloudRequest) -> Result<CloudResponse> {
        check_url(request.url)
            .map_err(|err| Error::new(Kind::NotUnderstood, format!("{} {err}", request.url)))?;
        let started = BootInstant::now();
        log::debug!("{} {}", request.method, request.url);
        let response = self.exchange(request, started);
        let elapsed = BootInstant::now().since(started);
        match response {
            Ok(response) => {
                let (code, length) = (response.status_code, response.body.len());
                log::debug!("{code}, {length} bytes, after {elapsed:?}");
                Ok(response)
            }
            Err(err) => Err(match tls_error(&err) {
                Some(err) => {
                    let message = tls_message(&request.url, self.ca_file.as_deref(), err);
                    Error::new(Kind::Unreachable, message)
                }
                None => describe(request.url, err, elapsed),
            }),
        }
    }

    fn exchange(
        &self,
        request: &CloudRequest,
        started: BootInstant,
    ) -> Result<CloudResponse, ureq::Error> {
        let builder = head(request)?;
        let response = match request.body {
            RequestBody::None => self.run(builder.body(())?, request, started)?,
            RequestBody::Empty => self.run(builder.body(&b""[..])?, request, started)?,
            RequestBody::Bytes(bytes, _) => self.run(builder.body(bytes)?, request, started)?,
            RequestBody::File(upload) => {
                let mut reader = upload.reader()?;
                let body = SendBody::from_reader(&mut reader);
                self.run(builder.body(body)?, request, started)?
            }
        };
        let mut response = CloudResponse::new(request.url, response);
        if request.response_body == ResponseBody::Read || !response.is_success() {
            response.read_body()?;
        }
        Ok(response)
    }

    fn run(
        &self,
        http: Request<impl ureq::AsSendBody>,
        request: &CloudRequest,
        started: BootInstant,
    ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let remaining = request.deadline.since(started).max(Duration::from_millis(1));
        let config = self.agent.configure_request(http);
        let config = if request.is_transfer() {
            config
                .timeout_global(Some(remaining))
                .timeout_per_read(Some(self.request_timeout))
                .timeout_per_write(Some(self.request_timeout))
        } else {
            config.timeout_global(Some(remaining.min(self.request_timeout)))
        };
        let is_plain = request.url.starts_with("http:");
        self.agent.run(if is_plain { config.proxy(None).build() } else { config.build() })
    }
}

/// The reason of a handshake that failed.
fn tls_error(err: &ureq::Error) -> Option<&rustls::Error> {
    let ureq::Error::Io(err) = err else { return None };
    err.get_ref()?.downcast_ref()
}

/// The request without its body.
fn head(request: &CloudRequest) -> Result<request::Builder, ureq::Error> {
    let mut builder = Request::builder().method(request.method.clone()).uri(request.url);
    let mut defaults = vec![(ACCEPT, HeaderValue::from_static("application/json"))];
    match request.body {
        RequestBody::None | RequestBody::Empty => {}
        RequestBody::Bytes(_, content_type) => {
            defaults.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        }
        RequestBody::File(upload) => {
            defaults.push((CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")));
            defaults.push((CONTENT_LENGTH, HeaderValue::from(upload.length())));
            // So that a service can refuse the request before gigabytes are sent.
            defaults.push((EXPECT, HeaderValue::from_static("100-continue")));
        }
    }
    defaults.retain(|(name, _)| !request.headers.iter().any(|(given, _)| given == name));
    for (name, value) in defaults.iter().chain(request.headers) {
        builder = builder.header(name, value);
    }
    for (name, secret) in request.secrets {
        let mut value = HeaderValue::from_str(secret.expose())
            .map_err(|_| ureq::Error::BadUri("a secret has control characters".to_owned()))?;
        value.set_sensitive(true);
        builder = builder.header(*name, value);
    }
    Ok(builder)
}
