//! `status.json`: the last results of root's processes, for scripts that only read them.

use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use super::boot;
use super::file::{self, Links};
use super::kept_dir::KeptStateDir;
use crate::clock::BootInstant;
use crate::model::Tree;

/// The name of the file.
const FILE: &str = "status.json";

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// A result to be recorded. `None` in it means that the API has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The status, one word.
    Status(Option<String>),
    /// The gateway.
    Gateway(Option<IpAddr>),
    /// The outcome of a successful wait, one word. Its source may be xenstore and not the API.
    Waited(String),
}

/// Records a result, by `deadline` if there is one. Only root's processes do.
///
/// # Errors
/// Why it cannot be written: a sentence.
pub fn learn(
    state_dir: &KeptStateDir,
    learned: &Learned,
    region: Option<&str>,
    deadline: Option<BootInstant>,
) -> Result<(), String> {
    let boot = boot::boot_id().ok_or("the boot id cannot be read")?;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let dir = state_dir.get().map_err(|err| err.to_string())?;
    dir.update(FILE, MAX_FILE_BYTES, 0o644, deadline, |old| {
        let mut text = merged(old, learned, region, &now, boot).to_json().into_bytes();
        text.push(b'\n');
        text
    })
}

/// The last known word of this boot: the outcome of a successful wait, or the status of a later
/// response. A file that another user than root could have written is ignored.
pub fn last_word(state_dir: &Path) -> Option<String> {
    let json = file::read_of_root(&state_dir.join(FILE), MAX_FILE_BYTES, Links::Refuse).ok()?;
    let known = Tree::from_json(&json).ok()?;
    let text = |key| known.get(key).and_then(Tree::as_text);
    if text("boot_id")? != boot::boot_id()? {
        return None;
    }
    text("waited").or_else(|| text("status")).map(str::to_owned)
}

/// The outcome of a wait on a server without RackConnect v2.
pub const NOT_RACKCONNECT: &str = "NOT-RACKCONNECT";

/// The new object. Values of the old one stay if they are of this boot and not replaced.
fn merged(old: &[u8], learned: &Learned, region: Option<&str>, now: &str, boot: &str) -> Tree {
    let old = Tree::from_json(old).ok();
    let old = old.filter(|old| old.get("boot_id").and_then(Tree::as_text) == Some(boot));
    let kept = |key: &str| old.as_ref()?.get(key)?.as_text().map(str::to_owned);
    let (status, gateway) = match learned {
        Learned::Status(status) => (status.clone(), kept("gateway")),
        Learned::Waited(_) => (kept("status"), kept("gateway")),
        Learned::Gateway(gateway) => (kept("status"), gateway.map(|address| address.to_string())),
    };
    let text = |value: Option<String>| value.map_or(Tree::Nothing, Tree::Text);
    let entry = |key: &str, value: Option<String>| (key.to_owned(), text(value));
    let waited = match learned {
        Learned::Waited(word) => Some(word.clone()),
        Learned::Gateway(_) => kept("waited"),
        // The response is newer than the outcome of the wait. A 404 confirms NOT-RACKCONNECT.
        Learned::Status(None) => kept("waited").filter(|word| word == NOT_RACKCONNECT),
        Learned::Status(Some(_)) => None,
    };
    let mut entries = vec![
        entry("status", status),
        entry("gateway", gateway),
        entry("region", region.map(str::to_owned).or_else(|| kept("region"))),
        entry("learned_at", Some(now.to_owned())),
        entry("boot_id", Some(boot.to_owned())),
    ];
    entries.extend(waited.map(|word| entry("waited", Some(word))));
    Tree::Map(entries)
}

/// Reads and writes an old file, for fuzzers. What was learned is there, whatever the old file is.
#[cfg(any(test, fuzzing))]
pub(crate) fn merge_for_fuzzing(old: &[u8]) {
    let learned = Learned::Status(Some("DEPLOYED".to_owned()));
    let new = merged(old, &learned, Some("dfw"), "T", "boot");
    let again = Tree::from_json(new.to_json().as_bytes());
    assert_eq!(again.as_ref(), Ok(&new));
    assert_eq!(new.get("status").and_then(Tree::as_text), Some("DEPLOYED"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_within_a_boot() {
        let json = |tree: Tree| tree.to_json();
        let first = json(merged(
            b"",
            &Learned::Status(Some("DEPLOYING".into())),
            Some("dfw"),
            "T1",
            "boot",
        ));
        assert_eq!(
            first,
            r#"{"status":"DEPLOYING","gateway":null,"region":"dfw","learned_at":"T1","boot_id":"boot"}"#
        );
        let gateway = Learned::Gateway(Some([10, 1, 2, 3].into()));
        let second = json(merged(first.as_bytes(), &gateway, None, "T2", "boot"));
        assert_eq!(
            second,
            r#"{"status":"DEPLOYING","gateway":"10.1.2.3","region":"dfw","learned_at":"T2","boot_id":"boot"}"#
        );
        let third = json(merged(second.as_bytes(), &gateway, None, "T3", "another"));
        let waited = json(merged(
            second.as_bytes(),
            &Learned::Waited("DEPLOYED".into()),
            None,
            "T3",
            "boot",
        ));
        assert!(waited.ends_with(r#""boot_id":"boot","waited":"DEPLOYED"}"#), "{waited}");
        let kept = json(merged(waited.as_bytes(), &gateway, None, "T4", "boot"));
        assert!(kept.ends_with(r#""waited":"DEPLOYED"}"#), "{kept}");
        assert_eq!(
            third,
            r#"{"status":null,"gateway":"10.1.2.3","region":null,"learned_at":"T3","boot_id":"another"}"#
        );
    }

    /// The hooks saw NOT-RACKCONNECT after the API had said DEPLOYING.
    #[test]
    fn the_word_of_a_wait_does_not_outlive_a_newer_response() {
        let after = |word: &str, learned: &Learned| {
            let waited = merged(b"", &Learned::Waited(word.into()), None, "T1", "boot").to_json();
            let tree = merged(waited.as_bytes(), learned, None, "T2", "boot");
            tree.get("waited").and_then(Tree::as_text).map(str::to_owned)
        };
        assert_eq!(after("NOT-RACKCONNECT", &Learned::Status(Some("DEPLOYING".into()))), None);
        assert_eq!(after("DEPLOYED", &Learned::Status(None)), None);
        assert_eq!(
            after("NOT-RACKCONNECT", &Learned::Status(None)).as_deref(),
            Some("NOT-RACKCONNECT")
        );
        assert_eq!(after("DEPLOYED", &Learned::Gateway(None)).as_deref(), Some("DEPLOYED"));
    }
}
