//! A server of Cloud Servers, with RackConnect's values in its metadata.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::model::Status;

/// The keys of RackConnect and of Managed Operations in the metadata.
const AUTOMATION_STATUS: &str = "rackconnect_automation_status";
const UNPROCESSABLE_REASON: &str = "rackconnect_unprocessable_reason";
const FEATURE_PREFIX: &str = "rackconnect_automation_feature_";
const MANAGED: &str = "rax_service_level_automation";

/// A server.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudServer {
    /// The id, a UUID.
    pub id: String,
    /// The name, which need not be unique.
    pub name: String,
    /// The region in capitals.
    pub region: String,
    /// Cloud Servers' own status: `ACTIVE`, `BUILD`, `ERROR` …
    pub state: String,
    /// The address on ServiceNet.
    pub private: Option<IpAddr>,
    /// The public address, IPv4 if there is one.
    pub public: Option<IpAddr>,
    /// The metadata.
    pub metadata: Map<String, Value>,
    /// The fault of a server in ERROR.
    pub fault: Option<String>,
}

impl CloudServer {
    /// Parses a server of that region. None if it has no id or no name.
    pub fn parse(region: &str, value: &Value) -> Option<CloudServer> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let addresses = &value["addresses"];
        let access = value["accessIPv4"].as_str().and_then(|text| text.parse().ok());
        Some(CloudServer {
            id: text(&value["id"]).filter(|id| is_id(id))?,
            name: text(&value["name"])?,
            region: region.to_owned(),
            state: text(&value["status"]).unwrap_or_default(),
            private: address(&addresses["private"]),
            public: address(&addresses["public"]).or(access),
            metadata: value["metadata"].as_object().cloned().unwrap_or_default(),
            fault: text(&value["fault"]["message"]),
        })
    }

    fn word(&self, key: &str) -> Option<&str> {
        self.metadata.get(key)?.as_str().map(str::trim).filter(|word| !word.is_empty())
    }

    /// The automation status, if there is one yet.
    pub fn status(&self) -> Option<Status> {
        self.word(AUTOMATION_STATUS).and_then(Status::from_text)
    }

    /// Why the status is UNPROCESSABLE.
    pub fn unprocessable_reason(&self) -> Option<&str> {
        self.word(UNPROCESSABLE_REASON)
    }

    /// The state of Managed Operations' automation.
    pub fn managed(&self) -> Option<&str> {
        self.word(MANAGED)
    }

    /// Whether it was deleted.
    pub fn is_deleted(&self) -> bool {
        self.state == "DELETED"
    }

    /// Whether it is being rebuilt, so that its metadata is left over from before.
    pub fn is_rebuilding(&self) -> bool {
        self.state == "REBUILD"
    }

    /// All values as one object. Keys are only ever added.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "region": self.region, "server_status": self.state,
            "status": self.status().map(|status| status.word().to_owned()),
            "unprocessable_reason": self.unprocessable_reason(),
            "managed_operations": self.managed(), "features": self.features(),
            "servicenet_address": self.private, "public_address": self.public,
            "metadata": self.metadata,
        })
    }

    fn features(&self) -> Map<String, Value> {
        let features = self.metadata.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix(FEATURE_PREFIX)?.to_owned(), value.clone()))
        });
        features.collect()
    }
}

/// Whether a text can be an id: it becomes part of URLs.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The first IPv4 address of a network, else the first one.
fn address(network: &Value) -> Option<IpAddr> {
    let all = network.as_array().into_iter().flatten();
    let all: Vec<IpAddr> = all.filter_map(|entry| entry["addr"].as_str()?.parse().ok()).collect();
    all.iter().find(|address| address.is_ipv4()).or(all.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_the_documentation() {
        let server = CloudServer::parse(
            "DFW",
            &json!({
                "id": "5bbcc3c4-1da2", "name": "web1", "status": "ACTIVE",
                "addresses": {
                    "public": [{"addr": "2001:db8::1", "version": 6},
                               {"addr": "203.0.113.7", "version": 4}],
                    "private": [{"addr": "10.1.2.3", "version": 4}]},
                "metadata": {
                    "rackconnect_automation_status": "DEPLOYED",
                    "rackconnect_automation_feature_provison_public_ip": "ENABLED"},
            }),
        )
        .unwrap();
        assert_eq!(server.status(), Some(Status::Deployed));
        assert_eq!(
            server.public.map(|address| address.to_string()).as_deref(),
            Some("203.0.113.7")
        );
        assert_eq!(server.to_json()["features"], json!({"provison_public_ip": "ENABLED"}));
        assert_eq!(server.to_json()["servicenet_address"], "10.1.2.3");
    }

    #[test]
    fn missing_or_odd_values_cause_no_panic() {
        let parse = |value| CloudServer::parse("DFW", &value);
        assert!(parse(json!({})).is_none());
        assert!(parse(json!([])).is_none());
        assert!(parse(json!({"id": "../x", "name": "x"})).is_none());
        let bare = parse(json!({"id": "1", "name": "x", "metadata": [], "addresses": 3})).unwrap();
        assert_eq!((bare.status(), bare.public, bare.private), (None, None, None));
    }
}
