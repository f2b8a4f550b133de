//! Whether the gateway may be set now: the automation may be setting it itself. Pure.

use crate::model::NamedStatus;
use crate::model::Status;

/// What the features say about "Configure network stack": whether RackConnect sets the gateway itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkStack {
    /// Clearly: it does.
    Automated,
    /// Clearly: it does not.
    Manual,
    /// Nothing clear.
    Unclear,
}

impl NetworkStack {
    /// Reads the features. Their names and words are hardly documented: what is not clear is unclear.
    pub fn of(features: &[NamedStatus]) -> NetworkStack {
        let plain = |text: &str| -> String {
            text.chars()
                .filter(char::is_ascii_alphanumeric)
                .map(|c| c.to_ascii_lowercase())
                .collect()
        };
        let mut found = features
            .iter()
            .filter(|feature| plain(&feature.name).ends_with("configurenetworkstack"))
            .map(|feature| match plain(&feature.status).as_str() {
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

/// Says why the gateway must not be set now; none if it may. `status`: none if the API does not know this server.
pub fn refusal(status: Option<&Status>, stack: NetworkStack) -> Option<String> {
    match (stack, status) {
        (NetworkStack::Manual, _) | (_, Some(Status::Deployed)) => None,
        (NetworkStack::Automated, status) => Some(format!(
            "RackConnect configures the network stack of this server itself, and its status is {}",
            word(status)
        )),
        (NetworkStack::Unclear, Some(Status::Failed | Status::Unprocessable)) => None,
        (NetworkStack::Unclear, status) => Some(format!(
            "the status is {}: the automation may be setting the gateway itself right now",
            word(status)
        )),
    }
}

/// Whether waiting could end the refusal.
pub fn is_passing(status: Option<&Status>) -> bool {
    matches!(status, None | Some(Status::Deploying | Status::Unknown(_)))
}

fn word(status: Option<&Status>) -> &str {
    status.map_or("unknown (HTTP 404)", Status::word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &str, status: &str) -> NamedStatus {
        NamedStatus { name: name.to_owned(), status: status.to_owned() }
    }

    #[test]
    fn features_that_are_clear_and_others() {
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
    fn the_rules() {
        use NetworkStack::{Automated, Manual, Unclear};
        let unknown = Status::Unknown("REBUILDING".to_owned());
        let statuses = [
            None,
            Some(&Status::Deploying),
            Some(&unknown),
            Some(&Status::Deployed),
            Some(&Status::Failed),
            Some(&Status::Unprocessable),
        ];
        for (stack, refused) in [
            (Manual, [false; 6]),
            (Automated, [true, true, true, false, true, true]),
            (Unclear, [true, true, true, false, false, false]),
        ] {
            assert_eq!(
                statuses.map(|status| refusal(status, stack).is_some()),
                refused,
                "{stack:?}"
            );
        }
        assert_eq!(statuses.map(is_passing), [true, true, true, false, false, false]);
    }
}
