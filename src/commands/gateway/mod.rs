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

use crate::config::Settings;
use crate::error::Result;
use crate::gateway::change;
use crate::gateway::journal::Store;
use crate::signals::Held;

/// The place of the undo, for what changes routes: what a killed process left half done is undone first. `held`: the signals,
/// where they are held.
fn store(settings: &Settings, held: Option<&Held>) -> Result<Store> {
    let store = Store::at(&settings.state_dir()?);
    if let Err(why) = change::finish_interrupted(&store, held) {
        log::error!("{why}");
    }
    Ok(store)
}

/// The same for what only looks, and changes nothing: it is said.
fn store_to_look_at(settings: &Settings) -> Result<Store> {
    let store = Store::at(&settings.state_dir()?);
    if let Some(sentence) = change::unfinished(&store) {
        log::warn!("{sentence}");
    }
    Ok(store)
}
