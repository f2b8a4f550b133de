//! Why a netlink request failed.

use std::fmt;

use nix::errno::Errno;

use super::codec::Malformed;

/// Why a netlink request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetlinkError {
    /// The kernel rejected the request.
    Rejected(Errno),
    /// A system call on the socket failed.
    Socket(Errno),
    /// A message could not be decoded.
    Malformed(Malformed),
    /// A message was larger than the receive buffer.
    Truncated,
    /// The table kept changing while it was being dumped.
    Unstable,
    /// No response within [`super::REQUEST_TIMEOUT`].
    Timeout,
    /// The kernel cannot tell the route apart from another one in front of it.
    Ambiguous,
}

impl NetlinkError {
    /// Whether the kernel rejected the request with `errno`.
    pub fn is(self, errno: Errno) -> bool {
        self == NetlinkError::Rejected(errno)
    }
}

impl fmt::Display for NetlinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetlinkError::Rejected(errno) => {
                write!(f, "the kernel rejected the request: {}", errno.desc())
            }
            NetlinkError::Socket(errno) => write!(f, "netlink socket error: {}", errno.desc()),
            NetlinkError::Malformed(err) => err.fmt(f),
            NetlinkError::Truncated => f.write_str("a netlink message was truncated"),
            NetlinkError::Unstable => {
                f.write_str("the routing table changes faster than it can be read")
            }
            NetlinkError::Timeout => f.write_str("the kernel did not respond over netlink"),
            NetlinkError::Ambiguous => {
                f.write_str("the kernel would remove another route in front of it instead")
            }
        }
    }
}

impl std::error::Error for NetlinkError {}

impl From<Malformed> for NetlinkError {
    fn from(err: Malformed) -> NetlinkError {
        NetlinkError::Malformed(err)
    }
}
