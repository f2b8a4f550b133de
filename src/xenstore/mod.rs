//! xenstore: what the hypervisor's tools tell a Xen guest about itself, at boot and while it runs.
//!
//! `codec` is the protocol in bytes and `metadata` the meaning of the values; neither does any I/O.
//! `place` finds and opens xenstore, `client` is a connection to it, `watcher` what a wait makes of
//! one. Reading needs root. Without xenstore (not a Xen guest, not root, broken) everything goes on
//! without it.

mod client;
pub mod codec;
pub mod metadata;
mod place;
mod status;
mod watcher;

pub use client::{Connection, LOOK_TIMEOUT};
pub use metadata::{Server, Snapshot, Value};
pub use place::XenstoreError;
pub use status::{StatusInXenstore, status_in_xenstore};
pub use watcher::{Watcher, managed_marker};

impl Connection {
    /// What is found at a path, as long as the connection works.
    ///
    /// # Errors
    /// xenstore is broken.
    pub fn value(&mut self, path: &str) -> Result<Value, XenstoreError> {
        match self.read(path) {
            Ok(Some(text)) => Ok(Value::Text(text)),
            Ok(None) => Ok(Value::Absent),
            Err(err @ XenstoreError::Refused { .. }) => Ok(Value::Unreadable(err.to_string())),
            Err(err) => Err(err),
        }
    }

    /// The MAC (lower case, with colons) of the network that has ServiceNet's label, if there is
    /// one.
    ///
    /// # Errors
    /// xenstore is broken, or does not list the networks.
    pub fn servicenet_mac(&mut self) -> Result<Option<String>, XenstoreError> {
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
