//! The bodies of the API: what can be learned from one, and what cannot.
//!
//! Only the text bodies and one JSON key (`automation_status`) are attested by programs that use
//! the API; the other names of JSON and XML are unknown. So bodies are read in two steps: [`Tree`]
//! is what JSON and XML have in common, and `shape` finds the status, the named things with a
//! status, and the gateway in a tree by their shape. What does not fit is an error that shows the
//! beginning of the body; nothing is guessed into a status or a gateway.

mod learned;
mod shape;

use std::net::IpAddr;

pub use learned::learned;

use crate::error::{Error, Kind, Result};
use crate::model::{Format, NamedStatus, Status, Tree, unquoted};

/// The start of a body that an error shows, in characters.
const EXCERPT: usize = 120;

/// Reads a body that says the automation status: the bare word, or JSON or XML with the key
/// `automation_status`. Only where XML was `asked` for is it searched by its shape as well: what a
/// wait acts on is never guessed.
///
/// # Errors
/// The body cannot be understood.
pub fn status(body: &[u8], asked: Format) -> Result<Status> {
    let found = match parse(body) {
        Ok(Body::Text(text)) => Status::from_text(text),
        Ok(Body::Json(tree)) => shape::status_in_json(&tree),
        Ok(Body::Xml(tree)) if asked == Format::Xml => shape::status_in_xml(&tree),
        Ok(Body::Xml(tree)) => shape::attested_status_in_xml(&tree),
        Err(err) => return Err(not_understood("an automation status", body, &err)),
    };
    found.ok_or_else(|| not_understood("an automation status", body, ""))
}

/// Reads the body of `automation_status/details`: the status, if it is there, and the tasks in
/// their order.
///
/// # Errors
/// The body is neither JSON nor XML, or holds neither a status nor tasks.
pub fn details(body: &[u8]) -> Result<(Option<Status>, Vec<NamedStatus>)> {
    let what = "the details of the automation";
    let (status, tree) = match parse(body) {
        Ok(Body::Json(tree)) => (shape::status_in_json(&tree), tree),
        Ok(Body::Xml(tree)) => (shape::status_in_xml(&tree), tree),
        Ok(Body::Text(_)) => return Err(not_understood(what, body, "it is neither JSON nor XML")),
        Err(err) => return Err(not_understood(what, body, &err)),
    };
    let tasks = shape::named(&tree);
    if status.is_none() && tasks.is_empty() {
        return Err(not_understood(what, body, ""));
    }
    Ok((status, tasks))
}

/// Reads the body of `automation_features`: the features in their order. An empty collection has
/// none.
///
/// # Errors
/// The body is neither JSON nor XML, or holds something else than features.
pub fn features(body: &[u8]) -> Result<Vec<NamedStatus>> {
    let what = "the automation features";
    let tree = match parse(body) {
        Ok(Body::Json(tree) | Body::Xml(tree)) => tree,
        Ok(Body::Text(_)) => return Err(not_understood(what, body, "it is neither JSON nor XML")),
        Err(err) => return Err(not_understood(what, body, &err)),
    };
    let features = shape::named(&tree);
    if features.is_empty() && !tree.is_empty() {
        return Err(not_understood(what, body, ""));
    }
    Ok(features)
}

/// Reads a body that says the gateway: one IPv4 or IPv6 unicast address.
///
/// # Errors
/// The body cannot be understood, or what it says cannot be a gateway.
pub fn gateway(body: &[u8]) -> Result<IpAddr> {
    let what = "a gateway address";
    let text = match parse(body) {
        Ok(Body::Text(text)) => unquoted(text).to_owned(),
        Ok(Body::Json(tree) | Body::Xml(tree)) => {
            shape::gateway(&tree).ok_or_else(|| not_understood(what, body, ""))?.to_owned()
        }
        Err(err) => return Err(not_understood(what, body, &err)),
    };
    let address: IpAddr = text.parse().map_err(|_| not_understood(what, body, ""))?;
    if !is_unicast(address) {
        return Err(not_understood(what, body, &format!("{address} cannot be a gateway")));
    }
    Ok(address)
}

/// Whether one host can have that address on a network.
fn is_unicast(address: IpAddr) -> bool {
    match address {
        // 0.0.0.0/8 and 240.0.0.0/4: RFC 1122 and RFC 1112, never a host's.
        IpAddr::V4(v4) => {
            !v4.is_multicast() && !v4.is_loopback() && v4.octets()[0] != 0 && v4.octets()[0] < 240
        }
        IpAddr::V6(v6) => {
            !v6.is_multicast()
                && !v6.is_loopback()
                && !v6.is_unspecified()
                && v6.to_ipv4_mapped().is_none()
        }
    }
}

enum Body<'a> {
    Text(&'a str),
    Json(Tree),
    Xml(Tree),
}

/// Tells by its first character what a body is, whatever was asked for. A byte-order mark and white
/// space around it do not belong to it.
fn parse(body: &[u8]) -> Result<Body<'_>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    match text.as_bytes().first() {
        None => Err("it is empty".to_owned()),
        Some(b'{' | b'[') => Tree::from_json(text.as_bytes()).map(Body::Json),
        Some(b'<') => Tree::from_xml(text).map(Body::Xml),
        Some(_) => Ok(Body::Text(text)),
    }
}

fn not_understood(what: &str, body: &[u8], reason: &str) -> Error {
    let because = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let start: String = String::from_utf8_lossy(body).chars().take(EXCERPT).collect();
    let more = if start.len() < body.len() { "…" } else { "" };
    let message = match body.is_empty() {
        true => format!("the API's response is not {what}: it is empty"),
        // Debug formatting escapes every control character.
        false => {
            format!("the API's response is not {what}{because}: it starts with {start:?}{more}")
        }
    };
    Error::new(Kind::NotUnderstood, message)
}

#[cfg(test)]
mod tests;
