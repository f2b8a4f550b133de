//! Name lookups of the system, with a time limit. They run in a thread of their own, because
//! getaddrinfo(3) has no time limit. ureq's resolver does the same, but panics if the thread cannot
//! be started.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, time};

use crate::error::plain;

/// Looks names up as the system does.
#[derive(Debug)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (uri, config) = (uri.clone(), config.clone());
        let (sender, receiver) = sync_channel(1);
        let unlimited = NextTimeout { after: time::Duration::NotHappening, ..timeout };
        let started = thread::Builder::new().spawn(move || {
            // The receiver is gone after the time limit.
            let _ = sender.send(DefaultResolver::default().resolve(&uri, &config, unlimited));
        });
        started.map_err(|err| {
            io::Error::other(format!("a thread cannot be started: {}", plain(&err)))
        })?;
        match receiver.recv_timeout(*timeout.after) {
            Ok(resolved) => resolved,
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout.reason)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("the name lookup ended without a result").into())
            }
        }
    }
}
