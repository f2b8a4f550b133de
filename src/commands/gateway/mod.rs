//! The `gateway` commands.

mod ask;
mod check;
mod confirm;
mod keep;
mod set;
mod show;

pub use check::run as check;
pub use confirm::{confirm, rollback};
pub use keep::run as keep;
pub use set::run as set;
pub use show::run as show;

use crate::error::Result;
use crate::gateway::change;
use crate::gateway::record::Store;
use crate::settings::Settings;

/// The place of the undo; what a killed process left half done is undone first.
fn store(settings: &Settings) -> Result<Store> {
    let store = Store::at(&settings.state_dir()?);
    if let Err(why) = change::finish_interrupted(&store) {
        log::error!("{why}");
    }
    Ok(store)
}
