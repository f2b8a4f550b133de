//! The region whose ServiceNet endpoint answers for this server, and how it is found where nobody named it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::api::body::Tree;
use crate::clock::Moment;
use crate::xenstore::{Connection, Server, Trouble, Value, known};

/// One of the regions that have a RackConnect v2.0 API.
/// Source: "The RackConnect v2.0 API", endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region(&'static str);

/// The codes of all regions.
pub const CODES: [&str; 6] = ["dfw", "hkg", "iad", "lon", "ord", "syd"];

/// cloud-init's record of the instance. It has no Rackspace datasource, so `v1.region` is usually null.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";

/// No instance data that cloud-init writes comes near this many bytes.
const INSTANCE_DATA_LIMIT: u64 = 4 << 20;

impl Region {
    /// The region of that code, in either case and with white space around it; none if there is no such region.
    pub fn from_code(code: &str) -> Option<Region> {
        CODES.iter().find(|known| known.eq_ignore_ascii_case(code.trim())).map(|known| Region(known))
    }

    /// The code, in lower case.
    pub fn code(self) -> &'static str {
        self.0
    }

    /// The URL of the region's API. Source: "The RackConnect v2.0 API", endpoints.
    pub fn endpoint(self) -> String {
        format!("https://{}.api.rackconnect.rackspace.com", self.0)
    }
}

/// What the server itself knows of its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// It, and the place it is known from.
    Known(Region, String),
    /// Nothing yet: xenstore is there, but still empty, or does not work for who can wait until it does. It is worth looking
    /// again.
    NotYet(String),
    /// Nothing, and why.
    Unknown(String),
}

/// Asks the server itself for its region: xenstore, by `until` if that is given, then cloud-init. Asks nothing of the network.
/// `patient`: whether a xenstore that does not work is worth looking at again, each time for as long as it may take.
pub fn detect(until: Option<Moment>, patient: bool) -> Detected {
    let open = if patient { Connection::open_again() } else { Connection::open() };
    let found = match open.and_then(|store| xenstore(&mut store.by(until))) {
        Ok(known @ Detected::Known(..)) => return known,
        Ok(unknown) => unknown,
        Err(Trouble::Broken(why)) if patient => Detected::NotYet(why),
        Err(trouble) => Detected::Unknown(trouble.to_string()),
    };
    match cloud_init(Path::new(INSTANCE_DATA)) {
        Some(region) => Detected::Known(region, format!("cloud-init's {INSTANCE_DATA}")),
        None => found,
    }
}

/// The region in xenstore. Where there is neither it nor another provider's name, it may still come.
fn xenstore(store: &mut Connection) -> Result<Detected, Trouble> {
    let value = store.value(known::REGION)?;
    store.works();
    let found = known::text(&value).filter(|code| !code.is_empty());
    if let Some(code) = found {
        return Ok(match Region::from_code(&code) {
            Some(region) => Detected::Known(region, format!("xenstore, {}", known::REGION)),
            None => Detected::Unknown(format!("xenstore names the region {code:?}, which has no RackConnect v2.0 API")),
        });
    }
    let roles = Value::Absent;
    Ok(match (value, known::server(&store.value(known::PROVIDER)?, &roles)) {
        (Value::Unreadable(why), _) => Detected::Unknown(why),
        (_, Server::OtherProvider(name)) => Detected::Unknown(format!("xenstore names the provider {name:?}")),
        _ => Detected::NotYet(format!("xenstore is there, but has no {} yet", known::REGION)),
    })
}

fn cloud_init(path: &Path) -> Option<Region> {
    let mut json = Vec::new();
    File::open(path).ok()?.take(INSTANCE_DATA_LIMIT).read_to_end(&mut json).ok()?;
    let data =
        Tree::from_json(&json).inspect_err(|why| log::debug!("{} cannot be understood: {why}", path.display())).ok()?;
    Region::from_code(data.get("v1")?.get("region")?.as_text()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_in_any_case() {
        assert_eq!(Region::from_code(" DFW\n").map(Region::code), Some("dfw"));
        assert_eq!(Region::from_code("nyc"), None);
        assert_eq!(Region::from_code(""), None);
    }

    #[test]
    fn instance_data_counts_only_with_a_known_code() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instance-data.json");
        for (json, region) in [
            (r#"{"v1": {"region": "iad"}}"#, Some("iad")),
            (r#"{"v1": {"region": null}}"#, None),
            (r#"{"v1": {"region": "us-east-1"}}"#, None),
            (r#"{"v1": {"region": ["iad"]}}"#, None),
            (r#"{"v1": 7}"#, None),
            (r#"{"v1": {"region": "iad"}"#, None),
            ("", None),
        ] {
            std::fs::write(&path, json).unwrap();
            assert_eq!(cloud_init(&path).map(Region::code), region, "{json}");
        }
        assert_eq!(cloud_init(&folder.path().join("absent")), None);
    }
}
