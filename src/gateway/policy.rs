//! Whether the gateway may be set now, or the automation may be setting it itself. No I/O.

use std::fmt;

use crate::model::{NamedStatus, Status};

/// The feature "Configure network stack": whether RackConnect sets the gateway itself.
/// Its name and its values are hardly documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkStack {
    /// RackConnect sets the gateway.
    Automated,
    /// The user sets the gateway.
    Manual,
    /// The feature is missing, contradictory, or has an unexpected value.
    Unclear,
}

impl NetworkStack {
    /// Finds the feature among all of them.
    pub(crate) fn of(features: &[NamedStatus]) -> NetworkStack {
        let normalized = |text: &str| -> String {
            text.chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_lowercase())
                .collect()
        };
        let mut found = features
            .iter()
            .filter(|feature| normalized(&feature.name).ends_with("configurenetworkstack"))
            .map(|feature| match normalized(&feature.status).as_str() {
                "enabled" | "true" => NetworkStack::Automated,
                "disabled" | "false" => NetworkStack::Manual,
                _ => NetworkStack::Unclear,
            });
        match found.next() {
            Some(first) if found.all(|other| other == first) => first,
            _ => NetworkStack::Unclear,
        }
    }
}

/// Why the gateway must not be set now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    stack: NetworkStack,
    /// None if the API does not know this server.
    status: Option<Status>,
}

impl Refusal {
    /// Whether waiting can end the refusal.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.status, None | Some(Status::Deploying | Status::Unknown(_)))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.as_ref().map_or("unknown (HTTP 404)", Status::word);
        match self.stack {
            NetworkStack::Automated => write!(
                f,
                "RackConnect configures the network of this server itself, and the status is {status}"
            ),
            NetworkStack::Manual | NetworkStack::Unclear => write!(
                f,
                "the status is {status}: the automation may be setting the gateway right now"
            ),
        }
    }
}

/// Refuses to set the gateway while the automation may do so. `status`: none if the API does not
/// know this server.
///
/// # Errors
/// See [`Refusal`].
pub(crate) fn check(status: Option<Status>, stack: NetworkStack) -> Result<(), Refusal> {
    match (stack, &status) {
        (NetworkStack::Manual, _) | (_, Some(Status::Deployed)) => Ok(()),
        (NetworkStack::Unclear, Some(Status::Failed | Status::Unprocessable)) => Ok(()),
        _ => Err(Refusal { stack, status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &str, status: &str) -> NamedStatus {
        NamedStatus { name: name.to_owned(), status: status.to_owned() }
    }

    #[test]
    fn clear_and_unclear_features() {
        for (features, stack) in [
            (vec![feature("configure_network_stack", "ENABLED")], NetworkStack::Automated),
            (vec![feature("Configure network stack", "disabled")], NetworkStack::Manual),
            (
                vec![feature(
                    "rackconnect_automation_feature_configure_network_stack",
                    "\"ENABLED\"",
                )],
                NetworkStack::Automated,
            ),
            (vec![feature("configureNetworkStack", "false")], NetworkStack::Manual),
            (vec![feature("configure_network_stack", "PENDING")], NetworkStack::Unclear),
            (vec![feature("manage_software_firewall", "ENABLED")], NetworkStack::Unclear),
            (
                vec![
                    feature("configure_network_stack", "ENABLED"),
                    feature("configure-network-stack", "DISABLED"),
                ],
                NetworkStack::Unclear,
            ),
            (vec![], NetworkStack::Unclear),
        ] {
            assert_eq!(NetworkStack::of(&features), stack, "{features:?}");
        }
    }

    #[test]
    fn when_the_gateway_may_be_set() {
        use NetworkStack::{Automated, Manual, Unclear};
        let statuses = [
            None,
            Some(Status::Deploying),
            Some(Status::Unknown("REBUILDING".to_owned())),
            Some(Status::Deployed),
            Some(Status::Failed),
            Some(Status::Unprocessable),
        ];
        for (stack, refused) in [
            (Manual, [false; 6]),
            (Automated, [true, true, true, false, true, true]),
            (Unclear, [true, true, true, false, false, false]),
        ] {
            let found = statuses.clone().map(|status| check(status, stack).is_err());
            assert_eq!(found, refused, "{stack:?}");
        }
        let may_pass = statuses.map(|status| Refusal { stack: Automated, status }.may_pass());
        assert_eq!(may_pass, [true, true, true, false, false, false]);
    }
}
