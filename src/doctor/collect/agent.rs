//! This program's own installation.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command;
use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{
    AgentEvidence, Evidence, Reading, StateCondition, StateDirectory, UnitState, Unread,
};
use crate::gateway::journal::Journal;
use crate::gateway::undo;
use crate::ratelimit::check_shared_file;
use crate::state::dir::{StateDir, check_owner_and_mode};

/// The units of the packages.
const UNITS: [&str; 3] =
    ["rackconnect-wait.service", "rackconnect-hooks.service", "rackconnect-gateway.service"];

/// The file that switches the units off, and the word that does so on the kernel's command line.
const SWITCH_FILE: &str = "/etc/rackconnect-agent/disabled";
const SWITCH_WORD: &str = "rackconnect=disabled";

/// The sources of settings: the configuration file, and the environment files of the units.
const SETTINGS_FILES: [&str; 3] = [
    "/etc/rackconnect-agent/config.toml",
    "/etc/default/rackconnect-agent",
    "/etc/sysconfig/rackconnect-agent",
];

/// The path of systemctl.
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];

/// How long systemctl may take.
const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(3);

/// Reads it.
pub(super) fn collect(subject: &Subject, files: &mut Files) -> Addition {
    for path in SETTINGS_FILES {
        let _ = files.read_and_keep(path);
    }
    let program = env::current_exe().unwrap_or_else(|_| PathBuf::from("rackconnect"));
    let agent = AgentEvidence {
        earlier_in_path: earlier_in_path(&program),
        program,
        units: units(files),
        off_switches: off_switches(files),
        state_dir: StateDirectory {
            path: subject.state_dir.clone(),
            condition: condition(&subject.state_dir),
        },
        unfinished_change: undo::describe_unfinished(&Journal::at(&subject.state_dir)),
    };
    Box::new(|evidence: &mut Evidence| evidence.agent = Ok(agent))
}

/// The programs named `rackconnect` that PATH finds before this one.
fn earlier_in_path(own: &Path) -> Vec<PathBuf> {
    let Some(path) = env::var_os("PATH") else { return Vec::new() };
    let own = fs::canonicalize(own).ok();
    env::split_paths(&path)
        .map(|directory| directory.join("rackconnect"))
        .filter(|candidate| {
            fs::metadata(candidate)
                .is_ok_and(|metadata| metadata.mode() & 0o111 != 0 && metadata.is_file())
        })
        .take_while(|candidate| fs::canonicalize(candidate).ok() != own)
        .collect()
}

fn units(files: &mut Files) -> Reading<Vec<UnitState>> {
    let absent = || Unread::Absent("systemd does not run here".to_owned());
    if files.is_of_this_system() && !files.exists("/run/systemd/system") {
        return Err(absent());
    }
    let program = SYSTEMCTL.iter().find(|path| files.is_program(path)).ok_or_else(absent)?;
    let mut arguments =
        vec!["show", "--no-pager", "-pId,UnitFileState,ActiveState,Result,ExecMainStatus"];
    arguments.extend(UNITS);
    let text = command::output(&files.locate(program), &arguments, SYSTEMCTL_TIMEOUT).ok_or_else(
        || Unread::Failed("systemctl does not tell the state of the units".to_owned()),
    )?;
    files.keep("systemctl show", &text);
    Ok(parse_units(&text))
}

/// The output of `systemctl show`: a block for each unit.
fn parse_units(text: &str) -> Vec<UnitState> {
    text.split("\n\n")
        .map(|block| {
            let value = |key: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                line.unwrap_or_default().to_owned()
            };
            UnitState {
                name: value("Id"),
                enabled: value("UnitFileState"),
                active: value("ActiveState"),
                result: value("Result"),
                exit_code: value("ExecMainStatus"),
            }
        })
        .filter(|unit| !unit.name.is_empty())
        .collect()
}

fn off_switches(files: &Files) -> Vec<String> {
    let by_file = files.exists(SWITCH_FILE).then(|| SWITCH_FILE.to_owned());
    let line = files.read("/proc/cmdline").unwrap_or_default();
    let by_word = line
        .split_whitespace()
        .any(|word| word == SWITCH_WORD)
        .then(|| format!("\"{SWITCH_WORD}\" on the kernel's command line"));
    by_file.into_iter().chain(by_word).collect()
}

/// The state of the state directory, as the rate limit sees it.
fn condition(path: &Path) -> StateCondition {
    match StateDir::open_existing(path) {
        Ok(None) => StateCondition::Absent,
        Err(err) if is_untrusted(path) => StateCondition::Untrusted(err.to_string()),
        Err(err) => StateCondition::Unusable(err.to_string()),
        Ok(Some(dir)) => match check_shared_file(&dir) {
            Ok(()) => StateCondition::Usable,
            Err(reason) => {
                StateCondition::NotShared(format!("the budget in {} {reason}", path.display()))
            }
        },
    }
}

/// Whether the directory itself, and not another one on its path, has the wrong owner or mode.
fn is_untrusted(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_dir() && check_owner_and_mode(&metadata).is_err())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_output_of_systemctl() {
        let text = "Id=rackconnect-wait.service\nActiveState=failed\nResult=exit-code\n\
                    UnitFileState=enabled\nExecMainStatus=4\n\nId=rackconnect-hooks.service\n\
                    ActiveState=inactive\nUnitFileState=\n";
        let units = parse_units(text);
        assert_eq!((units.len(), units[0].exit_code.as_str()), (2, "4"));
        assert_eq!((units[0].enabled.as_str(), units[1].enabled.as_str()), ("enabled", ""));
        assert_eq!(parse_units(""), []);
    }

    #[test]
    fn the_state_directory_as_the_rate_limit_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(condition(&path), StateCondition::Absent);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(condition(&path), StateCondition::Usable);
        fs::create_dir(path.join("budget")).unwrap();
        assert!(matches!(condition(&path), StateCondition::NotShared(_)));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let StateCondition::Untrusted(reason) = condition(&path) else { panic!("trusted") };
        assert!(reason.contains("0777"), "{reason}");
        // Its owner and mode would be those of another directory.
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(condition(&link), StateCondition::Unusable(_)));
    }
}
