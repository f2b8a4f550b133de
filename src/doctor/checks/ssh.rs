//! Section 4, SSH: whether the automation can log in.

use crate::doctor::check::{Check, Finding, Judgement, Need};
use crate::doctor::evidence::{Evidence, Unread, known};

/// The checks of SSH.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "automation.sshd.port", title: "SSH port", needs: &[], judge: ssh_port },
    Check {
        id: "automation.sshd.root-login",
        title: "root's login over SSH",
        needs: &[Need::Root],
        judge: root_login,
    },
    Check {
        id: "automation.sshd.password",
        title: "passwords over SSH",
        needs: &[],
        judge: password,
    },
    Check { id: "automation.sshd.lists", title: "lists of SSH users", needs: &[], judge: lists },
    Check {
        id: "automation.sshd.match",
        title: "conditions in sshd_config",
        needs: &[],
        judge: conditions,
    },
    Check {
        id: "automation.sshd.reload",
        title: "age of sshd's configuration",
        needs: &[],
        judge: reload,
    },
];

/// How sshd reads its configuration anew. A restart leaves sessions alone and, unlike a reload, can
/// be seen from outside.
const RESTART: &str = "systemctl restart sshd";

/// How to change sshd's configuration so that a line is in force.
fn sshd_remedy(setting: &str) -> String {
    format!("in /etc/ssh/sshd_config write \"{setting}\", then: {RESTART}")
}

fn ssh_port(evidence: &Evidence) -> Judgement {
    let sshd = match &evidence.sshd {
        Err(Unread::Absent(why)) => {
            let cause =
                format!("no SSH daemon is installed, and the automation logs in by it: {why}");
            let remedy =
                "install it: apt-get install openssh-server, or: yum install openssh-server";
            return Finding::until_deployed(evidence, Finding::fail(cause, remedy));
        }
        sshd => known(sshd)?,
    };
    let ports = sshd.config.ports();
    if ports.contains(&22) {
        return Ok(Finding::unremarkable());
    }
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let cause = format!(
        "sshd listens on port {}, and the automation logs in on port 22 ({})",
        ports.join(", "),
        sshd.source
    );
    Finding::until_deployed(evidence, Finding::fail(cause, sshd_remedy("Port 22")))
}

fn root_login(evidence: &Evidence) -> Judgement {
    let sshd = known(&evidence.sshd)?;
    let remedy = sshd_remedy("PermitRootLogin yes");
    let source = &sshd.source;
    match sshd.config.value("permitrootlogin").as_deref() {
        Some("yes") => Ok(Finding::unremarkable()),
        None => Err(Unread::NotTried(
            "PermitRootLogin is not set, and its default depends on the version of OpenSSH: sshd -T \
             | grep -i permitrootlogin"
                .to_owned(),
        )),
        Some("no") => {
            let cause = format!("root may not log in over SSH (PermitRootLogin no, {source})");
            Finding::until_deployed(evidence, Finding::fail(cause, remedy))
        }
        Some(value) => {
            let cause = format!(
                "root may not log in over SSH with its password (PermitRootLogin {value}, {source})"
            );
            Finding::until_deployed(evidence, Finding::fail(cause, remedy))
        }
    }
}

fn password(evidence: &Evidence) -> Judgement {
    let sshd = known(&evidence.sshd)?;
    let source = &sshd.source;
    if sshd.config.value("passwordauthentication").as_deref() == Some("no") {
        let cause = format!("sshd accepts no passwords (PasswordAuthentication no, {source})");
        let remedy = sshd_remedy("PasswordAuthentication yes");
        return Finding::until_deployed(evidence, Finding::fail(cause, remedy));
    }
    match sshd.config.value("authenticationmethods") {
        Some(methods) if methods != "any" && methods != "password" => {
            let cause = format!(
                "a password is not enough for sshd (AuthenticationMethods {methods}, {source})"
            );
            let remedy = sshd_remedy("AuthenticationMethods any");
            Finding::until_deployed(evidence, Finding::fail(cause, remedy))
        }
        _ => Ok(Finding::unremarkable()),
    }
}

fn lists(evidence: &Evidence) -> Judgement {
    let config = &known(&evidence.sshd)?.config;
    let lists = config.lists();
    let shut_out: Vec<&str> =
        ["root", "rackconnect"].into_iter().filter(|user| !config.admits(user)).collect();
    if let [first, ..] = shut_out.as_slice() {
        let cause =
            format!("sshd does not let {} in: {}", shut_out.join(" and "), lists.join(", "));
        let remedy = format!(
            "remove the list from /etc/ssh/sshd_config, or let {first} in by it, then: {RESTART}"
        );
        return Finding::until_deployed(evidence, Finding::fail(cause, remedy));
    }
    if config.has_group_lists() {
        let cause =
            format!("a list of groups limits who may log in over SSH: {}", lists.join(", "));
        let remedy =
            format!("make sure that root and rackconnect are let in, or remove it: {RESTART}");
        return Finding::until_deployed(evidence, Finding::warning(cause, remedy));
    }
    Ok(Finding::unremarkable())
}

fn conditions(evidence: &Evidence) -> Judgement {
    let sshd = known(&evidence.sshd)?;
    let (undecided, unreadable) = (&sshd.config.undecided, &sshd.config.unreadable);
    if let Some(first) = undecided.first() {
        let cause = format!("a Match block decides by what cannot be told from here: {first}");
        let remedy = "make sure that it does not hold for Rackspace's logins as root, or remove it";
        let finding = Finding::warning(cause, remedy).with(undecided.iter().cloned());
        return Finding::until_deployed(evidence, finding);
    }
    match unreadable.first() {
        Some(path) => Err(Unread::NeedsRoot(path.clone())),
        None => Ok(Finding::unremarkable()),
    }
}

fn reload(evidence: &Evidence) -> Judgement {
    let changed = &known(&evidence.sshd)?.changed_since_start;
    let Some(first) = changed.first() else { return Ok(Finding::unremarkable()) };
    let cause = format!("{first} was changed after sshd started, so what it says may not hold yet");
    let finding = Finding::warning(cause, format!("let sshd read it: {RESTART}"));
    Finding::until_deployed(evidence, finding.with(changed.iter().cloned()))
}
