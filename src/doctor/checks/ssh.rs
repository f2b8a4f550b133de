//! Section 4, SSH: whether the automation can log in.

use crate::doctor::check::{Check, Finding, Judgement, Need};
use crate::doctor::evidence::{Evidence, Unread, known};
use crate::doctor::sshd::SshdConfig;

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

/// How to make sshd read its configuration again, if it has no errors. A restart does not end
/// sessions and, unlike a reload, can be observed from outside.
const RESTART: &str = "sshd -t && systemctl restart sshd";

/// What a restart of sshd does not end.
const SESSIONS_STAY: &str = "open sessions stay";

/// How to make a line of sshd's configuration effective: the first of several lines counts, unless
/// a Match block that applies to root has its own. `stays`: what continues to work, for a person
/// who is logged in over SSH.
fn sshd_remedy(config: &SshdConfig, setting: &str, stays: &str) -> String {
    let keyword = setting.split(' ').next().unwrap_or(setting);
    if config.is_matched(keyword) {
        format!(
            "vi /etc/ssh/sshd_config  # write \"{setting}\" into the Match block that applies to root, \
             then: {RESTART}"
        )
    } else {
        format!(
            "sed -i '1i {setting}' /etc/ssh/sshd_config && {RESTART}  # {stays}; to undo it when \
             the server is DEPLOYED: sed -i '1{{/^{setting}$/d;}}' /etc/ssh/sshd_config && \
             {RESTART}"
        )
    }
}

fn ssh_port(evidence: &Evidence) -> Judgement {
    let sshd = match &evidence.sshd {
        Err(Unread::Absent(reason)) => {
            let cause = format!(
                "no SSH daemon is installed, but RackConnect's automation logs in over SSH: \
                 {reason}"
            );
            let remedy = "apt-get install openssh-server || yum install openssh-server";
            return Finding::until_deployed(evidence, Finding::fail(cause, remedy));
        }
        sshd => known(sshd)?,
    };
    let ports = sshd.config.ports();
    if ports.contains(&22) {
        return Ok(Finding::unremarkable());
    }
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let ports = ports.join(", ");
    let cause = format!(
        "sshd listens on port {ports} ({}), but RackConnect's automation can only log in on port \
         22",
        sshd.source
    );
    let remedy = if sshd.config.has_ports_by_address() {
        format!(
            "vi /etc/ssh/sshd_config  # remove the port from its ListenAddress lines, then: \
             {RESTART}"
        )
    } else {
        let stays = format!("open sessions stay, and sshd also keeps listening on port {ports}");
        sshd_remedy(&sshd.config, "Port 22", &stays)
    };
    Finding::until_deployed(evidence, Finding::fail(cause, remedy))
}

fn root_login(evidence: &Evidence) -> Judgement {
    let sshd = known(&evidence.sshd)?;
    let remedy = sshd_remedy(&sshd.config, "PermitRootLogin yes", SESSIONS_STAY);
    let source = &sshd.source;
    match sshd.config.value("permitrootlogin").as_deref() {
        Some("yes") => Ok(Finding::unremarkable()),
        None if !evidence.is_root => {
            Err(Unread::NeedsRoot("sshd's default for PermitRootLogin (sshd -T)".to_owned()))
        }
        None => Err(Unread::NotTried(
            "PermitRootLogin is not set, and its default depends on the version of OpenSSH: sshd -T \
             | grep -i permitrootlogin"
                .to_owned(),
        )),
        Some("no") => {
            let cause = format!(
                "root may not log in over SSH, as RackConnect's automation does (PermitRootLogin \
                 no, {source})"
            );
            Finding::until_deployed(evidence, Finding::fail(cause, remedy))
        }
        Some(value) => {
            let cause = format!(
                "root may not log in over SSH with its password, as RackConnect's automation does \
                 (PermitRootLogin {value}, {source})"
            );
            Finding::until_deployed(evidence, Finding::fail(cause, remedy))
        }
    }
}

fn password(evidence: &Evidence) -> Judgement {
    let sshd = known(&evidence.sshd)?;
    let source = &sshd.source;
    if sshd.config.value("passwordauthentication").as_deref() == Some("no") {
        let cause = format!(
            "sshd accepts no passwords, but RackConnect's automation logs in with one \
             (PasswordAuthentication no, {source})"
        );
        let remedy = sshd_remedy(&sshd.config, "PasswordAuthentication yes", SESSIONS_STAY);
        return Finding::until_deployed(evidence, Finding::fail(cause, remedy));
    }
    match sshd.config.value("authenticationmethods") {
        Some(methods) if methods != "any" && methods != "password" => {
            let cause = format!(
                "a password is not enough for sshd, but RackConnect's automation has nothing else \
                 (AuthenticationMethods {methods}, {source})"
            );
            let remedy = sshd_remedy(&sshd.config, "AuthenticationMethods any", SESSIONS_STAY);
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
    let remedy = format!(
        "vi /etc/ssh/sshd_config  # remove the lists, or change them so that root and rackconnect \
         may log in, then: {RESTART}"
    );
    if !shut_out.is_empty() {
        let cause =
            format!("sshd does not let {} log in: {}", shut_out.join(" and "), lists.join(", "));
        return Finding::until_deployed(evidence, Finding::fail(cause, remedy));
    }
    if config.has_group_lists() {
        let cause =
            format!("a list of groups limits who may log in over SSH: {}", lists.join(", "));
        return Finding::until_deployed(evidence, Finding::warning(cause, remedy));
    }
    Ok(Finding::unremarkable())
}

fn conditions(evidence: &Evidence) -> Judgement {
    let sshd = known(&evidence.sshd)?;
    let (undecided, unreadable) = (&sshd.config.undecided, &sshd.config.unreadable);
    if let Some(first) = undecided.first() {
        let cause =
            format!("it is not known whether this applies to Rackspace's logins as root: {first}");
        let remedy = format!(
            "vi /etc/ssh/sshd_config  # remove the Match block if it applies to them, then: {RESTART}"
        );
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
    let cause =
        format!("{first} was changed after sshd was started, so it may not be in force yet");
    let finding = Finding::warning(cause, RESTART);
    Finding::until_deployed(evidence, finding.with(changed.iter().cloned()))
}
