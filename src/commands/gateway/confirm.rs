//! `gateway confirm` and `gateway rollback`: they ask the API nothing and work with any
//! configuration, as they may be all that is left to someone.

use crate::config::{Sources, rescue_state_dir};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::confirm::{Reply, Verdict, send};
use crate::gateway::journal::Journal;
use crate::gateway::rollback::roll_back;
use crate::gateway::undo::finish_interrupted;
use crate::ui::{escape_control, output};

/// Accepts the change that waits.
pub fn confirm(sources: &Sources) -> Result<Exit> {
    let journal = Journal::at(&rescue_state_dir(sources)?.value);
    if let Some(reply) = send(&journal, Verdict::Confirm)? {
        return finish(reply);
    }
    let refused = |message: String| Err(Error::new(Kind::Refused, message));
    match finish_interrupted(&journal, None)? {
        true => {
            refused("too late: the change was interrupted, and everything is put back".to_owned())
        }
        false => refused(format!(
            "no change of the default route waits for a confirmation{}",
            journal.searched()
        )),
    }
}

/// Undoes the change that waits, or the last one.
pub fn rollback(sources: &Sources) -> Result<Exit> {
    let journal = Journal::at(&rescue_state_dir(sources)?.value);
    if let Some(reply) = send(&journal, Verdict::Rollback)? {
        return finish(reply);
    }
    finish(Reply::Done(match finish_interrupted(&journal, None)? {
        true => "put back".to_owned(),
        false => roll_back(&journal)?,
    }))
}

fn finish(reply: Reply) -> Result<Exit> {
    match reply {
        Reply::Done(sentence) => output::line(&escape_control(&sentence)).map(|()| Exit::Ok),
        Reply::Failed(sentence) => Err(Error::new(Kind::Refused, sentence)),
    }
}
