//! `gateway keep`: sets the gateway, and sets it again when it is lost.

use super::SettingsApi;
use crate::api::tls;
use crate::config::Settings;
use crate::error::{Kind, Result};
use crate::exit::Exit;
use crate::gateway::journal::Journal;
use crate::gateway::keep::keep;
use crate::gateway::lookup::Schedule;
use crate::gateway::undo;
use crate::{signals, systemd};

/// Keeps the gateway.
pub fn run(settings: &Settings) -> Result<Exit> {
    let interface = settings.interface()?;
    check(settings)?;
    let signals = signals::hold()?;
    signals::end_between_changes(systemd::stopping)?;
    let journal = Journal::at(&settings.state_dir()?);
    {
        let _busy = signals::busy();
        if let Err(err) = undo::finish_interrupted(&journal, Some(&signals)) {
            log::error!("{err}");
        }
    }
    let api = SettingsApi::new(settings);
    let lookup = api.lookup(Schedule::Forever)?;
    keep(&lookup, interface.as_deref(), &journal, &signals).map(|()| Exit::Ok)
}

/// Wrong settings show at the start. A region that may still become known is waited for with the
/// first question.
fn check(settings: &Settings) -> Result<()> {
    let ca_file = settings.ca_file()?;
    tls::roots(ca_file.as_ref().map(|(path, origin)| (path.as_path(), origin.as_str())))?;
    if settings.has_endpoint()? {
        return Ok(());
    }
    match settings.known_region() {
        Err(err) if err.kind == Kind::NotYet => Ok(()),
        known => known.map(drop),
    }
}
