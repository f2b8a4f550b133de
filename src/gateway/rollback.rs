//! `gateway rollback`: undoes the last change after it was kept.

use std::time::Duration;

use super::apply::GUARD_MARGIN;
use super::guard::Guard;
use super::journal::Journal;
use super::names::describe_route;
use super::record::{ChangeRecord, ChangeState};
use super::{kernel, undo};
use crate::error::{Error, Kind, Result};
use crate::fail_point;
use crate::netlink::Netlink;
use crate::signals;

/// How long to wait for another process that changes routes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Undoes the last change. Returns a sentence that names the restored route.
///
/// # Errors
/// There is none, it is not in effect any more, `gateway keep` would make it again, or it could not
/// be undone.
pub(crate) fn roll_back(journal: &Journal) -> Result<String> {
    let refused = |message: String| Error::new(Kind::Refused, message);
    let nothing = || {
        refused(format!("there is no change of the default route to undo{}", journal.searched()))
    };
    journal.read().ok_or_else(nothing)?;
    if !kernel::may_change_routes() {
        return Err(refused("changing routes needs CAP_NET_ADMIN (root)".to_owned()));
    }
    if journal.is_keep_running() {
        return Err(refused(
            "\"rackconnect gateway keep\" runs and would set the gateway again at once: stop it \
             first (\"systemctl stop rackconnect-gateway\"); nothing was changed"
                .to_owned(),
        ));
    }
    let Some(_lock) = journal.lock(LOCK_TIMEOUT)? else {
        return Err(refused("another change of the default route is under way".to_owned()));
    };
    let record = journal.read().ok_or_else(nothing)?;
    let mut netlink = kernel::open()?;
    if is_over(&mut netlink, &record)? {
        journal.remove()?;
        return Err(refused(format!(
            "another process has changed the default route to {} since: nothing is put back",
            record.gateway
        )));
    }
    undo_guarded(&mut netlink, journal, record)?;
    let names = kernel::interface_names(&mut netlink);
    Ok(match kernel::defaults4(&mut netlink)?.first() {
        Some(route) => format!("put back: {}", describe_route(route, &names)),
        None => "put back: there is no default route, as before".to_owned(),
    })
}

/// Whether nothing is left to undo: another process has replaced the route, or all steps are
/// undone.
fn is_over(netlink: &mut Netlink, record: &ChangeRecord) -> Result<bool> {
    let record = record.relocated(&kernel::interface_names(netlink));
    let present = kernel::defaults4(netlink)?;
    Ok(record.is_taken_over(&present) || record.undo(&present).is_empty())
}

/// Undoes the change with the signals deferred and a guard armed.
fn undo_guarded(netlink: &mut Netlink, journal: &Journal, mut record: ChangeRecord) -> Result<()> {
    let signals = signals::defer()?;
    // From now on any process that finds the record finishes the undo. If it cannot be written (a
    // full disk), the change is undone nevertheless: a rollback may be the only way back in.
    record.state = ChangeState::Pending;
    if let Err(err) = journal.write(&record) {
        log::warn!("{err}: if the undo is interrupted, run \"rackconnect gateway rollback\" again");
    }
    fail_point::reach("undo recorded");
    // If the guard cannot start, the undo goes on without it, for the same reason.
    let guard = Guard::start(journal, GUARD_MARGIN).inspect_err(|err| log::warn!("{err}"));
    fail_point::reach("guard armed");
    let undone = undo::restore(netlink, &record);
    // Before the guard is dismissed: until then it goes by the record, and leaves a kept change
    // alone.
    let recorded = match &undone {
        Ok(()) => journal.remove(),
        Err(_) => keep_if_in_effect(netlink, journal, record),
    };
    if let Err(err) = recorded {
        log::warn!("{err}");
    }
    if let Ok(mut guard) = guard {
        let _ = guard.dismiss();
        fail_point::reach("guard gone");
    }
    signals.end_if_pending();
    Ok(undone?)
}

/// Records a change that could not be undone as kept if it is still in effect. Otherwise the next
/// command would undo it at an unexpected time.
fn keep_if_in_effect(
    netlink: &mut Netlink,
    journal: &Journal,
    mut record: ChangeRecord,
) -> Result<()> {
    match kernel::defaults4(netlink) {
        Ok(present) if present.first() == Some(&record.plan.wanted) => {
            record.state = ChangeState::Kept;
            journal.write(&record)
        }
        _ => Ok(()),
    }
}
