//! The subject of an examination, and the form in which a collector returns evidence.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::BootInstant;
use crate::doctor::evidence::Evidence;
use crate::model::Region;
use crate::region::Detected;
use crate::session::{DETECT_TIMEOUT, Session};

/// How much earlier than the collection a network step ends, so that its error is still collected.
const STEP_MARGIN: Duration = Duration::from_millis(500);

/// The subject of an examination, and its deadline.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// When the command started.
    pub(crate) started: BootInstant,
    /// When all evidence has to be collected.
    pub(crate) deadline: BootInstant,
    /// The root directory of the server's files: `/` except in tests.
    pub(crate) root: PathBuf,
    /// The state directory.
    pub(crate) state_dir: PathBuf,
    /// The region and its source, or why it is not known.
    pub(crate) region: Result<(Region, String), String>,
    /// Whether the endpoint is given, by an option, a variable or the configuration file.
    pub(crate) is_configured: bool,
    /// The settings that are not defaults, each with its origin.
    pub(crate) settings: Vec<String>,
    /// The error in the configuration file, if there is one.
    pub(crate) broken_settings: Option<String>,
}

impl Subject {
    /// The server whose files are below `root`, examined until `deadline`.
    pub(crate) fn new(session: &Session, root: &Path, deadline: BootInstant) -> Subject {
        let api = session.settings();
        let region = match session.region().detect(deadline.min(api.started + DETECT_TIMEOUT)) {
            Detected::Known(region, source) => Ok((region, source)),
            Detected::NotYet(reason) | Detected::Broken(reason) | Detected::Unknown(reason) => {
                Err(reason)
            }
        };
        Subject {
            started: api.started,
            deadline: deadline.max(api.started),
            root: root.to_owned(),
            state_dir: api.state_dir.value.clone(),
            region,
            is_configured: api.endpoint.is_some(),
            settings: Vec::new(),
            broken_settings: None,
        }
    }

    /// The deadline of each step on the network.
    pub(super) fn step_deadline(&self) -> BootInstant {
        self.deadline - STEP_MARGIN
    }
}

/// The evidence of one collector.
pub(super) type Addition = Box<dyn FnOnce(&mut Evidence) + Send>;
