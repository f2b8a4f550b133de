//! The firewall: the rules in force, and those that are saved for the next boot.
//!
//! Root gets the rules in force from the system's own programs, which only read them. These
//! programs can load a kernel module, so none is started for a table that does not exist yet.

use std::time::Duration;

use nix::unistd::geteuid;

use super::command;
use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{Evidence, FirewallEvidence, Reading, RuleSet, Unread};

/// The files of saved rules: Red Hat's iptables-services, Debian's iptables-persistent, nftables.
const SAVED_RULES: [&str; 4] = [
    "/etc/sysconfig/iptables",
    "/etc/iptables/rules.v4",
    "/etc/nftables.conf",
    "/etc/sysconfig/nftables.conf",
];

/// With this file RackConnect leaves a server's own rules alone. Source: the RackConnect
/// documentation, "How to prevent RackConnect from overwriting custom iptables rules".
const KEEPS_CUSTOM_RULES: &str = "/etc/rackconnect-allow-custom-iptables";

/// The tables of iptables that the kernel has, one a line; there is no such file without them.
const IPTABLES_TABLES: &str = "/proc/net/ip_tables_names";

/// It exists if the kernel has nftables.
const NFTABLES_MODULE: &str = "/sys/module/nf_tables";

/// How long each program may take.
const SHOW_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads it.
pub(super) fn collect(_: &Subject, files: &mut Files) -> Addition {
    let firewall = FirewallEvidence {
        saved: saved(files),
        in_force: in_force(files),
        keeps_custom_rules: files.exists(KEEPS_CUSTOM_RULES),
    };
    Box::new(|evidence: &mut Evidence| evidence.firewall = Ok(firewall))
}

fn saved(files: &mut Files) -> Vec<RuleSet> {
    let read = |path: &&str| Some(rule_set(path, &files.read_and_keep(path).ok()?));
    SAVED_RULES.iter().filter_map(read).collect()
}

fn in_force(files: &mut Files) -> Reading<Vec<RuleSet>> {
    if !geteuid().is_root() {
        return Err(Unread::NeedsRoot("the firewall rules in force".to_owned()));
    }
    let mut commands: Vec<(&str, &[&str])> = Vec::new();
    if files.read(IPTABLES_TABLES).is_ok_and(|tables| !tables.trim().is_empty()) {
        commands.push(("iptables-save", &[]));
    }
    if files.exists(NFTABLES_MODULE) {
        commands.push(("nft", &["list", "ruleset"]));
    }
    commands.into_iter().filter_map(|(name, arguments)| show(files, name, arguments)).collect()
}

/// The output of a program; none if it is not installed.
fn show(files: &mut Files, name: &str, arguments: &[&str]) -> Option<Reading<RuleSet>> {
    let program = files.find_program(name)?;
    let command = [&[name], arguments].concat().join(" ");
    let Some(text) = command::output(&files.locate(&program), arguments, SHOW_TIMEOUT) else {
        return Some(Err(Unread::Failed(format!("{command} does not show the rules in force"))));
    };
    files.keep(&command, &text);
    Some(Ok(rule_set(&command, &text)))
}

/// Counts the rules, and looks for chains whose name has RackConnect in it. The names of
/// RackConnect's chains are not documented.
fn rule_set(source: &str, text: &str) -> RuleSet {
    let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let is_rule = |line: &&str| {
        line.starts_with("-A ")
            || ["accept", "drop", "reject"].iter().any(|verdict| line.ends_with(verdict))
    };
    let chains = lines().filter_map(|line| {
        let name = line.strip_prefix(':').or_else(|| line.strip_prefix("chain "))?;
        let name = name.split_whitespace().next()?;
        name.to_ascii_lowercase().contains("rackconnect").then(|| name.to_owned())
    });
    RuleSet {
        source: source.to_owned(),
        rules: lines().filter(is_rule).count(),
        rackconnect_chains: chains.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_chains() {
        let text = "*filter\n:INPUT DROP [0:0]\n:RS-RackConnect-INBOUND - [0:0]\n-A INPUT -j \
                    RS-RackConnect-INBOUND\n# -A x\nCOMMIT\n";
        let found = rule_set("iptables-save", text);
        assert_eq!((found.rules, found.source.as_str()), (1, "iptables-save"));
        assert_eq!(found.rackconnect_chains, ["RS-RackConnect-INBOUND"]);
        let text = "table inet filter {\n  chain input {\n    type filter hook input priority 0; \
                    policy accept;\n    tcp dport 22 accept\n  }\n}\n";
        let found = rule_set("nft list ruleset", text);
        assert_eq!((found.rules, found.rackconnect_chains.len()), (1, 0));
    }
}
