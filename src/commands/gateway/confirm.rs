//! `gateway confirm` and `gateway rollback`: they ask the API nothing and work whatever the configuration is like, since
//! they may be all that is left to someone.

use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::confirm::{Word, say};
use crate::gateway::journal::Store;
use crate::gateway::{change, kernel};
use crate::netlink::INET;
use crate::ui::output;

/// Accepts the change that waits.
pub fn confirm(settings: &Settings) -> Result<Exit> {
    let store = Store::at(&settings.state_dir()?);
    match say(&store, Word::Confirm)? {
        Some(answer) => finish(answer),
        None if change::finish_interrupted(&store, None)? => Err(Error::new(
            Kind::Refused,
            "too late: the change was interrupted, and everything is put back",
        )),
        None => Err(Error::new(
            Kind::Refused,
            format!("no change of the default route waits for a confirmation{}", store.searched()),
        )),
    }
}

/// Undoes the change that waits, or the last one.
pub fn rollback(settings: &Settings) -> Result<Exit> {
    let store = Store::at(&settings.state_dir()?);
    match say(&store, Word::Rollback)? {
        Some(answer) => finish(answer),
        None if change::finish_interrupted(&store, None)? => finish((true, "put back".to_owned())),
        None => {
            let network = kernel::network(&mut kernel::open()?, INET)?;
            finish((true, change::roll_back(&store, &network)?))
        }
    }
}

fn finish((done, sentence): (bool, String)) -> Result<Exit> {
    match done {
        true => {
            output::line(&crate::ui::escape_control(&sentence))?;
            Ok(Exit::Ok)
        }
        false => Err(Error::new(Kind::Refused, sentence)),
    }
}
