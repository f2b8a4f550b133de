//! The options that only the `cloud` commands have.

use super::common::CLOUD_COMMANDS;
use super::spec::CommandSet::Only;
use super::spec::{OptionSpec, option};
use crate::cli::commands::CloudCommand::{Servers, Wait};
use crate::cli::values;

/// `--profile`
pub const PROFILE: OptionSpec = OptionSpec {
    env: &["RACKCONNECT_PROFILE"],
    default: "the environment's credentials, else the profile default",
    commands: Only(&[]),
    cloud_commands: CLOUD_COMMANDS,
    check: |value| values::name(value).map(drop),
    ..option(
        "profile",
        Some("NAME"),
        "The profile of credentials.toml to use",
        "A table of ~/.config/rackconnect/credentials.toml with username and api_key or password \
         (or tenant_id and token), and perhaps tenant_id, region and identity_url.",
    )
};

/// `--identity-url`
pub const IDENTITY_URL: OptionSpec = OptionSpec {
    env: &["RAX_IDENTITY_URL", "OS_AUTH_URL"],
    default: "https://identity.api.rackspacecloud.com/v2.0",
    commands: Only(&[]),
    cloud_commands: CLOUD_COMMANDS,
    check: |value| values::identity_url(value).map(drop),
    ..option(
        "identity-url",
        Some("URL"),
        "The URL of Rackspace Cloud Identity, version 2.0",
        "Plain http is accepted for loopback addresses only.",
    )
};

/// `--passcode-fd`
pub const PASSCODE_FD: OptionSpec = OptionSpec {
    commands: Only(&[]),
    cloud_commands: CLOUD_COMMANDS,
    check: |value| values::descriptor(value).map(drop),
    ..option(
        "passcode-fd",
        Some("N"),
        "Read the passcode of multi-factor authentication from this file descriptor",
        "Without it the terminal is asked.",
    )
};

/// `--name`
pub const NAME: OptionSpec = OptionSpec {
    commands: Only(&[]),
    cloud_commands: &[Servers, Wait],
    check: |value| values::regex(value).map(drop),
    ..option(
        "name",
        Some("REGEX"),
        "Only servers whose name matches this regular expression",
        "It matches anywhere in the name; ^ and $ are its begin and its end.",
    )
};

/// `--rackconnect`
pub const RACKCONNECT: OptionSpec = OptionSpec {
    commands: Only(&[]),
    cloud_commands: &[Servers],
    possible_values: &["deploying", "deployed", "failed", "unprocessable", "none"],
    ..option(
        "rackconnect",
        Some("STATUS"),
        "Only servers with this automation status",
        "none: those without one.",
    )
};

/// `--host`
pub const HOST: OptionSpec = OptionSpec {
    commands: Only(&[]),
    cloud_commands: &[Servers],
    ..option("host", Some("NAME"), "Print the variables of this host of the inventory", "")
};

/// `--all`
pub const ALL: OptionSpec = OptionSpec {
    commands: Only(&[]),
    cloud_commands: &[Wait],
    ..option("all", None, "Wait for all servers that there are at the start", "")
};

/// `--any`
pub const ANY: OptionSpec = OptionSpec {
    commands: Only(&[]),
    cloud_commands: &[Wait],
    ..option("any", None, "End with the first server that ends", "")
};
