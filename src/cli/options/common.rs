//! The options that many commands take.

use std::path::PathBuf;
use std::time::Duration;

use super::spec::CommandSet::{self, Except};
use super::spec::{KeyType, OptionSpec, ValueOption, option};
use super::variants;
use crate::api::endpoint::Endpoint;
use crate::cli::commands::CloudCommand;
use crate::cli::commands::Command::{
    Completions, GatewayConfirm, GatewayRollback, Hooks, Man, Region, Wait,
};
use crate::cli::values;
use crate::model;

/// The commands that send requests to the API.
const API_COMMANDS: CommandSet =
    Except(&[GatewayConfirm, GatewayRollback, Hooks, Region, Completions, Man]);

/// The commands that send requests and have a deadline instead of a timeout.
const ONE_SHOT_COMMANDS: CommandSet =
    Except(&[GatewayConfirm, GatewayRollback, Wait, Hooks, Region, Completions, Man]);

/// The commands that need a region.
const REGION_COMMANDS: CommandSet = Except(&[GatewayConfirm, GatewayRollback, Completions, Man]);

/// The commands that use the state directory.
const STATE_COMMANDS: CommandSet = Except(&[Region, Completions, Man]);

/// The commands that read the configuration file.
const CONFIGURED_COMMANDS: CommandSet = Except(&[Completions, Man]);

/// All commands of `cloud`.
pub(super) const CLOUD_COMMANDS: &[CloudCommand] = &[
    CloudCommand::Login,
    CloudCommand::Logout,
    CloudCommand::Token,
    CloudCommand::Catalog,
    CloudCommand::Servers,
    CloudCommand::Status,
    CloudCommand::Wait,
    CloudCommand::Facts,
    CloudCommand::Api,
];

/// The commands of `cloud` that do not wait.
const CLOUD_ONE_SHOT_COMMANDS: &[CloudCommand] = &[
    CloudCommand::Login,
    CloudCommand::Logout,
    CloudCommand::Token,
    CloudCommand::Catalog,
    CloudCommand::Servers,
    CloudCommand::Status,
    CloudCommand::Facts,
    CloudCommand::Api,
];

/// The commands of `cloud` that send requests to a region.
const CLOUD_REGION_COMMANDS: &[CloudCommand] = &[
    CloudCommand::Servers,
    CloudCommand::Status,
    CloudCommand::Wait,
    CloudCommand::Facts,
    CloudCommand::Api,
];

/// `--region`
pub const REGION: ValueOption<model::Region> = OptionSpec {
    env: &["RACKCONNECT_REGION"],
    key: Some(("region", KeyType::Text)),
    default: "detected: xenstore, then cloud-init's instance data",
    commands: REGION_COMMANDS,
    cloud_commands: CLOUD_REGION_COMMANDS,
    possible_values: &model::REGION_CODES,
    variants: variants::REGION,
    ..option(
        "region",
        Some("CODE"),
        "The region of this server",
        "One of dfw, hkg, iad, lon, ord and syd. The cloud commands only use servers of this region; \
         their default is RAX_REGION or the region of the profile, else all regions; for cloud api \
         the region of the service.",
    )
}
.parsed_by(values::region);

/// `--endpoint`
pub const ENDPOINT: ValueOption<Endpoint> = OptionSpec {
    env: &["RACKCONNECT_ENDPOINT"],
    key: Some(("endpoint", KeyType::Text)),
    default: "from the region",
    commands: API_COMMANDS,
    ..option(
        "endpoint",
        Some("URL"),
        "The URL of the API",
        "https://HOST[:PORT]. Plain http is accepted only for loopback addresses. User information, \
         a query or a fragment is a usage error.",
    )
}
.parsed_by(values::endpoint);

/// `--ca-file`
pub const CA_FILE: ValueOption<PathBuf> = OptionSpec {
    env: &["RACKCONNECT_CA_FILE", "SSL_CERT_FILE"],
    key: Some(("ca_file", KeyType::Text)),
    default: "the built-in roots; if they do not know the issuer, the system's bundle too",
    commands: API_COMMANDS,
    cloud_commands: CLOUD_COMMANDS,
    ..option(
        "ca-file",
        Some("FILE"),
        "Trust only the certificates in this file",
        "A bundle of PEM certificates.",
    )
}
.parsed_by(values::path);

/// `--connect-timeout`
pub const CONNECT_TIMEOUT: ValueOption<Duration> = OptionSpec {
    env: &["RACKCONNECT_CONNECT_TIMEOUT"],
    key: Some(("connect_timeout", KeyType::Duration)),
    default: "3s",
    commands: API_COMMANDS,
    cloud_commands: CLOUD_COMMANDS,
    ..option("connect-timeout", Some("DURATION"), "The time limit of a connection attempt", "")
}
.parsed_by(values::positive_duration);

/// `--request-timeout`
pub const REQUEST_TIMEOUT: ValueOption<Duration> = OptionSpec {
    env: &["RACKCONNECT_REQUEST_TIMEOUT"],
    key: Some(("request_timeout", KeyType::Duration)),
    default: "10s",
    commands: API_COMMANDS,
    cloud_commands: CLOUD_COMMANDS,
    variants: variants::REQUEST_TIMEOUT,
    ..option(
        "request-timeout",
        Some("DURATION"),
        "The time limit of a whole request, name lookup included",
        "More than 2m counts as 2m. The default of the cloud commands is 60s.",
    )
}
.parsed_by(values::positive_duration);

/// `--deadline`
pub const DEADLINE: ValueOption<Duration> = OptionSpec {
    env: &["RACKCONNECT_DEADLINE"],
    key: Some(("deadline", KeyType::Duration)),
    default: "70s",
    commands: ONE_SHOT_COMMANDS,
    cloud_commands: CLOUD_ONE_SHOT_COMMANDS,
    variants: variants::DEADLINE,
    ..option(
        "deadline",
        Some("DURATION"),
        "The time limit of the whole command",
        "It includes waiting for the rate limit. The default of facts is 5s; doctor never takes more \
         than 10s.",
    )
}
.parsed_by(values::positive_duration);

/// `--state-dir`
pub const STATE_DIR: ValueOption<PathBuf> = OptionSpec {
    env: &["RACKCONNECT_STATE_DIR"],
    key: Some(("state_dir", KeyType::Text)),
    default: "/run/rackconnect-agent",
    commands: STATE_COMMANDS,
    ..option(
        "state-dir",
        Some("DIR"),
        "The directory of the shared rate limit and the gateway's undo journal",
        "Root creates it. Without it each process is limited to 6 requests a minute.",
    )
}
.parsed_by(values::directory);

/// `--config`
pub const CONFIG: OptionSpec = OptionSpec {
    env: &["RACKCONNECT_CONFIG"],
    default: "/etc/rackconnect-agent/config.toml",
    commands: CONFIGURED_COMMANDS,
    cloud_commands: CLOUD_COMMANDS,
    ..option(
        "config",
        Some("FILE"),
        "The configuration file",
        "TOML. Flags take precedence over the environment, and the environment over this file. The \
         default file need not exist.",
    )
};

/// `--quiet`
pub const QUIET: OptionSpec =
    OptionSpec { short: Some('q'), ..option("quiet", None, "Print only errors", "") };

/// `--verbose`
pub const VERBOSE: OptionSpec = OptionSpec {
    short: Some('v'),
    ..option(
        "verbose",
        None,
        "Print more; twice: print everything",
        "Without -q and -v, RACKCONNECT_LOG takes env_logger's filters.",
    )
};

/// `--help`
pub const HELP: OptionSpec = OptionSpec {
    short: Some('h'),
    ..option("help", None, "Print help: -h in short, --help in full", "")
};

/// `--version`
pub const VERSION: OptionSpec =
    OptionSpec { short: Some('V'), ..option("version", None, "Print the version", "") };
