//! Finds things in a [`Tree`] by their shape, because only one name in it is known for certain.
//!
//! Names are compared without regard to case, `_`, `-` and spaces, so that `automation_status`,
//! `automationStatus` and `automation-status` are one.

use std::net::IpAddr;

use crate::model::Tree;
use crate::model::{NamedStatus, Status};

/// The one name that is attested: the top-level key of `automation_status` and its details in JSON.
const STATUS_KEY: &str = "automationstatus";

/// The text of the key `automation_status` at the top of JSON. None if there is none, or if there
/// are two that differ.
pub fn status_in_json(tree: &Tree) -> Option<Status> {
    let Tree::Map(entries) = tree else { return None };
    Status::from_text(only(under(entries, STATUS_KEY))?)
}

/// The same of XML: the root element, or an attribute or a child of it.
pub fn attested_status_in_xml(tree: &Tree) -> Option<Status> {
    let Tree::Map(entries) = tree else { return None };
    let named = || under(entries, STATUS_KEY).chain(under(inner(entries), STATUS_KEY));
    // An element of that name may hold the word as an attribute or a child of its own.
    let words = named().map(|value| match (text_of(value), value) {
        (None, Tree::Map(children)) => only(under(children, "status")),
        (text, _) => text,
    });
    let words: Option<Vec<&str>> = words.collect();
    let words = words?;
    let first = words.first()?;
    words.iter().all(|word| word == first).then(|| Status::from_text(first))?
}

/// The same, or, as no name in XML is attested, what is just called `status`: but only with one of
/// the documented words, and in no document that complains.
pub fn status_in_xml(tree: &Tree) -> Option<Status> {
    let Tree::Map(entries) = tree else { return None };
    if under(entries, STATUS_KEY).chain(under(inner(entries), STATUS_KEY)).next().is_some() {
        return attested_status_in_xml(tree);
    }
    if complains(tree) {
        return None;
    }
    let status =
        Status::from_text(only(under(entries, "status").chain(under(inner(entries), "status")))?)?;
    (!matches!(status, Status::Unknown(_))).then_some(status)
}

/// What is in the one entry of a map, if that is a map too: in XML, in the root element.
fn inner(entries: &[(String, Tree)]) -> &[(String, Tree)] {
    match entries {
        [(_, Tree::Map(children))] => children,
        _ => &[],
    }
}

/// Whether a document is about something that went wrong, by the names at its top: then nothing
/// that is not attested is read from it, whatever it looks like.
fn complains(tree: &Tree) -> bool {
    const COMPLAINTS: [&str; 9] = [
        "error",
        "errors",
        "message",
        "fault",
        "faultstring",
        "exception",
        "code",
        "reason",
        "description",
    ];
    let Tree::Map(entries) = tree else { return false };
    entries.iter().chain(inner(entries)).any(|(name, _)| COMPLAINTS.contains(&plain(name).as_str()))
}

/// The entries of that name.
fn under<'a>(entries: &'a [(String, Tree)], key: &str) -> impl Iterator<Item = &'a Tree> {
    entries.iter().filter(move |(name, _)| plain(name) == key).map(|(_, value)| value)
}

/// The one text that all of them are.
fn only<'a>(mut values: impl Iterator<Item = &'a Tree>) -> Option<&'a str> {
    let first = text_of(values.next()?)?;
    values.all(|value| text_of(value) == Some(first)).then_some(first)
}

/// All things with a name and a status, in their order: of a list (or of repeated elements) those
/// entries that have both, else the entries of the first map whose values are all texts. Nothing of
/// a document that complains.
pub fn named(tree: &Tree) -> Vec<NamedStatus> {
    let mut found = Vec::new();
    if complains(tree) {
        return found;
    }
    collect(tree, &mut found);
    if found.is_empty()
        && let Some(entries) = plain_map(tree)
    {
        found = entries;
    }
    found
}

fn collect(tree: &Tree, found: &mut Vec<NamedStatus>) {
    if let Some(thing) = thing(tree) {
        found.push(thing);
        return;
    }
    match tree {
        Tree::List(items) => items.iter().for_each(|item| collect(item, found)),
        Tree::Map(entries) => entries.iter().for_each(|(_, value)| collect(value, found)),
        Tree::Text(_) | Tree::Number(_) | Tree::Nothing => {}
    }
}

/// A map with one text under a name like "status" and one under a name like "name" (or just one
/// other text).
fn thing(tree: &Tree) -> Option<NamedStatus> {
    let Tree::Map(entries) = tree else { return None };
    // What holds other things is not one itself.
    if entries.iter().any(|(_, value)| !value.is_empty() && text_of(value).is_none()) {
        return None;
    }
    let texts = || entries.iter().filter_map(|(name, value)| Some((plain(name), text_of(value)?)));
    let mut statuses = texts().filter(|(name, _)| is_status(name));
    let (_, status) = statuses.next()?;
    if statuses.next().is_some() {
        return None;
    }
    let others: Vec<_> = texts().filter(|(name, _)| !is_status(name)).collect();
    let name = others
        .iter()
        .find(|(name, _)| name == "name" || name == "title")
        .or_else(|| others.iter().find(|(name, _)| name.ends_with("name")))
        .or_else(|| {
            others.iter().find(|(name, _)| {
                ["task", "feature", "label", "description"].contains(&name.as_str())
            })
        })
        .or_else(|| others.iter().find(|_| others.len() == 1))
        .map(|(_, text)| *text)?;
    (!name.is_empty()).then(|| NamedStatus { name: name.to_owned(), status: status.to_owned() })
}

fn is_status(name: &str) -> bool {
    name != STATUS_KEY && (name.ends_with("status") || name.ends_with("state"))
}

/// The entries of the outermost map that holds only texts (the key `automation_status` aside).
fn plain_map(tree: &Tree) -> Option<Vec<NamedStatus>> {
    let entries = match tree {
        Tree::Map(entries) => entries,
        Tree::List(items) => {
            let maps: Vec<NamedStatus> = items.iter().filter_map(plain_map).flatten().collect();
            return (!maps.is_empty()).then_some(maps);
        }
        Tree::Text(_) | Tree::Number(_) | Tree::Nothing => return None,
    };
    let rest: Vec<_> = entries.iter().filter(|(name, _)| plain(name) != STATUS_KEY).collect();
    let texts: Vec<NamedStatus> = rest
        .iter()
        .filter_map(|(name, value)| {
            let status = text_of(value)?;
            (!name.is_empty())
                .then(|| NamedStatus { name: name.clone(), status: status.to_owned() })
        })
        .collect();
    if !rest.is_empty() && texts.len() == rest.len() {
        return Some(texts);
    }
    rest.iter().find_map(|(_, value)| plain_map(value))
}

/// The one address under a name like "gateway", or the one address of a document that holds nothing
/// else. None of a document that complains.
pub fn gateway(tree: &Tree) -> Option<&str> {
    if complains(tree) {
        return None;
    }
    let mut texts = Vec::new();
    walk(tree, false, &mut texts);
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let named: Vec<_> = texts.iter().filter(|(under, text)| *under && is_address(text)).collect();
    let mut candidates = match named.as_slice() {
        [] if texts.len() == 1 => {
            texts.iter().filter(|(_, text)| is_address(text)).map(|(_, text)| *text).collect()
        }
        _ => named.iter().map(|(_, text)| *text).collect::<Vec<_>>(),
    };
    candidates.dedup();
    match candidates.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

fn walk<'a>(tree: &'a Tree, under: bool, texts: &mut Vec<(bool, &'a str)>) {
    match tree {
        Tree::Text(text) => texts.push((under, text.trim())),
        Tree::List(items) => items.iter().for_each(|item| walk(item, under, texts)),
        Tree::Map(entries) => {
            for (name, value) in entries {
                walk(value, under || plain(name).contains("gateway"), texts);
            }
        }
        Tree::Number(_) | Tree::Nothing => {}
    }
}

/// The text of an entry: its own, or that of an element which has attributes besides.
fn text_of(tree: &Tree) -> Option<&str> {
    tree.as_text().or_else(|| tree.get("")?.as_text()).map(str::trim)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}
