//! Why `gateway keep` could not set the gateway.

use std::fmt;

use super::keeper::{MAX_REPLACEMENTS, REPLACEMENT_WINDOW};
use super::resolve::ResolveError;
use crate::duration::human;
use crate::error::{Error, Kind};

/// Why an attempt to set the gateway failed.
pub(super) enum KeepError {
    /// The gateway can never be set.
    Unsupported(ResolveError),
    /// Another process keeps setting another default route.
    Contended,
    /// For a reason that may pass.
    Retry(Error),
}

impl fmt::Display for KeepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeepError::Unsupported(err) => err.fmt(f),
            KeepError::Contended => write!(
                f,
                "another process sets another default route again and again: it was replaced \
                 {MAX_REPLACEMENTS} times in {}, and is now left as it is",
                human(REPLACEMENT_WINDOW)
            ),
            KeepError::Retry(err) => err.fmt(f),
        }
    }
}

impl From<Error> for KeepError {
    fn from(err: Error) -> KeepError {
        KeepError::Retry(err)
    }
}

impl From<ResolveError> for KeepError {
    fn from(err: ResolveError) -> KeepError {
        match err {
            ResolveError::Ipv6(_) => KeepError::Unsupported(err),
            ResolveError::Kernel(err) => KeepError::Retry(err),
            other => refused(&other.to_string()),
        }
    }
}

/// An error for a reason that may pass.
pub(super) fn refused(reason: &str) -> KeepError {
    KeepError::Retry(Error::new(Kind::Refused, reason))
}
