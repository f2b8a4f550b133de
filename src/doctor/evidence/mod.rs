//! The evidence collected on this server, as plain data. Every part that could not be read has the
//! reason instead. `collect` gathers it, and the checks judge it.

mod host;
mod network;

use std::fmt;
use std::time::Duration;

pub(crate) use host::{
    AccountEvidence, AgentEvidence, FirewallEvidence, NfsMount, ProcessInfo, RuleSet, SelinuxMode,
    SshdEvidence, StateCondition, StateDirectory, SystemEvidence, UnitState, UserAccount,
};
pub(crate) use network::{
    ApiEvidence, ApiFailure, ApiReading, ConnectionEvidence, KernelEvidence, LimitEvidence,
    PathEvidence, RouteSample, TlsEvidence,
};

use crate::duration::human;
use crate::model::{NamedStatus, Region, Status};
use crate::xenstore::Snapshot;

/// A value that was read, or why it was not.
pub(crate) type Reading<T> = Result<T, Unread>;

/// Why a value was not read. Displayed as a whole sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// This server has none.
    Absent(String),
    /// Only root can read it.
    NeedsRoot(String),
    /// It was not there by the deadline.
    NoAnswer(Duration),
    /// It was not tried, for this reason.
    NotTried(String),
    /// It failed.
    Failed(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Absent(reason) | Unread::NotTried(reason) | Unread::Failed(reason) => {
                f.write_str(reason)
            }
            Unread::NeedsRoot(object) => write!(f, "only root can read {object}"),
            Unread::NoAnswer(limit) => write!(f, "no answer within {}", human(*limit)),
        }
    }
}

/// The value by reference. Without it, the judgement ends with a skipped check.
pub(crate) fn known<T>(reading: &Reading<T>) -> Result<&T, Unread> {
    reading.as_ref().map_err(Unread::clone)
}

/// All evidence. Parts that were not there by the deadline are [`Unread::NoAnswer`].
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// Whether this process runs as root.
    pub(crate) is_root: bool,
    /// The region and its source, or why it is not known.
    pub(crate) region: Result<(Region, String), String>,
    /// Whether the endpoint is given, by an option, a variable or the configuration file.
    pub(crate) is_configured: bool,
    /// The settings that are not defaults, each with its origin.
    pub(crate) settings: Vec<String>,
    /// The error in the configuration file, if there is one.
    pub(crate) broken_settings: Option<String>,
    /// What the server is.
    pub(crate) server: Reading<ServerEvidence>,
    /// Interfaces and routes.
    pub(crate) kernel: Reading<KernelEvidence>,
    /// The path to the API.
    pub(crate) path: Reading<PathEvidence>,
    /// The API's answers.
    pub(crate) api: Reading<ApiEvidence>,
    /// The SSH daemon.
    pub(crate) sshd: Reading<SshdEvidence>,
    /// The rackconnect user.
    pub(crate) accounts: Reading<AccountEvidence>,
    /// Files of the system.
    pub(crate) system: Reading<SystemEvidence>,
    /// The firewall.
    pub(crate) firewall: Reading<FirewallEvidence>,
    /// The processes.
    pub(crate) processes: Reading<Vec<ProcessInfo>>,
    /// This program's installation.
    pub(crate) agent: Reading<AgentEvidence>,
    /// For the report: the raw texts.
    pub(crate) raw: Vec<RawEvidence>,
}

/// A raw text for the report.
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
    /// Whether it is a Xen guest, according to the kernel.
    pub(crate) is_xen: bool,
    /// What xenstore says.
    pub(crate) xenstore: Reading<XenstoreEvidence>,
}

/// What xenstore says.
#[derive(Clone, Debug)]
pub(crate) struct XenstoreEvidence {
    /// The kind of the server, the status and Managed Operations.
    pub(crate) snapshot: Snapshot,
    /// The provider, as it is written there.
    pub(crate) provider: Option<String>,
    /// Why the status is UNPROCESSABLE.
    pub(crate) unprocessable_reason: Option<String>,
    /// The features.
    pub(crate) features: Vec<NamedStatus>,
    /// The link-layer address of the ServiceNet interface.
    pub(crate) servicenet_mac: Option<Vec<u8>>,
}

impl Evidence {
    /// Evidence before anything is collected. `limit`: the time limit of the collection.
    pub(crate) fn awaited(limit: Duration) -> Evidence {
        Evidence {
            is_root: false,
            region: Err("it was not looked for".to_owned()),
            is_configured: false,
            settings: Vec::new(),
            broken_settings: None,
            server: Err(Unread::NoAnswer(limit)),
            kernel: Err(Unread::NoAnswer(limit)),
            path: Err(Unread::NoAnswer(limit)),
            api: Err(Unread::NoAnswer(limit)),
            sshd: Err(Unread::NoAnswer(limit)),
            accounts: Err(Unread::NoAnswer(limit)),
            system: Err(Unread::NoAnswer(limit)),
            firewall: Err(Unread::NoAnswer(limit)),
            processes: Err(Unread::NoAnswer(limit)),
            agent: Err(Unread::NoAnswer(limit)),
            raw: Vec::new(),
        }
    }

    /// What xenstore says.
    pub(crate) fn xenstore(&self) -> Result<&XenstoreEvidence, Unread> {
        known(&known(&self.server)?.xenstore)
    }

    /// RackConnect's features of this server, if they are known, and their source.
    pub(crate) fn features(&self) -> (&[NamedStatus], &'static str) {
        if let Ok(ApiEvidence { features: Ok(Some(features)), .. }) = &self.api {
            return (features, "the API");
        }
        (self.xenstore().map_or(&[], |xenstore| &xenstore.features), "xenstore")
    }

    /// The automation status, if it is known. The API takes precedence, because the value in
    /// xenstore may be left over from before a rebuild.
    pub(crate) fn status(&self) -> Option<&Status> {
        match &self.api {
            Ok(ApiEvidence { status: Ok(status), .. }) => status.as_ref(),
            _ => self.xenstore().ok()?.snapshot.status.as_ref(),
        }
    }

    /// Whether the automation is done, so that nothing can stop it any more.
    pub(crate) fn is_deployed(&self) -> bool {
        self.status() == Some(&Status::Deployed)
    }
}
