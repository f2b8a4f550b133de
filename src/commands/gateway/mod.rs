//! The `gateway` commands, and what they share: the API and the journal as the settings name them.

mod check;
mod confirm;
mod keep;
mod set;
mod show;

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

pub use check::run as check;
pub use confirm::{confirm, rollback};
pub use keep::run as keep;
pub use set::run as set;
pub use show::run as show;

use super::once;
use crate::api::client::{Answer, Client};
use crate::api::reach::Target;
use crate::api::tls;
use crate::clock::BootInstant;
use crate::config::Settings;
use crate::error::{Kind, Result};
use crate::gateway::journal::Journal;
use crate::gateway::lookup::{GatewayApi, GatewayLookup, Schedule};
use crate::gateway::undo;
use crate::model::{Format, Operation};

/// How often an unknown region is looked for.
const REGION_RETRY: Duration = Duration::from_secs(1);

/// The API, with one client for all questions of a command.
struct SettingsApi<'a> {
    settings: &'a Settings<'a>,
    client: OnceLock<Client>,
}

impl<'a> SettingsApi<'a> {
    fn new(settings: &'a Settings<'a>) -> SettingsApi<'a> {
        SettingsApi { settings, client: OnceLock::new() }
    }

    /// The questions of this command.
    fn lookup(&self, schedule: Schedule) -> Result<GatewayLookup<'_>> {
        let deadline = self.settings.deadline()?;
        Ok(GatewayLookup::new(self, self.settings.began(), deadline, schedule))
    }

    /// Waits until the region is known, if one is needed.
    fn wait_for_region(&self, deadline: BootInstant) -> Result<()> {
        if self.settings.has_endpoint()? {
            return Ok(());
        }
        let mut has_said = false;
        loop {
            match self.settings.known_region() {
                Err(err) if err.kind == Kind::NotYet => {
                    let left = deadline.since(BootInstant::now());
                    if left.is_zero() {
                        return Err(err);
                    }
                    if !has_said {
                        log::info!("{err}: waiting for it");
                        has_said = true;
                    }
                    thread::sleep(REGION_RETRY.min(left));
                }
                known => return known.map(drop),
            }
        }
    }
}

impl GatewayApi for SettingsApi<'_> {
    fn ask(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
        reserved: usize,
    ) -> Result<Answer> {
        self.wait_for_region(deadline)?;
        let client = match self.client.get() {
            Some(client) => client,
            None => {
                let client = once::client(self.settings, reserved)?;
                self.client.get_or_init(|| client)
            }
        };
        let timeout = self.settings.request_timeout()?;
        once::ask_with(client, timeout, operation, format, deadline, reserved)
    }

    fn target(&self) -> Result<Target> {
        let ca_file = self.settings.ca_file()?;
        let roots =
            tls::roots(ca_file.as_ref().map(|(path, origin)| (path.as_path(), origin.as_str())))?;
        Ok(Target::new(&self.settings.endpoint()?, roots.config))
    }
}

/// The journal of a command that only looks, after a word on an unfinished change.
fn journal_to_read(settings: &Settings) -> Result<Journal> {
    let journal = Journal::at(&settings.state_dir()?);
    if let Some(change) = undo::describe_unfinished(&journal) {
        log::warn!("{change}");
    }
    Ok(journal)
}

/// The journal of a command that changes routes, after undoing what a killed process left behind.
fn journal_to_change(settings: &Settings) -> Result<Journal> {
    let journal = Journal::at(&settings.state_dir()?);
    if let Err(err) = undo::finish_interrupted(&journal, None) {
        log::error!("{err}");
    }
    Ok(journal)
}
