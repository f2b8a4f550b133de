//! xenstore: what the hypervisor's tools have told a Xen guest about itself, and tell it while it runs.
//!
//! `wire` is the protocol in bytes, `known` what the values mean; both decide without sockets. `client` is a connection,
//! `guest` what a wait makes of one.
//! Needs root. Without xenstore (not a Xen guest, not root, broken) everything goes on without it, and says so at -v.

mod client;
pub mod codec;
pub mod metadata;
mod watcher;

pub use client::{Connection, TIMEOUT, Trouble};
pub use metadata::{Server, Sighting, Value};
pub use watcher::{Guest, marker};

impl Connection {
    /// What is found at a path, whatever it is, as long as the connection works.
    ///
    /// # Errors
    /// xenstore is broken.
    pub fn value(&mut self, path: &str) -> Result<Value, Trouble> {
        match self.read(path) {
            Ok(Some(text)) => Ok(Value::Text(text)),
            Ok(None) => Ok(Value::Absent),
            Err(refused @ Trouble::Refused(..)) => Ok(Value::Unreadable(refused.to_string())),
            Err(trouble) => Err(trouble),
        }
    }

    /// The MAC (lower case, with colons) of the network that has ServiceNet's label, if there is one.
    ///
    /// # Errors
    /// xenstore is broken, or does not say which networks there are.
    pub fn servicenet_mac(&mut self) -> Result<Option<String>, Trouble> {
        for child in self.directory(metadata::NETWORKING)?.unwrap_or_default() {
            if let Value::Text(json) = self.value(&format!("{}/{child}", metadata::NETWORKING))?
                && let Some(mac) = metadata::servicenet_mac(&json)
            {
                return Ok(Some(mac));
            }
        }
        Ok(None)
    }
}
