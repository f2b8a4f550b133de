//! A response of Identity or of a service, and the error if there is none.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, SystemTime};

use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};
use zeroize::Zeroizing;

use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};
use crate::model::Secret;

/// The largest body that is read: a page of a thousand servers is about four megabytes.
const MAX_BODY_BYTES: u64 = 32 << 20;

/// The buffer size for a streamed body.
const CHUNK_BYTES: usize = 64 * 1024;

/// A response.
pub struct CloudResponse {
    /// The status code.
    pub status_code: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, which may contain a token; empty until it is read.
    pub body: Zeroizing<Vec<u8>>,
    /// The time by the server's clock, if the response has it.
    pub date: Option<SystemTime>,
    /// How long to wait, according to `Retry-After`.
    pub retry_after: Option<Duration>,
    /// `WWW-Authenticate`, which contains the session of a second factor.
    pub challenge: Option<Secret>,
    url: String,
    unread: Option<Body>,
}

/// Why a body was not copied.
#[derive(Debug)]
pub enum CopyError {
    /// It was not received completely.
    Read(Error),
    /// It cannot be written.
    Write(io::Error),
}

impl CloudResponse {
    /// A response whose body has not been read yet.
    pub fn new(url: &str, response: Response<Body>) -> CloudResponse {
        let (parts, body) = response.into_parts();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let date = header("date").and_then(|text| httpdate::parse_http_date(text).ok());
        CloudResponse {
            status_code: parts.status.as_u16(),
            date,
            retry_after: header("retry-after").and_then(|text| parse_retry_after(text, date)),
            challenge: header("www-authenticate").map(|text| Secret::new(text.to_owned())),
            body: Zeroizing::default(),
            url: url.to_owned(),
            unread: Some(body),
            headers: parts.headers,
        }
    }

    /// Whether the status code means success.
    pub fn is_success(&self) -> bool {
        (200..=299).contains(&self.status_code)
    }

    /// The URL of the request.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The status line and the headers, as lines.
    pub fn head(&self) -> String {
        let status = StatusCode::from_u16(self.status_code);
        let status = status.map_or(self.status_code.to_string(), |status| status.to_string());
        let mut text = format!("HTTP/1.1 {status}\n");
        for (name, value) in &self.headers {
            text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
        }
        text + "\n"
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length of the body, if the service declares it.
    pub fn content_length(&self) -> Option<u64> {
        self.unread.as_ref().and_then(Body::content_length)
    }

    /// Reads the body.
    pub(super) fn read_body(&mut self) -> Result<(), ureq::Error> {
        if let Some(mut unread) = self.unread.take() {
            let body = unread.with_config().limit(MAX_BODY_BYTES).read_to_vec()?;
            self.body = Zeroizing::new(body);
        }
        Ok(())
    }

    /// Writes a body while it is received. `on_progress` gets the number of bytes so far.
    ///
    /// # Errors
    /// It is not received completely, or cannot be written.
    pub fn copy_to(
        &mut self,
        out: &mut impl Write,
        mut on_progress: impl FnMut(u64),
    ) -> Result<(), CopyError> {
        let Some(mut unread) = self.unread.take() else {
            return out.write_all(&self.body).map_err(CopyError::Write);
        };
        let started = BootInstant::now();
        let mut reader = unread.as_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut copied = 0;
        loop {
            let length = reader.read(&mut chunk).map_err(|err| {
                let elapsed = BootInstant::now().since(started);
                CopyError::Read(describe(&self.url, ureq::Error::from(err), elapsed))
            })?;
            if length == 0 {
                return Ok(());
            }
            out.write_all(&chunk[..length]).map_err(CopyError::Write)?;
            copied += length as u64;
            on_progress(copied);
        }
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

/// The message for a request without a complete response. It never contains a header.
pub(super) fn describe(url: &str, err: ureq::Error, elapsed: Duration) -> Error {
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
            format!(
                "the response from {url} is longer than {} MiB; cloud api --output takes any length",
                MAX_BODY_BYTES >> 20
            ),
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
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let date = httpdate::parse_http_date("Tue, 27 Nov 2012 17:22:08 GMT").ok();
        assert_eq!(parse_retry_after("7", date), Some(Duration::from_secs(7)));
        let in_ten = parse_retry_after("Tue, 27 Nov 2012 17:22:18 GMT", date);
        assert_eq!(in_ten, Some(Duration::from_secs(10)));
        assert_eq!(parse_retry_after("soon", date), None);
    }
}
