//! Undoes a change from its record, and verifies the result. Any process can do so, also for a
//! process that was killed.

use std::fmt;
use std::fs;
use std::time::Duration;

use super::journal::{ChangeLock, Journal};
use super::kernel;
use super::names::{InterfaceNames, describe_route};
use super::plan::{self, Plan, RouteChange};
use super::record::ChangeRecord;
use crate::error::{Error, Kind, Result};
use crate::fail_point;
use crate::netlink::{Netlink, Position, Route};
use crate::signals::{self, DeferredSignals};

/// How often an undo is tried if another process changes routes at the same time.
const ATTEMPTS: usize = 3;

/// How long the guard waits for the lock: a process that hangs may hold it forever.
const GUARD_LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a change could not be undone.
#[derive(Clone, Debug)]
pub(crate) struct UndoError {
    cause: String,
    /// Commands that undo it by hand.
    by_hand: Vec<String>,
}

impl fmt::Display for UndoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the default route could not be put back: {}. \"rackconnect gateway rollback\" tries \
             again; by hand: {}",
            self.cause,
            self.by_hand.join(", ")
        )
    }
}

impl From<UndoError> for Error {
    fn from(err: UndoError) -> Error {
        Error::new(Kind::Other, err.to_string())
    }
}

/// What an undo found to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UndoOutcome {
    /// No change was left to undo.
    NothingToUndo,
    /// A change was undone.
    Undone,
}

/// How one attempt ended.
enum Attempt {
    /// The routes are as they were before the change.
    Undone,
    /// Another process has replaced the route; it stays.
    TakenOver,
    /// Another process changed routes in the meantime.
    Incomplete,
    /// A step failed.
    Failed(String),
}

/// Undoes the change of `record`, and verifies the result. A route that cannot return (its
/// interface may be down) does not keep the others from returning. The added routes are removed
/// only once a route of before is there.
///
/// # Errors
/// See [`UndoError`].
pub(crate) fn restore(netlink: &mut Netlink, record: &ChangeRecord) -> Result<(), UndoError> {
    let mut cause = String::new();
    let mut has_failed = false;
    for _ in 0..ATTEMPTS {
        let record = record.relocated(&kernel::interface_names(netlink));
        match attempt(netlink, &record) {
            Ok(Attempt::Undone) => {
                fail_point::reach("undone");
                log::debug!("everything is as it was");
                return Ok(());
            }
            Ok(Attempt::TakenOver) if !has_failed => {
                log::warn!("another process has changed the default route: it is left as it is");
                return Ok(());
            }
            Ok(Attempt::TakenOver | Attempt::Incomplete) => {
                cause = "the routes are not as they were".to_owned();
            }
            Ok(Attempt::Failed(failure)) => (cause, has_failed) = (failure, true),
            Err(err) => (cause, has_failed) = (err.message, true),
        }
    }
    let names = kernel::interface_names(netlink);
    Err(UndoError { cause, by_hand: commands(&record.relocated(&names)) })
}

fn attempt(netlink: &mut Netlink, record: &ChangeRecord) -> Result<Attempt> {
    let mut failure = None;
    for step in record.undo(&kernel::defaults4(netlink)?) {
        if matches!(step, RouteChange::Remove(_))
            && failure.is_some()
            && !has_any_of_before(&kernel::defaults4(netlink)?, &record.plan)
        {
            continue;
        }
        if let Err(err) = apply_step(netlink, &step, &record.interfaces) {
            failure.get_or_insert(err);
        }
    }
    if let Some(failure) = failure {
        return Ok(Attempt::Failed(failure));
    }
    let present = kernel::defaults4(netlink)?;
    Ok(if plan::is_undone(&record.plan.changes, &present) {
        Attempt::Undone
    } else if !present.is_empty() && record.undo(&present).is_empty() {
        Attempt::TakenOver
    } else {
        Attempt::Incomplete
    })
}

/// Whether any default route of before the change is there, apart from the wanted route.
fn has_any_of_before(present: &[Route], plan: &Plan) -> bool {
    plan.before.iter().any(|route| *route != plan.wanted && present.contains(route))
}

fn apply_step(
    netlink: &mut Netlink,
    step: &RouteChange,
    names: &InterfaceNames,
) -> Result<(), String> {
    let result = match step {
        RouteChange::Add(route) => netlink.add(route, Position::First),
        RouteChange::Append(route) => netlink.add(route, Position::Last),
        RouteChange::Remove(route) => netlink.remove(route),
    };
    let (verb, reached) = match step {
        RouteChange::Add(_) | RouteChange::Append(_) => ("put back", "route put back"),
        RouteChange::Remove(_) => ("removed", "added route removed"),
    };
    let route = describe_route(step.route(), names);
    match result {
        Ok(_) => {
            fail_point::reach(reached);
            log::debug!("{verb}: {route}");
            Ok(())
        }
        Err(err) => Err(format!("{route} cannot be {verb}: {err}")),
    }
}

/// The commands that put the removed routes back.
fn commands(record: &ChangeRecord) -> Vec<String> {
    // "add" would fail if another default route has that metric.
    let prepend = |change: &RouteChange| match change {
        RouteChange::Remove(route) => {
            Some(format!("\"ip route prepend {}\"", describe_route(route, &record.interfaces)))
        }
        RouteChange::Add(_) | RouteChange::Append(_) => None,
    };
    let commands: Vec<_> = record.plan.changes.iter().filter_map(prepend).collect();
    if commands.is_empty() { vec!["\"ip route del default\"".to_owned()] } else { commands }
}

/// The record of the change that was `guarded`, if that change is still pending and no other one
/// has begun since.
///
/// # Errors
/// The kernel does not respond.
pub(crate) fn abandoned(journal: &Journal, guarded: &ChangeRecord) -> Result<Option<ChangeRecord>> {
    if let Some(record) = journal.read() {
        return Ok(Some(record).filter(|record| record.is_pending() && record.id == guarded.id));
    }
    // Either the record is lost, and the guard's copy replaces it, or the change was undone
    // already, and nothing is left to undo.
    let mut netlink = kernel::open()?;
    let names = kernel::interface_names(&mut netlink);
    let present = kernel::defaults4(&mut netlink)?;
    Ok(Some(guarded).filter(|it| !it.relocated(&names).undo(&present).is_empty()).cloned())
}

/// Undoes a change whose process is gone, unless another process did so or another change has begun
/// since. `guarded`: the record as it was when the guard was armed.
///
/// # Errors
/// It could not be undone.
pub(crate) fn undo_abandoned(journal: &Journal, guarded: &ChangeRecord) -> Result<UndoOutcome> {
    // A process that hangs still holds the lock: the guard goes on without it.
    let _lock = journal.lock(GUARD_LOCK_TIMEOUT).ok().flatten();
    let Some(record) = abandoned(journal, guarded)? else {
        return Ok(UndoOutcome::NothingToUndo);
    };
    restore(&mut kernel::open()?, &record)?;
    let _ = fs::remove_file(journal.socket());
    journal.try_discard(&record);
    Ok(UndoOutcome::Undone)
}

/// Undoes the change that a killed process left behind, with signals deferred. Every command that
/// changes routes begins with this; without the right to change routes it does nothing.
///
/// # Errors
/// It could not be undone.
pub(crate) fn finish_interrupted(journal: &Journal) -> Result<UndoOutcome> {
    let Some((_lock, record)) = lock_interrupted(journal)? else {
        return Ok(UndoOutcome::NothingToUndo);
    };
    let signals = signals::defer()?;
    let undone = undo_interrupted(journal, &record);
    signals.restore();
    undone.map(|()| report_undone(&record))
}

/// [`finish_interrupted`] for a caller that has deferred the signals.
///
/// # Errors
/// As for [`finish_interrupted`].
pub(crate) fn finish_interrupted_deferred(
    journal: &Journal,
    _signals: &DeferredSignals,
) -> Result<UndoOutcome> {
    let Some((_lock, record)) = lock_interrupted(journal)? else {
        return Ok(UndoOutcome::NothingToUndo);
    };
    undo_interrupted(journal, &record).map(|()| report_undone(&record))
}

/// The pending change and the lock for its undo; none if there is no such change, this process may
/// not undo it, or another process holds the lock and is therefore working on it.
fn lock_interrupted(journal: &Journal) -> Result<Option<(ChangeLock, ChangeRecord)>> {
    if !kernel::may_change_routes() || journal.pending().is_none() {
        return Ok(None);
    }
    let Some(lock) = journal.lock(Duration::ZERO)? else { return Ok(None) };
    // Again: it may have been undone before the lock was taken.
    Ok(journal.pending().map(|record| (lock, record)))
}

fn undo_interrupted(journal: &Journal, record: &ChangeRecord) -> Result<()> {
    log::debug!("undoing the interrupted change to {}", record.gateway);
    fail_point::reach("undo begins");
    let undone = kernel::open()
        .and_then(|mut netlink| Ok(restore(&mut netlink, record)?))
        .and_then(|()| journal.discard(record));
    let _ = fs::remove_file(journal.socket());
    undone
}

fn report_undone(record: &ChangeRecord) -> UndoOutcome {
    log::warn!(
        "a change of the default route to {} was interrupted: it has been undone",
        record.gateway
    );
    UndoOutcome::Undone
}

/// A sentence about a pending change, for a command that does not undo it; none if there is no such
/// change.
pub(crate) fn describe_unfinished(journal: &Journal) -> Option<String> {
    let awaits_confirmation = journal.socket().exists();
    match journal.read() {
        Some(record) if record.is_pending() => {
            let state = match journal.is_locked() {
                true if awaits_confirmation => "waits for \"rackconnect gateway confirm\"",
                true => "is under way",
                false => "was interrupted: \"rackconnect gateway rollback\" undoes it",
            };
            Some(format!("a change of the default route to {} {state}", record.gateway))
        }
        Some(_) => None,
        // Only root can read the record.
        None => awaits_confirmation.then(|| {
            "a change of the default route waits for \"rackconnect gateway confirm\"".to_owned()
        }),
    }
}
