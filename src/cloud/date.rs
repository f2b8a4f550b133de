//! The dates of HTTP headers and of Identity's JSON.

use std::time::{Duration, SystemTime};

/// A date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
pub fn parse_http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = rest.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    parse_timestamp(&format!("{year}-{month:02}-{day}T{time}Z"))
}

/// A time as RFC 3339 writes it, with `Z` or an offset: `2014-01-09T15:08:53.645-06:00`.
pub fn parse_timestamp(text: &str) -> Option<SystemTime> {
    if text.ends_with('Z') {
        return humantime::parse_rfc3339(text).ok();
    }
    let at = text.len().checked_sub(6)?;
    let (local, offset) = (text.get(..at)?, text.get(at..)?);
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let seconds = hours.parse::<u64>().ok()? * 3_600 + minutes.parse::<u64>().ok()? * 60;
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    match offset.as_bytes().first() {
        Some(b'-') => local.checked_add(Duration::from_secs(seconds)),
        Some(b'+') => local.checked_sub(Duration::from_secs(seconds)),
        _ => None,
    }
}

/// A time as Cloud Servers takes it in `changes-since`.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_are_documented() {
        let time = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(timestamp);
        assert_eq!(time.as_deref(), Some("1994-11-06T08:49:37Z"));
        for (text, utc) in [
            ("2014-11-24T22:05:39.115Z", "2014-11-24T22:05:39Z"),
            ("2014-01-09T15:08:53.645-06:00", "2014-01-09T21:08:53Z"),
            ("2014-01-09T15:08:53+01:30", "2014-01-09T13:38:53Z"),
        ] {
            assert_eq!(parse_timestamp(text).map(timestamp).as_deref(), Some(utc), "{text}");
        }
        for text in ["", "x", "2014", "2014-01-09T15:08:53é06:00", "Sun, 06 Nov 1994", "-06:00"] {
            assert_eq!((parse_http_date(text), parse_timestamp(text)), (None, None), "{text}");
        }
    }
}
