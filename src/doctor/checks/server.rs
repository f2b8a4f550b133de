//! Section 1: the kind of this server.

use crate::doctor::check::{Check, Finding, Judgement, Need};
use crate::doctor::evidence::{Evidence, ProcessInfo, Unread, known};
use crate::xenstore::Server;

/// The checks of this section.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "server.provider",
        title: "provider",
        needs: &[Need::Root, Need::Xenstore],
        judge: provider,
    },
    Check {
        id: "server.rackconnect",
        title: "RackConnect version",
        needs: &[Need::Root, Need::Xenstore],
        judge: rackconnect,
    },
    Check { id: "server.region", title: "region", needs: &[], judge: region },
    Check { id: "server.agent", title: "version of this program", needs: &[], judge: agent },
    Check { id: "server.settings", title: "settings", needs: &[], judge: settings },
];

/// Whether nothing else has to be checked, because this is certainly not a RackConnect v2 server.
pub(crate) fn is_another_server(evidence: &Evidence) -> bool {
    if evidence.is_configured {
        return false;
    }
    match evidence.xenstore() {
        Ok(xenstore) => xenstore.snapshot.server.is_certainly_another(),
        Err(_) => {
            let is_xen = known(&evidence.server).is_ok_and(|server| server.is_xen);
            !is_xen && evidence.region.is_err()
        }
    }
}

fn provider(evidence: &Evidence) -> Judgement {
    const ELSEWHERE: &str = "Run rackconnect doctor on the cloud server. If this is one, give its \
                             region: rackconnect doctor --region dfw (or hkg, iad, lon, ord, syd).";
    let server = known(&evidence.server)?;
    let xenstore = match &server.xenstore {
        Ok(xenstore) => xenstore,
        Err(unread) if is_another_server(evidence) => {
            let cause = "this is not a Xen guest, so it is not a Rackspace cloud server with \
                         RackConnect v2; most checks were not run";
            return Ok(Finding::warning(cause, ELSEWHERE).with([unread.to_string()]));
        }
        Err(Unread::Absent(reason)) if server.is_xen => {
            let cause = format!("a Xen guest, but its xenstore cannot be read: {reason}");
            return Ok(Finding::warning(
                cause,
                "modprobe xenfs && mount -t xenfs xenfs /proc/xen  # or give the region: \
                 rackconnect doctor --region dfw (or hkg, iad, lon, ord, syd)",
            ));
        }
        Err(unread) => return Err(unread.clone()),
    };
    let provider = xenstore.provider.as_deref().unwrap_or_default();
    Ok(match &xenstore.snapshot.server {
        Server::OtherProvider(name) => Finding::warning(
            format!("xenstore names the provider {name:?}: this is not a Rackspace cloud server"),
            ELSEWHERE,
        ),
        _ if provider.is_empty() => Finding::info("a Xen guest; xenstore names no provider (yet)"),
        _ => Finding::pass(format!("a Xen guest of {provider}")),
    })
}

fn rackconnect(evidence: &Evidence) -> Judgement {
    let snapshot = &evidence.xenstore()?.snapshot;
    Ok(match &snapshot.server {
        Server::V2 => Finding::pass("the account has RackConnect v2"),
        Server::V3 => Finding::warning(
            "the account has RackConnect v3, which has no automation in the server",
            "There is nothing to do here: this program is for RackConnect v2.",
        ),
        Server::NoRole => Finding::warning(
            "the account has no RackConnect role, so RackConnect will not automate this server",
            "Ask Rackspace support whether the account should have RackConnect v2.",
        ),
        Server::OtherProvider(_) => Finding::skipped("this is not a Rackspace server"),
        Server::Unknown(reason) => Finding::info(format!("the version is not known: {reason}")),
    })
}

fn region(evidence: &Evidence) -> Judgement {
    match &evidence.region {
        Ok((region, source)) => Ok(Finding::pass(format!("{} ({source})", region.code()))),
        Err(reason) if is_another_server(evidence) => Err(Unread::NotTried(reason.clone())),
        Err(reason) if evidence.is_configured => Ok(Finding::info(format!(
            "not known, and not needed: the endpoint is given ({reason})"
        ))),
        Err(reason) => Ok(Finding::fail(
            format!("the region of this server is not known: {reason}"),
            "vi /etc/rackconnect-agent/config.toml  # write region = \"dfw\" (or hkg, iad, lon, \
             ord, syd, where this server is)",
        )),
    }
}

/// Whether the running units use the installed program.
fn agent(evidence: &Evidence) -> Judgement {
    let version = concat!("rackconnect ", env!("CARGO_PKG_VERSION"));
    let agent = known(&evidence.agent)?;
    let Ok(processes) = &evidence.processes else { return Ok(Finding::pass(version)) };
    let own = agent.program.display().to_string();
    let is_old = |process: &&ProcessInfo| {
        process.name == "rackconnect"
            && process.program.as_ref().is_some_and(|program| program.ends_with(" (deleted)"))
    };
    let old: Vec<&ProcessInfo> = processes.iter().filter(is_old).collect();
    let lines =
        old.iter().map(|process| format!("{} {}", process.pid, process.arguments.join(" ")));
    let evidence = [format!("this program: {own}")].into_iter().chain(lines);
    Ok(match old.first() {
        None => Finding::pass(version).with(evidence),
        Some(first) => {
            let is_keeper = first.arguments.iter().any(|argument| argument == "keep");
            let remedy = if is_keeper {
                "systemctl restart rackconnect-gateway".to_owned()
            } else {
                format!("kill {}  # and start it again", first.pid)
            };
            let cause = format!(
                "process {} still runs a version of this program that has been replaced",
                first.pid
            );
            Finding::warning(cause, remedy).with(evidence)
        }
    })
}

/// The settings in force, with their origins.
fn settings(evidence: &Evidence) -> Judgement {
    if let Some(reason) = &evidence.broken_settings {
        let remedy = "Correct that setting; no other command runs until then.";
        return Ok(Finding::fail(reason.clone(), remedy).with(evidence.settings.iter().cloned()));
    }
    Ok(match evidence.settings.as_slice() {
        [] => Finding::unremarkable().with(["all defaults".to_owned()]),
        settings => Finding::pass(settings.join(", ")).with(settings.iter().cloned()),
    })
}

#[cfg(test)]
mod tests {
    use crate::doctor::check::Severity::{Fail, Info, Pass, Skipped, Warning};
    use crate::doctor::checks::fixtures::{assert_found, healthy};
    use crate::doctor::evidence::{ProcessInfo, Unread};
    use crate::xenstore::Server;

    fn with_server(server: Server) -> crate::doctor::evidence::Evidence {
        let mut evidence = healthy();
        let xenstore = evidence.server.as_mut().unwrap().xenstore.as_mut().unwrap();
        xenstore.snapshot.server = server;
        evidence
    }

    #[test]
    fn provider_and_version() {
        assert_found(&healthy(), "server.provider", Pass, "Rackspace");
        assert_found(&healthy(), "server.rackconnect", Pass, "v2");
        let other = with_server(Server::OtherProvider("Amazon".to_owned()));
        assert_found(&other, "server.provider", Warning, "Amazon");
        assert_found(&other, "server.rackconnect", Skipped, "not a Rackspace");
        assert_found(&with_server(Server::V3), "server.rackconnect", Warning, "v3");
        assert_found(&with_server(Server::NoRole), "server.rackconnect", Warning, "no RackConnect");
        let unknown = with_server(Server::Unknown("no roles".to_owned()));
        assert_found(&unknown, "server.rackconnect", Info, "no roles");
    }

    #[test]
    fn without_xenstore() {
        let mut evidence = healthy();
        evidence.server.as_mut().unwrap().xenstore = Err(Unread::NeedsRoot("xenstore".to_owned()));
        assert_found(&evidence, "server.provider", Skipped, "root");
        evidence.server.as_mut().unwrap().xenstore = Err(Unread::Absent("no xenstore".to_owned()));
        assert_found(&evidence, "server.provider", Warning, "cannot be read");
        evidence.server.as_mut().unwrap().is_xen = false;
        assert_found(&evidence, "server.provider", Skipped, "no xenstore");
        evidence.region = Err("unknown".to_owned());
        assert_found(&evidence, "server.provider", Warning, "not a Xen guest");
    }

    #[test]
    fn the_region() {
        assert_found(&healthy(), "server.region", Pass, "dfw (xenstore");
        let mut evidence = healthy();
        evidence.region = Err("xenstore is there, but has none yet".to_owned());
        assert_found(&evidence, "server.region", Fail, "none yet");
        evidence.is_configured = true;
        assert_found(&evidence, "server.region", Info, "not needed");
    }

    #[test]
    fn a_process_that_outlived_an_upgrade() {
        assert_found(&healthy(), "server.agent", Pass, env!("CARGO_PKG_VERSION"));
        let mut evidence = healthy();
        evidence.processes.as_mut().unwrap().push(ProcessInfo {
            pid: 77,
            name: "rackconnect".to_owned(),
            arguments: ["rackconnect", "gateway", "keep"].map(str::to_owned).to_vec(),
            program: Some("/usr/bin/rackconnect (deleted)".to_owned()),
            parent: None,
            user: None,
            started: None,
        });
        let finding = assert_found(&evidence, "server.agent", Warning, "77");
        assert!(finding.remedy.contains("systemctl restart rackconnect-gateway"));
    }

    #[test]
    fn the_settings() {
        assert_found(&healthy(), "server.settings", Pass, "");
        let mut evidence = healthy();
        evidence.settings = vec!["region = dfw (RACKCONNECT_REGION)".to_owned()];
        assert_found(&evidence, "server.settings", Pass, "region = dfw (RACKCONNECT_REGION)");
        evidence.broken_settings = Some("config.toml:2: region: needs a string".to_owned());
        assert_found(&evidence, "server.settings", Fail, "config.toml:2");
    }
}
