//! `gateway set`: looks up the gateway, plans, and changes the default route as a transaction.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::apply::{self, PlannedChange};
use super::journal::{ChangeLock, Journal};
use super::lookup::{self, GatewayLookup, Retry};
use super::outcome::Outcome;
use super::plan::Plan;
use super::resolve::{self, Action, ChangeRequest};
use super::verify::Checks;
use super::{kernel, undo};
use crate::error::{Error, Kind, Result};
use crate::model::Probe;
use crate::netlink::{Link, Netlink};
use crate::{signals, ui};

/// How the gateway is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetOptions {
    /// `--interface`.
    pub(crate) interface: Option<String>,
    /// `--keep-old-metric`.
    pub(crate) keep_old_metric: Option<u32>,
    /// `--probe`.
    pub(crate) probes: Vec<Probe>,
    /// How long to wait for a confirmation if one is needed.
    pub(crate) confirm: Option<Duration>,
    /// `--force`.
    pub(crate) force: bool,
    /// `--dry-run`.
    pub(crate) dry_run: bool,
}

/// How `gateway set` ended.
#[derive(Debug)]
pub(crate) enum SetOutcome {
    /// The gateway is in use already.
    NothingToDo { gateway: Ipv4Addr, interface: String },
    /// The plan was printed (`--dry-run`).
    Planned,
    /// The gateway is set.
    Set { gateway: Ipv4Addr, link: Link },
    /// The deadline of `--wait` passed.
    DeadlinePassed,
}

/// Sets the gateway. `print` prints a line of the plan.
///
/// # Errors
/// The change was refused or undone, or the API could not be reached or understood.
pub(crate) fn set(
    lookup: &GatewayLookup<'_>,
    journal: &Journal,
    options: &SetOptions,
    print: &dyn Fn(&str) -> Result<()>,
) -> Result<SetOutcome> {
    let mut netlink = kernel::open()?;
    let request = match find_action(lookup, options, &mut netlink)? {
        None => return Ok(SetOutcome::DeadlinePassed),
        Some(Action::Nothing { gateway, interface }) => {
            return nothing_to_do(journal, gateway, interface);
        }
        Some(Action::Set(request)) => request,
    };
    let plan = resolve::plan_change(&mut netlink, &request, options.keep_old_metric)?;
    print_plan(&plan, &request, print)?;
    if options.dry_run {
        return Ok(SetOutcome::Planned);
    }
    if !kernel::may_change_routes() {
        return Err(refused("changing routes needs CAP_NET_ADMIN (root)"));
    }
    let checks = Checks::select(Some(lookup.target()?), options.probes.clone());
    let lock = lock(journal)?;
    if !options.force {
        check_nothing_pending(journal)?;
    }
    let change = PlannedChange {
        plan: &plan,
        gateway: request.gateway.into(),
        link: &request.link,
        checks: &checks,
        confirm: options.confirm,
    };
    carry_out(&mut netlink, journal, lock, &change)?;
    Ok(SetOutcome::Set { gateway: request.gateway, link: request.link })
}

/// Finds out what there is to do; with `--wait`, repeatedly. None if the deadline of the wait
/// passed.
fn find_action(
    lookup: &GatewayLookup<'_>,
    options: &SetOptions,
    netlink: &mut Netlink,
) -> Result<Option<Action>> {
    let mut retry = lookup.retry();
    loop {
        let gateway = match (lookup.gateway(), &mut retry) {
            (Ok(gateway), _) => gateway,
            (Err(err), Some(retry)) if lookup::may_pass(&err) => {
                if retry.wait(&err.message) {
                    continue;
                } else {
                    return Ok(None);
                }
            }
            (Err(err), _) => return Err(err),
        };
        let interface = options.interface.as_deref();
        let action = resolve::resolve(netlink, gateway, interface, Some(lookup.deadline()))?;
        if options.force || matches!(action, Action::Nothing { .. }) {
            return Ok(Some(action));
        }
        match wait_for_permission(lookup, &mut retry)? {
            Permission::AtOnce => return Ok(Some(action)),
            // The automation may have changed anything in the meantime.
            Permission::AfterWaiting => {}
            Permission::DeadlinePassed => return Ok(None),
        }
    }
}

enum Permission {
    AtOnce,
    AfterWaiting,
    DeadlinePassed,
}

/// Checks that the policy allows the change; with `--wait`, repeatedly until it does.
fn wait_for_permission(
    lookup: &GatewayLookup<'_>,
    retry: &mut Option<Retry>,
) -> Result<Permission> {
    let mut has_waited = false;
    loop {
        let (reason, err) = match lookup.check_policy() {
            Ok(Ok(())) if has_waited => return Ok(Permission::AfterWaiting),
            Ok(Ok(())) => return Ok(Permission::AtOnce),
            Ok(Err(refusal)) => {
                let err = Error::new(
                    Kind::Refused,
                    format!("{refusal}; nothing was changed (--force sets it anyway)"),
                );
                if !refusal.may_pass() {
                    return Err(err);
                }
                (refusal.to_string(), err)
            }
            Err(err) if lookup::may_pass(&err) => (err.message.clone(), err),
            Err(err) => return Err(err),
        };
        let Some(retry) = retry else { return Err(err) };
        if !retry.wait(&reason) {
            return Ok(Permission::DeadlinePassed);
        }
        has_waited = true;
    }
}

/// Reports that the gateway is in use, unless a pending change has put it there.
fn nothing_to_do(journal: &Journal, gateway: Ipv4Addr, interface: String) -> Result<SetOutcome> {
    match undo::describe_unfinished(journal) {
        None => Ok(SetOutcome::NothingToDo { gateway, interface }),
        Some(change) => Err(refused(&format!("{gateway} is the default gateway, but {change}"))),
    }
}

fn print_plan(
    plan: &Plan,
    request: &ChangeRequest,
    print: &dyn Fn(&str) -> Result<()>,
) -> Result<()> {
    let ChangeRequest { gateway, link, names } = request;
    print(&format!("{gateway} on {} becomes the default gateway:", link.name))?;
    plan.changes.iter().try_for_each(|change| print(&change.describe(names)))
}

/// Takes the lock for the change.
fn lock(journal: &Journal) -> Result<ChangeLock> {
    journal.prepare().map_err(|err| refused(&err.message))?;
    journal.lock(Duration::ZERO)?.ok_or_else(|| {
        let other = undo::describe_unfinished(journal);
        refused(other.as_deref().unwrap_or("another change of the default route is under way"))
    })
}

/// Refuses to replace the record of a change whose undo could not be finished.
fn check_nothing_pending(journal: &Journal) -> Result<()> {
    match journal.pending() {
        None => Ok(()),
        Some(_) => Err(Error::new(
            Kind::Refused,
            "a change of the default route was interrupted and is not undone yet: run \
             \"rackconnect gateway rollback\"; nothing was changed (--force sets the gateway \
             anyway)",
        )),
    }
}

/// Carries out the change. Signals are deferred, and output that would block is queued until it is
/// over.
fn carry_out(
    netlink: &mut Netlink,
    journal: &Journal,
    lock: ChangeLock,
    change: &PlannedChange<'_>,
) -> Result<()> {
    let signals = signals::defer()?;
    ui::stderr::defer();
    let outcome = apply::carry_out(netlink, journal, &lock, &signals, change);
    drop(lock);
    let result = match outcome {
        Ok(Outcome::Kept) => Ok(()),
        Ok(Outcome::Refused(err)) => Err(refused(&err.to_string())),
        Ok(Outcome::Undone(err)) => {
            Err(Error::new(Kind::Refused, format!("{err}; everything is put back")))
        }
        Err(err) => Err(err),
    };
    if let Err(err) = &result
        && signals.pending().is_some()
    {
        log::error!("{err}");
    }
    // Ends the program if a signal came. From now on a signal ends it at once, even while output
    // blocks.
    signals.restore();
    ui::stderr::resume();
    result
}

fn refused(reason: &str) -> Error {
    Error::new(Kind::Refused, format!("{reason}; nothing was changed"))
}
