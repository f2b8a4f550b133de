//! A task or a feature, as the API lists them.

/// The name and the status of a task or a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStatus {
    /// The name, as received.
    pub name: String,
    /// The status, as received.
    pub status: String,
}
