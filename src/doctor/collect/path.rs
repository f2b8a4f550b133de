//! The path to the API, step by step: name, route, connection, certificate.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use super::subject::{Addition, Subject};
use crate::api::connect::connect_to_any;
use crate::api::dns;
use crate::api::endpoint::{ConnectTarget, Endpoint};
use crate::api::inspect::{UntrustedConnection, Validity};
use crate::api::reach::{Target, addresses};
use crate::api::tls;
use crate::clock::BootInstant;
use crate::config::Setting;
use crate::doctor::evidence::{
    ConnectionEvidence, Evidence, PathEvidence, Reading, TlsEvidence, Unread,
};
use crate::error::{Error, plain};
use crate::model::Operation;
use crate::netlink::{Netlink, NextHop};
use crate::ratelimit::RateLimiter;
use crate::session::{DETECT_TIMEOUT, Session};

/// How long the nameservers may take for each query.
const SURVEY_TIME: Duration = Duration::from_secs(3);

/// The API: for requests, and as a destination.
pub(crate) struct ApiAccess {
    /// The session for requests.
    pub(crate) session: &'static Session,
    /// The destination of connections.
    pub(crate) path: ApiPath,
}

impl ApiAccess {
    /// The API, if its endpoint is known.
    ///
    /// # Errors
    /// The region is not known; a setting is wrong.
    pub(crate) fn new(session: &'static Session) -> Reading<ApiAccess> {
        let settings = session.settings();
        if settings.endpoint.is_none() && session.region().known().is_none() {
            let reason = "the region is not known, so neither is the API".to_owned();
            return Err(Unread::NotTried(reason));
        }
        let soon = BootInstant::now() + DETECT_TIMEOUT;
        let failed = |err: Error| Unread::Failed(err.message);
        let endpoint = session.endpoint(soon).map_err(failed)?;
        session.client(soon).map_err(failed)?;
        let in_words =
            |file: &Setting<PathBuf>| format!("{} alone ({})", file.value.display(), file.origin);
        let path = ApiPath {
            target: session.target(soon).map_err(failed)?,
            trusted: settings.ca_file.as_ref().map(in_words),
            connect_timeout: settings.connect_timeout.value,
            endpoint,
        };
        Ok(ApiAccess { session, path })
    }
}

/// The location of the API and the trusted roots.
pub(crate) struct ApiPath {
    /// The URL.
    pub(super) endpoint: Endpoint,
    /// The same as a destination of connections, with the trusted roots.
    target: Target,
    /// The file of the only trusted roots, for messages; none for the built-in ones and the
    /// system's.
    trusted: Option<String>,
    /// The time limit of a connection attempt.
    connect_timeout: Duration,
}

/// Examines each step.
pub(super) fn collect(subject: &Subject, path: &ApiPath) -> Addition {
    let deadline = subject.step_deadline();
    let ConnectTarget { host, port, is_tls } = path.endpoint.connect_target();
    let started = BootInstant::now();
    // In parallel with the rest, because a dead nameserver uses up the time limit.
    let name = host.clone();
    let survey = thread::Builder::new()
        .spawn(move || dns::survey(&name, deadline.min(BootInstant::now() + SURVEY_TIME)));
    let found = addresses(&host, port, deadline);
    let lookup_time = BootInstant::now().since(started);
    let connected = match &found {
        Ok(found) => connect(found, path.connect_timeout, deadline),
        Err(_) => Err(Unread::NotTried("the name has no address".to_owned())),
    };
    let (connection, tls) = match connected {
        Ok((stream, connection)) if is_tls => {
            (Ok(connection), certificate(subject, path, stream, &host, deadline).map(Some))
        }
        Ok((_, connection)) => (Ok(connection), Ok(None)),
        Err(unread) => (Err(unread), Err(Unread::NotTried("there is no connection".to_owned()))),
    };
    let evidence = PathEvidence {
        hop: found.as_ref().ok().and_then(|found| hop(found.first()?.ip(), deadline)),
        lookup: found.map(|found| found.iter().map(SocketAddr::ip).collect()),
        host,
        lookup_time,
        nameservers: survey.ok().and_then(|survey| survey.join().ok()).unwrap_or_default(),
        connection,
        tls,
    };
    Box::new(|all: &mut Evidence| all.path = Ok(evidence))
}

fn hop(address: IpAddr, deadline: BootInstant) -> Option<NextHop> {
    Netlink::open().ok()?.until(deadline).next_hop(address, None).ok()?
}

/// Connects to the first address that answers.
fn connect(
    addresses: &[SocketAddr],
    timeout: Duration,
    deadline: BootInstant,
) -> Reading<(TcpStream, ConnectionEvidence)> {
    let started = BootInstant::now();
    match connect_to_any(addresses, timeout, deadline) {
        Ok((stream, address)) => {
            let time = BootInstant::now().since(started);
            Ok((stream, ConnectionEvidence { address, time }))
        }
        Err(err) => Err(Unread::Failed(err.to_string())),
    }
}

fn certificate(
    subject: &Subject,
    path: &ApiPath,
    stream: TcpStream,
    host: &str,
    deadline: BootInstant,
) -> Reading<TlsEvidence> {
    let mut untrusted = UntrustedConnection::open(stream, host, deadline)
        .map_err(|err| Unread::Failed(plain(&err)))?;
    let verdict = path.target.clone().reach(deadline);
    let now = seconds(SystemTime::now());
    // If the certificate is valid now, a request would be wasted: the clock cannot be the cause.
    let server_now = if is_within(untrusted.certificate.validity, now) {
        None
    } else {
        server_date(subject, &mut untrusted, host, deadline)
    };
    let certificate = untrusted.certificate;
    let is_by_built_in = certificate.is_trusted_by_built_in_roots;
    Ok(TlsEvidence {
        roots: path.trusted.clone().unwrap_or_else(|| roots(verdict.is_ok(), is_by_built_in)),
        verdict,
        issuer: certificate.issuer,
        validity: certificate.validity,
        now,
        server_now,
    })
}

/// The roots that were decisive, if no file is given.
fn roots(is_trusted: bool, is_by_built_in: bool) -> String {
    let bundle = tls::system_bundle().map(|path| format!("the system's bundle {}", path.display()));
    match bundle {
        Some(bundle) if is_trusted && !is_by_built_in => bundle,
        Some(bundle) if !is_trusted => format!("the built-in roots and {bundle}"),
        _ => "the built-in roots".to_owned(),
    }
}

fn is_within(validity: Option<Validity>, now: u64) -> bool {
    validity.is_none_or(|validity| (validity.not_before..=validity.not_after).contains(&now))
}

/// The API server's clock. While its certificate is not valid on this server, the client sends no
/// request, so this is the only one. It has a permit like any other.
fn server_date(
    subject: &Subject,
    connection: &mut UntrustedConnection,
    host: &str,
    deadline: BootInstant,
) -> Option<u64> {
    let mut limiter = RateLimiter::new(subject.state_dir.clone());
    limiter.check(deadline, 0).ok()?;
    let permit = limiter.take(deadline, 0).ok()?;
    // Without a response the request may still be under way: its permit stays taken.
    let response = connection.get(host, Operation::Status.path(), deadline)?;
    match response.status_code {
        403 => drop(limiter.forbidden(permit)),
        _ => limiter.answered(permit),
    }
    response.date.map(seconds)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
