//! The settings of the `cloud` commands for servers.

use std::time::Duration;

use regex_lite::Regex;

use super::cloud_settings::{CloudSettings, NO_DEADLINE};
use super::format::unsupported;
use super::settings::{ok_if, wait_timeout};
use super::sources::Sources;
use crate::cli::options;
use crate::clock::BootInstant;
use crate::error::{Error, Result};
use crate::model::{Goal, OkIf};
use crate::ui;

/// The time between two lists. The account may send a thousand requests a minute.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// The servers that a command selects.
#[derive(Clone, Debug)]
pub enum ServerSelection {
    /// The servers with these ids or names.
    Named(Vec<String>),
    /// The servers whose name matches.
    Matching(Regex),
    /// All servers.
    All,
}

/// A request of Ansible to an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InventoryRequest {
    /// All groups and hosts.
    List,
    /// The variables of one host.
    Host(String),
}

/// How `cloud servers` prints the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServersFormat {
    /// In columns.
    Table,
    /// As a list of objects.
    Json,
    /// One name per line.
    Names,
    /// As an inventory for Ansible.
    Ansible(InventoryRequest),
}

/// The settings of `cloud servers`.
#[derive(Debug)]
pub struct ServersSettings {
    /// The account.
    pub cloud: CloudSettings,
    /// The servers to list.
    pub selection: ServerSelection,
    /// Only servers with this automation status.
    pub status: Option<&'static str>,
    /// How they are printed.
    pub format: ServersFormat,
}

impl ServersSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is not possible, or two exclude each other.
    pub fn resolve(sources: &Sources) -> Result<ServersSettings> {
        let host = sources.flag(&options::HOST).map(str::to_owned);
        let request = match (sources.has(&options::LIST), host) {
            (true, Some(_)) => {
                return Err(Error::usage("--list cannot be combined with --host"));
            }
            (_, Some(host)) => Some(InventoryRequest::Host(host)),
            (true, None) => Some(InventoryRequest::List),
            (false, None) => None,
        };
        let format = match (sources.flag(&options::FORMAT), request) {
            (None, None) | (Some("table"), None) => ServersFormat::Table,
            (Some("json"), None) => ServersFormat::Json,
            (Some("names"), None) => ServersFormat::Names,
            (Some("ansible") | None, request) => {
                ServersFormat::Ansible(request.unwrap_or(InventoryRequest::List))
            }
            (Some("table" | "json" | "names"), Some(_)) => {
                return Err(Error::usage("--list and --host belong to --format ansible"));
            }
            (Some(other), _) => return Err(unsupported(sources, other)),
        };
        Ok(ServersSettings {
            cloud: CloudSettings::resolve(sources)?,
            selection: matching(sources)?.map_or(ServerSelection::All, ServerSelection::Matching),
            status: sources.given(&options::RACKCONNECT)?.map(|given| given.value),
            format,
        })
    }
}

fn matching(sources: &Sources) -> Result<Option<Regex>> {
    Ok(sources.given(&options::NAME)?.map(|given| given.value))
}

/// The settings of `cloud status` and `cloud facts`.
#[derive(Debug)]
pub struct NamedServersSettings {
    /// The account.
    pub cloud: CloudSettings,
    /// The servers.
    pub selection: ServerSelection,
}

impl NamedServersSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid, or no server is named.
    pub fn resolve(sources: &Sources, operands: &[String]) -> Result<NamedServersSettings> {
        if operands.is_empty() {
            return Err(Error::usage("name a SERVER, by id or name"));
        }
        let selection = ServerSelection::Named(operands.to_vec());
        Ok(NamedServersSettings { cloud: CloudSettings::resolve(sources)?, selection })
    }
}

/// When a wait for several servers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When the waits for all of them have ended.
    All,
    /// When the wait for one of them has ended.
    Any,
}

/// The settings of `cloud wait`.
#[derive(Debug)]
pub struct CloudWaitSettings {
    /// The account.
    pub cloud: CloudSettings,
    /// The servers.
    pub selection: ServerSelection,
    /// What is waited for.
    pub goal: Goal,
    /// The time between two lists.
    pub interval: Duration,
    /// When to give up; none: never.
    pub end: Option<BootInstant>,
    /// Other outcomes that count as success.
    pub ok_if: OkIf,
    /// Whether the wait goes on after FAILED.
    pub through_failed: bool,
    /// Which servers have to end their wait.
    pub until: Until,
    /// Whether a person watches a live line.
    pub is_watched: bool,
}

impl CloudWaitSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is not possible, or two exclude each other.
    pub fn resolve(sources: &Sources, operands: &[String]) -> Result<CloudWaitSettings> {
        let selection = match (operands, matching(sources)?, sources.has(&options::ALL)) {
            ([], Some(regex), false) => ServerSelection::Matching(regex),
            ([], None, true) => ServerSelection::All,
            ([_, ..], None, false) => ServerSelection::Named(operands.to_vec()),
            _ => {
                return Err(Error::usage(
                    "give one of: SERVER..., --name REGEX, --all (COMMAND goes after \"--\")",
                ));
            }
        };
        let goal = sources.value(&options::FOR)?.value;
        if goal == Goal::Gateway {
            return Err(Error::usage(
                "--for gateway: Cloud Servers does not know the gateway; use rackconnect wait on \
                 the server",
            ));
        }
        let mut cloud = CloudSettings::resolve(sources)?;
        let end = wait_timeout(sources)?.value.map(|timeout| cloud.started + timeout);
        cloud.end = end.unwrap_or(cloud.started + NO_DEADLINE);
        let interval = sources.given(&options::INTERVAL)?;
        Ok(CloudWaitSettings {
            cloud,
            selection,
            goal,
            interval: interval.map_or(DEFAULT_INTERVAL, |interval| interval.value),
            end,
            ok_if: ok_if(sources)?,
            through_failed: sources.has(&options::THROUGH_FAILED),
            until: if sources.has(&options::ANY) { Until::Any } else { Until::All },
            is_watched: ui::is_watched() && log::log_enabled!(log::Level::Info),
        })
    }
}
