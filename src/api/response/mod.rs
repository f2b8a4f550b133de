//! Interprets the bodies of the API's responses.
//!
//! Only the text bodies and one JSON key (`automation_status`) are known from programs that use the
//! API; the other names in JSON and XML are not. So bodies are interpreted in two steps: they are
//! parsed to a [`Tree`], in which `shape` finds the status, the tasks or features, and the gateway
//! by their shape. A body that does not fit is an error that shows its beginning; a status or a
//! gateway is never guessed.

mod learned;
mod shape;

use std::net::IpAddr;

pub use learned::learned;

use crate::error::{Error, Kind, Result};
use crate::model::{Format, NamedStatus, Status, Tree, unquoted};

/// How much of a body an error shows, in characters.
const EXCERPT_CHARS: usize = 120;

/// Interprets the body of `automation_status`: the bare word, or JSON or XML with the key
/// `automation_status`. XML is searched by its shape as well, but only if XML was requested: a wait
/// requests text, so it never acts on that.
///
/// # Errors
/// The body cannot be understood.
pub fn status(body: &[u8], requested: Format) -> Result<Status> {
    let found = match parse(body) {
        Ok(Body::Text(text)) => Status::from_text(text),
        Ok(Body::Json(tree)) => shape::status_in_json(&tree),
        Ok(Body::Xml(tree)) if requested == Format::Xml => shape::status_in_xml(&tree),
        Ok(Body::Xml(tree)) => shape::status_by_key_in_xml(&tree),
        Err(err) => return Err(not_understood("an automation status", body, &err)),
    };
    found.ok_or_else(|| not_understood("an automation status", body, ""))
}

/// Interprets the body of `automation_status/details`: the status, if it is there, and the tasks in
/// their order.
///
/// # Errors
/// The body is neither JSON nor XML, or holds neither a status nor tasks.
pub fn details(body: &[u8]) -> Result<(Option<Status>, Vec<NamedStatus>)> {
    let expected = "the details of the automation";
    let (status, tree) = match parse(body) {
        Ok(Body::Json(tree)) => (shape::status_in_json(&tree), tree),
        Ok(Body::Xml(tree)) => (shape::status_in_xml(&tree), tree),
        Ok(Body::Text(_)) => {
            return Err(not_understood(expected, body, "it is neither JSON nor XML"));
        }
        Err(err) => return Err(not_understood(expected, body, &err)),
    };
    let tasks = shape::named(&tree);
    if status.is_none() && tasks.is_empty() {
        return Err(not_understood(expected, body, ""));
    }
    Ok((status, tasks))
}

/// Interprets the body of `automation_features`: the features in their order.
///
/// # Errors
/// The body is neither JSON nor XML, or holds something else than features.
pub fn features(body: &[u8]) -> Result<Vec<NamedStatus>> {
    let expected = "the automation features";
    let tree = match parse(body) {
        Ok(Body::Json(tree) | Body::Xml(tree)) => tree,
        Ok(Body::Text(_)) => {
            return Err(not_understood(expected, body, "it is neither JSON nor XML"));
        }
        Err(err) => return Err(not_understood(expected, body, &err)),
    };
    let features = shape::named(&tree);
    if features.is_empty() && !tree.is_empty() {
        return Err(not_understood(expected, body, ""));
    }
    Ok(features)
}

/// Interprets the body of `gateway_ip`: one IPv4 or IPv6 unicast address.
///
/// # Errors
/// The body cannot be understood, or its address cannot be a gateway's.
pub fn gateway(body: &[u8]) -> Result<IpAddr> {
    let expected = "a gateway address";
    let text = match parse(body) {
        Ok(Body::Text(text)) => unquoted(text).to_owned(),
        Ok(Body::Json(tree) | Body::Xml(tree)) => {
            shape::gateway(&tree).ok_or_else(|| not_understood(expected, body, ""))?.to_owned()
        }
        Err(err) => return Err(not_understood(expected, body, &err)),
    };
    let address: IpAddr = text.parse().map_err(|_| not_understood(expected, body, ""))?;
    if !is_unicast(address) {
        return Err(not_understood(expected, body, &format!("{address} cannot be a gateway")));
    }
    Ok(address)
}

/// Whether a host on a network can have this address.
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

/// Parses a body. Its first character, not the requested format, decides which one it is. A
/// byte-order mark and surrounding white space are ignored.
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

fn not_understood(expected: &str, body: &[u8], reason: &str) -> Error {
    let because = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let start: String = String::from_utf8_lossy(body).chars().take(EXCERPT_CHARS).collect();
    let more = if start.len() < body.len() { "…" } else { "" };
    let message = if body.is_empty() {
        format!("the API's response is not {expected}: it is empty")
    } else {
        // Debug formatting escapes every control character.
        format!("the API's response is not {expected}{because}: it starts with {start:?}{more}")
    };
    Error::new(Kind::NotUnderstood, message)
}

#[cfg(test)]
mod tests;
