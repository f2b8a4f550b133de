//! The `gateway` commands.

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

use std::path::Path;

use crate::gateway::journal::Journal;
use crate::gateway::undo;

/// The journal of a command that only reads; warns about an unfinished change.
fn journal_to_read(state_dir: &Path) -> Journal {
    let journal = Journal::at(state_dir);
    if let Some(change) = undo::describe_unfinished(&journal) {
        log::warn!("{change}");
    }
    journal
}

/// The journal of a command that changes routes; first undoes an interrupted change.
fn journal_to_change(state_dir: &Path) -> Journal {
    let journal = Journal::at(state_dir);
    if let Err(err) = undo::finish_interrupted(&journal) {
        log::error!("{err}");
    }
    journal
}
