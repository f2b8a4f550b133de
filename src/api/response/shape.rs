//! Finds values in a [`Tree`] by their shape, because only one of its names is known for certain.
//!
//! Names are compared without regard to case, `_`, `-` and spaces, so that `automation_status`,
//! `automationStatus` and `automation-status` are one.

use std::net::IpAddr;

use crate::model::Tree;
use crate::model::{NamedStatus, Status};

/// The one known name: the top-level JSON key of `automation_status` and its details.
const STATUS_KEY: &str = "automationstatus";

/// The status under the top-level key `automation_status` of JSON. `None` if the key is missing, or
/// occurs with different values.
pub fn status_in_json(tree: &Tree) -> Option<Status> {
    let Tree::Map(entries) = tree else { return None };
    Status::from_text(common_text(values_of(entries, STATUS_KEY))?)
}

/// The status under the same name in XML: the root element, or an attribute or child of it.
pub fn status_by_key_in_xml(tree: &Tree) -> Option<Status> {
    let Tree::Map(entries) = tree else { return None };
    // An element of that name may hold the word in an attribute or a child called `status`.
    let words = top_values_of(entries, STATUS_KEY).map(|value| match (text_of(value), value) {
        (None, Tree::Map(children)) => common_text(values_of(children, "status")),
        (text, _) => text,
    });
    let words: Option<Vec<&str>> = words.collect();
    let words = words?;
    let first = words.first()?;
    words.iter().all(|word| word == first).then(|| Status::from_text(first))?
}

/// The same or, since no name in XML is known for certain, a value that is just called `status`:
/// but only one of the documented words, and not in an error report.
pub fn status_in_xml(tree: &Tree) -> Option<Status> {
    let Tree::Map(entries) = tree else { return None };
    if top_values_of(entries, STATUS_KEY).next().is_some() {
        return status_by_key_in_xml(tree);
    }
    if is_error_report(tree) {
        return None;
    }
    let status = Status::from_text(common_text(top_values_of(entries, "status"))?)?;
    (!matches!(status, Status::Unknown(_))).then_some(status)
}

/// The entries of the only entry of a map: in XML, the content of the root element.
fn root_content(entries: &[(String, Tree)]) -> &[(String, Tree)] {
    match entries {
        [(_, Tree::Map(children))] => children,
        _ => &[],
    }
}

/// Whether a document is an error report, by its topmost names. Nothing is found by its shape in an
/// error report.
fn is_error_report(tree: &Tree) -> bool {
    const ERROR_NAMES: [&str; 9] = [
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
    entries
        .iter()
        .chain(root_content(entries))
        .any(|(name, _)| ERROR_NAMES.contains(&normalized(name).as_str()))
}

/// The values of all entries with this name.
fn values_of<'a>(entries: &'a [(String, Tree)], key: &str) -> impl Iterator<Item = &'a Tree> {
    entries.iter().filter(move |(name, _)| normalized(name) == key).map(|(_, value)| value)
}

/// The same, including the entries in the root element of XML.
fn top_values_of<'a>(entries: &'a [(String, Tree)], key: &str) -> impl Iterator<Item = &'a Tree> {
    values_of(entries, key).chain(values_of(root_content(entries), key))
}

/// The text of all values, if it is the same for all of them.
fn common_text<'a>(mut values: impl Iterator<Item = &'a Tree>) -> Option<&'a str> {
    let first = text_of(values.next()?)?;
    values.all(|value| text_of(value) == Some(first)).then_some(first)
}

/// All tasks or features, in their order: the maps with a name and a status or, if there are none,
/// the entries of the first map whose values are all texts. Empty for an error report.
pub fn named(tree: &Tree) -> Vec<NamedStatus> {
    let mut found = Vec::new();
    if is_error_report(tree) {
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
    if let Some(one) = named_status(tree) {
        found.push(one);
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
fn named_status(tree: &Tree) -> Option<NamedStatus> {
    let Tree::Map(entries) = tree else { return None };
    // A map that contains others is not a task or feature itself.
    if entries.iter().any(|(_, value)| !value.is_empty() && text_of(value).is_none()) {
        return None;
    }
    let texts =
        || entries.iter().filter_map(|(name, value)| Some((normalized(name), text_of(value)?)));
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

/// The entries of the outermost map that holds only texts, except the key `automation_status`.
fn plain_map(tree: &Tree) -> Option<Vec<NamedStatus>> {
    let entries = match tree {
        Tree::Map(entries) => entries,
        Tree::List(items) => {
            let maps: Vec<NamedStatus> = items.iter().filter_map(plain_map).flatten().collect();
            return (!maps.is_empty()).then_some(maps);
        }
        Tree::Text(_) | Tree::Number(_) | Tree::Nothing => return None,
    };
    let rest: Vec<_> = entries.iter().filter(|(name, _)| normalized(name) != STATUS_KEY).collect();
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

/// The only address under a name like "gateway", or the only text of a document if it is an
/// address. `None` for an error report.
pub fn gateway(tree: &Tree) -> Option<&str> {
    if is_error_report(tree) {
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

/// Collects all texts, each with whether it is under a name like "gateway".
fn walk<'a>(tree: &'a Tree, is_under_gateway: bool, texts: &mut Vec<(bool, &'a str)>) {
    match tree {
        Tree::Text(text) => texts.push((is_under_gateway, text.trim())),
        Tree::List(items) => items.iter().for_each(|item| walk(item, is_under_gateway, texts)),
        Tree::Map(entries) => {
            for (name, value) in entries {
                walk(value, is_under_gateway || normalized(name).contains("gateway"), texts);
            }
        }
        Tree::Number(_) | Tree::Nothing => {}
    }
}

/// The text of a value; for an XML element with attributes, its own text.
fn text_of(tree: &Tree) -> Option<&str> {
    tree.as_text().or_else(|| tree.get("")?.as_text()).map(str::trim)
}

/// A name in lower case and without separators, for comparison.
fn normalized(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}
