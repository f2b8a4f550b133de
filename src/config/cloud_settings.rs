//! The settings of the `cloud` commands.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::credentials::{self, Credentials, Profile};
use super::origin::{Origin, Setting};
use super::settings;
use super::sources::Sources;
use crate::cli::options;
use crate::clock::BootInstant;
use crate::error::Result;

/// A time limit for requests that have none. ureq adds it to the present, so it cannot be that of
/// [`BootInstant::NEVER`].
pub(super) const NO_DEADLINE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The settings that every `cloud` command has.
#[derive(Clone, Debug)]
pub struct CloudSettings {
    /// When the command started.
    pub started: BootInstant,
    /// The deadline of the command.
    pub end: BootInstant,
    /// Identity's URL, with the version.
    pub identity_url: String,
    /// The credentials.
    pub credentials: Credentials,
    /// The region as in the catalog; none for all regions.
    pub region: Option<String>,
    /// The file with the only certificates that are trusted.
    pub ca_file: Option<Setting<PathBuf>>,
    /// The time limit of a connection attempt.
    pub connect_timeout: Duration,
    /// The time limit of a whole request.
    pub request_timeout: Duration,
    /// The directory of cached tokens; none without a home directory.
    pub cache_dir: Option<PathBuf>,
    /// The file descriptor from which a passcode is read.
    pub passcode_fd: Option<u32>,
}

impl CloudSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid, or the credentials cannot be read.
    pub fn resolve(sources: &Sources) -> Result<CloudSettings> {
        let started = BootInstant::now();
        let profile = sources.given(&options::PROFILE)?;
        let name = profile.as_ref().map(|profile| profile.value.as_str());
        let Profile { credentials, region, identity_url } = credentials::find(name)?;
        let given = sources.value(&options::IDENTITY_URL)?;
        let is_from_profile = match given.origin {
            Origin::Flag(_) => false,
            // The URL of a profile that was named takes precedence over the environment.
            Origin::Environment(_) | Origin::File { .. } => name.is_some(),
            Origin::Default => true,
        };
        let identity_url = identity_url.filter(|_| is_from_profile).unwrap_or(given.value);
        let region = sources.flag(&options::REGION).map(str::to_owned).or(region);
        let deadline = sources.value(&options::DEADLINE)?;
        Ok(CloudSettings {
            started,
            end: started + deadline.value,
            identity_url,
            credentials,
            region: region.map(|region| region.to_ascii_uppercase()),
            ca_file: settings::ca_file(sources)?,
            connect_timeout: sources.value(&options::CONNECT_TIMEOUT)?.value,
            request_timeout: request_timeout(sources)?,
            cache_dir: cache_dir(),
            passcode_fd: sources.given(&options::PASSCODE_FD)?.map(|fd| fd.value),
        })
    }
}

/// The request timeout. Its default is longer than for the API, because a page has up to a thousand
/// servers.
fn request_timeout(sources: &Sources) -> Result<Duration> {
    const DEFAULT: Duration = Duration::from_secs(60);
    let given = sources.given(&options::REQUEST_TIMEOUT)?;
    Ok(given.map_or(DEFAULT, |given| given.value))
}

fn cache_dir() -> Option<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(&env::var_os("HOME").filter(|dir| !dir.is_empty())?).join(".cache"),
    };
    Some(base.join("rackconnect"))
}
