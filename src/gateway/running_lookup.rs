//! The lookup of `gateway keep`, in its own thread: a lost default route does not wait for the API.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, Scope};

use super::kernel;
use super::lookup::GatewayLookup;
use super::policy::Refusal;
use super::resolve::{self, Action};
use super::verify::Checks;
use crate::error::{Error, Kind, Result, plain};

/// The result of a lookup, and of everything else that is slow.
pub(super) struct LookupResult {
    pub(super) gateway: IpAddr,
    /// What must still work after the gateway is set, or why it must not be set now; none if the
    /// gateway is in use already.
    pub(super) permission: Option<Result<Checks, Refusal>>,
}

/// A lookup that has been started.
pub(super) struct RunningLookup {
    pub(super) result: Receiver<Result<LookupResult>>,
    /// Becomes readable when the result is there.
    pub(super) done: UnixStream,
}

impl RunningLookup {
    pub(super) fn start<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        lookup: &'env GatewayLookup<'env>,
        interface: Option<&'env str>,
    ) -> Result<RunningLookup> {
        let error = |err: std::io::Error| {
            Error::new(Kind::Other, format!("cannot start a thread for the API: {}", plain(&err)))
        };
        let (done, end) = UnixStream::pair().map_err(error)?;
        let (sender, result) = channel();
        let run = move || {
            let _ = sender.send(look_up(lookup, interface));
            drop(end);
        };
        thread::Builder::new().name("api".to_owned()).spawn_scoped(scope, run).map_err(error)?;
        Ok(RunningLookup { result, done })
    }
}

fn look_up(lookup: &GatewayLookup<'_>, interface: Option<&str>) -> Result<LookupResult> {
    let gateway = lookup.gateway()?;
    let mut permission = None;
    let deadline = lookup.deadline();
    let mut netlink = kernel::open_until(deadline)?;
    if let Ok(Action::Set(_)) = resolve::resolve(&mut netlink, gateway, interface, Some(deadline)) {
        permission = Some(match lookup.check_policy()? {
            Ok(()) => Ok(Checks::select(Some(lookup.target()?), Vec::new())),
            Err(refusal) => Err(refusal),
        });
    }
    Ok(LookupResult { gateway, permission })
}
