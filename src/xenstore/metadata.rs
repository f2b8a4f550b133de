//! The meaning of the values in xenstore. No I/O, no clock.
//!
//! Sources of the paths and words: Rackspace's documentation of server metadata, and the public
//! programs that read them (nova-agent, Ohai, rcrun, Heat). The values are untrusted: one that does
//! not have its known form is ignored.

use crate::model::Status;
use crate::model::Tree;

/// The directory of all paths below.
pub const TOP: &str = "vm-data";
/// The provider of the cloud: `Rackspace`.
pub const PROVIDER: &str = "vm-data/provider_data/provider";
/// The region's code, without quotes.
pub const REGION: &str = "vm-data/provider_data/region";
/// A JSON array of the account's roles.
pub const ROLES: &str = "vm-data/provider_data/roles";
/// The automation status, as a JSON string.
pub const STATUS: &str = "vm-data/user-metadata/rackconnect_automation_status";
/// Why the status is UNPROCESSABLE, as a JSON string.
pub const UNPROCESSABLE_REASON: &str = "vm-data/user-metadata/rackconnect_unprocessable_reason";
/// The state of Managed Operations' automation, as a JSON string.
pub const MANAGED: &str = "vm-data/user-metadata/rax_service_level_automation";
/// The directory of the automation features, and the prefix of their keys.
pub const FEATURES: (&str, &str) = ("vm-data/user-metadata", "rackconnect_automation_feature_");
/// The directory of the networks: a JSON object for each interface, named by its MAC.
pub const NETWORKING: &str = "vm-data/networking";

/// A role of RackConnect v2 accounts.
const ROLE_V2: &str = "rack_connect";
/// Part of a role of RackConnect v3 accounts.
const ROLE_V3: &str = "rackconnect:v3";
/// A role of accounts with Managed Operations.
const ROLE_MANAGED: &str = "rax_managed";

/// The label of ServiceNet.
const SERVICENET: &str = "private";

/// The result of reading a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// There is no such path.
    Absent,
    /// It cannot be read; the reason.
    Unreadable(String),
    /// Its value.
    Text(String),
}

/// The kind of this server, according to xenstore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// A RackConnect v2 server.
    V2,
    /// RackConnect v3: no ServiceNet API, no automation in the server.
    V3,
    /// A server of another provider, by name.
    OtherProvider(String),
    /// A server of Rackspace's whose account has no role of RackConnect.
    NoRole,
    /// Not known; the reason.
    Unknown(String),
}

impl Server {
    /// Whether this proves, without the API, that it is not a RackConnect v2 server.
    pub fn is_certainly_another(&self) -> bool {
        matches!(self, Server::V3 | Server::OtherProvider(_))
    }
}

/// The values in xenstore at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The kind of this server.
    pub server: Server,
    /// Whether the account has Managed Operations, if its roles are known.
    pub managed_account: Option<bool>,
    /// The automation status, if there is one.
    pub status: Option<Status>,
    /// Whether xenstore certainly has no automation status.
    pub status_absent: bool,
    /// The state of Managed Operations' automation, if there is one.
    pub managed: Option<String>,
    /// Whether xenstore certainly has no state of Managed Operations' automation.
    pub managed_absent: bool,
    /// Whether changes cause events.
    pub watched: bool,
}

impl Snapshot {
    /// Interprets the four values.
    pub fn new(
        provider: &Value,
        roles: &Value,
        status: &Value,
        managed: &Value,
        watched: bool,
    ) -> Snapshot {
        let parsed = roles_of(roles);
        Snapshot {
            server: server(provider, roles),
            managed_account: parsed.map(|roles| has(&roles, ROLE_MANAGED)),
            status: text(status).and_then(|text| Status::from_text(&text)),
            status_absent: *status == Value::Absent,
            managed: text(managed).filter(|text| !text.is_empty()),
            managed_absent: *managed == Value::Absent,
            watched,
        }
    }

    /// Whether the status, or its absence, is certain: an unreadable value is neither.
    pub fn is_status_known(&self) -> bool {
        self.status.is_some() || self.status_absent
    }
}

/// The kind of the server, by its provider, then by its roles. Only values in their known form
/// count. An account with roles of both versions counts as v2.
pub fn server(provider: &Value, roles: &Value) -> Server {
    let provider = text(provider).filter(|provider| !provider.is_empty());
    if let Some(other) =
        provider.as_ref().filter(|provider| !provider.eq_ignore_ascii_case("rackspace"))
    {
        return Server::OtherProvider(other.clone());
    }
    let parsed = roles_of(roles);
    if parsed.as_ref().is_some_and(|roles| has(roles, ROLE_V2)) {
        return Server::V2;
    }
    let Some(roles) = parsed else {
        return Server::Unknown(match roles {
            Value::Absent => "xenstore has no roles".to_owned(),
            Value::Unreadable(reason) => reason.clone(),
            Value::Text(_) => "the roles in xenstore are not a JSON array of strings".to_owned(),
        });
    };
    if roles.iter().any(|role| role.to_ascii_lowercase().contains(ROLE_V3)) {
        return Server::V3;
    }
    match provider {
        Some(_) => Server::NoRole,
        None => Server::Unknown("xenstore names no provider".to_owned()),
    }
}

/// The roles, if they are a JSON array of strings.
fn roles_of(roles: &Value) -> Option<Vec<String>> {
    let Value::Text(json) = roles else { return None };
    let Ok(Tree::List(items)) = Tree::from_json(json.as_bytes()) else { return None };
    items
        .into_iter()
        .map(|item| if let Tree::Text(role) = item { Some(role) } else { None })
        .collect()
}

fn has(roles: &[String], wanted: &str) -> bool {
    roles.iter().any(|role| role.trim().eq_ignore_ascii_case(wanted))
}

/// The text of a value: a JSON string, or the same without quotes.
pub fn text(value: &Value) -> Option<String> {
    let Value::Text(raw) = value else { return None };
    let raw = raw.trim();
    match raw.starts_with('"').then(|| Tree::from_json(raw.as_bytes())) {
        Some(Ok(Tree::Text(text))) => Some(text.trim().to_owned()),
        _ => Some(raw.to_owned()),
    }
}

/// The MAC (lower case, with colons) in a value below [`NETWORKING`], if its network is ServiceNet.
pub fn servicenet_mac(json: &str) -> Option<String> {
    let network = Tree::from_json(json.as_bytes()).ok()?;
    let is_servicenet = network.get("label")?.as_text()?.eq_ignore_ascii_case(SERVICENET);
    let digits: String =
        network.get("mac")?.as_text()?.chars().filter(|c| !matches!(c, ':' | '-')).collect();
    if !is_servicenet
        || digits.len() != 12
        || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        return None;
    }
    let pairs: Vec<&str> = (0..12).step_by(2).map(|at| &digits[at..at + 2]).collect();
    Some(pairs.join(":").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Value {
        match text {
            "-" => Value::Absent,
            "!" => Value::Unreadable("EACCES".to_owned()),
            text => Value::Text(text.to_owned()),
        }
    }

    #[test]
    fn the_kind_of_the_server() {
        const OTHER: &str = "other";
        const UNKNOWN: &str = "unknown";
        for (provider, roles, expected) in [
            ("Rackspace", r#"["rack_connect"]"#, "v2"),
            ("rackspace", r#"["a", "RACK_CONNECT"]"#, "v2"),
            ("-", r#"["rack_connect"]"#, "v2"),
            ("!", r#"["rack_connect"]"#, "v2"),
            ("Other", r#"["rack_connect"]"#, OTHER),
            ("Rackspace", r#"["rack_connect", "rackconnect:v3-DFW"]"#, "v2"),
            ("Rackspace", r#"["compute:default", "rackconnect:v3-DFW"]"#, "v3"),
            ("-", r#"["RackConnect:v3"]"#, "v3"),
            ("\"Rackspace\"", r#"["compute:default"]"#, "none"),
            ("Rackspace", "[]", "none"),
            ("RACKSPACE\n", "[]", "none"),
            ("Amazon", "-", OTHER),
            ("Amazon", "[]", OTHER),
            ("-", "[]", UNKNOWN),
            ("", "[]", UNKNOWN),
            ("!", "[]", UNKNOWN),
            ("-", "-", UNKNOWN),
            ("Rackspace", "-", UNKNOWN),
            ("Rackspace", "!", UNKNOWN),
            ("Rackspace", "", UNKNOWN),
            ("Rackspace", r#"["rack_conn"#, UNKNOWN),
            ("Rackspace", r#""rack_connect""#, UNKNOWN),
            ("Rackspace", r#"{"roles": []}"#, UNKNOWN),
            ("Rackspace", r#"[null]"#, UNKNOWN),
            ("Rackspace", r#"[["rack_connect"]]"#, UNKNOWN),
            ("Rackspace", "null", UNKNOWN),
        ] {
            let found = match server(&value(provider), &value(roles)) {
                Server::V2 => "v2",
                Server::V3 => "v3",
                Server::OtherProvider(_) => OTHER,
                Server::NoRole => "none",
                Server::Unknown(_) => UNKNOWN,
            };
            assert_eq!(found, expected, "{provider} {roles}");
        }
    }

    #[test]
    fn a_snapshot_of_the_four_values() {
        let see = |status: &str, managed: &str| {
            Snapshot::new(
                &value("Rackspace"),
                &value(r#"["rax_managed"]"#),
                &value(status),
                &value(managed),
                true,
            )
        };
        let seen = see("\"DEPLOYED\"", "\"In Progress\"");
        assert_eq!(seen.status, Some(Status::Deployed));
        assert!(!seen.status_absent);
        assert_eq!(seen.managed.as_deref(), Some("In Progress"));
        assert_eq!(seen.managed_account, Some(true));
        let seen = see("-", "-");
        assert_eq!((seen.status, seen.status_absent, seen.managed), (None, true, None));
        // Neither a status nor its absence.
        for unclear in ["!", "", "two words", "null"] {
            let seen = see(unclear, "-");
            assert_eq!((seen.status, seen.status_absent), (None, false), "{unclear}");
        }
        assert_eq!(see("deployed", "Complete").status, Some(Status::Deployed));
    }

    #[test]
    fn servicenet_by_label_and_mac() {
        let mac = |json| servicenet_mac(json);
        let expected = Some("bc:76:4e:04:a2:0b".to_owned());
        assert_eq!(
            mac(r#"{"label": "private", "mac": "BC:76:4E:04:A2:0B", "ips": [], "gateway": null}"#),
            expected
        );
        assert_eq!(mac(r#"{"label": "Private", "mac": "BC764E04A20B"}"#), expected);
        assert_eq!(mac(r#"{"label": "public", "mac": "BC:76:4E:04:A2:0B"}"#), None);
        assert_eq!(mac(r#"{"label": "private", "mac": "../../../etc"}"#), None);
        assert_eq!(mac(r#"{"label": "private"}"#), None);
        assert_eq!(mac("{"), None);
    }

    proptest! {
        /// No value causes a panic, and only valid roles make it a server without RackConnect.
        #[test]
        fn any_value_is_interpreted_without_a_panic(
            provider in "\\PC*",
            roles in "\\PC*",
            status in "\\PC*",
        ) {
            let (provider, roles_value) = (value(&provider), value(&roles));
            let (status, managed) = (value(&status), Value::Absent);
            let seen = Snapshot::new(&provider, &roles_value, &status, &managed, false);
            if seen.server == Server::NoRole {
                prop_assert!(Tree::from_json(roles.as_bytes()).is_ok());
            }
            let _ = servicenet_mac(&roles);
        }
    }
}
