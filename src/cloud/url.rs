//! URLs: which of them may receive a token, and how they are composed.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Uri;

/// Characters that are encoded within a name or value: all but letters, digits and `-._~` (RFC
/// 3986).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters that a path or query cannot contain. `#` is one of them: what follows it would not be
/// sent, so that `DELETE /photos/#1.jpg` would delete the whole of `/photos/`.
const NOT_IN_URLS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Checks that secrets may be sent to a URL: https, or http to a loopback address.
///
/// # Errors
/// The end of a sentence that begins with the URL.
pub fn check_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("is not a complete URL".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("has user info (…@)".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match scheme {
        "https" if !host.is_empty() => Ok(()),
        "http" if host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) => Ok(()),
        "http" => Err("is plain http, which would show the token to others".to_owned()),
        _ => Err("is neither https nor http".to_owned()),
    }
}

/// A name or a value of a query, encoded.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The URL of a path, perhaps with a query, below an endpoint. The path stays as it is, except for
/// characters that a URL cannot contain.
pub fn join(endpoint: &str, path: &str) -> String {
    let path = path.strip_prefix('/').unwrap_or(path);
    format!("{}/{}", endpoint.trim_end_matches('/'), utf8_percent_encode(path, NOT_IN_URLS))
}

/// The URL with the parameters of another query, as they are encoded, in place of its own ones of
/// the same names.
pub fn with_parameters(url: &str, query: &str) -> String {
    let (path, own) = url.split_once('?').unwrap_or((url, ""));
    let query = utf8_percent_encode(query, NOT_IN_URLS).to_string();
    let name = |pair: &str| pair.split('=').next().map(str::to_owned);
    let is_kept = |pair: &&str| !query.split('&').any(|new| name(new) == name(pair));
    let kept = own.split('&').filter(|pair| !pair.is_empty()).filter(is_kept);
    let pairs: Vec<&str> = kept.chain(query.split('&').filter(|pair| !pair.is_empty())).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_to_https_and_to_this_machine_only() {
        for url in ["https://dfw.servers.api.rackspacecloud.com/v2/1", "http://127.0.0.1:8080/x"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in [
            "http://dfw.servers.api.rackspacecloud.com/v2/1",
            "http://127.0.0.1.example.com/",
            "http://localhost/",
            "https://user@example.com/",
            "ftp://127.0.0.1/",
            "/v2/1",
            "",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_path_stays_below_its_endpoint() {
        for (path, url) in [
            ("/servers/1", "https://h/v2/servers/1"),
            ("servers/1", "https://h/v2/servers/1"),
            ("", "https://h/v2/"),
            ("//evil.example/x", "https://h/v2//evil.example/x"),
            ("@evil.example", "https://h/v2/@evil.example"),
            ("/c/ä b#1%20.txt?x=^a[0]", "https://h/v2/c/%C3%A4%20b%231%20.txt?x=%5Ea%5B0%5D"),
        ] {
            assert_eq!(join("https://h/v2", path), url);
            assert_eq!(check_url(&join("https://h/v2", path)), Ok(()), "{path}");
        }
    }

    #[test]
    fn parameters_are_added_or_replaced() {
        let url = "https://h/v2/servers?name=a&limit=2&marker=1";
        assert_eq!(
            with_parameters(url, "marker=7&limit=2"),
            "https://h/v2/servers?name=a&marker=7&limit=2"
        );
        assert_eq!(with_parameters("https://h/c", "marker=%C3%A4"), "https://h/c?marker=%C3%A4");
        assert_eq!(with_parameters("https://h/c?", "a=b c#d"), "https://h/c?a=b%20c%23d");
        assert_eq!(with_parameters("https://h/c?format=json", ""), "https://h/c?format=json");
    }
}
