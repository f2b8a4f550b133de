//! Detects the region of this server. The API has an endpoint in each region.

use std::path::Path;

use crate::clock::BootInstant;
use crate::model::{Region, Tree};
use crate::state::file::{self, Links};
use crate::xenstore::{Connection, Server, Value, XenstoreError, metadata};

/// cloud-init's instance data. cloud-init has no datasource for Rackspace, so `v1.region` is
/// usually null.
const INSTANCE_DATA: &str = "/run/cloud-init/instance-data.json";

/// The largest instance data that is read. cloud-init writes some ten kilobytes.
const MAX_INSTANCE_DATA_BYTES: u64 = 4 << 20;

/// The result of detecting the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detected {
    /// The region, and its source.
    Known(Region, String),
    /// Nothing yet: xenstore is there, but still empty, or does not work for a command that can
    /// wait until it does. It is worth looking again.
    NotYet(String),
    /// Nothing, since xenstore does not work; the reason.
    Broken(String),
    /// Nothing, and the reason: a setting has to give it.
    Unknown(String),
}

/// What to do if xenstore does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBrokenXenstore {
    /// There is no region then.
    GiveUp,
    /// It is worth looking again later, for a command that has no end.
    Retry,
}

/// Detects the region without a network: from xenstore, by `until` if that is given, then from
/// cloud-init's instance data.
pub fn detect(until: Option<BootInstant>, on_broken: OnBrokenXenstore) -> Detected {
    let is_patient = on_broken == OnBrokenXenstore::Retry;
    let open = if is_patient { Connection::open_again() } else { Connection::open() };
    let found = match open.and_then(|store| xenstore(&mut store.with_deadline(until))) {
        Ok(known @ Detected::Known(..)) => return known,
        Ok(unknown) => unknown,
        Err(err @ (XenstoreError::Broken(_) | XenstoreError::Refused { .. })) => {
            Detected::Broken(err.to_string())
        }
        Err(err @ (XenstoreError::Absent | XenstoreError::Unreadable(_))) => {
            Detected::Unknown(err.to_string())
        }
    };
    let found = match found {
        Detected::Broken(err) if is_patient => Detected::NotYet(err),
        found => found,
    };
    match cloud_init(Path::new(INSTANCE_DATA)) {
        Some(region) => Detected::Known(region, format!("cloud-init's {INSTANCE_DATA}")),
        None => found,
    }
}

/// The region in xenstore. If it is missing, it may still appear, unless the provider is another.
fn xenstore(store: &mut Connection) -> Result<Detected, XenstoreError> {
    let value = store.value(metadata::REGION)?;
    store.record_success();
    let found = metadata::text(&value).filter(|code| !code.is_empty());
    if let Some(code) = found {
        return Ok(match Region::from_code(&code) {
            Some(region) => Detected::Known(region, format!("xenstore, {}", metadata::REGION)),
            None => Detected::Unknown(format!(
                "xenstore names the region {code:?}, which has no RackConnect v2.0 API"
            )),
        });
    }
    let roles = Value::Absent;
    Ok(match (value, metadata::server(&store.value(metadata::PROVIDER)?, &roles)) {
        (Value::Unreadable(err), _) => Detected::Broken(err),
        (_, Server::OtherProvider(name)) => {
            Detected::Unknown(format!("xenstore names the provider {name:?}"))
        }
        _ => Detected::NotYet(format!("xenstore is there, but has no {} yet", metadata::REGION)),
    })
}

fn cloud_init(path: &Path) -> Option<Region> {
    let json = file::read(path, MAX_INSTANCE_DATA_BYTES, Links::Follow)
        .inspect_err(|err| log::debug!("{} {err}", path.display()))
        .ok()?;
    of_instance_data(&json)
        .inspect_err(|err| log::debug!("{} cannot be understood: {err}", path.display()))
        .ok()?
}

/// The region in cloud-init's instance data, if it is one of RackConnect's.
pub(crate) fn of_instance_data(json: &[u8]) -> Result<Option<Region>, String> {
    let data = Tree::from_json(json)?;
    let code = data.get("v1").and_then(|v1| v1.get("region")).and_then(Tree::as_text);
    Ok(code.and_then(Region::from_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_data_counts_only_with_a_known_code() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("instance-data.json");
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
        assert_eq!(cloud_init(&directory.path().join("absent")), None);
    }

    /// A FIFO was waited for without end, and a large file was cut off and not refused.
    #[test]
    fn a_fifo_or_a_large_file_as_instance_data_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("instance-data.json");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(cloud_init(&path), None);
        std::fs::remove_file(&path).unwrap();
        let padding = " ".repeat(5 << 20);
        std::fs::write(&path, format!(r#"{{"v1": {{"region": "iad"}}}}{padding}"#)).unwrap();
        assert_eq!(cloud_init(&path), None);
    }
}
