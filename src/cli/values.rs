//! What a setting's value may be, wherever it was given. Every error is the end of a sentence that begins with where.

use std::path::PathBuf;
use std::time::Duration;

use crate::api::endpoint::Endpoint;
use crate::duration;
use crate::model::{Goal, OkIf};
use crate::model::{REGION_CODES, Region};

/// The shortest interval of a wait: 20 requests a minute, which leave a third of the limit to others.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(3);

/// What `--for` takes.
pub const GOALS: &[&str] = &["deployed", "gateway", "managed"];

/// What `--ok-if` takes.
pub const ENDS: &[&str] = &["failed", "unprocessable", "not-rackconnect", "not-managed"];

/// Any text will do.
pub fn anything(_: &str) -> Result<(), String> {
    Ok(())
}

/// A path or any other text, as it is.
pub fn text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

/// The path of a directory.
pub fn folder(value: &str) -> Result<PathBuf, String> {
    match value {
        "" => Err("names no directory".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

/// The name of a network interface. What the kernel allows is more than this, but nothing that is used.
pub fn interface(value: &str) -> Result<String, String> {
    // IFNAMSIZ is 16, with the zero at the end (`linux/if.h`).
    match value.len() {
        1..=15 if !value.contains(['/', '\0']) && !value.contains(char::is_whitespace) => {
            Ok(value.to_owned())
        }
        _ => Err(format!("{value:?} is not the name of an interface")),
    }
}

/// A route's metric.
pub fn metric(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("{value:?} is not a metric: a number from 0 to {}", u32::MAX))
}

/// The programs whose configuration `--as` writes.
pub const MANAGERS: &[&str] = &["networkd", "netplan", "ifupdown", "sysconfig"];

/// One of [`MANAGERS`].
pub fn manager(value: &str) -> Result<(), String> {
    match MANAGERS.contains(&value) {
        true => Ok(()),
        false => Err(format!("{value:?} is none of {}", MANAGERS.join(", "))),
    }
}

/// A region code.
pub fn region(value: &str) -> Result<Region, String> {
    Region::from_code(value).ok_or_else(|| {
        format!("{value:?} is not a region: the regions are {}", REGION_CODES.join(", "))
    })
}

/// An endpoint.
pub fn endpoint(value: &str) -> Result<Endpoint, String> {
    Endpoint::parse(value)
}

/// A duration.
pub fn duration(value: &str) -> Result<Duration, String> {
    duration::parse(value)
}

/// A duration of more than nothing.
pub fn positive(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        Duration::ZERO => Err("cannot be zero".to_owned()),
        some => Ok(some),
    }
}

/// The interval of a wait.
pub fn interval(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        short if short < SHORTEST_INTERVAL => Err(format!(
            "{value:?} is too short: the shortest interval is {}",
            duration::human(SHORTEST_INTERVAL)
        )),
        interval => Ok(interval),
    }
}

/// What a wait waits for.
pub fn goal(value: &str) -> Result<Goal, String> {
    match value.to_ascii_lowercase().as_str() {
        "deployed" => Ok(Goal::Deployed),
        "gateway" => Ok(Goal::Gateway),
        "managed" => Ok(Goal::Managed),
        _ => Err(format!("{value:?} cannot be waited for: one of {}", GOALS.join(", "))),
    }
}

/// The ends of a wait that are a success, too.
pub fn ok_if(value: &str) -> Result<OkIf, String> {
    let mut ok_if = OkIf::default();
    for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.to_ascii_lowercase().as_str() {
            "failed" => ok_if.failed = true,
            "unprocessable" => ok_if.unprocessable = true,
            "not-rackconnect" => ok_if.not_rackconnect = true,
            "not-managed" => ok_if.not_managed = true,
            _ => {
                return Err(format!(
                    "{word:?} is not an end of a wait: any of {}",
                    ENDS.join(", ")
                ));
            }
        }
    }
    Ok(ok_if)
}
