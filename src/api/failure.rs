//! The messages of failures between a request and its response.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use rustls::CertificateError;

use super::MAX_BODY_BYTES;
use super::connect::ConnectError;
use super::endpoint::Endpoint;
use super::request::{Failure, timeout_message};
use super::transport::TransportError;
use crate::error::{Error, Kind, plain};
use crate::ratelimit::RateLimited;

/// The facts that the message of a failure needs.
pub(super) struct Context<'a> {
    /// The URL of the request.
    pub url: &'a str,
    /// The endpoint of the client.
    pub endpoint: &'a Endpoint,
    /// The given CA file and the origin of that setting.
    pub ca_file: Option<&'a str>,
    /// How long the request took until it failed.
    pub elapsed: Duration,
}

impl Context<'_> {
    /// The failure that the caller gets.
    pub fn failure(&self, err: ureq::Error) -> Failure {
        // An error while the body is read is wrapped in another one by ureq.
        let err = match err {
            ureq::Error::Io(io) => ureq::Error::from(io),
            other => other,
        };
        let url = self.url;
        match err {
            ureq::Error::Other(inner) => match inner.downcast_ref::<TransportError>() {
                Some(err) => self.transport_failure(err),
                None => unreachable(format!("{url}: {inner}")),
            },
            ureq::Error::Io(err) => unreachable(format!(
                "the connection to {} broke before the response was complete: {}",
                self.endpoint,
                describe(&err)
            )),
            ureq::Error::BodyExceedsLimit(_) => not_understood(format!(
                "the response from {url} is longer than {} KiB",
                MAX_BODY_BYTES / 1024
            )),
            ureq::Error::LargeResponseHeader(..) => {
                not_understood(format!("the response from {url} has too many headers"))
            }
            other => not_understood(format!("the response from {url} is not valid HTTP: {other}")),
        }
    }

    fn transport_failure(&self, err: &TransportError) -> Failure {
        let endpoint = self.endpoint;
        match err {
            TransportError::RateLimited(RateLimited { until, cause }) => {
                Failure::RateLimited { until: *until, cause: *cause }
            }
            TransportError::Name(message) => unreachable(message.clone()),
            TransportError::Connect(err) => unreachable(connect_message(endpoint, err)),
            TransportError::Tls(err) => unreachable(tls_message(endpoint, self.ca_file, err)),
            TransportError::Coding(header) => not_understood(format!(
                "the response from {} has an encoding that was not asked for ({header})",
                self.url
            )),
            TransportError::Broken(activity, err) if err.kind() == ErrorKind::TimedOut => {
                unreachable(timeout_message(self.url, self.elapsed, activity))
            }
            TransportError::Broken(activity, err) => unreachable(format!(
                "the connection to {endpoint} broke while {activity}: {}",
                describe(err)
            )),
        }
    }
}

/// The message of a failed handshake. `ca_file` is the given CA file and the origin of that setting.
pub(crate) fn tls_message(
    endpoint: &impl Display,
    ca_file: Option<&str>,
    err: &rustls::Error,
) -> String {
    let certificate = match err {
        rustls::Error::InvalidCertificate(certificate) => certificate,
        rustls::Error::InvalidMessage(_) => {
            return format!("{endpoint} does not speak TLS: {err}");
        }
        _ => return format!("no secure connection to {endpoint}: {err}"),
    };
    let clock = "if that is wrong, set the clock";
    match certificate {
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the certificate of {endpoint} is not valid before {}, and this machine's clock \
             says {}: {clock}",
            date(not_before.as_secs()),
            now_to_the_minute(),
        ),
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the certificate of {endpoint} expired on {}, and this machine's clock says {}: \
             {clock}",
            date(not_after.as_secs()),
            now_to_the_minute(),
        ),
        CertificateError::NotValidYet | CertificateError::Expired => format!(
            "the certificate of {endpoint} is not valid at {}, which this machine's clock says: \
             {clock}",
            now_to_the_minute()
        ),
        CertificateError::UnknownIssuer => unknown_issuer_message(endpoint, ca_file),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate of {endpoint} is for another name than its host")
        }
        // rustls's text would be a dump of object identifiers.
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "the certificate of {endpoint} is signed with an algorithm that is not accepted \
             (such as SHA-1)"
        ),
        _ => format!("no secure connection to {endpoint}: {err}"),
    }
}

fn unknown_issuer_message(endpoint: &impl Display, ca_file: Option<&str>) -> String {
    let hint = "if it should be trusted, give its certificate with --ca-file";
    match ca_file {
        Some(file) => format!(
            "the issuer of the certificate of {endpoint} is not in {file}, and no other is \
             trusted: {hint}"
        ),
        None => {
            format!("the issuer of the certificate of {endpoint} is not trusted: {hint}")
        }
    }
}

fn unreachable(message: String) -> Failure {
    Failure::Error(Error::new(Kind::Unreachable, message))
}

fn not_understood(message: String) -> Failure {
    Failure::Error(Error::new(Kind::NotUnderstood, message))
}

/// The time by this server's clock to the minute, so that a wait does not repeat a message only
/// because the second has changed.
fn now_to_the_minute() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() - now.as_secs() % 60)
}

/// A time in seconds since 1970 as RFC 3339, which allows no year after 9999.
fn date(seconds: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(YEAR_10000 - 1));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The message of an I/O error without the number that std appends, and without rustls's link to
/// its manual.
fn describe(err: &io::Error) -> String {
    match err.kind() {
        ErrorKind::UnexpectedEof => "the server closed it".to_owned(),
        _ => plain(err),
    }
}

fn connect_message(endpoint: &Endpoint, err: &ConnectError) -> String {
    let endpoint = endpoint.to_string();
    match err.failed.as_slice() {
        // The endpoint names the address already.
        [(address, err)] if endpoint.ends_with(&address.to_string()) => {
            format!("cannot connect to {endpoint}: {}", plain(err))
        }
        _ => format!("cannot connect to {endpoint}: {err}"),
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn an_address_is_not_said_twice() {
        let message = |endpoint: &str| {
            let failed = vec![("10.1.2.3:8443".parse().unwrap(), Errno::ECONNREFUSED.into())];
            connect_message(&Endpoint::parse(endpoint).unwrap(), &ConnectError { failed })
        };
        assert_eq!(
            message("https://10.1.2.3:8443"),
            "cannot connect to https://10.1.2.3:8443: Connection refused"
        );
        assert_eq!(
            message("https://api.example:8443"),
            "cannot connect to https://api.example:8443: 10.1.2.3:8443: Connection refused"
        );
    }

    /// It was a dump of the algorithms' object identifiers.
    #[test]
    fn a_leaf_signed_with_sha1_was_shown_as_a_debug_dump() {
        let endpoint = Endpoint::parse("https://api.example").unwrap();
        let err = CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![0x2a],
            supported_algorithms: Vec::new(),
        };
        assert_eq!(
            tls_message(&endpoint, None, &rustls::Error::InvalidCertificate(err)),
            "the certificate of https://api.example is signed with an algorithm that is not \
             accepted (such as SHA-1)"
        );
    }
}
