//! Parsers of the values of options, of flags, variables and keys alike. An error is the end of a
//! sentence that begins with the source of the value.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "cloud")]
use ureq::http::{HeaderName, HeaderValue};

use crate::api::endpoint::Endpoint;
use crate::duration;
#[cfg(feature = "cloud")]
use crate::model::DataSource;
use crate::model::{Goal, NetworkManager, OkIf, Probe, REGION_CODES, Region};
use crate::ratelimit::MIN_INTERVAL;

/// The values of `--for`.
pub const GOALS: &[&str] = &["deployed", "gateway", "managed"];

/// The values of `--ok-if`.
pub const OUTCOMES: &[&str] = &["failed", "unprocessable", "not-rackconnect", "not-managed"];

/// The values of `--source`.
pub const SOURCES: &[&str] = &["api", "xenstore"];

/// The values of `--as`.
pub const NETWORK_MANAGERS: &[&str] = &["networkd", "netplan", "ifupdown", "sysconfig"];

/// The values of `--rackconnect`: the documented statuses, and `none` for servers without one.
#[cfg(feature = "cloud")]
pub const AUTOMATION_STATUSES: &[&str] =
    &["deploying", "deployed", "failed", "unprocessable", "none"];

/// The path of a file or a directory.
pub fn path(value: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(value))
}

/// The path of a directory.
pub fn directory(value: &str) -> Result<PathBuf, String> {
    match value {
        "" => Err("is empty; expected a directory".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

/// The name of a network interface. The kernel allows more names than this, but they are not used.
pub fn interface(value: &str) -> Result<String, String> {
    // IFNAMSIZ is 16, including the terminating zero (linux/if.h).
    match value.len() {
        1..=15 if !value.contains(['/', '\0']) && !value.contains(char::is_whitespace) => {
            Ok(value.to_owned())
        }
        _ => Err(format!("{value:?} is not an interface name")),
    }
}

/// The metric of a route.
pub fn metric(value: &str) -> Result<u32, String> {
    value
        .parse()
        .map_err(|_| format!("{value:?} is not a metric (a number from 0 to {})", u32::MAX))
}

/// A network manager, one of [`NETWORK_MANAGERS`].
pub fn network_manager(value: &str) -> Result<NetworkManager, String> {
    NetworkManager::named(value)
        .ok_or_else(|| format!("{value:?} is not supported here ({})", NETWORK_MANAGERS.join(", ")))
}

/// A host to probe.
pub fn probe(value: &str) -> Result<Probe, String> {
    Probe::parse(value)
}

/// The name of a profile.
#[cfg(feature = "cloud")]
pub fn name(value: &str) -> Result<String, String> {
    match value {
        "" => Err("is empty; expected a name".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// The URL of Identity, without a slash at its end.
#[cfg(feature = "cloud")]
pub fn identity_url(value: &str) -> Result<String, String> {
    // The same rules as for the API's endpoint.
    Endpoint::parse(value).map(|endpoint| endpoint.to_string())
}

/// An automation status, one of [`AUTOMATION_STATUSES`].
#[cfg(feature = "cloud")]
pub fn automation_status(value: &str) -> Result<&'static str, String> {
    let known = AUTOMATION_STATUSES.iter().find(|status| status.eq_ignore_ascii_case(value));
    known.copied().ok_or_else(|| {
        format!("{value:?} is not an automation status ({})", AUTOMATION_STATUSES.join(", "))
    })
}

/// A regular expression.
#[cfg(feature = "cloud")]
pub fn regex(value: &str) -> Result<regex_lite::Regex, String> {
    regex_lite::Regex::new(value)
        .map_err(|err| format!("{value:?} is not a regular expression: {err}"))
}

/// A file descriptor.
#[cfg(feature = "cloud")]
pub fn descriptor(value: &str) -> Result<u32, String> {
    value.parse().map_err(|_| format!("{value:?} is not the number of a file descriptor"))
}

/// The headers of a request that the program sets itself.
#[cfg(feature = "cloud")]
const OWN_HEADERS: &[&str] =
    &["connection", "content-length", "expect", "host", "transfer-encoding", "x-auth-token"];

/// A header of a request: `Name: value`.
#[cfg(feature = "cloud")]
pub fn header(value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("{value:?} is not a header (Name: value)");
    let (name, text) = value.split_once(':').ok_or_else(wrong)?;
    let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(format!("{name} is set by the program itself"));
    }
    Ok((name, text.trim().parse().map_err(|_| wrong())?))
}

/// The body of a request, or where it is.
#[cfg(feature = "cloud")]
pub fn data(value: &str) -> Result<DataSource, String> {
    DataSource::parse(value).ok_or_else(|| "has no FILE after the @".to_owned())
}

/// A region code.
pub fn region(value: &str) -> Result<Region, String> {
    Region::from_code(value)
        .ok_or_else(|| format!("{value:?} is not a region ({})", REGION_CODES.join(", ")))
}

/// An endpoint.
pub fn endpoint(value: &str) -> Result<Endpoint, String> {
    Endpoint::parse(value)
}

/// A duration; none if it is zero.
pub fn optional_duration(value: &str) -> Result<Option<Duration>, String> {
    let duration = duration::parse(value)?;
    Ok((!duration.is_zero()).then_some(duration))
}

/// A duration that is not zero.
pub fn positive_duration(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        Duration::ZERO => Err("must not be zero".to_owned()),
        duration => Ok(duration),
    }
}

/// The interval of a wait.
pub fn interval(value: &str) -> Result<Duration, String> {
    match duration::parse(value)? {
        short if short < MIN_INTERVAL => Err(format!(
            "{value:?} is too short; the shortest interval is {}",
            duration::human(MIN_INTERVAL)
        )),
        interval => Ok(interval),
    }
}

/// The goal of a wait.
pub fn goal(value: &str) -> Result<Goal, String> {
    match value.to_ascii_lowercase().as_str() {
        "deployed" => Ok(Goal::Deployed),
        "gateway" => Ok(Goal::Gateway),
        "managed" => Ok(Goal::Managed),
        _ => Err(format!("{value:?} is not supported ({})", GOALS.join(", "))),
    }
}

/// A list of outcomes of a wait that count as success.
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
                    "{word:?} is not an outcome of a wait ({})",
                    OUTCOMES.join(", ")
                ));
            }
        }
    }
    Ok(ok_if)
}
