//! Section 5: this program's own installation.

use crate::doctor::check::{Check, Finding, Judgement, shell_word};
use crate::doctor::evidence::{Evidence, StateCondition, UnitState, known};

/// The checks of this section.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "agent.units", title: "systemd units", needs: &[], judge: units },
    Check { id: "agent.switches", title: "off switches", needs: &[], judge: switches },
    Check {
        id: "agent.state-directory",
        title: "state directory",
        needs: &[],
        judge: state_directory,
    },
    Check {
        id: "agent.gateway-change",
        title: "unfinished gateway change",
        needs: &[],
        judge: gateway_change,
    },
    Check { id: "agent.path", title: "other copies in PATH", needs: &[], judge: path },
];

/// The unit that every package installs and enables.
const WAIT_UNIT: &str = "rackconnect-wait.service";

fn describe(unit: &UnitState) -> String {
    format!(
        "{}: {}, {}, {} ({})",
        unit.name, unit.enabled, unit.active, unit.result, unit.exit_code
    )
}

fn units(evidence: &Evidence) -> Judgement {
    let units = known(&known(&evidence.agent)?.units)?;
    let installed: Vec<&UnitState> = units.iter().filter(|unit| !unit.enabled.is_empty()).collect();
    let lines: Vec<String> = installed.iter().map(|unit| describe(unit)).collect();
    let is_bad = |unit: &&&UnitState| unit.active == "failed";
    if let Some(failed) = installed.iter().find(is_bad) {
        let short = failed.name.trim_end_matches(".service");
        let cause = match (failed.name.as_str(), failed.exit_code.as_str()) {
            (WAIT_UNIT, "4") => "rackconnect-wait.service failed: the automation FAILED".to_owned(),
            (WAIT_UNIT, "124") => {
                "rackconnect-wait.service failed: the deadline passed (wait_timeout)".to_owned()
            }
            (name, code) => format!("{name} failed ({}, exit code {code})", failed.result),
        };
        let remedy = format!(
            "journalctl -n 20 -u {short}  # shows why; after the repair: systemctl restart {short}"
        );
        return Ok(Finding::fail(cause, remedy).with(lines));
    }
    let Some(wait) = installed.iter().find(|unit| unit.name == WAIT_UNIT) else {
        return Ok(Finding::info("no units are installed").with(lines));
    };
    if wait.enabled == "disabled" || wait.enabled == "masked" {
        let cause =
            format!("{WAIT_UNIT} is {}: nothing waits at boot, and no hook runs", wait.enabled);
        let unmask =
            if wait.enabled == "masked" { "systemctl unmask rackconnect-wait && " } else { "" };
        let remedy = format!("{unmask}systemctl enable rackconnect-wait");
        return Ok(Finding::warning(cause, remedy).with(lines));
    }
    let running: Vec<&str> = installed
        .iter()
        .filter(|unit| unit.active == "active" || unit.active == "activating")
        .map(|unit| unit.name.as_str())
        .collect();
    Ok(match running.as_slice() {
        [] => Finding::unremarkable(),
        names => Finding::pass(format!("running or finished: {}", names.join(", "))),
    }
    .with(lines))
}

fn switches(evidence: &Evidence) -> Judgement {
    let on = &known(&evidence.agent)?.off_switches;
    let Some(first) = on.first() else { return Ok(Finding::unremarkable()) };
    let remedy = if first.starts_with('/') {
        format!("rm {first}  # unless the units should stay off")
    } else {
        "vi /etc/default/grub  # unless the units should stay off: remove it from \
         GRUB_CMDLINE_LINUX, run update-grub or grub2-mkconfig, and reboot"
            .to_owned()
    };
    let cause = format!("the units are switched off by {}", on.join(" and "));
    Ok(Finding::warning(cause, remedy))
}

fn state_directory(evidence: &Evidence) -> Judgement {
    let state = &known(&evidence.agent)?.state_dir;
    let path = state.path.display();
    let word = shell_word(&path.to_string());
    Ok(match &state.condition {
        StateCondition::Usable => Finding::unremarkable().with([path.to_string()]),
        StateCondition::Absent if evidence.is_root => Finding::unremarkable()
            .with([format!("{path} is not there; the first command run by root creates it")]),
        StateCondition::Absent => Finding::warning(
            format!("{path} is not there, so each process is limited to 6 requests a minute"),
            "sudo rackconnect status  # creates it, as any command run by root does",
        ),
        StateCondition::Untrusted(reason) => Finding::fail(
            format!(
                "{reason}: processes cannot share the rate limit, and the gateway cannot be set"
            ),
            format!("chown root:root {word} && chmod 0755 {word}"),
        ),
        StateCondition::Unusable(reason) => Finding::fail(
            format!(
                "{reason}: processes cannot share the rate limit, and the gateway cannot be set"
            ),
            "Correct that, or choose another directory (--state-dir, or state_dir in the \
             configuration file).",
        ),
        StateCondition::NotShared(reason) if evidence.is_root => Finding::fail(
            format!("{reason}, so each process is limited to 6 requests a minute"),
            format!(
                "rm -rf {word}/budget {word}/shared/budget  # the next command creates it again"
            ),
        ),
        StateCondition::NotShared(reason) => Finding::warning(
            format!("{reason}, so each process is limited to 6 requests a minute"),
            "sudo systemctl enable --now rackconnect-shared  # or run commands as root",
        ),
    })
}

fn gateway_change(evidence: &Evidence) -> Judgement {
    Ok(match &known(&evidence.agent)?.unfinished_change {
        None => Finding::unremarkable(),
        Some(change) => Finding::warning(
            change.clone(),
            "rackconnect gateway check  # shows the routes; to undo the change: rackconnect \
             gateway rollback; to accept it, if it waits for that: rackconnect gateway confirm",
        ),
    })
}

fn path(evidence: &Evidence) -> Judgement {
    let agent = known(&evidence.agent)?;
    let own = agent.program.display();
    Ok(match agent.earlier_in_path.first() {
        None => Finding::unremarkable().with([own.to_string()]),
        Some(other) => {
            let [other, own] = [other.display(), own].map(|path| path.to_string());
            let [other_word, own_word] = [&other, &own].map(|path| shell_word(path));
            // It may belong to another user, so root does not run it.
            Finding::warning(
                format!("another rackconnect, {other}, comes before {own} in PATH"),
                format!(
                    "ls -l {other_word} {own_word}  # if the first is outdated: rm {other_word}"
                ),
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::doctor::check::Severity::{Fail, Info, Pass, Warning};
    use crate::doctor::checks::fixtures::{assert_found, healthy};
    use crate::doctor::evidence::{AgentEvidence, Evidence, StateCondition, UnitState};

    fn with(change: impl FnOnce(&mut AgentEvidence)) -> Evidence {
        let mut evidence = healthy();
        change(evidence.agent.as_mut().unwrap());
        evidence
    }

    fn unit(enabled: &str, active: &str, exit_code: &str) -> Evidence {
        let unit = UnitState {
            name: "rackconnect-wait.service".to_owned(),
            enabled: enabled.to_owned(),
            active: active.to_owned(),
            result: "exit-code".to_owned(),
            exit_code: exit_code.to_owned(),
        };
        with(|agent| agent.units = Ok(vec![unit]))
    }

    #[test]
    fn the_units() {
        assert_found(&healthy(), "agent.units", Pass, "rackconnect-wait.service");
        assert_found(&unit("enabled", "failed", "4"), "agent.units", Fail, "FAILED");
        assert_found(&unit("enabled", "failed", "2"), "agent.units", Fail, "exit code 2");
        assert_found(&unit("enabled", "inactive", "0"), "agent.units", Pass, "");
        let masked =
            assert_found(&unit("masked", "inactive", "0"), "agent.units", Warning, "masked");
        assert!(masked.remedy.contains("unmask"));
        assert_found(&unit("", "inactive", "0"), "agent.units", Info, "no units");
    }

    #[test]
    fn the_off_switches() {
        assert_found(&healthy(), "agent.switches", Pass, "");
        let file = "/etc/rackconnect-agent/disabled".to_owned();
        let off = with(|agent| agent.off_switches = vec![file]);
        let found =
            assert_found(&off, "agent.switches", Warning, "/etc/rackconnect-agent/disabled");
        assert!(found.remedy.contains("rm /etc"));
    }

    #[test]
    fn the_state_directory() {
        assert_found(&healthy(), "agent.state-directory", Pass, "");
        let untrusted = StateCondition::Untrusted("/run/x belongs to another user".to_owned());
        let evidence = with(|agent| agent.state_dir.condition = untrusted);
        let found =
            assert_found(&evidence, "agent.state-directory", Fail, "belongs to another user");
        assert!(found.remedy.starts_with("chown root:root /run/"), "{}", found.remedy);
        let unusable = StateCondition::Unusable("/run/x cannot be opened".to_owned());
        let evidence = with(|agent| agent.state_dir.condition = unusable);
        let found = assert_found(&evidence, "agent.state-directory", Fail, "cannot be opened");
        assert!(found.remedy.starts_with("Correct that, or choose another"), "{}", found.remedy);
        let not_shared = StateCondition::NotShared("the budget in /run/x is busy".to_owned());
        let mut evidence = with(|agent| agent.state_dir.condition = not_shared);
        let found = assert_found(&evidence, "agent.state-directory", Fail, "6 requests");
        assert!(found.remedy.starts_with("rm -rf /run/"), "{}", found.remedy);
        evidence.is_root = false;
        let found = assert_found(&evidence, "agent.state-directory", Warning, "6 requests");
        assert!(found.remedy.contains("rackconnect-shared"), "{}", found.remedy);
        let mut evidence = with(|agent| agent.state_dir.condition = StateCondition::Absent);
        assert_found(&evidence, "agent.state-directory", Pass, "");
        evidence.is_root = false;
        assert_found(&evidence, "agent.state-directory", Warning, "6 requests");
    }

    #[test]
    fn a_change_and_a_second_copy() {
        assert_found(&healthy(), "agent.gateway-change", Pass, "");
        assert_found(&healthy(), "agent.path", Pass, "");
        let change = "a change of the default route to 10.1.2.3 was interrupted".to_owned();
        let pending = with(|agent| agent.unfinished_change = Some(change));
        assert_found(&pending, "agent.gateway-change", Warning, "interrupted");
    }

    /// A directory in PATH may belong to another user.
    #[test]
    fn a_remedy_ran_a_program_of_another_user() {
        let old =
            with(|agent| agent.earlier_in_path = vec![PathBuf::from("/usr/local/bin/rackconnect")]);
        let found = assert_found(&old, "agent.path", Warning, "/usr/local/bin/rackconnect");
        let remedy = "ls -l /usr/local/bin/rackconnect /usr/bin/rackconnect  # if the first is \
                      outdated: rm /usr/local/bin/rackconnect";
        assert_eq!(found.remedy, remedy);
    }
}
