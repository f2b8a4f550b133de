//! `gateway confirm` and `gateway rollback`. They send no request and work with any configuration,
//! since they may be the only way back to a server that has lost its route.

use crate::config::{Sources, rescue_state_dir};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::confirm::{Reply, Verdict, send};
use crate::gateway::journal::Journal;
use crate::gateway::rollback::roll_back;
use crate::gateway::undo::{UndoOutcome, finish_interrupted};
use crate::ui::{escape_control, output};

/// Accepts the change that waits for its confirmation.
pub fn confirm(sources: &Sources) -> Result<Exit> {
    let journal = Journal::at(&rescue_state_dir(sources)?.value);
    if let Some(reply) = send(&journal, Verdict::Confirm)? {
        return finish(reply);
    }
    let refused = |message: String| Err(Error::new(Kind::Refused, message));
    match finish_interrupted(&journal)? {
        UndoOutcome::Undone => {
            refused("too late: the change was interrupted, and everything is put back".to_owned())
        }
        UndoOutcome::NothingToUndo => refused(format!(
            "no change of the default route waits for a confirmation{}",
            journal.searched()
        )),
    }
}

/// Undoes the change that waits for its confirmation, or the last one that was kept.
pub fn rollback(sources: &Sources) -> Result<Exit> {
    let journal = Journal::at(&rescue_state_dir(sources)?.value);
    if let Some(reply) = send(&journal, Verdict::Rollback)? {
        return finish(reply);
    }
    finish(Reply::Done(match finish_interrupted(&journal)? {
        UndoOutcome::Undone => "put back".to_owned(),
        UndoOutcome::NothingToUndo => roll_back(&journal)?,
    }))
}

fn finish(reply: Reply) -> Result<Exit> {
    match reply {
        Reply::Done(sentence) => output::line(&escape_control(&sentence)).map(|()| Exit::Ok),
        Reply::Failed(sentence) => Err(Error::new(Kind::Refused, sentence)),
    }
}
