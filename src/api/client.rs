//! The client: one question, one answer, by one deadline.
//!
//! It keeps the connection between questions while it lives, and replaces one that the server closed in the meantime at
//! once and quietly. After any other error the next question dials anew. It never waits for a place in the request
//! limit and never asks twice on its own account: when to ask is its callers' affair, and with whom to share the answer
//! is `share`'s.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::unistd::geteuid;
use rustls::CertificateError;
use ureq::Agent;

use super::endpoint::Endpoint;
use super::response;
use super::tls::Roots;
use super::transport::{Dialler, NoResolver, TransportError, Wire};
use crate::clock::BootInstant;
use crate::coalesce::{Heard, Leader, Question};
use crate::duration::human;
use crate::error::{Error, Kind};
use crate::model::Region;
use crate::model::{Format, Operation};
use crate::ratelimit::{LimitCause as Why, MAX_REQUEST_TIME, RateLimited, RateLimiter, WINDOW};
use crate::state::status_file;

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
    /// No request was sent, because the limit has no place; or one was, and was answered 403.
    LimitUsedUp {
        /// When to try again.
        until: BootInstant,
        /// What is in the way.
        why: Why,
    },
    /// Another process asks for this one, and said nothing in time.
    Unheard,
    /// Anything else: [`Kind::Unreachable`] or [`Kind::NotUnderstood`].
    Error(Error),
}

/// What came of a request: the code and the body, or why there are none.
pub type Reply = Result<(u16, Vec<u8>), Failure>;

/// Asks one endpoint.
pub struct Client {
    agent: Agent,
    wire: Arc<Wire>,
    endpoint: Endpoint,
    request_timeout: Duration,
    /// How many places of the limit it leaves to others.
    reserve: usize,
    /// Tells trusted roots apart.
    roots: u64,
    /// Which file of certificates was named, and where.
    ca_file: Option<String>,
    folder: PathBuf,
    region: Option<Region>,
}

impl Client {
    /// A client that has not dialled yet. `reserve`: how many places of the limit it leaves to others; `folder`: the
    /// state directory.
    pub fn new(
        endpoint: Endpoint,
        roots: Roots,
        connect_timeout: Duration,
        request_timeout: Duration,
        reserve: usize,
        folder: PathBuf,
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
        let wire = Arc::new(Wire::new(connect_timeout, RateLimiter::new(folder.clone())));
        let agent = Agent::with_parts(
            config,
            Dialler { wire: wire.clone(), tls: roots.config },
            NoResolver,
        );
        Client {
            agent,
            wire,
            endpoint,
            request_timeout: request_timeout.min(MAX_REQUEST_TIME),
            reserve,
            roots: roots.identity,
            ca_file: roots.named,
            folder,
            region: None,
        }
    }

    /// The client of a server whose region is known.
    pub fn of(self, region: Option<Region>) -> Client {
        Client { region, ..self }
    }

    /// How long a request takes at most.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// The question, as those know it who ask the same endpoint with the same trust.
    pub fn question(&self, operation: Operation, format: Format) -> Question {
        let mut hasher = DefaultHasher::new();
        (self.endpoint.url(&operation.path_and_query(format)), self.roots).hash(&mut hasher);
        Question::new(hasher.finish())
    }

    /// Asks for `operation` in `format`, sharing with nobody. The whole of it, name look-up included, ends by `deadline`
    /// and within the request timeout.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn ask(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
    ) -> Result<Answer, Failure> {
        let reply = self.request(operation, format, deadline, self.reserve, &mut None);
        self.judge(operation, format, reply)
    }

    /// Sends the request. Whoever has come to `leader` by the moment of its first byte has asked before it.
    ///
    /// # Errors
    /// See [`Failure`]. A 403 is no answer but [`Failure::LimitUsedUp`].
    pub fn request(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
        reserve: usize,
        leader: &mut Option<Leader>,
    ) -> Reply {
        let started = BootInstant::now();
        let deadline = deadline.min(started + self.request_timeout);
        let url = self.endpoint.url(&operation.path_and_query(format));
        self.wire.begin(deadline, reserve, leader.take());
        log::debug!("GET {url}");
        let mut outcome = self.exchange(&url);
        if let Err(why) = &outcome
            && self.was_closed_in_the_meantime(why)
        {
            log::debug!("the server has closed the kept connection: dialling anew");
            let followers = self.wire.exchange().leader.take();
            self.wire.begin(deadline, reserve, followers);
            outcome = self.exchange(&url);
        }
        let now = BootInstant::now();
        let mut exchange = self.wire.exchange();
        *leader = exchange.leader.take();
        let ticket = exchange.ticket.take();
        let (code, body) = match outcome {
            Ok(outcome) => outcome,
            Err(why) => {
                drop(exchange);
                return Err(self.failure(&url, why, now.since(started)));
            }
        };
        log::debug!("{code}, {} bytes, after {:?}", body.len(), now.since(started));
        match (code, ticket) {
            (403, ticket) => {
                let forbidden = ticket.map_or(1, |ticket| exchange.budget.forbidden(ticket));
                return Err(Failure::LimitUsedUp {
                    until: now + WINDOW,
                    why: Why::Forbidden(forbidden),
                });
            }
            (_, Some(ticket)) => exchange.budget.answered(ticket),
            (_, None) => {}
        }
        Ok((code, body))
    }

    /// What a reply means, whoever sent the request.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn judge(
        &self,
        operation: Operation,
        format: Format,
        reply: Reply,
    ) -> Result<Answer, Failure> {
        let (code, body) = reply?;
        let url = || self.endpoint.url(&operation.path_and_query(format));
        match code {
            200 => Ok(Answer::Body(body)),
            404 => Ok(Answer::NotFound),
            500.. => Err(error(
                Kind::Unreachable,
                format!("{} answers with HTTP {code}: the API has a problem", url()),
            )),
            _ => Err(error(
                Kind::NotUnderstood,
                format!("{} answers with HTTP {code}, which the API never does", url()),
            )),
        }
    }

    /// Another process tried to take a place for this one, and found the state locked.
    pub fn heard_locked(&self) {
        self.wire.exchange().budget.goes_on_trying(BootInstant::now());
    }

    /// Writes down for others what an answer says to a request that was sent from here, if this process is root's.
    pub fn learn(&self, heard: &Heard) {
        if let Ok((code, body)) = &heard.reply
            && geteuid().is_root()
        {
            let learned = response::learned(heard.operation, heard.format, *code, body);
            let region = self.region.map(Region::code);
            if let Some(learned) = learned
                && let Err(err) = status_file::learn(&self.folder, &learned, region)
            {
                log::debug!("{err}");
            }
        }
    }

    fn exchange(&self, url: &str) -> Result<(u16, Vec<u8>), ureq::Error> {
        let mut response = self.agent.get(url).call()?;
        let code = response.status().as_u16();
        // At the limit ureq fails before it sees the end, so it is set to one byte more than is allowed.
        match response.body_mut().with_config().limit(BODY_LIMIT + 1).read_to_vec() {
            // Of any other answer the code says all: a 403 with a broken body is a 403.
            Err(_) if code != 200 => Ok((code, Vec::new())),
            body => Ok((code, body?)),
        }
    }

    /// Whether a kept connection ended without a single byte in answer: then the request is sent once more.
    fn was_closed_in_the_meantime(&self, why: &ureq::Error) -> bool {
        let exchange = self.wire.exchange();
        let broken = match why {
            ureq::Error::Other(inner) => match inner.downcast_ref::<TransportError>() {
                Some(TransportError::Broken(_, why)) => why.kind() != ErrorKind::TimedOut,
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
            ureq::Error::Other(inner) => match inner.downcast_ref::<TransportError>() {
                Some(TransportError::NoPlace(RateLimited { until, cause: why })) => {
                    Failure::LimitUsedUp { until: *until, why: *why }
                }
                Some(TransportError::Name(why)) => unreachable(why.clone()),
                Some(TransportError::Connect(address, why)) => unreachable(format!(
                    "cannot connect to {address} for {}: {}",
                    self.endpoint,
                    plain(why)
                )),
                Some(TransportError::Tls(why)) => unreachable(self.tls(why)),
                Some(TransportError::Broken(doing, why)) if why.kind() == ErrorKind::TimedOut => {
                    unreachable(format!(
                        "no whole answer from {url} within {}, while {doing}",
                        human(elapsed)
                    ))
                }
                Some(TransportError::Broken(doing, why)) => unreachable(format!(
                    "the connection to {} broke while {doing}: {}",
                    self.endpoint,
                    plain(why)
                )),
                None => unreachable(format!("{url}: {inner}")),
            },
            ureq::Error::Io(why) => unreachable(format!(
                "the connection to {} broke before the answer was whole: {}",
                self.endpoint,
                plain(&why)
            )),
            ureq::Error::BodyExceedsLimit(_) => error(
                Kind::NotUnderstood,
                format!(
                    "{url} answers with more than {} KiB, which the API never does",
                    BODY_LIMIT / 1024
                ),
            ),
            ureq::Error::LargeResponseHeader(..) => error(
                Kind::NotUnderstood,
                format!("{url} answers with more headers than the API ever has"),
            ),
            other => error(
                Kind::NotUnderstood,
                format!("{url} does not answer as HTTP asks for: {other}"),
            ),
        }
    }

    fn tls(&self, why: &rustls::Error) -> String {
        let endpoint = &self.endpoint;
        // To the minute, so that a wait that says it again says the same for a while.
        let minute = |seconds: u64| seconds - seconds % 60;
        let now = || {
            date(minute(
                SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs(),
            ))
        };
        let clock = "if that is wrong, set the clock";
        match why {
            rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            }) => format!(
                "the certificate of {endpoint} is not valid before {}, and this server's clock says {}: {clock}",
                date(not_before.as_secs()),
                now(),
            ),
            rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after,
                ..
            }) => format!(
                "the certificate of {endpoint} expired on {}, and this server's clock says {}: {clock}",
                date(not_after.as_secs()),
                now(),
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::Expired,
            ) => {
                format!(
                    "the certificate of {endpoint} is not valid at {}, which this server's clock says: {clock}",
                    now()
                )
            }
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                match &self.ca_file {
                    Some(file) => format!(
                        "the certificate of {endpoint} has an issuer that is not in {file}, and no other is trusted: if it \
                     should be, name its certificate with --ca-file"
                    ),
                    None => format!(
                        "the certificate of {endpoint} has an issuer that is not trusted: if it should be, name its \
                     certificate with --ca-file"
                    ),
                }
            }
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => format!("the certificate of {endpoint} is for another name than its host"),
            rustls::Error::InvalidMessage(_) => format!("{endpoint} does not speak TLS: {why}"),
            _ => format!("no secure connection to {endpoint}: {why}"),
        }
    }
}

/// What [`Failure::Unheard`] is, as the end of a sentence.
pub const UNHEARD: &str =
    "another rackconnect process asks the API for all, and said nothing in time";

/// What keeps a request from being sent, as the end of a sentence.
pub fn no_place(why: Why) -> String {
    const WHO: &str = "the request limit of this server is used up";
    match why {
        Why::UsedUp => WHO.to_owned(),
        Why::Forbidden(0..=1) => {
            format!("{WHO} (HTTP 403): something else on this server asks the API, too")
        }
        Why::Forbidden(often) => format!(
            "{WHO} (HTTP 403, {often} times in a row, each but the first after a minute with nothing asked from here): \
             something else on this server keeps asking the API; look for curl in a loop, Ohai or Chef, Facter or Puppet, \
             rcrun"
        ),
        Why::Alone => format!("{WHO}, as far as a process that counts for itself may use it"),
        Why::Locked => {
            "another process keeps the count of this server's requests locked".to_owned()
        }
    }
}

/// A time in seconds since 1970, as RFC 3339. Years of more than four digits are beyond that (and beyond humantime).
fn date(seconds: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(YEAR_10000 - 1));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// An I/O error without the number that std appends to it, and without rustls's link to its manual.
fn plain(why: &std::io::Error) -> String {
    if why.kind() == ErrorKind::UnexpectedEof {
        return "the server closed it".to_owned();
    }
    let text = why.to_string();
    match why.raw_os_error() {
        Some(number) => text.trim_end_matches(&format!(" (os error {number})")).to_owned(),
        None => text,
    }
}

fn error(kind: Kind, message: String) -> Failure {
    Failure::Error(Error::new(kind, message))
}
