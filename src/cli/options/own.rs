//! The options of one command or a few.

use std::path::PathBuf;
use std::time::Duration;

use super::spec::CommandSet::Only;
use super::spec::{KeyType, OptionSpec, ValueOption, Visibility, option};
use super::variants;
use crate::cli::commands::CloudCommand;
use crate::cli::commands::Command::{
    Details, Doctor, Facts, Features, GatewayCheck, GatewayKeep, GatewaySet, GatewayShow, Hooks,
    Region, Status, Wait,
};
use crate::cli::values;
use crate::model::{Goal, NetworkManager, OkIf, Probe};

/// `--check`
pub const CHECK: OptionSpec = OptionSpec {
    commands: Only(&[Status]),
    ..option(
        "check",
        None,
        "Report the status in the exit code",
        "0: DEPLOYED; 3: DEPLOYING or an unknown word; 4: FAILED; 5: UNPROCESSABLE.",
    )
};

/// `--format`
pub const FORMAT: OptionSpec = OptionSpec {
    commands: Only(&[Status, Details, Features, GatewayShow, GatewayCheck, Doctor, Region]),
    cloud_commands: &[CloudCommand::Catalog, CloudCommand::Servers],
    variants: variants::FORMAT,
    ..option(
        "format",
        Some("FORMAT"),
        "The format of the output",
        "status and gateway show: text, json or xml; details and features: json, xml or table. \
         Except for table, the API is asked for this format and the body is printed byte for byte \
         (on a terminal with control characters escaped). region, doctor and gateway check: text, \
         or json for the agent's own object. cloud catalog: table or json; cloud servers: table, \
         json, names or ansible.",
    )
};

/// `--source`
pub const SOURCE: OptionSpec = OptionSpec {
    commands: Only(&[Status]),
    possible_values: values::SOURCES,
    default: "api",
    ..option(
        "source",
        Some("SOURCE"),
        "Read the status from the API or from xenstore",
        "xenstore needs no request, but root and a Xen guest, and cannot be combined with --format. \
         Its status may be left over from before a rebuild. Exit codes with xenstore: 1 if xenstore \
         cannot be read, 3 if it has no status yet, 5 if it says that this is not a RackConnect v2 \
         server, 8 if its value is not a status.",
    )
};

/// `--no-api`
pub const NO_API: OptionSpec = OptionSpec {
    commands: Only(&[Facts]),
    ..option(
        "no-api",
        None,
        "Send no request to the API",
        "Facts that only the API knows are null.",
    )
};

/// `--for`
pub const FOR: ValueOption<Goal> = OptionSpec {
    commands: Only(&[Wait]),
    cloud_commands: &[CloudCommand::Wait],
    possible_values: values::GOALS,
    default: "deployed",
    variants: variants::FOR,
    ..option(
        "for",
        Some("GOAL"),
        "What to wait for: deployed, gateway or managed",
        "deployed: the status DEPLOYED. gateway: a gateway is assigned, and its address is printed; \
         FAILED and UNPROCESSABLE end the wait as usual (every fifth request asks for the status). \
         managed: the status DEPLOYED, and after it the automation of Managed Operations is \
         complete; exit code 4 if that fails, 5 if the account has no Managed Operations.",
    )
}
.parsed_by(values::goal);

/// `--timeout`
pub const TIMEOUT: ValueOption<Option<Duration>> = OptionSpec {
    env: &["RACKCONNECT_WAIT_TIMEOUT"],
    key: Some(("wait_timeout", KeyType::Duration)),
    default: "60m",
    commands: Only(&[GatewaySet, Wait]),
    cloud_commands: &[CloudCommand::Wait],
    ..option(
        "timeout",
        Some("DURATION"),
        "Give up after this long, with exit code 124",
        "0 means no deadline.",
    )
}
.parsed_by(values::optional_duration);

/// `--interval`
pub const INTERVAL: ValueOption<Duration> = OptionSpec {
    env: &["RACKCONNECT_WAIT_INTERVAL"],
    key: Some(("wait_interval", KeyType::Duration)),
    default: "5s",
    commands: Only(&[GatewaySet, Wait]),
    cloud_commands: &[CloudCommand::Wait],
    variants: variants::INTERVAL,
    ..option(
        "interval",
        Some("DURATION"),
        "The time between two requests",
        "At least 3s; the default of cloud wait is 10s. A random part of up to a tenth is added, so \
         that servers that boot together do not send their requests together.",
    )
}
.parsed_by(values::interval);

/// `--ok-if`
pub const OK_IF: ValueOption<OkIf> = OptionSpec {
    env: &["RACKCONNECT_WAIT_OK_IF"],
    key: Some(("wait_ok_if", KeyType::List)),
    commands: Only(&[Wait]),
    cloud_commands: &[CloudCommand::Wait],
    possible_values: values::OUTCOMES,
    ..option(
        "ok-if",
        Some("LIST"),
        "Other outcomes that count as success",
        "Any of failed, unprocessable, not-rackconnect and not-managed, separated by commas. After \
         such an outcome the exit code is 0 and COMMAND runs.",
    )
}
.parsed_by(values::ok_if);

/// `--through-failed`
pub const THROUGH_FAILED: OptionSpec = OptionSpec {
    commands: Only(&[Wait]),
    cloud_commands: &[CloudCommand::Wait],
    ..option(
        "through-failed",
        None,
        "Go on waiting after FAILED",
        "Rackspace staff may repair a failed automation by hand, after which it is DEPLOYED. Cannot \
         be combined with --ok-if failed.",
    )
};

/// `--only`
pub const ONLY: OptionSpec = OptionSpec {
    commands: Only(&[Doctor]),
    ..option(
        "only",
        Some("ID"),
        "Run only these checks",
        "An id, or its beginning up to a dot, such as automation.sshd. Can be given several times, \
         or as a list with commas.",
    )
};

/// `--list`
pub const LIST: OptionSpec = OptionSpec {
    commands: Only(&[Doctor]),
    cloud_commands: &[CloudCommand::Servers],
    variants: variants::LIST,
    ..option(
        "list",
        None,
        "Print a list: of the checks, or the inventory",
        "doctor lists its checks and examines nothing; cloud servers prints the inventory for \
         Ansible.",
    )
};

/// `--explain`
pub const EXPLAIN: OptionSpec = OptionSpec {
    commands: Only(&[Doctor]),
    ..option(
        "explain",
        Some("ID"),
        "Print what a check means and how to repair what it finds",
        "The text is the same as in doctor.md.",
    )
};

/// `--report`
pub const REPORT: OptionSpec = OptionSpec {
    commands: Only(&[Doctor]),
    ..option(
        "report",
        Some("FILE"),
        "Also write a report to a file, for a support ticket",
        "It has every finding with its evidence, and the files that were examined. Passwords, keys \
         and tokens are removed, addresses are not. Only its owner can read the file, and an \
         existing file is never overwritten.",
    )
};

/// `--root`
pub const ROOT: OptionSpec = OptionSpec {
    commands: Only(&[Doctor]),
    visibility: Visibility::Hidden,
    ..option("root", Some("DIR"), "Read the files of the server below this directory", "")
};

/// `--again`
pub const AGAIN: OptionSpec = OptionSpec {
    commands: Only(&[Hooks]),
    ..option("again", None, "Also run hooks that have succeeded before", "")
};

/// `--limit`
pub const HOOK_LIMIT: ValueOption<Option<Duration>> = OptionSpec {
    env: &["RACKCONNECT_HOOK_LIMIT"],
    key: Some(("hook_limit", KeyType::Duration)),
    default: "30m",
    commands: Only(&[Hooks]),
    ..option(
        "limit",
        Some("DURATION"),
        "The time limit of each hook",
        "At the limit the hook and the processes that it has started receive SIGTERM, and SIGKILL \
         ten seconds later, and the hook has failed. 0 means no limit.",
    )
}
.parsed_by(values::optional_duration);

/// `--stamp-dir`
pub const STAMP_DIR: ValueOption<PathBuf> = OptionSpec {
    env: &["RACKCONNECT_STAMP_DIR"],
    default: "/var/lib/rackconnect-agent/hooks",
    commands: Only(&[Hooks]),
    ..option(
        "stamp-dir",
        Some("DIR"),
        "The directory that records which hooks are done",
        "It must survive a reboot.",
    )
}
.parsed_by(values::path);

/// `--interface`
pub const INTERFACE: ValueOption<String> = OptionSpec {
    env: &["RACKCONNECT_INTERFACE"],
    key: Some(("interface", KeyType::Text)),
    default: "the one whose subnet holds the gateway",
    commands: Only(&[GatewayShow, GatewayCheck, GatewaySet, GatewayKeep]),
    ..option("interface", Some("NAME"), "The interface of the gateway", "")
}
.parsed_by(values::interface);

/// `--as`
pub const AS: ValueOption<NetworkManager> = OptionSpec {
    commands: Only(&[GatewayShow]),
    possible_values: values::NETWORK_MANAGERS,
    ..option(
        "as",
        Some("MANAGER"),
        "Print configuration for a network manager",
        "networkd, netplan, ifupdown or sysconfig. It is only printed; comments in it say where it \
         belongs.",
    )
}
.parsed_by(values::network_manager);

/// `--dry-run`
pub const DRY_RUN: OptionSpec = OptionSpec {
    commands: Only(&[GatewaySet, Hooks]),
    ..option("dry-run", None, "Print the plan and change nothing", "")
};

/// `--force`
pub const FORCE: OptionSpec = OptionSpec {
    commands: Only(&[GatewaySet]),
    ..option(
        "force",
        None,
        "Set the gateway even if the automation may be setting it too",
        "The status and the features are not checked.",
    )
};

/// `--wait`
pub const WAIT: OptionSpec = OptionSpec {
    commands: Only(&[GatewaySet]),
    ..option(
        "wait",
        None,
        "Wait until a gateway is assigned and may be set",
        "After --timeout it gives up, with exit code 124.",
    )
};

/// `--keep-old-metric`
pub const KEEP_OLD_METRIC: ValueOption<u32> = OptionSpec {
    commands: Only(&[GatewaySet]),
    ..option(
        "keep-old-metric",
        Some("N"),
        "Keep the replaced default route as a fallback at this metric",
        "",
    )
}
.parsed_by(values::metric);

/// `--probe`
pub const PROBE: ValueOption<Probe> = OptionSpec {
    commands: Only(&[GatewaySet]),
    ..option(
        "probe",
        Some("HOST[:PORT]"),
        "Undo the change if this host answers before it and not after it",
        "It is tried with a TCP connection. Without a port that is to 443, where a refused \
         connection counts as an answer too. Can be given several times.",
    )
}
.parsed_by(values::probe);

/// `--confirm`
pub const CONFIRM: ValueOption<Option<Duration>> = OptionSpec {
    default: "60s if standard input is a terminal, else 0",
    commands: Only(&[GatewaySet]),
    ..option(
        "confirm",
        Some("DURATION"),
        "Undo the change unless it is confirmed within this time",
        "Confirm with \"rackconnect gateway confirm\" in any session, or with Enter. Even a correct \
         change can cut off the session in which it is made. 0 means that no confirmation is \
         needed.",
    )
}
.parsed_by(values::optional_duration);
