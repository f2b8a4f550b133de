//! What a wait waits for, and which other ends are a success too.

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The status DEPLOYED.
    Deployed,
    /// A gateway's address.
    Gateway,
    /// The status DEPLOYED, and then Managed Operations' automation as well.
    Managed,
}

/// The ends that are a success besides the goal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OkIf {
    /// FAILED.
    pub failed: bool,
    /// UNPROCESSABLE.
    pub unprocessable: bool,
    /// It is no RackConnect v2 server.
    pub not_rackconnect: bool,
    /// The account has no Managed Operations.
    pub not_managed: bool,
}
