//! xenstore: what the hypervisor's tools have told a Xen guest about itself, and tell it while it runs.
//!
//! `wire` is the protocol in bytes, `client` a connection.

mod client;
pub mod wire;

pub use client::{Connection, TIMEOUT, Trouble};
