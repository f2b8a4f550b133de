//! Evidence from the files and processes of this server.

use std::path::PathBuf;
use std::time::Duration;

use super::Reading;
use crate::doctor::sshd::SshdConfig;

/// The SSH daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct SshdEvidence {
    /// Its configuration.
    pub(crate) config: SshdConfig,
    /// The source of that.
    pub(crate) source: String,
    /// Files that were changed since the daemon started.
    pub(crate) changed_since_start: Vec<String>,
}

/// The rackconnect user.
#[derive(Clone, Debug)]
pub(crate) struct AccountEvidence {
    /// Its entry in /etc/passwd.
    pub(crate) user: Option<UserAccount>,
    /// The sudo rules that apply to it, as they are written.
    pub(crate) sudo_rules: Reading<Vec<String>>,
}

/// An entry of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserAccount {
    /// The home directory.
    pub(crate) home: String,
    /// The login shell.
    pub(crate) shell: String,
}

/// Evidence from system files.
#[derive(Clone, Debug)]
pub(crate) struct SystemEvidence {
    /// SELinux's present mode: enforcing, permissive, or none without SELinux.
    pub(crate) selinux: Option<SelinuxMode>,
    /// Its mode after the next boot, if its configuration names one.
    pub(crate) selinux_configured: Option<String>,
    /// The tools that the automation needs and that are in no directory of programs.
    pub(crate) missing_tools: Vec<&'static str>,
    /// The names of bridges.
    pub(crate) bridges: Vec<String>,
    /// NFS mounts.
    pub(crate) nfs_mounts: Vec<NfsMount>,
    /// The text of /etc/resolv.conf.
    pub(crate) resolv_conf: Reading<String>,
    /// The variables of this process that name a proxy.
    pub(crate) proxies: Vec<String>,
    /// The time since the server booted.
    pub(crate) uptime: Option<Duration>,
}

/// SELinux's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelinuxMode {
    /// It denies.
    Enforcing,
    /// It only logs.
    Permissive,
}

/// An NFS mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NfsMount {
    /// `HOST:PATH`
    pub(crate) source: String,
    /// The mount point.
    pub(crate) target: String,
    /// The file with this entry.
    pub(crate) file: &'static str,
}

/// The firewall.
#[derive(Clone, Debug)]
pub(crate) struct FirewallEvidence {
    /// Files of saved rules.
    pub(crate) saved: Vec<RuleSet>,
    /// The rules in force.
    pub(crate) in_force: Reading<Vec<RuleSet>>,
    /// Whether the file that keeps a server's own rules exists.
    pub(crate) keeps_custom_rules: bool,
}

/// Firewall rules from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleSet {
    /// The file with the saved rules, or the command that shows the rules in force.
    pub(crate) source: String,
    /// The number of rules.
    pub(crate) rules: usize,
    /// The chains whose name has RackConnect in it.
    pub(crate) rackconnect_chains: Vec<String>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessInfo {
    /// Its id.
    pub(crate) pid: u32,
    /// Its name, as the kernel has it.
    pub(crate) name: String,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// The id of the process that started it.
    pub(crate) parent: Option<u32>,
    /// The name or, without one, the id of its user.
    pub(crate) user: Option<String>,
    /// Its program, as the kernel names it; none without the right to know.
    pub(crate) program: Option<String>,
    /// When it was started, as the time since the boot.
    pub(crate) started: Option<Duration>,
}

impl ProcessInfo {
    /// The file name of the argument with this index; empty if there is no such argument.
    pub(crate) fn file_name(&self, index: usize) -> &str {
        let argument = self.arguments.get(index).map_or("", String::as_str);
        argument.rsplit('/').next().unwrap_or(argument)
    }
}

/// This program's installation.
#[derive(Clone, Debug)]
pub(crate) struct AgentEvidence {
    /// This program.
    pub(crate) program: PathBuf,
    /// Other programs of the same name that are earlier in PATH.
    pub(crate) earlier_in_path: Vec<PathBuf>,
    /// systemd's view of the units.
    pub(crate) units: Reading<Vec<UnitState>>,
    /// The off switches that are on.
    pub(crate) off_switches: Vec<String>,
    /// The state directory.
    pub(crate) state_dir: StateDirectory,
    /// A change of the gateway that is pending or was interrupted, in a sentence.
    pub(crate) unfinished_change: Option<String>,
}

/// The state of a unit, according to systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnitState {
    /// Its name.
    pub(crate) name: String,
    /// `enabled`, `disabled`, …; empty if there is no such unit.
    pub(crate) enabled: String,
    /// `active`, `inactive`, `activating`, `failed`, …
    pub(crate) active: String,
    /// `success`, `exit-code`, …
    pub(crate) result: String,
    /// The exit code of its main process.
    pub(crate) exit_code: String,
}

/// The state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDirectory {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Its state.
    pub(crate) condition: StateCondition,
}

/// Whether the state directory can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateCondition {
    /// It is usable.
    Usable,
    /// It does not exist; root's first command creates it.
    Absent,
    /// Its owner or mode allows other users to change it; a sentence.
    Untrusted(String),
    /// It cannot be used for another reason; a sentence.
    Unusable(String),
    /// Only the rate limit cannot be shared with other processes; a sentence.
    NotShared(String),
}
