//! The options that only the `cloud` commands have.

use std::path::PathBuf;

use regex_lite::Regex;
use ureq::http::{HeaderName, HeaderValue};

use super::common::CLOUD_COMMANDS;
use super::spec::CommandSet::Only;
use super::spec::{OptionSpec, ValueOption, option};
use crate::cli::commands::CloudCommand;
use crate::cli::commands::CloudCommand::{Api, Servers, Wait};
use crate::cli::values;
use crate::model::DataSource;

/// An option that only these commands of `cloud` take.
const fn cloud_option(
    commands: &'static [CloudCommand],
    long: &'static str,
    value_name: Option<&'static str>,
    help: &'static str,
    long_help: &'static str,
) -> OptionSpec {
    OptionSpec {
        commands: Only(&[]),
        cloud_commands: commands,
        ..option(long, value_name, help, long_help)
    }
}

/// `--profile`
pub const PROFILE: ValueOption<String> = OptionSpec {
    env: &["RACKCONNECT_PROFILE"],
    default: "the environment's credentials, else the profile default",
    ..cloud_option(
        CLOUD_COMMANDS,
        "profile",
        Some("NAME"),
        "The profile of credentials.toml to use",
        "A table of ~/.config/rackconnect/credentials.toml with username and api_key or password \
         (or tenant_id and token), and optionally tenant_id, region and identity_url.",
    )
}
.parsed_by(values::name);

/// `--identity-url`
pub const IDENTITY_URL: ValueOption<String> = OptionSpec {
    env: &["RAX_IDENTITY_URL"],
    default: "https://identity.api.rackspacecloud.com/v2.0",
    ..cloud_option(
        CLOUD_COMMANDS,
        "identity-url",
        Some("URL"),
        "The URL of Rackspace Cloud Identity, version 2.0",
        "Plain http is accepted only for loopback addresses.",
    )
}
.parsed_by(values::identity_url);

/// `--passcode-fd`
pub const PASSCODE_FD: ValueOption<u32> = cloud_option(
    CLOUD_COMMANDS,
    "passcode-fd",
    Some("N"),
    "Read the passcode of multi-factor authentication from this file descriptor",
    "Without it the passcode is read from the terminal.",
)
.parsed_by(values::descriptor);

/// `--name`
pub const NAME: ValueOption<Regex> = cloud_option(
    &[Servers, Wait],
    "name",
    Some("REGEX"),
    "Only servers whose name matches this regular expression",
    "It matches anywhere in the name; ^ and $ match its beginning and end.",
)
.parsed_by(values::regex);

/// `--rackconnect`
pub const RACKCONNECT: ValueOption<&str> = OptionSpec {
    possible_values: values::AUTOMATION_STATUSES,
    ..cloud_option(
        &[Servers],
        "rackconnect",
        Some("STATUS"),
        "Only servers with this automation status",
        "deploying, deployed, failed, unprocessable, or none for servers without a status.",
    )
}
.parsed_by(values::automation_status);

/// `--host`
pub const HOST: OptionSpec = cloud_option(
    &[Servers],
    "host",
    Some("NAME"),
    "Print the variables of this host of the inventory",
    "",
);

/// `--all`
pub const ALL: OptionSpec =
    cloud_option(&[Wait], "all", None, "Wait for all servers that exist at the start", "");

/// `--any`
pub const ANY: OptionSpec =
    cloud_option(&[Wait], "any", None, "End with the first server that ends", "");

/// `--data`
pub const DATA: ValueOption<DataSource> = cloud_option(
    &[Api],
    "data",
    Some("STRING"),
    "Send this body; @FILE: from a file; @-: from standard input",
    "The type is application/json unless --header sets another. Other users can read the \
     command line: pass secrets with @FILE or @-.",
)
.parsed_by(values::data);

/// `--upload`
pub const UPLOAD: ValueOption<PathBuf> = cloud_option(
    &[Api],
    "upload",
    Some("FILE"),
    "Send this file, of any size, as the body",
    "The type is application/octet-stream unless --header sets another. --request-timeout is \
     then the time limit without progress, and there is no --deadline by default.",
)
.parsed_by(values::path);

/// `--header`
pub const HEADER: ValueOption<(HeaderName, HeaderValue)> = cloud_option(
    &[Api],
    "header",
    Some("NAME:VALUE"),
    "Send this header too; can be given several times",
    "It replaces a default header of that name (Accept, Content-Type).",
)
.parsed_by(values::header);

/// `--paginate`
pub const PAGINATE: OptionSpec = cloud_option(
    &[Api],
    "paginate",
    None,
    "Get all pages of a list, and print one after the other",
    "It follows the links to the next page (next, servers_links and the like); for Cloud Files \
     it uses the last name as the marker.",
);

/// `--include`
pub const INCLUDE: OptionSpec = cloud_option(
    &[Api],
    "include",
    None,
    "Print the HTTP status and the headers before the body",
    "",
);

/// `--output`
pub const OUTPUT: OptionSpec = cloud_option(
    &[Api],
    "output",
    Some("FILE"),
    "Write the body to this file while it arrives; -: to standard output",
    "The file is replaced only after the whole body has arrived, and stays unchanged if that \
     fails or the request is refused. --request-timeout is then the time limit without \
     progress, and there is no --deadline by default.",
);
