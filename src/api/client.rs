//! The client: one request, one response, by one deadline.
//!
//! It keeps the connection between requests while the client lives. A connection that the server
//! closed in the meantime is replaced at once; after any other error the next request makes a new
//! one. The client never waits for a permit of the rate limit and never retries: when to ask is
//! its callers' decision, and so is what else happens just before a request is sent.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ureq::Agent;
use ureq::http::HeaderMap;

use super::MAX_BODY_BYTES;
use super::endpoint::Endpoint;
use super::failure::Context;
use super::inspect;
use super::request::{Answer, BeforeSend, Failure, Reply, Request, interpret};
use super::tls::Roots;
use super::transport::{ApiConnector, NoResolver, TransportError, Wire};
use crate::clock::BootInstant;
use crate::model::{Format, Operation};
use crate::ratelimit::{self, LimitCause, RateLimiter};

/// How long a kept connection may be idle: longer than any interval between polls, so that only
/// the server ends it.
const MAX_IDLE: Duration = Duration::from_secs(3_600);

/// What a client is made of.
pub struct ClientConfig {
    /// The API.
    pub endpoint: Endpoint,
    /// The trusted certificates.
    pub roots: Roots,
    /// The time limit of a connection attempt.
    pub connect_timeout: Duration,
    /// The time limit of a whole request.
    pub request_timeout: Duration,
    /// The state directory, for the rate limit.
    pub state_dir: PathBuf,
}

/// Sends requests to one endpoint.
pub struct Client {
    agent: Agent,
    wire: Arc<Wire>,
    endpoint: Endpoint,
    request_timeout: Duration,
    /// Tells sets of trusted roots apart.
    roots: u64,
    /// The file of certificates that was given, and where, for messages.
    ca_file: Option<String>,
    /// How many seconds this server's clock was ahead of the API's at the last response that said
    /// so.
    clock_offset: Mutex<Option<i64>>,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(config: ClientConfig) -> Client {
        // The one deadline of a request holds in every read and write of the transport, so ureq
        // needs no timeouts of its own.
        let agent_config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("rackconnect-agent/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE)
            .build();
        let wire = Arc::new(Wire::new(config.connect_timeout, RateLimiter::new(config.state_dir)));
        let connector = ApiConnector { wire: wire.clone(), tls: config.roots.config };
        Client {
            agent: Agent::with_parts(agent_config, connector, NoResolver),
            wire,
            endpoint: config.endpoint,
            request_timeout: config.request_timeout.min(ratelimit::MAX_REQUEST_TIME),
            roots: config.roots.identity,
            ca_file: config.roots.named,
            clock_offset: Mutex::new(None),
        }
    }

    /// How long a request takes at most.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// The URL of an operation.
    pub fn url(&self, operation: Operation, format: Format) -> String {
        self.endpoint.url(&operation.path_and_query(format))
    }

    /// A number that two clients have in common if they send the same request to the same endpoint
    /// with the same trust.
    pub fn topic(&self, operation: Operation, format: Format) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.url(operation, format), self.roots).hash(&mut hasher);
        hasher.finish()
    }

    /// Sends a request. The whole of it, name lookup included, ends by its deadline and within the
    /// request timeout.
    ///
    /// # Errors
    /// See [`Failure`]. A 403 is reported as [`Failure::RateLimited`].
    pub fn request(&self, request: Request, before_send: Option<BeforeSend>) -> Reply {
        let started = BootInstant::now();
        let deadline = request.deadline.min(started + self.request_timeout);
        let url = self.url(request.operation, request.format);
        self.wire.begin(deadline, request.reserved, before_send);
        log::debug!("GET {url}");
        let mut outcome = self.send(&url);
        if outcome.as_ref().is_err_and(|err| self.was_closed_while_idle(err)) {
            log::debug!("the server has closed the kept connection: connecting again");
            self.wire.begin_again();
            outcome = self.send(&url);
        }
        let elapsed = BootInstant::now().since(started);
        self.finish(&url, outcome, elapsed)
    }

    /// What a reply to this client's request means.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn interpret(
        &self,
        operation: Operation,
        format: Format,
        reply: Reply,
    ) -> Result<Answer, Failure> {
        interpret(reply, &self.url(operation, format))
    }

    /// Another process tried to take a permit for this one, and found the state locked.
    pub fn record_locked(&self) {
        self.wire.exchange().limiter.record_locked(BootInstant::now());
    }

    /// Settles the permit of a request that has ended.
    fn finish(
        &self,
        url: &str,
        outcome: Result<(u16, Vec<u8>), ureq::Error>,
        elapsed: Duration,
    ) -> Reply {
        let mut exchange = self.wire.exchange();
        exchange.before_send = None;
        let permit = exchange.permit.take();
        let (status_code, body) = match outcome {
            Ok(response) => response,
            Err(err) => {
                drop(exchange);
                let ca_file = self.ca_file.as_deref();
                let context = Context { url, endpoint: &self.endpoint, ca_file, elapsed };
                return Err(context.failure(err));
            }
        };
        log::debug!("{status_code}, {} bytes, after {elapsed:?}", body.len());
        if status_code == 403 {
            let consecutive = permit.map_or(1, |permit| exchange.limiter.forbidden(permit));
            return Err(Failure::RateLimited {
                until: BootInstant::now() + ratelimit::WINDOW,
                cause: LimitCause::Forbidden(consecutive),
            });
        }
        if let Some(permit) = permit {
            exchange.limiter.answered(permit);
        }
        Ok((status_code, body))
    }

    fn send(&self, url: &str) -> Result<(u16, Vec<u8>), ureq::Error> {
        let mut response = self.agent.get(url).call()?;
        let status_code = response.status().as_u16();
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(inspect::parse_date) {
            let ahead = inspect::seconds(SystemTime::now()) - inspect::seconds(date);
            *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
        if status_code == 200
            && let Some(header) = unreadable_coding(response.headers())
        {
            return Err(TransportError::Coding(header).into());
        }
        // At the limit ureq fails before it sees the end, so the limit is one byte more than is
        // allowed.
        match response.body_mut().with_config().limit(MAX_BODY_BYTES + 1).read_to_vec() {
            // Of any other response the status code says all: a 403 with a broken body is a 403.
            Err(_) if status_code != 200 => Ok((status_code, Vec::new())),
            body => Ok((status_code, body?)),
        }
    }

    /// How many seconds this server's clock is ahead of the API's, if a response to this client
    /// said so.
    pub fn clock_offset(&self) -> Option<i64> {
        *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a kept connection ended without a single byte in response: then the request is sent
    /// once more.
    fn was_closed_while_idle(&self, err: &ureq::Error) -> bool {
        let is_broken = match err {
            ureq::Error::Other(inner) => matches!(
                inner.downcast_ref::<TransportError>(),
                Some(TransportError::Broken(_, err)) if err.kind() != ErrorKind::TimedOut
            ),
            ureq::Error::Io(err) => err.kind() == ErrorKind::UnexpectedEof,
            _ => false,
        };
        let exchange = self.wire.exchange();
        is_broken && !exchange.has_connected && !exchange.has_received
    }
}

/// The header that says that the body is encoded in a way that is not decoded here, though its
/// bytes may look like an answer.
fn unreadable_coding(headers: &HeaderMap) -> Option<String> {
    let is_readable = |name: &str, coding: &str| {
        coding.is_empty()
            || coding.eq_ignore_ascii_case("identity")
            || (name == "transfer-encoding" && coding.eq_ignore_ascii_case("chunked"))
    };
    ["transfer-encoding", "content-encoding"].into_iter().find_map(|name| {
        let mut values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
        let value = values
            .find(|value| value.split(',').any(|coding| !is_readable(name, coding.trim())))?;
        Some(format!("{name}: {value}"))
    })
}
