//! How options that many commands take differ between these commands.

use super::spec::VariantCommands::{OfCloud, OnServer, These};
use super::spec::{Variant, Variant as V};
use crate::cli::commands::CloudCommand as Cloud;
use crate::cli::commands::Command::{
    self, Details, Doctor, Facts, Features, GatewayCheck, GatewaySet, GatewayShow, Region, Status,
    Wait,
};

pub(super) const FORMAT: &[Variant] = &[
    V {
        commands: These(&[Status, GatewayShow]),
        long_help: "text, json or xml: the API is asked for this format, and the body is printed \
                    byte for byte (on a terminal with control characters escaped).",
        possible_values: Some(&["text", "json", "xml"]),
        ..V::DEFAULT
    },
    V {
        commands: These(&[Details, Features]),
        long_help: "json or xml: the API is asked for this format, and the body is printed byte for \
                    byte (on a terminal with control characters escaped). table: a table, as on a \
                    terminal.",
        default: Some("table on a terminal, else json"),
        possible_values: Some(&["json", "xml", "table"]),
        ..V::DEFAULT
    },
    V {
        commands: These(&[GatewayCheck, Doctor, Region]),
        long_help: "text, or json for one object.",
        default: Some("text"),
        possible_values: Some(&["text", "json"]),
        ..V::DEFAULT
    },
    V {
        commands: These(&[Command::Cloud(Cloud::Catalog)]),
        long_help: "table or json.",
        default: Some("table"),
        possible_values: Some(&["table", "json"]),
        ..V::DEFAULT
    },
    V {
        commands: These(&[Command::Cloud(Cloud::Servers)]),
        long_help: "table, json, names or ansible (a dynamic inventory).",
        default: Some("table"),
        possible_values: Some(&["table", "json", "names", "ansible"]),
        ..V::DEFAULT
    },
];

pub(super) const FOR: &[Variant] = &[V {
    commands: These(&[Command::Cloud(Cloud::Wait)]),
    help: Some("What to wait for: deployed or managed"),
    long_help: "deployed: the status DEPLOYED. managed: the status DEPLOYED, and after it the \
                automation of Managed Operations is complete; exit code 4 if that fails, 5 if the \
                account has no Managed Operations.",
    possible_values: Some(&["deployed", "managed"]),
    ..V::DEFAULT
}];

pub(super) const INTERVAL: &[Variant] = &[
    V { commands: These(&[GatewaySet, Wait]), long_help: INTERVAL_HELP, ..V::DEFAULT },
    V {
        commands: These(&[Command::Cloud(Cloud::Wait)]),
        long_help: INTERVAL_HELP,
        default: Some("10s"),
        ..V::DEFAULT
    },
];

const INTERVAL_HELP: &str = "At least 3s. A random part of up to a tenth is added, so that servers \
                             that boot together do not send their requests together.";

pub(super) const LIST: &[Variant] = &[
    V {
        commands: These(&[Doctor]),
        help: Some("Print a list of the checks"),
        long_help: "Nothing is examined.",
        ..V::DEFAULT
    },
    V {
        commands: These(&[Command::Cloud(Cloud::Servers)]),
        help: Some("Print the inventory for Ansible"),
        long_help: "The same as --format ansible.",
        ..V::DEFAULT
    },
];

const REGION_CODES: &str = "One of dfw, hkg, iad, lon, ord and syd.";

pub(super) const REGION: &[Variant] = &[
    V { commands: OnServer, long_help: REGION_CODES, ..V::DEFAULT },
    V {
        commands: These(&[Command::Cloud(Cloud::Api)]),
        help: Some("The region of the service"),
        long_help: REGION_CODES,
        default: Some("the region of the profile; not needed if the service has only one"),
        env: Some(&["RAX_REGION"]),
        ..V::DEFAULT
    },
    V {
        commands: OfCloud,
        help: Some("Use only the servers of this region"),
        long_help: REGION_CODES,
        default: Some("the region of the profile, else all regions"),
        env: Some(&["RAX_REGION"]),
        ..V::DEFAULT
    },
];

pub(super) const REQUEST_TIMEOUT: &[Variant] = &[
    V { commands: OnServer, long_help: "More than 2m counts as 2m.", ..V::DEFAULT },
    V {
        commands: OfCloud,
        long_help: "More than 2m counts as 2m.",
        default: Some("60s"),
        ..V::DEFAULT
    },
];

const DEADLINE_HELP: &str = "It includes waiting for the rate limit.";

pub(super) const DEADLINE: &[Variant] = &[
    V { commands: These(&[Facts]), long_help: DEADLINE_HELP, default: Some("5s"), ..V::DEFAULT },
    V {
        commands: These(&[Doctor]),
        long_help: "More than 10s counts as 10s.",
        default: Some("10s"),
        ..V::DEFAULT
    },
    V {
        commands: These(&[Command::Cloud(Cloud::Api)]),
        long_help: DEADLINE_HELP,
        default: Some("70s; none with --upload or --output"),
        ..V::DEFAULT
    },
    V { commands: OnServer, long_help: DEADLINE_HELP, ..V::DEFAULT },
    V { commands: OfCloud, long_help: DEADLINE_HELP, ..V::DEFAULT },
];
