//! The hypervisor's information about this server.

use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{Evidence, Reading, ServerEvidence, Unread, XenstoreEvidence};
use crate::model::NamedStatus;
use crate::xenstore::{Connection, Snapshot, Value, XenstoreError, metadata};

/// Signs of a Xen guest.
const XEN_PATHS: [&str; 2] = ["/dev/xen/xenbus", "/proc/xen/xenbus"];

/// Reads xenstore.
pub(super) fn collect(subject: &Subject, files: &mut Files) -> Addition {
    let is_xen = files.read("/sys/hypervisor/type").is_ok_and(|text| text.trim() == "xen")
        || XEN_PATHS.iter().any(|path| files.exists(path));
    let xenstore = Connection::open()
        .map(|connection| connection.with_deadline(Some(subject.deadline)))
        .and_then(|mut connection| read(&mut connection, files))
        .map_err(|trouble| match trouble {
            XenstoreError::Absent => Unread::Absent(trouble.to_string()),
            XenstoreError::Unreadable(_) => Unread::NeedsRoot("xenstore".to_owned()),
            XenstoreError::Broken(_) | XenstoreError::Refused { .. } => {
                Unread::Failed(trouble.to_string())
            }
        });
    let is_xen = is_xen || xenstore.is_ok();
    let server: Reading<ServerEvidence> = Ok(ServerEvidence { is_xen, xenstore });
    Box::new(|evidence: &mut Evidence| evidence.server = server)
}

fn read(store: &mut Connection, files: &mut Files) -> Result<XenstoreEvidence, XenstoreError> {
    let provider = store.value(metadata::PROVIDER)?;
    let roles = store.value(metadata::ROLES)?;
    let status = store.value(metadata::STATUS)?;
    let managed = store.value(metadata::MANAGED)?;
    let reason = store.value(metadata::UNPROCESSABLE_REASON)?;
    let mut lines = String::new();
    for (path, value) in [
        (metadata::PROVIDER, &provider),
        (metadata::ROLES, &roles),
        (metadata::STATUS, &status),
        (metadata::MANAGED, &managed),
        (metadata::UNPROCESSABLE_REASON, &reason),
    ] {
        let text = match value {
            Value::Text(text) => text.as_str(),
            Value::Absent => "(absent)",
            Value::Unreadable(reason) => reason.as_str(),
        };
        lines.push_str(&format!("{path} = {text}\n"));
    }
    let features = features(store)?;
    for feature in &features {
        lines.push_str(&format!("feature {} = {}\n", feature.name, feature.status));
    }
    files.keep("xenstore", &lines);
    let mac = store.servicenet_mac()?;
    let word = |value: &Value| metadata::text(value).filter(|text| !text.is_empty());
    Ok(XenstoreEvidence {
        snapshot: Snapshot::new(&provider, &roles, &status, &managed, false),
        provider: word(&provider),
        unprocessable_reason: word(&reason),
        features,
        servicenet_mac: mac
            .and_then(|mac| mac.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()),
    })
}

fn features(store: &mut Connection) -> Result<Vec<NamedStatus>, XenstoreError> {
    let (directory, prefix) = metadata::FEATURES;
    let mut features = Vec::new();
    for child in store.directory(directory)?.unwrap_or_default() {
        let Some(name) = child.strip_prefix(prefix) else { continue };
        if let Some(status) = metadata::text(&store.value(&format!("{directory}/{child}"))?) {
            features.push(NamedStatus { name: name.to_owned(), status });
        }
    }
    Ok(features)
}
