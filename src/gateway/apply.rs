//! A change of the default route as a transaction.
//!
//! The record is written, the guard is armed, and the plan is applied, verified and, with
//! `--confirm`, confirmed. Then the change is kept; if a step fails, it is undone.

use std::net::IpAddr;
use std::time::Duration;

use super::confirm::{ConfirmListener, Confirmation, Reply, Requester, Verdict};
use super::guard::{Guard, GuardExit};
use super::journal::{ChangeLock, Journal};
use super::kernel;
use super::names::{InterfaceNames, describe_route};
use super::outcome::{ChangeError, Outcome};
use super::plan::{self, Plan, RouteChange};
use super::record::ChangeRecord;
use super::undo::{self, UndoError};
use super::verify::{Checks, Expected, VERIFY_TIMEOUT};
use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::Result;
use crate::fail_point;
use crate::netlink::{Link, Netlink, Position, Route};
use crate::signals::DeferredSignals;

/// The time that the guard allows in addition to verification and confirmation: for applying,
/// syncing, a slow machine.
pub(super) const GUARD_MARGIN: Duration = Duration::from_secs(10);

/// A change to carry out.
pub(crate) struct PlannedChange<'a> {
    /// The steps.
    pub(crate) plan: &'a Plan,
    /// The new gateway.
    pub(crate) gateway: IpAddr,
    /// Its interface.
    pub(crate) link: &'a Link,
    /// What must still be reachable.
    pub(crate) checks: &'a Checks,
    /// How long to wait for a confirmation if one is needed.
    pub(crate) confirm: Option<Duration>,
}

/// Carries out a change. The caller has deferred the signals, and holds the lock.
///
/// # Errors
/// Nothing was changed, or the change could not be undone: then the message says how to do so by
/// hand.
pub(crate) fn carry_out(
    netlink: &mut Netlink,
    journal: &Journal,
    _lock: &ChangeLock,
    signals: &DeferredSignals,
    change: &PlannedChange<'_>,
) -> Result<Outcome> {
    fail_point::reach("planned");
    let listener = change.confirm.map(|_| ConfirmListener::listen(journal)).transpose()?;
    let mut transaction = Transaction::begin(netlink, journal, signals, change)?;
    let executed = transaction.execute(listener);
    let outcome = transaction.settle(executed);
    let (outcome, verdict) = transaction.finish(outcome);
    reply(verdict, &outcome);
    Ok(outcome?)
}

/// The verdict, and the process that gave it, unless it was given on the terminal.
type GivenVerdict = Option<(Verdict, Option<Requester>)>;

/// Why the execution stopped, before anything was changed or after.
enum Stop {
    Before(ChangeError),
    After(ChangeError),
}

struct Transaction<'a> {
    netlink: &'a mut Netlink,
    journal: &'a Journal,
    signals: &'a DeferredSignals,
    change: &'a PlannedChange<'a>,
    record: ChangeRecord,
    guard: Guard,
    /// The last moment to remove a route: verification and confirmation have to fit in before the
    /// guard acts.
    latest_removal: BootInstant,
    verdict: GivenVerdict,
}

impl<'a> Transaction<'a> {
    /// Writes the record and arms the guard.
    fn begin(
        netlink: &'a mut Netlink,
        journal: &'a Journal,
        signals: &'a DeferredSignals,
        change: &'a PlannedChange<'a>,
    ) -> Result<Transaction<'a>> {
        let names = kernel::interface_names(netlink);
        let gateway = change.gateway.to_string();
        let record = ChangeRecord::new(change.plan.clone(), gateway, &names, journal.read());
        journal.write(&record)?;
        fail_point::reach("undo recorded");
        log::debug!("the undo is on disk");
        let timeout = VERIFY_TIMEOUT + GUARD_MARGIN + change.confirm.unwrap_or_default();
        // Before the guard reads its clock, so that this deadline is the earlier one.
        let start = BootInstant::now();
        let guard = match Guard::start(journal, timeout) {
            Ok(guard) => guard,
            Err(err) => {
                journal.discard(&record)?;
                return Err(err);
            }
        };
        fail_point::reach("guard armed");
        log::debug!("the guard is armed");
        Ok(Transaction {
            netlink,
            journal,
            signals,
            change,
            record,
            guard,
            latest_removal: start + GUARD_MARGIN / 2,
            verdict: None,
        })
    }

    /// Applies and verifies the plan, and waits for the confirmation.
    fn execute(&mut self, listener: Option<ConfirmListener>) -> Result<(), Stop> {
        self.check_unchanged().and_then(|()| self.check_guard()).map_err(Stop::Before)?;
        self.apply().and_then(|()| self.verify()).map_err(Stop::After)?;
        if let (Some(listener), Some(timeout)) = (listener, self.change.confirm) {
            self.confirm(listener, timeout)
                .and_then(|()| self.check_used())
                .map_err(Stop::After)?;
        }
        Ok(())
    }

    /// Checks that everything is as it was when the plan was made.
    fn check_unchanged(&mut self) -> Result<(), ChangeError> {
        if self.signals.pending().is_some() {
            return Err(ChangeError::Signalled);
        }
        if kernel::defaults4(self.netlink)? != self.change.plan.before {
            return Err(ChangeError::RoutesChanged);
        }
        let PlannedChange { gateway, link, .. } = *self.change;
        let hop = self.netlink.next_hop(gateway, Some(link.index));
        let hop = hop.map_err(|err| kernel::error("cannot ask the kernel for a route", err))?;
        match hop {
            Some(hop) if hop.gateway.is_none() && hop.interface == Some(link.index) => Ok(()),
            _ => Err(ChangeError::NotOnLink { gateway, interface: link.name.clone() }),
        }
    }

    /// Checks that the guard would still undo the change, and that it will not do so before the
    /// change can be verified. A process that was delayed must not go on after its guard has acted.
    fn check_guard(&mut self) -> Result<(), ChangeError> {
        if !self.guard.is_armed() {
            return Err(ChangeError::GuardGone);
        }
        let is_own = self.journal.pending().is_some_and(|found| found.id == self.record.id);
        if is_own && BootInstant::now() <= self.latest_removal {
            Ok(())
        } else {
            Err(ChangeError::TooSlow)
        }
    }

    fn apply(&mut self) -> Result<(), ChangeError> {
        for step in &self.change.plan.changes {
            if let RouteChange::Remove(_) = step {
                // This process may have been delayed since the last check.
                self.check_guard()?;
                if !kernel::defaults4(self.netlink)?.contains(&self.change.plan.wanted) {
                    return Err(ChangeError::WantedGone);
                }
            }
            apply_step(self.netlink, step, &self.record.interfaces)?;
        }
        self.check_done()?;
        fail_point::reach("routes changed");
        log::debug!("the routes are changed");
        Ok(())
    }

    /// Checks that the routes are as the plan leaves them, including those that it does not touch.
    fn check_done(&mut self) -> Result<(), ChangeError> {
        let present = kernel::defaults4(self.netlink)?;
        let Plan { changes, before, .. } = self.change.plan;
        // The plan was computed in the same way, so this cannot fail.
        let expected = plan::after(changes, before).unwrap_or_default();
        match expected.iter().find(|route| !present.contains(route)) {
            None if plan::is_done(changes, &present) => Ok(()),
            None => Err(ChangeError::AddedAgain),
            Some(gone) => {
                Err(ChangeError::RouteGone(describe_route(gone, &self.record.interfaces)))
            }
        }
    }

    fn verify(&mut self) -> Result<(), ChangeError> {
        let PlannedChange { plan, gateway, link, checks, .. } = *self.change;
        let expected = Expected { gateway, link, route: &plan.wanted };
        let signals = self.signals;
        checks
            .verify(self.netlink, expected, &|| signals.pending().is_some())
            .map_err(ChangeError::NotVerified)?;
        fail_point::reach("change verified");
        log::debug!("the change is verified");
        Ok(())
    }

    fn confirm(&mut self, listener: ConfirmListener, timeout: Duration) -> Result<(), ChangeError> {
        fail_point::reach("awaiting confirmation");
        let hint = if listener.has_terminal() {
            "press Enter here, or run \"rackconnect gateway confirm\" in any session"
        } else {
            "run \"rackconnect gateway confirm\" in any session"
        };
        log::info!(
            "the new gateway works; everything is put back in {} unless it is confirmed: {hint}",
            human(timeout)
        );
        match listener.wait(BootInstant::now() + timeout, self.signals) {
            Confirmation::Verdict(verdict, requester) => {
                self.verdict = Some((verdict, requester));
                match verdict {
                    Verdict::Confirm => Ok(()),
                    Verdict::Rollback => Err(ChangeError::RolledBack),
                }
            }
            Confirmation::TimedOut => Err(ChangeError::NotConfirmed(timeout)),
            Confirmation::Signalled => Err(ChangeError::SignalledBeforeConfirmation),
        }
    }

    /// Checks that the verified gateway is still in use when the change is confirmed.
    fn check_used(&mut self) -> Result<(), ChangeError> {
        let PlannedChange { gateway, link, .. } = *self.change;
        if kernel::is_used(self.netlink, gateway, Some(link.index))? {
            Ok(())
        } else {
            Err(ChangeError::ReplacedBeforeConfirmation)
        }
    }

    /// Keeps the change, or undoes it.
    fn settle(&mut self, executed: Result<(), Stop>) -> Result<Outcome, UndoError> {
        let outcome = match executed {
            Ok(()) => match self.keep() {
                Ok(()) => return Ok(Outcome::Kept),
                Err(err) => self.undo(err.into())?,
            },
            Err(Stop::Before(err)) => Outcome::Refused(err),
            Err(Stop::After(err)) => self.undo(err)?,
        };
        self.journal.try_discard(&self.record);
        Ok(outcome)
    }

    /// Records that the change is kept. If that fails (a full disk), the pending record is removed,
    /// which may also make room for the new one: a verified route is worth more than its undo.
    ///
    /// # Errors
    /// The pending record could not be removed either, so the next command would undo the change.
    fn keep(&mut self) -> Result<()> {
        let kept = self.record.kept();
        let Err(err) = self.journal.write(&kept) else { return Ok(()) };
        self.journal.remove()?;
        if self.journal.write(&kept).is_err() {
            log::warn!("{err}: the change is kept, but \"gateway rollback\" will not find it");
        }
        Ok(())
    }

    fn undo(&mut self, cause: ChangeError) -> Result<Outcome, UndoError> {
        undo::restore(self.netlink, &self.record).map(|()| Outcome::Undone(cause))
    }

    /// Dismisses the guard. If the guard has acted in the meantime, a kept change is undone after
    /// all, since this process may have changed routes after the guard did.
    fn finish(
        mut self,
        outcome: Result<Outcome, UndoError>,
    ) -> (Result<Outcome, UndoError>, GivenVerdict) {
        let guard_has_acted = match self.dismiss_guard() {
            GuardExit::Idle => false,
            GuardExit::Undone => true,
            GuardExit::Unknown => self.check_done().is_err(),
        };
        let outcome = match outcome {
            Ok(Outcome::Kept) if guard_has_acted => {
                let undone = self.undo(ChangeError::TooSlow);
                match &undone {
                    Ok(_) => self.journal.try_discard(&self.record),
                    Err(_) => {
                        if let Err(err) = self.journal.write(&self.record) {
                            log::warn!("{err}");
                        }
                    }
                }
                undone
            }
            other => other,
        };
        (outcome, self.verdict)
    }

    fn dismiss_guard(&mut self) -> GuardExit {
        let exit = self.guard.dismiss();
        fail_point::reach("guard gone");
        log::debug!("the guard is gone");
        exit
    }
}

/// Applies one step. If the route is gone, or there already, another process has changed it.
fn apply_step(
    netlink: &mut Netlink,
    step: &RouteChange,
    names: &InterfaceNames,
) -> Result<(), ChangeError> {
    let route = describe_route(step.route(), names);
    let added = match step {
        RouteChange::Add(route) => netlink.add(route, Position::First),
        RouteChange::Append(route) => netlink.add(route, Position::Last),
        RouteChange::Remove(removed) => return remove(netlink, removed, route),
    };
    match added {
        Ok(true) => {
            fail_point::reach("route added");
            log::debug!("added: {route}");
            Ok(())
        }
        Ok(false) => Err(ChangeError::RouteExists(route)),
        Err(err) => Err(ChangeError::AddRejected { route, err }),
    }
}

fn remove(netlink: &mut Netlink, route: &Route, description: String) -> Result<(), ChangeError> {
    match netlink.remove(route) {
        Ok(true) => {
            fail_point::reach("route removed");
            log::debug!("removed: {description}");
            Ok(())
        }
        Ok(false) => Err(ChangeError::RouteGone(description)),
        Err(err) => Err(ChangeError::RemoveRejected { route: description, err }),
    }
}

/// Reports the outcome to the process that gave the verdict.
fn reply(verdict: GivenVerdict, outcome: &Result<Outcome, UndoError>) {
    let Some((verdict, Some(requester))) = verdict else { return };
    requester.reply(&match outcome {
        Ok(Outcome::Kept) => Reply::Done("the change is kept".to_owned()),
        Ok(Outcome::Refused(err) | Outcome::Undone(err)) => {
            let sentence = format!("the change was put back: {err}");
            match (outcome, verdict) {
                (Ok(Outcome::Undone(_)), Verdict::Rollback) => Reply::Done(sentence),
                _ => Reply::Failed(sentence),
            }
        }
        Err(err) => Reply::Failed(err.to_string()),
    });
}
