//! The settings of each command, as typed values with their origins.
//!
//! Nothing here waits, or uses the network or xenstore. A region that no source gives is detected
//! by the session that needs it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::{OutputFormat, PlainFormat, api_format, output_format};
use super::origin::{Origin, Setting};
use super::sources::Sources;
use crate::api::endpoint::Endpoint;
use crate::cli::{options, values};
use crate::clock::BootInstant;
use crate::error::{Error, Result};
use crate::model::{Format, Goal, OkIf, Operation, Region};
use crate::ui;

/// The default of `--deadline` for `facts`: Ansible gives its facts ten seconds.
const FACTS_DEADLINE: Duration = Duration::from_secs(5);

/// The longest time limit of `doctor`.
const DOCTOR_DEADLINE: Duration = Duration::from_secs(10);

/// The region of this server: given, or to be detected.
#[derive(Clone, Debug)]
pub struct RegionSettings {
    /// The region, if a source gives it.
    pub given: Option<Setting<Region>>,
    /// The configuration file that could name one, for messages.
    pub config_file: PathBuf,
}

impl RegionSettings {
    fn resolve(sources: &Sources) -> Result<RegionSettings> {
        Ok(RegionSettings {
            given: sources.given(&options::REGION)?,
            config_file: sources.file().to_owned(),
        })
    }
}

/// The settings of every command that asks the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// When the command started; deadlines count from here.
    pub started: BootInstant,
    /// The endpoint, if a source gives it; otherwise that of the region.
    pub endpoint: Option<Setting<Endpoint>>,
    /// The region.
    pub region: RegionSettings,
    /// The file with the only certificates that are trusted.
    pub ca_file: Option<Setting<PathBuf>>,
    /// The time limit of a connection attempt.
    pub connect_timeout: Setting<Duration>,
    /// The time limit of a whole request.
    pub request_timeout: Setting<Duration>,
    /// The state directory.
    pub state_dir: Setting<PathBuf>,
}

impl ApiSettings {
    fn resolve(sources: &Sources) -> Result<ApiSettings> {
        Ok(ApiSettings {
            started: BootInstant::now(),
            endpoint: sources.given(&options::ENDPOINT)?,
            region: RegionSettings::resolve(sources)?,
            ca_file: ca_file(sources)?,
            connect_timeout: sources.value(&options::CONNECT_TIMEOUT)?,
            request_timeout: sources.value(&options::REQUEST_TIMEOUT)?,
            state_dir: state_dir(sources)?,
        })
    }
}

/// The file with the only certificates that are trusted.
///
/// `SSL_CERT_FILE` is often set for all programs of a session, and takes precedence over the
/// configuration file like every variable. So it is said that the file has no effect.
pub(super) fn ca_file(sources: &Sources) -> Result<Option<Setting<PathBuf>>> {
    let given = sources.given(&options::CA_FILE)?;
    if let Some(Setting { value, origin: Origin::Environment("SSL_CERT_FILE") }) = &given
        && let Some(in_file) = sources.find_in_file(&options::CA_FILE)
        && value != Path::new(&in_file.value)
    {
        log::warn!(
            "SSL_CERT_FILE ({}) takes precedence over {} = {:?}; unset it, or give --ca-file",
            value.display(),
            in_file.origin,
            in_file.value
        );
    }
    Ok(given)
}

/// The state directory of a command.
pub(super) fn state_dir(sources: &Sources) -> Result<Setting<PathBuf>> {
    sources.value(&options::STATE_DIR)
}

/// The settings of a command that does not wait.
#[derive(Clone, Debug)]
pub struct OneShotSettings {
    /// The API.
    pub api: ApiSettings,
    /// The time limit of the whole command.
    pub deadline: Setting<Duration>,
}

impl OneShotSettings {
    pub(super) fn resolve(sources: &Sources) -> Result<OneShotSettings> {
        Ok(OneShotSettings {
            api: ApiSettings::resolve(sources)?,
            deadline: sources.value(&options::DEADLINE)?,
        })
    }

    /// The deadline of the whole command.
    pub fn end(&self) -> BootInstant {
        self.api.started + self.deadline.value
    }
}

/// Where `status` reads the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusSource {
    /// The API; the body is printed in this format, or as one word without it.
    Api(Option<Format>),
    /// xenstore.
    Xenstore,
}

/// The settings of `status`.
#[derive(Debug)]
pub struct StatusSettings {
    /// The API and the deadline.
    pub one_shot: OneShotSettings,
    /// Where the status is read.
    pub source: StatusSource,
    /// Whether the exit code says what the status is.
    pub check: bool,
}

impl StatusSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid, or two exclude each other.
    pub fn resolve(sources: &Sources) -> Result<StatusSettings> {
        let format = sources.flag(&options::FORMAT);
        let source = match (sources.flag(&options::SOURCE), format) {
            (None | Some("api"), None) => StatusSource::Api(None),
            (None | Some("api"), Some(name)) => {
                StatusSource::Api(Some(api_format(sources, name, Operation::Status)?))
            }
            (Some("xenstore"), None) => StatusSource::Xenstore,
            (Some("xenstore"), Some(_)) => {
                return Err(Error::usage("--format cannot be combined with --source xenstore"));
            }
            (Some(other), _) => {
                let names = values::SOURCES.join(", ");
                let message = format!("--source: {other:?} is not supported ({names})");
                return Err(Error::usage(message));
            }
        };
        Ok(StatusSettings {
            one_shot: OneShotSettings::resolve(sources)?,
            source,
            check: sources.has(&options::CHECK),
        })
    }
}

/// The settings of `details` and `features`.
#[derive(Debug)]
pub struct ListSettings {
    /// The API and the deadline.
    pub one_shot: OneShotSettings,
    /// How the list is printed.
    pub format: OutputFormat,
}

impl ListSettings {
    /// Resolves them for the command that asks for `operation`.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources, operation: Operation) -> Result<ListSettings> {
        Ok(ListSettings {
            format: output_format(sources, operation)?,
            one_shot: OneShotSettings::resolve(sources)?,
        })
    }
}

/// The settings of `facts`.
#[derive(Debug)]
pub struct FactsSettings {
    /// The API.
    pub api: ApiSettings,
    /// The deadline of the whole command.
    pub end: BootInstant,
    /// Whether the API is asked.
    pub asks_api: bool,
}

impl FactsSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources) -> Result<FactsSettings> {
        let api = ApiSettings::resolve(sources)?;
        let deadline = sources.given(&options::DEADLINE)?;
        let end = api.started + deadline.map_or(FACTS_DEADLINE, |deadline| deadline.value);
        Ok(FactsSettings { api, end, asks_api: !sources.has(&options::NO_API) })
    }
}

/// The settings of `doctor`.
#[derive(Debug)]
pub struct DoctorSettings {
    /// The API.
    pub api: ApiSettings,
    /// The deadline of the examination.
    pub end: BootInstant,
    /// By when the findings have to be printed, if a deadline was given.
    pub output_end: Option<BootInstant>,
    /// How the findings are printed.
    pub format: PlainFormat,
}

impl DoctorSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources) -> Result<DoctorSettings> {
        let api = ApiSettings::resolve(sources)?;
        let given = sources.given(&options::DEADLINE)?;
        let output_end = given.map(|deadline| api.started + deadline.value);
        let longest = api.started + DOCTOR_DEADLINE;
        let end = output_end.map_or(longest, |end| end.min(longest));
        Ok(DoctorSettings { api, end, output_end, format: super::format::plain_format(sources)? })
    }
}

/// The settings of `region`.
#[derive(Debug)]
pub struct RegionCommandSettings {
    /// The region.
    pub region: RegionSettings,
    /// How it is printed.
    pub format: PlainFormat,
}

impl RegionCommandSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources) -> Result<RegionCommandSettings> {
        Ok(RegionCommandSettings {
            format: super::format::plain_format(sources)?,
            region: RegionSettings::resolve(sources)?,
        })
    }
}

/// The settings of `wait`.
#[derive(Debug)]
pub struct WaitSettings {
    /// The API.
    pub api: ApiSettings,
    /// What is waited for.
    pub goal: Goal,
    /// The time between two requests.
    pub interval: Setting<Duration>,
    /// When to give up; none: never.
    pub end: Option<BootInstant>,
    /// Other outcomes that count as success.
    pub ok_if: OkIf,
    /// Whether the wait goes on after FAILED.
    pub through_failed: bool,
    /// Whether a person watches a live line.
    pub is_watched: bool,
}

impl WaitSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid, or two exclude each other.
    pub fn resolve(sources: &Sources) -> Result<WaitSettings> {
        let api = ApiSettings::resolve(sources)?;
        Ok(WaitSettings {
            goal: sources.value(&options::FOR)?.value,
            interval: sources.value(&options::INTERVAL)?,
            end: wait_timeout(sources)?.value.map(|timeout| api.started + timeout),
            ok_if: ok_if(sources)?,
            through_failed: sources.has(&options::THROUGH_FAILED),
            is_watched: ui::is_watched() && log::log_enabled!(log::Level::Info),
            api,
        })
    }
}

/// How long a wait may take; none for no limit.
pub(super) fn wait_timeout(sources: &Sources) -> Result<Setting<Option<Duration>>> {
    sources.value(&options::TIMEOUT)
}

/// The outcomes of a wait that count as success.
pub(super) fn ok_if(sources: &Sources) -> Result<OkIf> {
    let Some(given) = sources.given(&options::OK_IF)? else {
        return Ok(OkIf::default());
    };
    if given.value.failed && sources.has(&options::THROUGH_FAILED) {
        return Err(Error::usage(format!(
            "--through-failed continues after FAILED, but {} makes FAILED a success; use one of them",
            given.origin
        )));
    }
    Ok(given.value)
}

/// The settings of `hooks`.
#[derive(Debug)]
pub struct HooksSettings {
    /// The region for the environment of the hooks.
    pub region: RegionSettings,
    /// The state directory.
    pub state_dir: Setting<PathBuf>,
    /// The time limit of each hook; none for no limit.
    pub limit: Setting<Option<Duration>>,
    /// The directory that records which hooks are done.
    pub stamp_dir: Setting<PathBuf>,
    /// Whether to run also hooks that have succeeded before.
    pub again: bool,
    /// Whether to print only the plan.
    pub dry_run: bool,
}

impl HooksSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources) -> Result<HooksSettings> {
        Ok(HooksSettings {
            region: RegionSettings::resolve(sources)?,
            state_dir: state_dir(sources)?,
            limit: sources.value(&options::HOOK_LIMIT)?,
            stamp_dir: sources.value(&options::STAMP_DIR)?,
            again: sources.has(&options::AGAIN),
            dry_run: sources.has(&options::DRY_RUN),
        })
    }
}
