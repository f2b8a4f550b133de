//! The settings of the `gateway` commands.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use super::format::{PlainFormat, api_format, plain_format};
use super::origin::Setting;
use super::settings::{OneShotSettings, state_dir, wait_timeout};
use super::sources::Sources;
use crate::cli::options;
use crate::clock::BootInstant;
use crate::error::{Error, Result};
use crate::model::{Format, NetworkManager, Operation, Probe};

/// The default of `--confirm` on a terminal.
const DEFAULT_CONFIRM: Duration = Duration::from_secs(60);

/// How `gateway show` prints the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowFormat {
    /// As a line.
    Address,
    /// As the API's body in this format.
    Body(Format),
    /// As configuration for a network manager.
    Export(NetworkManager),
}

/// The settings of `gateway show`.
#[derive(Debug)]
pub struct ShowSettings {
    /// The API and the deadline.
    pub one_shot: OneShotSettings,
    /// How the address is printed.
    pub format: ShowFormat,
    /// The interface of the gateway.
    pub interface: Option<Setting<String>>,
}

impl ShowSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid, or two exclude each other.
    pub fn resolve(sources: &Sources) -> Result<ShowSettings> {
        let manager = sources.given(&options::AS)?;
        let format = match (sources.flag(&options::FORMAT), manager) {
            (None, None) => ShowFormat::Address,
            (Some(name), None) => ShowFormat::Body(api_format(sources, name, Operation::Gateway)?),
            (None, Some(manager)) => ShowFormat::Export(manager.value),
            (Some(_), Some(_)) => {
                return Err(Error::usage("--as cannot be combined with --format"));
            }
        };
        let is_export = matches!(format, ShowFormat::Export(_));
        if !is_export && sources.flag(&options::INTERFACE).is_some() {
            return Err(Error::usage(
                "--interface has no effect on the address; give it with --as, or to gateway check \
                 or gateway set",
            ));
        }
        let one_shot = OneShotSettings::resolve(sources)?;
        Ok(ShowSettings { one_shot, format, interface: interface(sources)? })
    }
}

/// The settings of `gateway check`.
#[derive(Debug)]
pub struct CheckSettings {
    /// The API and the deadline.
    pub one_shot: OneShotSettings,
    /// The interface of the gateway.
    pub interface: Option<Setting<String>>,
    /// How the comparison is printed.
    pub format: PlainFormat,
}

impl CheckSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources) -> Result<CheckSettings> {
        let format = plain_format(sources)?;
        let one_shot = OneShotSettings::resolve(sources)?;
        Ok(CheckSettings { one_shot, interface: interface(sources)?, format })
    }
}

/// The settings of `gateway set --wait`.
#[derive(Clone, Copy, Debug)]
pub struct SetWait {
    /// The time between two requests.
    pub interval: Duration,
    /// When to give up; none: never.
    pub end: Option<BootInstant>,
}

/// The settings of `gateway set`.
#[derive(Debug)]
pub struct SetSettings {
    /// The API and the deadline.
    pub one_shot: OneShotSettings,
    /// The interface of the gateway.
    pub interface: Option<Setting<String>>,
    /// The metric at which the replaced default route is kept.
    pub keep_old_metric: Option<Setting<u32>>,
    /// The hosts that must stay reachable.
    pub probes: Vec<Probe>,
    /// How long a change waits for its confirmation; none if it needs none.
    pub confirm: Option<Duration>,
    /// Whether to ignore the status and the features.
    pub force: bool,
    /// Whether to print only the plan.
    pub dry_run: bool,
    /// Whether, and how, to wait for a gateway.
    pub wait: Option<SetWait>,
}

impl SetSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources) -> Result<SetSettings> {
        let one_shot = OneShotSettings::resolve(sources)?;
        let wait = if sources.has(&options::WAIT) {
            Some(SetWait {
                interval: sources.value(&options::INTERVAL)?.value,
                end: wait_timeout(sources)?.value.map(|timeout| one_shot.api.started + timeout),
            })
        } else {
            None
        };
        Ok(SetSettings {
            one_shot,
            interface: interface(sources)?,
            keep_old_metric: sources.given(&options::KEEP_OLD_METRIC)?,
            probes: sources.all(&options::PROBE)?,
            confirm: confirm(sources)?,
            force: sources.has(&options::FORCE),
            dry_run: sources.has(&options::DRY_RUN),
            wait,
        })
    }
}

/// The settings of `gateway keep`.
#[derive(Debug)]
pub struct KeepSettings {
    /// The API, and the time limit of each request.
    pub one_shot: OneShotSettings,
    /// The interface of the gateway.
    pub interface: Option<Setting<String>>,
}

impl KeepSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn resolve(sources: &Sources) -> Result<KeepSettings> {
        let one_shot = OneShotSettings::resolve(sources)?;
        Ok(KeepSettings { one_shot, interface: interface(sources)? })
    }
}

/// The settings of `gateway confirm` and `gateway rollback`: the state directory.
///
/// # Errors
/// The flag's value is not possible.
pub fn rescue_state_dir(sources: &Sources) -> Result<Setting<PathBuf>> {
    state_dir(sources)
}

fn interface(sources: &Sources) -> Result<Option<Setting<String>>> {
    sources.given(&options::INTERFACE)
}

fn confirm(sources: &Sources) -> Result<Option<Duration>> {
    Ok(match sources.given(&options::CONFIRM)? {
        Some(given) => given.value,
        None => io::stdin().is_terminal().then_some(DEFAULT_CONFIRM),
    })
}
