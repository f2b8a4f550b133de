//! `gateway keep`: sets the gateway, and restores it when it is lost.

use crate::config::{KeepSettings, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::gateway::journal::Journal;
use crate::gateway::keep::keep;
use crate::gateway::lookup::{GatewayLookup, Schedule};
use crate::gateway::undo;
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::{signals, systemd};

/// Keeps the gateway.
pub fn run(sources: &Sources) -> Result<Exit> {
    let KeepSettings { one_shot, interface } = KeepSettings::resolve(sources)?;
    let journal = Journal::at(&one_shot.api.state_dir.value);
    let (started, deadline) = (one_shot.api.started, one_shot.deadline.value);
    let session = Session::new(one_shot.api, OnBrokenXenstore::Retry);
    session.check()?;
    let signals = signals::defer()?;
    signals::end_between_changes(systemd::stopping)?;
    {
        let _busy = signals::begin_change();
        if let Err(err) = undo::finish_interrupted_deferred(&journal, &signals) {
            log::error!("{err}");
        }
    }
    let lookup = GatewayLookup::new(session, started, deadline, Schedule::Forever);
    let interface = interface.as_ref().map(|interface| interface.value.as_str());
    keep(&lookup, interface, &journal, &signals).map(|()| Exit::Ok)
}
