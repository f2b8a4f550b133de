//! How a change ended, and why it was not kept.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::verify::VerifyError;
use crate::duration::human;
use crate::error::Error;
use crate::netlink::NetlinkError;

/// How a change ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is in place, and verified.
    Kept,
    /// Nothing was changed.
    Refused(ChangeError),
    /// It was undone.
    Undone(ChangeError),
}

/// Why a change was not kept.
#[derive(Clone, Debug)]
pub(crate) enum ChangeError {
    /// A signal told the program to end.
    Signalled,
    /// The default routes are not those that the plan was made for.
    RoutesChanged,
    /// The gateway is not on-link any more.
    NotOnLink { gateway: IpAddr, interface: String },
    /// The guard was killed or stopped.
    GuardGone,
    /// The guard has undone the change, or is about to.
    TooSlow,
    /// Another process removed the new route.
    WantedGone,
    /// Another process removed this route at the same time.
    RouteGone(String),
    /// Another process added this route at the same time.
    RouteExists(String),
    /// Another process added a removed route again.
    AddedAgain,
    /// The kernel rejected a route to add.
    AddRejected { route: String, err: NetlinkError },
    /// The kernel rejected the removal of a route.
    RemoveRejected { route: String, err: NetlinkError },
    /// It could not be verified.
    NotVerified(VerifyError),
    /// It was not confirmed in time.
    NotConfirmed(Duration),
    /// A signal came before it was confirmed.
    SignalledBeforeConfirmation,
    /// `gateway rollback` requested the undo.
    RolledBack,
    /// Another process changed the default route before the confirmation.
    ReplacedBeforeConfirmation,
    /// The kernel or the journal failed.
    Failed(Error),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::Signalled => f.write_str("a signal told the program to end"),
            ChangeError::RoutesChanged => {
                f.write_str("another process changed the default routes in the meantime")
            }
            ChangeError::NotOnLink { gateway, interface } => {
                write!(f, "{gateway} is not on-link on {interface} any more")
            }
            ChangeError::GuardGone => f.write_str(
                "the process that would undo the change does not respond: it was killed or stopped",
            ),
            ChangeError::TooSlow => {
                f.write_str("it took too long, and the guard has undone it or is about to")
            }
            ChangeError::WantedGone => {
                f.write_str("another process removed the new default route at the same time")
            }
            ChangeError::RouteGone(route) => write!(
                f,
                "another process changed the default route at the same time: {route} is gone"
            ),
            ChangeError::RouteExists(route) => write!(
                f,
                "another process changed the default route at the same time: {route} exists already"
            ),
            ChangeError::AddedAgain => {
                f.write_str("another process added back a default route that was removed")
            }
            ChangeError::AddRejected { route, err } => write!(f, "{route} cannot be added: {err}"),
            ChangeError::RemoveRejected { route, err } => {
                write!(f, "{route} cannot be removed: {err}")
            }
            ChangeError::NotVerified(err) => err.fmt(f),
            ChangeError::NotConfirmed(timeout) => {
                write!(f, "not confirmed within {}", human(*timeout))
            }
            ChangeError::SignalledBeforeConfirmation => {
                f.write_str("a signal told the program to end before the change was confirmed")
            }
            ChangeError::RolledBack => f.write_str("\"rackconnect gateway rollback\" asked for it"),
            ChangeError::ReplacedBeforeConfirmation => {
                f.write_str("another process changed the default route before it was confirmed")
            }
            ChangeError::Failed(err) => err.fmt(f),
        }
    }
}

impl From<Error> for ChangeError {
    fn from(err: Error) -> ChangeError {
        ChangeError::Failed(err)
    }
}
