//! Durations as people write them: `90`, `90s`, `2.5s`, `15m`, `1h30m`.

use std::time::Duration;

/// The longest duration that is accepted, in seconds: a hundred years. A longer one is a typing
/// error, and adding it to a time could overflow.
const MAX_SECONDS: f64 = 100.0 * 365.0 * 86_400.0;

/// Parses a duration. A plain number means seconds; the units are `ms`, `s`, `m`, `h` and `d`, the
/// largest first.
///
/// # Errors
/// The end of a sentence: what is wrong, and what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("{text:?} is not a duration such as 90, 90s, 2.5s, 15m or 1h30m");
    let mut seconds = 0.0;
    let mut smallest = f64::INFINITY;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            // A number without a unit is seconds, but only by itself: "1h30" is ambiguous.
            "" if seconds == 0.0 && smallest.is_infinite() => 1.0,
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(invalid()),
        };
        if scale >= smallest || number.starts_with('.') || number.ends_with('.') {
            return Err(invalid());
        }
        seconds += number.parse::<f64>().map_err(|_| invalid())? * scale;
        smallest = scale;
        rest = tail;
    }
    if seconds > MAX_SECONDS {
        return Err(format!("{text:?} is longer than a hundred years"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Formats a duration for people, rounded: `4.2s`, `42s`, `3m07s`, `1h02m`.
pub fn human(duration: Duration) -> String {
    let tenths = duration.saturating_add(Duration::from_millis(50)).as_millis() / 100;
    if tenths < 100 && !tenths.is_multiple_of(10) {
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    let seconds = duration.saturating_add(Duration::from_millis(500)).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ if seconds % 3_600 < 60 => format!("{}h", seconds / 3_600),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepted_forms() {
        for (text, millis) in [
            ("90", 90_000),
            ("90s", 90_000),
            ("2.5s", 2_500),
            ("0.5", 500),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("0", 0),
            (" 7s\n", 7_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn rejected_forms() {
        for text in [
            "", " ", "s", "1x", "-1s", "+1", "1h30", "30m1h", "1m1m", "1 h", "1e3", ".5s", "5.s",
            "1..2s", "inf", "NaN",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("999999999d").is_err());
    }

    #[test]
    fn human_forms() {
        for (millis, text) in [
            (0, "0s"),
            (940, "0.9s"),
            (999, "1s"),
            (4_249, "4.2s"),
            (4_250, "4.3s"),
            (9_960, "10s"),
            (42_500, "43s"),
            (59_900, "1m"),
            (60_000, "1m"),
            (187_000, "3m07s"),
            (3_600_000, "1h"),
            (3_720_000, "1h02m"),
        ] {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_seconds_round_trip(h in 1u64..1_000, m in 0u64..60, s in 0u64..60) {
            prop_assert_eq!(parse(&format!("{h}h{m}m{s}s")), Ok(Duration::from_secs(h * 3_600 + m * 60 + s)));
        }
    }
}
