//! A task or a feature, as the API lists them.

/// A task or a feature: a thing with a name and a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStatus {
    /// The name, as it came.
    pub name: String,
    /// The status, as it came.
    pub status: String,
}
