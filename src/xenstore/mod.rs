//! xenstore: the values that the hypervisor's tools set for a Xen guest, at boot and while it runs.
//!
//! `codec` encodes the protocol and `metadata` interprets the values; neither does any I/O.
//! `location` finds and opens xenstore, `client` is a connection to it, `watcher` is the source of
//! a wait's snapshots. Reading needs root. Every feature also works without xenstore: not a Xen
//! guest, not root, or broken.

mod client;
pub mod codec;
mod location;
pub mod metadata;
mod status;
mod watcher;

pub use client::{Connection, READ_TIMEOUT};
pub use location::XenstoreError;
pub use metadata::{Server, Snapshot, Value};
pub use status::{StatusInXenstore, status_in_xenstore};
pub use watcher::{Watcher, managed_marker};

impl Connection {
    /// What is at a path.
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
