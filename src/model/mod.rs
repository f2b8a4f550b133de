//! Plain values that every layer may know: no sockets, no files, no clocks.

#[cfg(feature = "cloud")]
mod data_source;
mod goal;
mod named_status;
mod network_manager;
mod operation;
mod probe;
mod region;
#[cfg(feature = "cloud")]
mod secret;
mod status;
mod tree;

#[cfg(feature = "cloud")]
pub use data_source::DataSource;
pub use goal::{Goal, OkIf};
pub use named_status::NamedStatus;
pub use network_manager::NetworkManager;
pub use operation::{Format, Operation};
pub use probe::{OnRefusal, Probe};
pub use region::{REGION_CODES, Region};
#[cfg(feature = "cloud")]
pub use secret::Secret;
pub use status::{Status, unquoted};
pub use tree::Tree;
