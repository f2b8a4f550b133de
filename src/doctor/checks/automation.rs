//! Section 4, but for SSH: what breaks the automation while it runs. Source: Rackspace's list of
//! what must not be done to a server before it is DEPLOYED. After that the same is information.

use crate::doctor::check::{Check, Finding, Judgement, Need};
use crate::doctor::evidence::{Evidence, KernelEvidence, ProcessInfo, SelinuxMode, known};
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
    Check { id: "automation.firewall", title: "firewall rules", needs: &[], judge: firewall },
];

/// Programs that hold the lock of a package database while they run.
const PACKAGE_MANAGERS: [&str; 8] =
    ["apt", "apt-get", "aptitude", "dpkg", "dnf", "rpm", "yum", "zypper"];

fn user(evidence: &Evidence) -> Judgement {
    let Some(user) = &known(&evidence.accounts)?.user else {
        if evidence.is_deployed() {
            let cause = "the user rackconnect, which the automation has created, is gone";
            let remedy =
                "ask Rackspace support to run the automation again; do not create it by hand";
            return Ok(Finding::warning(cause, remedy));
        }
        return Ok(Finding::unremarkable());
    };
    if ["nologin", "false"].iter().any(|end| user.shell.ends_with(end)) {
        let cause = format!("the user rackconnect cannot log in: its shell is {}", user.shell);
        let remedy = "give it a shell: usermod -s /bin/bash rackconnect";
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
        let cause = "the user rackconnect exists and has no rights in /etc/sudoers";
        let remedy = "ask Rackspace support to run the automation again, or: echo 'rackconnect ALL=(ALL) \
                      NOPASSWD: ALL' > /etc/sudoers.d/rackconnect && chmod 0440 \
                      /etc/sudoers.d/rackconnect";
        return Finding::until_deployed(evidence, Finding::warning(cause, remedy));
    }
    Ok(Finding::unremarkable().with(rules.iter().cloned()))
}

fn selinux(evidence: &Evidence) -> Judgement {
    let system = known(&evidence.system)?;
    let configured = system.selinux_configured.as_deref();
    match system.selinux {
        Some(SelinuxMode::Enforcing) => Finding::until_deployed(
            evidence,
            Finding::fail(
                "SELinux is enforcing, and stops the automation",
                "setenforce 0; to keep it so after a reboot: sed -i s/^SELINUX=.*/SELINUX=permissive/ \
                 /etc/selinux/config",
            ),
        ),
        Some(SelinuxMode::Permissive) if configured == Some("enforcing") => {
            Finding::until_deployed(
                evidence,
                Finding::warning(
                    "SELinux is permissive now, but will be enforcing after the next boot",
                    "sed -i s/^SELINUX=.*/SELINUX=permissive/ /etc/selinux/config",
                ),
            )
        }
        _ => Ok(Finding::unremarkable()),
    }
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
            "ip" => "iproute2 (Red Hat: iproute)",
            other => other,
        })
        .collect();
    let cause = format!("the automation needs {}, which this server lacks", missing.join(" and "));
    let remedy = format!("install with apt-get or yum: {}", packages.join(", "));
    Finding::until_deployed(evidence, Finding::fail(cause, remedy))
}

fn bridges(evidence: &Evidence) -> Judgement {
    let bridges = &known(&evidence.system)?.bridges;
    let Some(first) = bridges.first() else { return Ok(Finding::unremarkable()) };
    let cause = format!(
        "there are bridges ({}), and the automation expects a plain network",
        bridges.join(", ")
    );
    let remedy = format!(
        "create them after the deployment (rackconnect wait -- COMMAND); now: ip link delete {first}"
    );
    Finding::until_deployed(evidence, Finding::warning(cause, remedy))
}

/// The interface with a public address or, without one, the first Ethernet interface.
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
            "the public interface {} is down and there is no default route: nothing but ServiceNet can \
             be reached",
            link.name
        );
        let remedy = format!(
            "the automation may be at work on it (rackconnect details); if not: ip link set {} up",
            link.name
        );
        return Ok(Finding::warning(cause, remedy));
    }
    if link.is_up() && evidence.is_deployed() {
        return Ok(Finding::info(format!(
            "the public interface {} is up, although the automation takes it down",
            link.name
        )));
    }
    Ok(Finding::unremarkable().with([line]))
}

fn nfs(evidence: &Evidence) -> Judgement {
    let mounts = &known(&evidence.system)?.nfs_mounts;
    let Some(first) = mounts.first() else { return Ok(Finding::unremarkable()) };
    let cause = format!(
        "{} is mounted by NFS at {} ({}); a mount from the dedicated side stops the automation",
        first.source, first.target, first.file
    );
    let remedy = format!(
        "mount it after the deployment (rackconnect wait -- mount {}); now: umount {}",
        first.target, first.target
    );
    let lines = mounts.iter().map(|mount| format!("{} on {}", mount.source, mount.target));
    Finding::until_deployed(evidence, Finding::warning(cause, remedy).with(lines))
}

fn package_manager(evidence: &Evidence) -> Judgement {
    let processes = known(&evidence.processes)?;
    let is_manager = |process: &&ProcessInfo| {
        let word = |index: usize| process.arguments.get(index).map_or("", |word| base(word));
        // yum and dnf are Python programs.
        PACKAGE_MANAGERS.contains(&process.name.as_str())
            || PACKAGE_MANAGERS.contains(&word(0))
            || word(0).contains("python") && PACKAGE_MANAGERS.contains(&word(1))
    };
    let running: Vec<&ProcessInfo> = processes.iter().filter(is_manager).collect();
    let Some(first) = running.first() else { return Ok(Finding::unremarkable()) };
    let cause = format!(
        "a package manager runs ({}, process {}), and the automation needs it too",
        first.name, first.pid
    );
    let remedy = format!(
        "let it end (tail --pid={} -f /dev/null), and install packages after the deployment: rackconnect \
         wait -- COMMAND",
        first.pid
    );
    let lines = running.iter().map(|it| format!("{} {}", it.pid, it.arguments.join(" ")));
    Finding::until_deployed(evidence, Finding::warning(cause, remedy).with(lines))
}

/// The last part of a path.
fn base(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
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
    let system = known(&evidence.system)?;
    let lines = system.saved_rules.iter().map(|saved| {
        format!(
            "{}: {} rules, {}",
            saved.path,
            saved.rules,
            match saved.rackconnect_chains.len() {
                0 => "none of RackConnect's chains".to_owned(),
                _ => saved.rackconnect_chains.join(", "),
            }
        )
    });
    let lines: Vec<String> = lines.collect();
    let own = system
        .saved_rules
        .iter()
        .find(|saved| saved.rules > 0 && saved.rackconnect_chains.is_empty());
    match own {
        Some(saved) if manages_firewall(evidence) && !system.keeps_custom_rules => {
            let cause = format!(
                "RackConnect manages this server's firewall and replaces the rules of {}",
                saved.path
            );
            let remedy = "keep your own rules: touch /etc/rackconnect-allow-custom-iptables";
            Finding::until_deployed(evidence, Finding::warning(cause, remedy).with(lines))
        }
        _ => Ok(Finding::unremarkable().with(lines)),
    }
}

#[cfg(test)]
mod tests;
