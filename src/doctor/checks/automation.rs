//! Section 4, except SSH: what breaks the automation while it runs. Source: Rackspace's list of
//! what must not be done to a server before it is DEPLOYED. After that it is only information.

use crate::doctor::check::{Check, Finding, Judgement, Need, shell_word};
use crate::doctor::evidence::{Evidence, KernelEvidence, ProcessInfo, RuleSet, SelinuxMode, known};
use crate::netlink::Link;

/// The checks of this section.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "automation.user", title: "the rackconnect user", needs: &[], judge: user },
    Check { id: "automation.sudo", title: "sudo", needs: &[Need::Root], judge: sudo },
    Check { id: "automation.selinux", title: "SELinux", needs: &[], judge: selinux },
    Check { id: "automation.tools", title: "sed, awk and ip", needs: &[], judge: tools },
    Check { id: "automation.bridges", title: "bridges", needs: &[], judge: bridges },
    Check {
        id: "automation.public-interface",
        title: "public interface",
        needs: &[],
        judge: public_interface,
    },
    Check { id: "automation.nfs", title: "NFS mounts", needs: &[], judge: nfs },
    Check {
        id: "automation.package-manager",
        title: "package manager",
        needs: &[],
        judge: package_manager,
    },
    Check {
        id: "automation.firewall",
        title: "firewall rules",
        needs: &[Need::Root],
        judge: firewall,
    },
];

/// Programs that hold the lock of a package database while they run.
const PACKAGE_MANAGERS: [&str; 8] =
    ["apt", "apt-get", "aptitude", "dpkg", "dnf", "rpm", "yum", "zypper"];

fn user(evidence: &Evidence) -> Judgement {
    let Some(user) = &known(&evidence.accounts)?.user else {
        if evidence.is_deployed() {
            let cause = "the user rackconnect, which the automation has created, is gone";
            let remedy = "Ask Rackspace support to run the automation again, and do not create the \
                          user by hand.";
            return Ok(Finding::warning(cause, remedy));
        }
        return Ok(Finding::unremarkable());
    };
    if ["nologin", "false"].iter().any(|end| user.shell.ends_with(end)) {
        let cause = format!("the user rackconnect cannot log in: its shell is {}", user.shell);
        let remedy = "usermod -s /bin/bash rackconnect";
        return Finding::until_deployed(evidence, Finding::fail(cause, remedy));
    }
    Ok(Finding::unremarkable().with([format!("home {}, shell {}", user.home, user.shell)]))
}

fn sudo(evidence: &Evidence) -> Judgement {
    let accounts = known(&evidence.accounts)?;
    if accounts.user.is_none() {
        return Ok(Finding::unremarkable());
    }
    let rules = known(&accounts.sudo_rules)?;
    if rules.is_empty() {
        let cause = "the user rackconnect exists, but no sudo rule applies to it";
        let remedy = "echo 'rackconnect ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/rackconnect && chmod \
                      0440 /etc/sudoers.d/rackconnect";
        return Finding::until_deployed(evidence, Finding::warning(cause, remedy));
    }
    Ok(Finding::unremarkable().with(rules.iter().cloned()))
}

/// How the mode after the next boot is changed.
fn configure_selinux(mode: &str) -> String {
    format!("sed -i 's/^SELINUX=.*/SELINUX={mode}/' /etc/selinux/config")
}

fn selinux(evidence: &Evidence) -> Judgement {
    let system = known(&evidence.system)?;
    let stays = system.selinux_configured.as_deref() == Some("enforcing");
    let (off, on) = (configure_selinux("permissive"), configure_selinux("enforcing"));
    let (cause, now, later) = match (system.selinux, stays) {
        (Some(SelinuxMode::Enforcing), true) => (
            "SELinux is enforcing, which stops RackConnect's automation",
            format!("setenforce 0 && {off}"),
            format!("{on} && setenforce 1"),
        ),
        (Some(SelinuxMode::Enforcing), false) => (
            "SELinux is enforcing, which stops RackConnect's automation",
            "setenforce 0".to_owned(),
            "setenforce 1".to_owned(),
        ),
        (Some(SelinuxMode::Permissive), true) => (
            "SELinux is permissive now, but will be enforcing after the next boot, which stops \
             RackConnect's automation",
            off,
            on,
        ),
        _ => return Ok(Finding::unremarkable()),
    };
    let remedy = format!("{now}  # to undo it when the server is DEPLOYED: {later}");
    let finding = match system.selinux {
        Some(SelinuxMode::Enforcing) => Finding::fail(cause, remedy),
        _ => Finding::warning(cause, remedy),
    };
    Finding::until_deployed(evidence, finding)
}

fn tools(evidence: &Evidence) -> Judgement {
    let missing = &known(&evidence.system)?.missing_tools;
    if missing.is_empty() {
        return Ok(Finding::unremarkable());
    }
    let packages: Vec<&str> = missing
        .iter()
        .map(|tool| match *tool {
            "awk" => "gawk",
            "ip" => "iproute2",
            other => other,
        })
        .collect();
    let cause = format!(
        "RackConnect's automation needs {}, which this server lacks",
        missing.join(" and ")
    );
    let remedy = format!(
        "apt-get install {0} || yum install {1}",
        packages.join(" "),
        packages.join(" ").replace("iproute2", "iproute")
    );
    Finding::until_deployed(evidence, Finding::fail(cause, remedy))
}

fn bridges(evidence: &Evidence) -> Judgement {
    let bridges = &known(&evidence.system)?.bridges;
    let Some(first) = bridges.first() else { return Ok(Finding::unremarkable()) };
    let cause = format!(
        "there are bridges ({}), but RackConnect's automation expects a network without bridges",
        bridges.join(", ")
    );
    let remedy = format!(
        "ip link delete {}  # not if you are connected through it; create it again when the server \
         is DEPLOYED: rackconnect wait -- COMMAND",
        shell_word(first)
    );
    Finding::until_deployed(evidence, Finding::warning(cause, remedy))
}

/// The interface with a public address or, without one, eth0.
fn public_link(kernel: &KernelEvidence) -> Option<&Link> {
    let is_public = |link: &&Link| {
        kernel.addresses_of(link.index).any(|address| {
            !address.is_private() && !address.is_loopback() && !address.is_link_local()
        })
    };
    let by_name = || kernel.links.iter().find(|link| link.name == "eth0");
    kernel.links.iter().find(is_public).or_else(by_name)
}

fn public_interface(evidence: &Evidence) -> Judgement {
    let kernel = known(&evidence.kernel)?;
    let Some(link) = public_link(kernel) else { return Ok(Finding::unremarkable()) };
    let state = if link.is_up() { "up" } else { "down" };
    let line = format!("{} is {state}", link.name);
    if !link.is_up() && kernel.internet.is_none() && !evidence.is_deployed() {
        let cause = format!(
            "the public interface {} is down and there is no default route, so this server reaches \
             Rackspace's private network only",
            link.name
        );
        let remedy = format!(
            "ip link set {} up  # unless the automation is working on it: rackconnect details",
            shell_word(&link.name)
        );
        return Ok(Finding::warning(cause, remedy));
    }
    if link.is_up() && evidence.is_deployed() {
        return Ok(Finding::info(format!(
            "the public interface {} is up; RackConnect's automation normally takes it down",
            link.name
        )));
    }
    Ok(Finding::unremarkable().with([line]))
}

fn nfs(evidence: &Evidence) -> Judgement {
    let mounts = &known(&evidence.system)?.nfs_mounts;
    let Some(first) = mounts.first() else { return Ok(Finding::unremarkable()) };
    let cause = format!(
        "{} is an NFS mount at {} ({}); one from a dedicated server stops RackConnect's automation",
        first.source, first.target, first.file
    );
    let target = shell_word(&first.target);
    let remedy = match first.file {
        "/etc/fstab" => format!(
            "vi /etc/fstab  # add noauto to {target}, and mount it after the deployment: rackconnect \
             wait -- mount {target}"
        ),
        _ => format!(
            "umount {target}  # and mount it after the deployment: rackconnect wait -- mount \
             {target}"
        ),
    };
    let lines = mounts.iter().map(|mount| format!("{} on {}", mount.source, mount.target));
    Finding::until_deployed(evidence, Finding::warning(cause, remedy).with(lines))
}

fn package_manager(evidence: &Evidence) -> Judgement {
    let processes = known(&evidence.processes)?;
    let is_manager = |process: &&ProcessInfo| {
        PACKAGE_MANAGERS.contains(&process.name.as_str())
            || PACKAGE_MANAGERS.contains(&process.file_name(0))
            // yum and dnf are Python programs.
            || process.file_name(0).contains("python")
                && PACKAGE_MANAGERS.contains(&process.file_name(1))
    };
    let running: Vec<&ProcessInfo> = processes.iter().filter(is_manager).collect();
    let Some(first) = running.first() else { return Ok(Finding::unremarkable()) };
    let cause = format!(
        "a package manager is running ({}, process {}), and RackConnect's automation needs it too",
        first.name, first.pid
    );
    let remedy = format!(
        "tail --pid={} -f /dev/null  # waits until it ends; install packages after the deployment: \
         rackconnect wait -- COMMAND",
        first.pid
    );
    let lines =
        running.iter().map(|process| format!("{} {}", process.pid, process.arguments.join(" ")));
    Finding::until_deployed(evidence, Finding::warning(cause, remedy).with(lines))
}

/// RackConnect's feature "manage software firewall".
fn manages_firewall(evidence: &Evidence) -> bool {
    let is_it = |name: &str| {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        plain.to_ascii_lowercase().ends_with("managesoftwarefirewall")
    };
    evidence
        .features()
        .0
        .iter()
        .any(|feature| is_it(&feature.name) && feature.status.eq_ignore_ascii_case("enabled"))
}

fn firewall(evidence: &Evidence) -> Judgement {
    let firewall = known(&evidence.firewall)?;
    let in_force = firewall.in_force.as_deref().unwrap_or_default();
    let lines: Vec<String> = firewall.saved.iter().chain(in_force).map(describe_rules).collect();
    let is_own = |rules: &&RuleSet| rules.rules > 0 && rules.rackconnect_chains.is_empty();
    let own = firewall.saved.iter().chain(in_force).find(is_own);
    if let Some(own) = own.filter(|_| manages_firewall(evidence) && !firewall.keeps_custom_rules) {
        let cause = format!(
            "RackConnect manages this server's firewall and will replace its own rules ({})",
            own.source
        );
        let remedy = "touch /etc/rackconnect-allow-custom-iptables  # keeps your own rules";
        return Finding::until_deployed(evidence, Finding::warning(cause, remedy).with(lines));
    }
    known(&firewall.in_force)?;
    let chains: Vec<&str> =
        in_force.iter().flat_map(|rules| &rules.rackconnect_chains).map(String::as_str).collect();
    Ok(match chains.as_slice() {
        [] => Finding::unremarkable(),
        chains => {
            Finding::pass(format!("RackConnect's chains are in force: {}", chains.join(", ")))
        }
    }
    .with(lines))
}

/// A description of a set of rules.
fn describe_rules(rules: &RuleSet) -> String {
    let chains = match rules.rackconnect_chains.as_slice() {
        [] => "none of RackConnect's chains".to_owned(),
        chains => chains.join(", "),
    };
    format!("{}: {} rules, {chains}", rules.source, rules.rules)
}

#[cfg(test)]
mod tests;
