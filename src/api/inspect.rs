//! Reads a server's certificate without trusting it, to diagnose what is wrong with it.
//!
//! The handshake accepts any certificate. Nothing confidential may be sent over such a connection,
//! and its responses may be used only for the diagnosis.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, Stream,
};

use super::certificate;
use super::timed::Timed;
use super::tls::provider;
use crate::clock::BootInstant;

/// The last second of the year 9999, after which no certificate is valid.
const END_OF_TIME: u64 = 253_402_300_799;

/// The largest head of a response that is read.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// When a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last one.
    pub not_after: u64,
}

/// The content of a certificate, and whether the built-in roots trust it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// When it is valid, if that could be read.
    pub validity: Option<Validity>,
    /// The name of its issuer, if it has one.
    pub issuer: Option<String>,
    /// Whether the built-in roots trust it now.
    pub is_trusted_by_built_in_roots: bool,
}

/// A TLS connection to a server that was not authenticated.
pub struct UntrustedConnection {
    stream: TcpStream,
    tls: ClientConnection,
    /// The server's certificate.
    pub certificate: CertificateFacts,
}

impl UntrustedConnection {
    /// Does the TLS handshake with any server, by `deadline`.
    ///
    /// # Errors
    /// Why the handshake failed; an invalid certificate is not an error.
    pub fn open(
        stream: TcpStream,
        host: &str,
        deadline: BootInstant,
    ) -> io::Result<UntrustedConnection> {
        let provider = Arc::new(provider());
        let recorder = Arc::new(RecordingVerifier {
            provider: provider.clone(),
            facts: Mutex::new(CertificateFacts::default()),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(recorder.clone())
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut timed = Timed { stream: &stream, deadline };
        while tls.is_handshaking() {
            tls.complete_io(&mut timed)?;
        }
        let certificate = recorder.facts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(UntrustedConnection { stream, tls, certificate })
    }

    /// Sends a documented request and reads only the head of the response. The caller has a permit
    /// of the rate limit for it. `None` if there is no response by the deadline.
    pub fn get(
        &mut self,
        host: &str,
        path: &str,
        deadline: BootInstant,
    ) -> Option<UntrustedResponse> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut timed = Timed { stream: &self.stream, deadline };
        timed.limit_resending();
        let mut stream = Stream::new(&mut self.tls, &mut timed);
        stream.write_all(request.as_bytes()).ok()?;
        let mut head = Vec::new();
        let mut chunk = [0; 1024];
        while head.len() < MAX_HEAD_BYTES && !head.windows(4).any(|it| it == b"\r\n\r\n") {
            match stream.read(&mut chunk) {
                Ok(length @ 1..) => head.extend_from_slice(&chunk[..length]),
                _ => break,
            }
        }
        parse_head(&String::from_utf8_lossy(&head))
    }
}

/// The head of a response over such a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UntrustedResponse {
    /// The status code.
    pub status_code: u16,
    /// The time by the server's clock, if the response has it.
    pub date: Option<SystemTime>,
}

fn parse_head(head: &str) -> Option<UntrustedResponse> {
    let mut lines = head.lines();
    let status_line = lines.next()?.strip_prefix("HTTP/1.")?;
    let status_code = status_line.split(' ').nth(1)?.parse().ok()?;
    let date = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then_some(value)
    });
    Some(UntrustedResponse { status_code, date: date.and_then(parse_date) })
}

/// The parsers, for fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) mod parsers {
    use super::{
        Arc, CertificateDer, RecordingVerifier, ServerCertVerifier, ServerName, UnixTime,
        parse_head, provider,
    };

    /// The head of a response.
    pub(crate) fn head(text: &str) {
        let _ = parse_head(text);
    }

    /// A certificate, in DER: it is accepted, whatever it says.
    pub(crate) fn certificate(bytes: &[u8]) {
        let name = ServerName::try_from("api.example").expect("a name");
        let provider = Arc::new(provider());
        let verifier = RecordingVerifier { provider, facts: Default::default() };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let certificate = CertificateDer::from(bytes);
        let accepted = verifier.verify_server_cert(&certificate, &[], &name, &[], now);
        assert!(accepted.is_ok());
    }
}

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
pub fn parse_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text.trim()).ok()
}

/// A time in seconds since 1970.
pub fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Accepts any certificate, and records its facts.
struct RecordingVerifier {
    provider: Arc<CryptoProvider>,
    facts: Mutex<CertificateFacts>,
}

impl fmt::Debug for RecordingVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordingVerifier")
    }
}

/// Reads the validity of a certificate. rustls has no function for that, but its errors contain the
/// times: every certificate is not valid yet in 1970 and has expired by the end of the year 9999.
fn validity(
    verifier: &WebPkiServerVerifier,
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
) -> Option<Validity> {
    let error_at = |seconds: u64| {
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        match verifier.verify_server_cert(certificate, &[], name, &[], time) {
            Err(rustls::Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        }
    };
    let CertificateError::NotValidYetContext { not_before, .. } = error_at(0)? else { return None };
    let CertificateError::ExpiredContext { not_after, .. } = error_at(END_OF_TIME)? else {
        return None;
    };
    Some(Validity { not_before: not_before.as_secs(), not_after: not_after.as_secs() })
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let roots = Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        let built_in =
            WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone()).build();
        if let Ok(built_in) = built_in {
            let verdict =
                built_in.verify_server_cert(end_entity, intermediates, server_name, &[], now);
            *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = CertificateFacts {
                validity: validity(&built_in, end_entity, server_name),
                issuer: certificate::issuer(end_entity),
                is_trusted_by_built_in_roots: verdict.is_ok(),
            };
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use simulated_api::{Config, Script, Simulator, Step};

    use super::*;

    fn seconds(date: &str) -> u64 {
        let time = humantime::parse_rfc3339(date).unwrap();
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn dates_of_http() {
        let date = parse_date(" Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(date, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        for text in
            ["", "Sun, 06 anF 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37", "a b c d e f"]
        {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn the_head_of_a_response() {
        let date = parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\ndAte:Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", Some((200, date))),
            ("HTTP/1.0 403 Forbidden\r\nUpdate: x\r\n\r\n", Some((403, None))),
            ("HTTP/1.1 200\r\nDate: soon\r\n\r\n", Some((200, None))),
            ("HTTP/1.1 OK\r\n\r\n", None),
            ("SSH-2.0-OpenSSH_9.2\r\n", None),
            ("", None),
        ] {
            let expected =
                expected.map(|(status_code, date)| UntrustedResponse { status_code, date });
            assert_eq!(parse_head(head), expected, "{head}");
        }
    }

    #[test]
    fn the_issuer_of_any_certificate() {
        for (fault, not_before, not_after) in [
            (None, "1975-01-01T00:00:00Z", "4096-01-01T00:00:00Z"),
            (Some("cert-expired"), "2013-01-01T00:00:00Z", "2014-01-01T00:00:00Z"),
            (Some("cert-not-yet-valid"), "4000-01-01T00:00:00Z", "4096-01-01T00:00:00Z"),
            (Some("cert-unknown-issuer"), "1975-01-01T00:00:00Z", "4096-01-01T00:00:00Z"),
            (Some("cert-wrong-name"), "1975-01-01T00:00:00Z", "4096-01-01T00:00:00Z"),
        ] {
            let step = Step::new("DEPLOYED");
            let step = fault.into_iter().fold(step, |step, fault| step.fault(fault));
            let date_offset = Some(-3_600);
            let config = Config { script: Script::of([step]), date_offset, ..Config::default() };
            let api = Simulator::start(config).unwrap();
            let stream = TcpStream::connect(api.addresses()[0]).unwrap();
            let deadline = BootInstant::now() + Duration::from_secs(60);
            let mut connection = UntrustedConnection::open(stream, "127.0.0.1", deadline).unwrap();
            let expected =
                Validity { not_before: seconds(not_before), not_after: seconds(not_after) };
            let issuer = match fault {
                Some("cert-unknown-issuer") => "Nobody's CA",
                _ => "Simulated RackConnect CA",
            };
            let expected = CertificateFacts {
                validity: Some(expected),
                issuer: Some(issuer.to_owned()),
                is_trusted_by_built_in_roots: false,
            };
            assert_eq!(connection.certificate, expected, "{fault:?}");
            let response = connection.get("127.0.0.1", "/v1/automation_status", deadline).unwrap();
            let date = response.date.unwrap();
            let age = SystemTime::now().duration_since(date).unwrap().as_secs();
            assert!((3_590..3_700).contains(&age), "{age}");
        }
    }
}
