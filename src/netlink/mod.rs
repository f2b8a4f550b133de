//! The kernel's routing tables over rtnetlink. Everything above this module works on plain data.
//!
//! Messages count only when the kernel sent them (port 0) and, for a response, when they carry the
//! sequence number of the request. Every request ends within [`REQUEST_TIMEOUT`],
//! and no response is waited for beyond the caller's deadline. A dump that the
//! kernel reports as inconsistent is repeated.

mod changes;
mod codec;
mod error;
mod events;
mod requests;
mod route;
mod socket;
mod types;

pub use changes::Position;
pub use codec::{Attributes, Malformed, Message, Messages, Writer};
pub use error::NetlinkError;
pub use events::Events;
pub use requests::Netlink;
pub use route::{ONLINK, Route};
pub use socket::REQUEST_TIMEOUT;
pub use types::{Address, INET, INET6, Link, Neighbour, NextHop, RouteType, family_of};
