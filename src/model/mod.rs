//! Plain values that every layer may know: no sockets, no files, no clocks.

mod goal;
mod host_port;
mod named_status;
mod operation;
mod probe;
mod region;
mod status;
mod tree;

pub use goal::{Goal, OkIf};
pub use host_port::HostPort;
pub use named_status::NamedStatus;
pub use operation::{Format, Operation};
pub use probe::Probe;
pub use region::{REGION_CODES, Region};
pub use status::{Status, unquoted};
pub use tree::Tree;
