//! `status.json`: what root's processes last learnt, for scripts that only want to read.

use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::api::response;
use crate::model::Tree;
use crate::model::{Format, Operation};
use crate::ratelimit::shared_file::{self, Folder};

/// The name of the file.
const NAME: &str = "status.json";

/// The largest one that is read.
const LIMIT: u64 = 16 * 1024;

/// Writes down what an answer of the API says, where it says something. `code` is 200 or 404. Only root's processes write.
///
/// # Errors
/// The end of a sentence that says why it cannot be written.
pub fn learn(
    folder: &Path,
    question: (Operation, Format),
    code: u16,
    body: &[u8],
    region: Option<&str>,
) -> Result<(), String> {
    learnt(question, code, body).map_or(Ok(()), |learnt| write(folder, &learnt, region))
}

/// Writes down the word of a wait that ended well, for the hooks: xenstore may have said it, and not the API. Only root's
/// processes write.
///
/// # Errors
/// As for [`learn`].
pub fn waited(folder: &Path, word: &str) -> Result<(), String> {
    write(folder, &Learnt::Waited(word.to_owned()), None)
}

/// What was learnt last in this boot: the word of a wait that ended well, or the status of an answer that came after it. What
/// others than root could have written says nothing.
pub fn word(folder: &Path) -> Option<String> {
    let path = folder.join(NAME);
    let is_roots = |path: &Path| {
        let metadata = fs::symlink_metadata(path).ok()?;
        (!metadata.is_symlink() && metadata.uid() == 0 && metadata.mode() & 0o022 == 0)
            .then_some(metadata)
    };
    is_roots(folder)?;
    is_roots(&path).filter(fs::Metadata::is_file)?;
    let mut json = Vec::new();
    fs::File::open(&path).ok()?.take(LIMIT).read_to_end(&mut json).ok()?;
    let known = Tree::from_json(&json).ok()?;
    let text = |key| known.get(key).and_then(Tree::as_text);
    (text("boot_id")? == shared_file::boot_id()?)
        .then(|| text("waited").or_else(|| text("status")).map(str::to_owned))?
}

fn write(folder: &Path, learnt: &Learnt, region: Option<&str>) -> Result<(), String> {
    let boot = shared_file::boot_id().ok_or("the boot id cannot be read")?;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Folder::open(folder)?
        .rewrite(NAME, LIMIT, 0o644, |old| {
            let mut text = merged(old, learnt, region, &now, &boot).to_json().into_bytes();
            text.push(b'\n');
            text
        })
        .map_err(|why| format!("{}/{NAME} cannot be written: {why}", folder.display()))
}

/// One thing that was learnt; none in it: there is none.
#[derive(Debug, PartialEq, Eq)]
enum Learnt {
    Status(Option<String>),
    Gateway(Option<IpAddr>),
    Waited(String),
}

fn learnt((operation, format): (Operation, Format), code: u16, body: &[u8]) -> Option<Learnt> {
    let word = |status: crate::model::Status| Learnt::Status(Some(status.word().to_owned()));
    match (operation, code) {
        (Operation::Status | Operation::Details, 404) => Some(Learnt::Status(None)),
        (Operation::Gateway, 404) => Some(Learnt::Gateway(None)),
        (Operation::Status, 200) => response::status(body, format).ok().map(word),
        (Operation::Details, 200) => {
            response::details(body).ok().and_then(|(status, _)| status).map(word)
        }
        (Operation::Gateway, 200) => {
            response::gateway(body).ok().map(|address| Learnt::Gateway(Some(address)))
        }
        _ => None,
    }
}

/// The word of a wait on a server without RackConnect v2.
pub const NOT_RACKCONNECT: &str = "NOT-RACKCONNECT";

/// The new object. What the old one says of this boot, and what was not learnt anew, stays.
fn merged(old: &[u8], learnt: &Learnt, region: Option<&str>, now: &str, boot: &str) -> Tree {
    let old = Tree::from_json(old).ok();
    let old = old.filter(|old| old.get("boot_id").and_then(Tree::as_text) == Some(boot));
    let kept = |key: &str| old.as_ref()?.get(key)?.as_text().map(str::to_owned);
    let (status, gateway) = match learnt {
        Learnt::Status(status) => (status.clone(), kept("gateway")),
        Learnt::Waited(_) => (kept("status"), kept("gateway")),
        Learnt::Gateway(gateway) => (kept("status"), gateway.map(|address| address.to_string())),
    };
    let text = |value: Option<String>| value.map_or(Tree::Nothing, Tree::Text);
    let entry = |key: &str, value: Option<String>| (key.to_owned(), text(value));
    let waited = match learnt {
        Learnt::Waited(word) => Some(word.clone()),
        Learnt::Gateway(_) => kept("waited"),
        // An answer is newer than the wait that ended before it. A 404 says what such a wait has said.
        Learnt::Status(None) => kept("waited").filter(|word| word == NOT_RACKCONNECT),
        Learnt::Status(Some(_)) => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_before_stays_within_a_boot() {
        let json = |tree: Tree| tree.to_json();
        let first =
            json(merged(b"", &Learnt::Status(Some("DEPLOYING".into())), Some("dfw"), "T1", "boot"));
        assert_eq!(
            first,
            r#"{"status":"DEPLOYING","gateway":null,"region":"dfw","learned_at":"T1","boot_id":"boot"}"#
        );
        let gateway = Learnt::Gateway(Some([10, 1, 2, 3].into()));
        let second = json(merged(first.as_bytes(), &gateway, None, "T2", "boot"));
        assert_eq!(
            second,
            r#"{"status":"DEPLOYING","gateway":"10.1.2.3","region":"dfw","learned_at":"T2","boot_id":"boot"}"#
        );
        let third = json(merged(second.as_bytes(), &gateway, None, "T3", "another"));
        let waited =
            json(merged(second.as_bytes(), &Learnt::Waited("DEPLOYED".into()), None, "T3", "boot"));
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
    fn the_word_of_a_wait_does_not_outlive_a_newer_answer() {
        let after = |word: &str, learnt: &Learnt| {
            let waited = merged(b"", &Learnt::Waited(word.into()), None, "T1", "boot").to_json();
            let tree = merged(waited.as_bytes(), learnt, None, "T2", "boot");
            tree.get("waited").and_then(Tree::as_text).map(str::to_owned)
        };
        assert_eq!(after("NOT-RACKCONNECT", &Learnt::Status(Some("DEPLOYING".into()))), None);
        assert_eq!(after("DEPLOYED", &Learnt::Status(None)), None);
        assert_eq!(
            after("NOT-RACKCONNECT", &Learnt::Status(None)).as_deref(),
            Some("NOT-RACKCONNECT")
        );
        assert_eq!(after("DEPLOYED", &Learnt::Gateway(None)).as_deref(), Some("DEPLOYED"));
    }

    #[test]
    fn what_an_answer_says() {
        assert_eq!(
            learnt((Operation::Status, Format::Text), 200, b"deployed"),
            Some(Learnt::Status(Some("DEPLOYED".into())))
        );
        assert_eq!(learnt((Operation::Status, Format::Text), 200, b"<html>"), None);
        assert_eq!(learnt((Operation::Status, Format::Text), 404, b""), Some(Learnt::Status(None)));
        assert_eq!(
            learnt((Operation::Gateway, Format::Text), 404, b""),
            Some(Learnt::Gateway(None))
        );
        assert_eq!(learnt((Operation::Features, Format::Text), 200, b"{}"), None);
    }
}
