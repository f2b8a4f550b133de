//! What was collected on this server: plain data, in which everything that could not be read says
//! why. The checks judge it; `collect` gathers it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::sshd::SshdConfig;
use crate::duration::human;
use crate::model::{NamedStatus, Region, Status};
use crate::netlink::{Address, Link, NextHop, Route};
use crate::xenstore::Snapshot;

/// Something that was read, or why not.
pub(crate) type Reading<T> = Result<T, Unread>;

/// Why something was not read. Displayed as a whole sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// This server has none.
    Absent(String),
    /// It is for root alone.
    NeedsRoot(String),
    /// It had not come by the deadline.
    NoAnswer(Duration),
    /// It was not tried, for this reason.
    NotTried(String),
    /// It failed.
    Failed(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Absent(why) | Unread::NotTried(why) | Unread::Failed(why) => f.write_str(why),
            Unread::NeedsRoot(what) => write!(f, "{what} can be read by root alone"),
            Unread::NoAnswer(limit) => write!(f, "no answer within {}", human(*limit)),
        }
    }
}

/// The reading by reference, for a judgement that ends where there is none.
pub(crate) fn known<T>(reading: &Reading<T>) -> Result<&T, Unread> {
    reading.as_ref().map_err(Unread::clone)
}

/// Everything that was collected. What had not come by the deadline is [`Unread::NoAnswer`].
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// Whether this process is root's.
    pub(crate) is_root: bool,
    /// The region and where it is known from, or why it is not known.
    pub(crate) region: Result<(Region, String), String>,
    /// Whether somebody has named the endpoint or the region.
    pub(crate) is_told: bool,
    /// What the server is.
    pub(crate) server: Reading<ServerEvidence>,
    /// Interfaces and routes.
    pub(crate) kernel: Reading<KernelEvidence>,
    /// The SSH daemon.
    pub(crate) sshd: Reading<SshdEvidence>,
    /// The rackconnect user.
    pub(crate) accounts: Reading<AccountEvidence>,
    /// Files of the system.
    pub(crate) system: Reading<SystemEvidence>,
    /// The processes.
    pub(crate) processes: Reading<Vec<ProcessInfo>>,
    /// This program's installation.
    pub(crate) agent: Reading<AgentEvidence>,
    /// For the report: what was read, as it was.
    pub(crate) raw: Vec<RawEvidence>,
}

/// Something for the report, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawEvidence {
    /// A path or a command.
    pub(crate) title: String,
    /// Its text.
    pub(crate) text: String,
}

/// What the server is.
#[derive(Clone, Debug)]
pub(crate) struct ServerEvidence {
    /// Whether the kernel says that it is a Xen guest.
    pub(crate) is_xen: bool,
    /// What xenstore says.
    pub(crate) xenstore: Reading<XenstoreEvidence>,
}

/// What xenstore says.
#[derive(Clone, Debug)]
pub(crate) struct XenstoreEvidence {
    /// Server, status, Managed Operations.
    pub(crate) snapshot: Snapshot,
    /// The provider, as it stands there.
    pub(crate) provider: Option<String>,
    /// The features.
    pub(crate) features: Vec<NamedStatus>,
}

/// The kernel's interfaces and routes.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelEvidence {
    /// All interfaces.
    pub(crate) links: Vec<Link>,
    /// All IPv4 addresses.
    pub(crate) addresses: Vec<Address>,
    /// The default routes, the one in use first.
    pub(crate) defaults: Vec<Route>,
    /// Where a packet for the internet would go.
    pub(crate) internet: Option<NextHop>,
}

/// The SSH daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct SshdEvidence {
    /// What it is configured to do.
    pub(crate) config: SshdConfig,
    /// Where that is known from.
    pub(crate) source: String,
    /// Files that were changed since the daemon started.
    pub(crate) changed_since_start: Vec<String>,
}

/// The rackconnect user.
#[derive(Clone, Debug)]
pub(crate) struct AccountEvidence {
    /// Its entry in /etc/passwd.
    pub(crate) user: Option<UserAccount>,
    /// The rules of sudo that hold for it, as they stand there.
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

/// What stands in files of the system.
#[derive(Clone, Debug, Default)]
pub(crate) struct SystemEvidence {
    /// SELinux's mode now: enforcing, permissive, or none without SELinux.
    pub(crate) selinux: Option<SelinuxMode>,
    /// The mode that it will have after the next boot, if its configuration says so.
    pub(crate) selinux_configured: Option<String>,
    /// Those of the tools that the automation needs that are in no directory of programs.
    pub(crate) missing_tools: Vec<&'static str>,
    /// The names of bridges.
    pub(crate) bridges: Vec<String>,
    /// NFS mounts.
    pub(crate) nfs_mounts: Vec<NfsMount>,
    /// Files of saved firewall rules, and whether they name RackConnect.
    pub(crate) saved_rules: Vec<SavedRules>,
    /// Whether the file is there that keeps a server's own firewall rules.
    pub(crate) keeps_custom_rules: bool,
}

/// SELinux's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelinuxMode {
    /// It forbids.
    Enforcing,
    /// It only logs.
    Permissive,
}

/// An NFS mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NfsMount {
    /// `HOST:PATH`
    pub(crate) source: String,
    /// Where it is mounted, or is to be.
    pub(crate) target: String,
    /// The file that says so.
    pub(crate) file: &'static str,
}

/// A file of saved firewall rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedRules {
    /// Its path.
    pub(crate) path: String,
    /// How many rules it has.
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
    /// Its program, as the kernel names it; none without the right to know.
    pub(crate) program: Option<String>,
    /// When it was started, counted from the boot.
    pub(crate) started: Option<Duration>,
}

/// This program's installation.
#[derive(Clone, Debug)]
pub(crate) struct AgentEvidence {
    /// This program.
    pub(crate) program: PathBuf,
    /// Programs of the same name in PATH that are others, in front of this one.
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

/// What systemd says of a unit.
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
    /// It is not there; root's first command makes it.
    Absent,
    /// It cannot be used; the end of a sentence that begins with its path.
    Unusable(String),
}

impl Evidence {
    /// Evidence of which nothing has come yet. `limit`: how long it may take.
    pub(crate) fn awaited(limit: Duration) -> Evidence {
        Evidence {
            is_root: false,
            region: Err("it was not looked for".to_owned()),
            is_told: false,
            server: Err(Unread::NoAnswer(limit)),
            kernel: Err(Unread::NoAnswer(limit)),
            sshd: Err(Unread::NoAnswer(limit)),
            accounts: Err(Unread::NoAnswer(limit)),
            system: Err(Unread::NoAnswer(limit)),
            processes: Err(Unread::NoAnswer(limit)),
            agent: Err(Unread::NoAnswer(limit)),
            raw: Vec::new(),
        }
    }

    /// What xenstore says.
    pub(crate) fn xenstore(&self) -> Result<&XenstoreEvidence, Unread> {
        known(&known(&self.server)?.xenstore)
    }

    /// RackConnect's features of this server as far as they are known.
    pub(crate) fn features(&self) -> &[NamedStatus] {
        self.xenstore().map_or(&[], |xenstore| &xenstore.features)
    }

    /// The automation status as far as it is known.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.xenstore().ok()?.snapshot.status.as_ref()
    }

    /// Whether the automation is done, so that nothing can break it any more.
    pub(crate) fn is_deployed(&self) -> bool {
        self.status() == Some(&Status::Deployed)
    }
}

impl KernelEvidence {
    /// The IPv4 addresses of an interface.
    pub(crate) fn addresses_of(&self, index: u32) -> impl Iterator<Item = Ipv4Addr> {
        self.addresses.iter().filter(move |address| address.interface == index).filter_map(
            |address| match address.local {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            },
        )
    }
}
