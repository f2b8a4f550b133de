//! Finds the next page of a list.
//!
//! There are two kinds of pages. OpenStack's have a link: `"next": "/v2/images?marker=…"`, or
//! `next` among `servers_links`. Only the query of that link is used, with the path and the host of
//! the first request: the links of front ends can contain other hosts and schemes, which must not
//! get the token. Cloud Files has no links: the last name is the marker of the next page, and a
//! page without names is the last one.

use serde_json::Value;

use super::url::encode;

/// The most pages of a list that are requested, because a list might have no end.
pub const MAX_PAGES: usize = 10_000;

/// The next page, according to a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPage {
    /// There is none.
    None,
    /// There is one, with these parameters, encoded.
    Linked(String),
    /// There may be one, with these parameters; it may turn out to be empty.
    AfterMarker(String),
}

/// Reads a page.
///
/// # Errors
/// It is not a list with pages: the end of a sentence.
pub fn next_page(body: &[u8], content_type: &str) -> Result<NextPage, &'static str> {
    if content_type.starts_with("text/plain") {
        let text = str::from_utf8(body).map_err(|_| "is not UTF-8")?;
        return Ok(text.lines().next_back().map_or(NextPage::None, after));
    }
    // Cloud Files answers with 204 if a list is empty.
    if body.is_empty() {
        return Ok(NextPage::None);
    }
    match serde_json::from_slice(body) {
        Ok(Value::Array(items)) => match items.last() {
            None => Ok(NextPage::None),
            Some(last) => {
                // With a delimiter, Cloud Files lists directories as `subdir`.
                let name = last["name"].as_str().or(last["subdir"].as_str());
                name.map(after).ok_or("is a list without names")
            }
        },
        Ok(Value::Object(members)) => match members.iter().find_map(link) {
            None => Ok(NextPage::None),
            Some(link) => match link.split_once('?') {
                Some((_, query)) => Ok(NextPage::Linked(query.to_owned())),
                None => Err("has a link to a next page that has no query"),
            },
        },
        Ok(_) => Err("is not a list"),
        Err(_) => Err("is neither JSON nor plain text"),
    }
}

fn after(name: &str) -> NextPage {
    NextPage::AfterMarker(format!("marker={}", encode(name)))
}

/// The link to the next page in a member of the body.
fn link((name, value): (&String, &Value)) -> Option<String> {
    let is_list = name == "links" || name.ends_with("_links");
    let href = match value {
        Value::String(href) if name == "next" => href,
        Value::Array(links) if is_list => {
            links.iter().find(|link| link["rel"] == "next")?["href"].as_str()?
        }
        _ => return None,
    };
    Some(href.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::url::{check_url, with_parameters};
    use super::*;

    proptest! {
        /// The token is sent only to the host of the first request, whatever a link contains.
        #[test]
        fn the_next_page_is_at_the_same_place(link in ".{0,40}", name in ".{0,40}") {
            let object = serde_json::json!({"servers_links": [{"rel": "next", "href": link}]});
            let array = serde_json::json!([{"name": name}]);
            for body in [object, array] {
                let next = next_page(body.to_string().as_bytes(), "application/json");
                if let Ok(NextPage::Linked(query) | NextPage::AfterMarker(query)) = next {
                    let url = with_parameters("https://h.example/v2/servers?limit=1", &query);
                    prop_assert!(url.starts_with("https://h.example/v2/servers?"), "{}", url);
                    prop_assert_eq!(check_url(&url), Ok(()), "{}", url);
                }
            }
        }
    }

    #[test]
    fn links_and_markers() {
        let linked = |query: &str| Ok(NextPage::Linked(query.to_owned()));
        let marker = |text: &str| Ok(NextPage::AfterMarker(format!("marker={text}")));
        let none = || Ok(NextPage::None);
        for (content_type, body, expected) in [
            ("json", r#"{"images": [], "next": "/v2/images?marker=7"}"#, linked("marker=7")),
            (
                "json",
                r#"{"servers": [], "servers_links": [{"rel": "self"}, {"rel": "next",
                    "href": "http://internal:8774/v2/1/servers?limit=2&marker=%C3%A4"}]}"#,
                linked("limit=2&marker=%C3%A4"),
            ),
            ("json", r#"{"servers": [], "servers_links": []}"#, none()),
            ("json", r#"{"server": {"links": [{"rel": "next", "href": "?a"}]}}"#, none()),
            ("json", r#"{"next": null, "a_links": 1}"#, none()),
            (
                "json",
                r#"{"next": "/v2/images/2"}"#,
                Err("has a link to a next page that has no query"),
            ),
            ("json", r#"[{"name": "a"}, {"name": "b c&d"}]"#, marker("b%20c%26d")),
            ("json", r#"[{"name": "a"}, {"subdir": "b/"}]"#, marker("b%2F")),
            ("json", "[]", none()),
            ("json", "[1]", Err("is a list without names")),
            ("json", "1", Err("is not a list")),
            ("json", "", none()),
            ("html", "<html>", Err("is neither JSON nor plain text")),
            ("text/plain; charset=utf-8", "a\nb ä\n", marker("b%20%C3%A4")),
            ("text/plain", "", none()),
        ] {
            assert_eq!(next_page(body.as_bytes(), content_type), expected, "{body}");
        }
    }
}
