//! The dates of Identity's and Cloud Servers' JSON.

use std::time::{Duration, SystemTime};

/// The end of the times that RFC 3339 can write, in seconds since 1970: the year 10000.
const END: u64 = 253_402_300_800;

/// A time as RFC 3339 writes it, with `Z` or an offset: `2014-01-09T15:08:53.645-06:00`. None also
/// if it is before 1970 or after 9999 in UTC, so that it can be written again.
pub fn parse_timestamp(text: &str) -> Option<SystemTime> {
    parse(text).filter(|time| *time == writable(*time))
}

/// The nearest time that can be written.
fn writable(time: SystemTime) -> SystemTime {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(END - 1);
    time.clamp(SystemTime::UNIX_EPOCH, last)
}

fn parse(text: &str) -> Option<SystemTime> {
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

/// A time in the format of `changes-since`.
pub fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(writable(time)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_are_documented() {
        for (text, utc) in [
            ("2014-11-24T22:05:39.115Z", "2014-11-24T22:05:39Z"),
            ("2014-01-09T15:08:53.645-06:00", "2014-01-09T21:08:53Z"),
            ("2014-01-09T15:08:53+01:30", "2014-01-09T13:38:53Z"),
        ] {
            assert_eq!(parse_timestamp(text).map(timestamp).as_deref(), Some(utc), "{text}");
        }
        for text in ["", "x", "2014", "2014-01-09T15:08:53é06:00", "Sun, 06 Nov 1994", "-06:00"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        for text in ["1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(60);
        assert_eq!(timestamp(before_1970), "1970-01-01T00:00:00Z");
    }
}
