//! Why a name has no address.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::error::plain;

/// A name, and why it has no address.
#[derive(Debug)]
pub struct LookupError {
    /// The name.
    pub host: String,
    /// The reason.
    pub reason: LookupFailure,
}

/// Why a lookup failed.
#[derive(Debug)]
pub enum LookupFailure {
    /// The name is not valid in DNS.
    InvalidName,
    /// No nameserver responded in time.
    TimedOut,
    /// The name does not exist.
    NoSuchHost,
    /// The name exists, but has no address.
    NoAddress,
    /// No nameserver could answer; the first of them and its error.
    Nameserver(SocketAddr, NameserverError),
}

/// Why a nameserver did not answer.
#[derive(Debug)]
pub enum NameserverError {
    /// It cannot be reached.
    Io(io::Error),
    /// It responded with this code.
    Code(u8),
    /// Its response cannot be understood.
    Malformed,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        match &self.reason {
            LookupFailure::InvalidName => write!(f, "{host:?} is not a valid host name"),
            LookupFailure::TimedOut => write!(f, "the name lookup for {host} timed out"),
            LookupFailure::NoSuchHost => write!(f, "cannot look up {host}: no such host"),
            LookupFailure::NoAddress => write!(f, "cannot look up {host}: it has no address"),
            LookupFailure::Nameserver(server, err) => {
                write!(f, "cannot look up {host}: nameserver {} {err}", server.ip())
            }
        }
    }
}

impl fmt::Display for NameserverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameserverError::Io(err) => write!(f, "cannot be used: {}", plain(err)),
            NameserverError::Code(1) => f.write_str("responded with FORMERR"),
            NameserverError::Code(2) => f.write_str("responded with SERVFAIL"),
            NameserverError::Code(4) => f.write_str("responded with NOTIMP"),
            NameserverError::Code(5) => f.write_str("responded with REFUSED"),
            NameserverError::Code(code) => write!(f, "responded with error code {code}"),
            NameserverError::Malformed => f.write_str("sent a malformed response"),
        }
    }
}
