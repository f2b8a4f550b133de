//! The client: one question, one answer, by one deadline.
//!
//! It keeps the connection between questions while it lives, and replaces one that the server closed in the meantime at
//! once and quietly. After any other error the next question dials anew. It never waits for a place in the request
//! limit and never asks twice on its own account: when to ask is its callers' affair.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{CertificateError, ClientConfig};
use ureq::Agent;

use super::dial::{Dialler, NoResolver, Trouble, Wire};
use super::endpoint::Endpoint;
use super::{Format, Operation};
use crate::clock::Moment;
use crate::duration::human;
use crate::error::{Error, Kind};

/// The largest body that is read. The longest known one has a few kilobytes.
pub const BODY_LIMIT: u64 = 64 * 1024;

/// How long a kept connection may rest: longer than any interval between polls, so that only the server ends it.
const MAX_IDLE: Duration = Duration::from_secs(3_600);

/// What the API answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, with its body.
    Body(Vec<u8>),
    /// 404: not assigned yet, or a server that RackConnect does not know (yet).
    NotFound,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No request was sent, because the limit has no place before `until`; or one was, and was answered 403.
    LimitUsedUp {
        /// When to try again.
        until: Moment,
        /// Whether the API said so: then something else on this server uses the limit too.
        forbidden: bool,
    },
    /// Anything else: [`Kind::Unreachable`] or [`Kind::NotUnderstood`].
    Error(Error),
}

/// Asks one endpoint.
pub struct Client {
    agent: Agent,
    wire: Arc<Wire>,
    endpoint: Endpoint,
    request_timeout: Duration,
}

impl Client {
    /// A client that has not dialled yet. `reserve`: how many places of the limit it leaves to others.
    pub fn new(
        endpoint: Endpoint,
        tls: Arc<ClientConfig>,
        connect_timeout: Duration,
        request_timeout: Duration,
        reserve: usize,
    ) -> Client {
        // The one deadline of a request holds in every read and write of `dial`, so ureq gets no timeouts of its own.
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("rackconnect-agent/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE)
            .build();
        let wire = Arc::new(Wire::new(connect_timeout, reserve));
        let agent = Agent::with_parts(config, Dialler { wire: wire.clone(), tls }, NoResolver);
        Client { agent, wire, endpoint, request_timeout }
    }

    /// Asks for `operation` in `format`. The whole of it, name look-up included, ends by `deadline` and within the
    /// request timeout.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn ask(&self, operation: Operation, format: Format, deadline: Moment) -> Result<Answer, Failure> {
        let started = Moment::now();
        let deadline = deadline.min(started + self.request_timeout);
        let url = self.endpoint.url(&operation.path_and_query(format));
        self.wire.begin(deadline);
        log::debug!("GET {url}");
        let mut outcome = self.exchange(&url);
        if let Err(why) = &outcome
            && self.was_closed_in_the_meantime(why)
        {
            log::debug!("the server has closed the kept connection: dialling anew");
            self.wire.begin(deadline);
            outcome = self.exchange(&url);
        }
        let now = Moment::now();
        let (code, body) = outcome.map_err(|why| self.failure(&url, why, now.since(started)))?;
        log::debug!("{code}, {} bytes, after {:?}", body.len(), now.since(started));
        let mut exchange = self.wire.exchange();
        if let Some(place) = exchange.place {
            exchange.window.answered(place, now);
        }
        match code {
            200 => Ok(Answer::Body(body)),
            404 => Ok(Answer::NotFound),
            403 => {
                exchange.window.forbidden(now);
                Err(Failure::LimitUsedUp { until: now + crate::budget::WINDOW, forbidden: true })
            }
            500.. => Err(error(Kind::Unreachable, format!("{url} answers with HTTP {code}: the API has a problem"))),
            _ => Err(error(Kind::NotUnderstood, format!("{url} answers with HTTP {code}, which the API never does"))),
        }
    }

    fn exchange(&self, url: &str) -> Result<(u16, Vec<u8>), ureq::Error> {
        let mut response = self.agent.get(url).call()?;
        let code = response.status().as_u16();
        // One byte more than is allowed, so that a longer body shows itself.
        let body = response.body_mut().with_config().limit(BODY_LIMIT + 1).read_to_vec()?;
        match body.len() as u64 > BODY_LIMIT {
            true => Err(ureq::Error::BodyExceedsLimit(BODY_LIMIT)),
            false => Ok((code, body)),
        }
    }

    /// Whether a kept connection ended without a single byte in answer: then the request is sent once more.
    fn was_closed_in_the_meantime(&self, why: &ureq::Error) -> bool {
        let exchange = self.wire.exchange();
        let broken = match why {
            ureq::Error::Other(inner) => match inner.downcast_ref::<Trouble>() {
                Some(Trouble::Broken(_, why)) => why.kind() != ErrorKind::TimedOut,
                _ => false,
            },
            ureq::Error::Io(why) => why.kind() == ErrorKind::UnexpectedEof,
            _ => false,
        };
        broken && !exchange.dialled && !exchange.heard
    }

    fn failure(&self, url: &str, why: ureq::Error, elapsed: Duration) -> Failure {
        let unreachable = |why: String| error(Kind::Unreachable, why);
        // ureq wraps once more what happens while a body is read.
        let why = match why {
            ureq::Error::Io(io) => ureq::Error::from(io),
            other => other,
        };
        match why {
            ureq::Error::Other(inner) => match inner.downcast_ref::<Trouble>() {
                Some(Trouble::NoPlace(until)) => Failure::LimitUsedUp { until: *until, forbidden: false },
                Some(Trouble::Name(why)) => unreachable(why.clone()),
                Some(Trouble::Connect(address, why)) => {
                    unreachable(format!("cannot connect to {address} for {}: {}", self.endpoint, plain(why)))
                }
                Some(Trouble::Tls(why)) => unreachable(self.tls(why)),
                Some(Trouble::Broken(doing, why)) if why.kind() == ErrorKind::TimedOut => {
                    unreachable(format!("no answer from {url} within {}, while {doing}", human(elapsed)))
                }
                Some(Trouble::Broken(doing, why)) => {
                    unreachable(format!("the connection to {} broke while {doing}: {}", self.endpoint, plain(why)))
                }
                None => unreachable(format!("{url}: {inner}")),
            },
            ureq::Error::Io(why) => {
                unreachable(format!("the connection to {} broke before the answer was whole: {why}", self.endpoint))
            }
            ureq::Error::BodyExceedsLimit(_) => error(
                Kind::NotUnderstood,
                format!("{url} answers with more than {} KiB, which the API never does", BODY_LIMIT / 1024),
            ),
            ureq::Error::LargeResponseHeader(..) => {
                error(Kind::NotUnderstood, format!("{url} answers with more headers than the API ever has"))
            }
            other => error(Kind::NotUnderstood, format!("{url} does not answer as HTTP asks for: {other}")),
        }
    }

    fn tls(&self, why: &rustls::Error) -> String {
        let endpoint = &self.endpoint;
        let now = || date(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs());
        let clock = "if that is wrong, set the clock";
        match why {
            rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => format!(
                "the certificate of {endpoint} is not valid before {}, and this server's clock says {}: {clock}",
                date(not_before.as_secs()),
                now(),
            ),
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => format!(
                "the certificate of {endpoint} expired on {}, and this server's clock says {}: {clock}",
                date(not_after.as_secs()),
                now(),
            ),
            rustls::Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::Expired) => {
                format!(
                    "the certificate of {endpoint} is not valid at {}, which this server's clock says: {clock}",
                    now()
                )
            }
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
                "the certificate of {endpoint} has an issuer that is not trusted: if it should be, name its \
                 certificate with --ca-file"
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => format!("the certificate of {endpoint} is for another name"),
            rustls::Error::InvalidMessage(_) => format!("{endpoint} does not speak TLS: {why}"),
            _ => format!("no secure connection to {endpoint}: {why}"),
        }
    }
}

/// A time in seconds since 1970, as RFC 3339. Years of more than four digits are beyond that (and beyond humantime).
fn date(seconds: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(YEAR_10000 - 1));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// An I/O error without the number that std appends to it.
fn plain(why: &std::io::Error) -> String {
    let text = why.to_string();
    match why.raw_os_error() {
        Some(number) => text.trim_end_matches(&format!(" (os error {number})")).to_owned(),
        None => text,
    }
}

fn error(kind: Kind, message: String) -> Failure {
    Failure::Error(Error::new(kind, message))
}
