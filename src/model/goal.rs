//! The goal of a wait, and the other outcomes that count as success.

/// The goal of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The status DEPLOYED.
    Deployed,
    /// A gateway's address.
    Gateway,
    /// The status DEPLOYED, and then Managed Operations' automation as well.
    Managed,
}

/// The outcomes that count as success besides the goal (`--ok-if`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OkIf {
    /// FAILED.
    pub failed: bool,
    /// UNPROCESSABLE.
    pub unprocessable: bool,
    /// This is not a RackConnect v2 server.
    pub not_rackconnect: bool,
    /// The account has no Managed Operations.
    pub not_managed: bool,
}
