//! `wait`: blocks until the automation is done, then executes COMMAND in its place.

use std::ffi::OsString;

use nix::unistd::geteuid;

use crate::clock::BootInstant;
use crate::config::{Sources, WaitSettings};
use crate::error::Result;
use crate::exit::Exit;
use crate::model::Goal;
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::state::kept_dir::KeptStateDir;
use crate::state::status_file::{self, Learned, NOT_RACKCONNECT};
use crate::ui::{self, output};
use crate::wait::{ApiAndXenstore, Policy, Program, WaitEnd, WaitOutcome, run as wait};
use crate::{signals, systemd};

/// Waits, then prints the word of the outcome or executes `program`.
pub fn run(sources: &Sources, program: &[OsString]) -> Result<Exit> {
    let settings = WaitSettings::resolve(sources)?;
    // A stopped pager must not keep the wait from ending, even if that has no deadline.
    ui::limit_output(settings.end.unwrap_or(BootInstant::NEVER));
    let policy = Policy {
        goal: settings.goal,
        interval: settings.interval.value,
        deadline: settings.end,
        ok_if: settings.ok_if,
        through_failed: settings.through_failed,
        is_watched: settings.is_watched,
    };
    let program = Program::find(program)?;
    let session = Session::new(settings.api, OnBrokenXenstore::Retry);
    session.check_ca_file()?;
    if policy.is_watched {
        signals::on_signal(ui::end_live_for_good)?;
    }
    let mut source = ApiAndXenstore::new(session, policy);
    let end = wait(&mut source, policy, session.settings().started)?;
    let exit = policy.exit(end.outcome);
    let word = match end.outcome {
        WaitOutcome::NotRackConnect => NOT_RACKCONNECT,
        _ => &end.word,
    };
    announce(&end, exit);
    if exit == Exit::Ok && policy.goal == Goal::Deployed {
        record_outcome(session.state_dir(), word, policy.deadline);
    }
    match program {
        Some(program) if exit == Exit::Ok => {
            Err(program.exec(word, session.optional_region(policy.deadline)))
        }
        Some(_) => Ok(exit),
        None => print(word, exit),
    }
}

/// Logs how the wait ended, and reports it to systemd.
fn announce(end: &WaitEnd, exit: Exit) {
    systemd::status(&end.sentence);
    match exit {
        Exit::Ok => log::info!("{}", end.sentence),
        _ => {
            log::error!("{}", end.sentence);
            systemd::stopping();
        }
    }
}

/// As root, records the word of the outcome in status.json, where hooks read it.
fn record_outcome(state_dir: &KeptStateDir, word: &str, deadline: Option<BootInstant>) {
    let learned = Learned::Waited(word.to_owned());
    if geteuid().is_root()
        && let Err(err) = status_file::learn(state_dir, &learned, None, deadline)
    {
        log::warn!("cannot record the outcome of this wait, so hooks do not see it: {err}");
    }
}

/// Prints the word of a wait without COMMAND.
fn print(word: &str, exit: Exit) -> Result<Exit> {
    let printed = if word.is_empty() { Ok(()) } else { output::line(word) };
    let exit = output::outcome(printed, Ok(exit))?;
    // Without STOPPING=1, after which systemd would ignore RemainAfterExit=. A COMMAND notifies
    // systemd itself.
    if exit == Exit::Ok {
        systemd::ready();
    }
    Ok(exit)
}
