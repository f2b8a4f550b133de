//! The client of the RackConnect v2.0 API: endpoint, transport, and interpretation of responses.
//!
//! Source: "The RackConnect v2.0 API". The API identifies a server by the source address of its
//! requests on ServiceNet; there is no token. It answers thirty requests a minute; further ones get
//! HTTP 403.

pub(crate) mod certificate;
pub mod client;
pub(crate) mod connect;
pub(crate) mod dns;
pub mod endpoint;
pub(crate) mod failure;
pub mod inspect;
pub mod reach;
pub mod request;
pub mod response;
mod timed;
pub mod tls;
mod transport;

/// The largest body that is read. The largest known one has a few kilobytes.
pub const MAX_BODY_BYTES: u64 = 64 * 1024;
