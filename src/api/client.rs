//! The client: one request, one response, by one deadline.
//!
//! The client keeps the connection between requests. A connection that the server closed in the
//! meantime is replaced immediately; after any other error the next request makes a new one. The
//! client never waits for a permit of the rate limit and never retries: its callers decide when to
//! send a request, and pass a callback for anything else that has to happen just before.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
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
use crate::state::kept_dir::KeptStateDir;

/// How long a kept connection may be idle: longer than any interval between polls, so that only
/// the server ends it.
const MAX_IDLE: Duration = Duration::from_secs(3_600);

/// The settings of a client.
pub struct ClientConfig {
    /// The API.
    pub endpoint: Endpoint,
    /// The trusted certificates.
    pub roots: Roots,
    /// The timeout of a connection attempt.
    pub connect_timeout: Duration,
    /// The timeout of a whole request.
    pub request_timeout: Duration,
    /// The state directory, for the rate limit.
    pub state_dir: KeptStateDir,
}

/// Sends requests to one endpoint.
pub struct Client {
    agent: Agent,
    wire: Arc<Wire>,
    endpoint: Endpoint,
    request_timeout: Duration,
    /// The identity of the trusted roots.
    roots: u64,
    /// The given CA file and the origin of that setting, for messages.
    ca_file: Option<String>,
    /// How many seconds this server's clock was ahead of the API's at the last response that said
    /// so.
    clock_offset: Mutex<Option<i64>>,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(config: ClientConfig) -> Client {
        // Every read and write of the transport observes the deadline of the request, so ureq needs
        // no timeouts.
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

    /// A number that is the same for clients that send the same request to the same endpoint with
    /// the same trusted roots.
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

    /// Interprets the reply to a request of this client.
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

    /// Records that another process, on behalf of this one, found the rate window locked.
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
                exchange.limiter.close();
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
        // ureq fails at its limit before it sees the end of the body, hence one byte more.
        match response.body_mut().with_config().limit(MAX_BODY_BYTES + 1).read_to_vec() {
            // Otherwise only the status code counts: a 403 with a broken body is a 403.
            Err(_) if status_code != 200 => Ok((status_code, Vec::new())),
            body => Ok((status_code, body?)),
        }
    }

    /// How many seconds this server's clock is ahead of the API's, if a response to this client
    /// said so.
    pub fn clock_offset(&self) -> Option<i64> {
        *self.clock_offset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a kept connection ended before the first byte of a response. The request is then
    /// sent once more.
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

/// The header of a body with an encoding that is not supported, whose bytes could be mistaken for a
/// result.
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
