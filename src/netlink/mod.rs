//! The kernel's routes, over netlink. The one module that knows netlink's bytes: everything above works on plain data.
//!
//! Only the kernel is listened to (port 0), an answer counts only with the sequence number of its question, every
//! question ends in [`PATIENCE`], and a dump that the kernel calls inconsistent is taken anew.

mod codec;
mod socket;
mod types;

pub use codec::{Attributes, Malformed, Message, Messages, Writer};
pub use socket::*;
pub use types::{Address, INET, INET6, Link, Neighbour, ONLINK, Route, family_of};
