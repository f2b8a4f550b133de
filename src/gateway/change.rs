//! A change, in its order: the undo is put on disk, the guard is armed, the routes are looked at once more, the steps are
//! applied, the result is verified and, where that is asked for, confirmed; then it is kept, or put back and that verified.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use super::confirm::{self, End, Waiter, Word};
use super::guard::{Guard, Left};
use super::interface::Network;
use super::journal::{Lock, Record, State, Store};
use super::kernel;
use super::plan::{self, Change, Plan};
use super::verify::{self, Checks};
use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::{Error, Kind, Result};
use crate::fail_point;
use crate::netlink::{Link, Netlink, Position, Route};
use crate::signals::{self, Held};

/// How long somebody else's change is waited for where this one is no more than finishing what was left.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// What the guard allows beyond the verification and the confirmation: applying, syncing, a slow machine.
const SLACK: Duration = Duration::from_secs(10);

/// Everything that a change needs.
pub struct Order<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// The gateway that it leads to.
    pub gateway: IpAddr,
    /// The interface that it is on.
    pub link: &'a Link,
    /// What must still work.
    pub checks: &'a Checks,
    /// How long to wait for a confirmation; none: not at all.
    pub confirm: Option<Duration>,
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in place, and verified.
    Kept,
    /// Nothing was changed, because of that.
    Refused(String),
    /// It was put back, because of that.
    PutBack(String),
}

/// Carries out a change. Whoever calls this holds the lock and the signals.
///
/// # Errors
/// It could not be put back: the sentence says what is to be done by hand. Or nothing was done.
pub fn carry_out(
    netlink: &mut Netlink,
    store: &Store,
    _: &Lock,
    signals: &Held,
    order: &Order<'_>,
) -> Result<Outcome> {
    let Order { plan, gateway, .. } = order;
    fail_point::reach("planned");
    let waiter = order.confirm.map(|_| Waiter::listen(store)).transpose()?;
    let record = Record::new((*plan).clone(), gateway.to_string(), store.read());
    store.write(&record)?;
    log::debug!("the undo is on disk");
    fail_point::reach("undo recorded");
    let limit = verify::LIMIT + SLACK + order.confirm.unwrap_or_default();
    // The guard's own clock starts later than this.
    let ends = BootInstant::now() + limit;
    let mut guard = match Guard::start(store, limit) {
        Ok(guard) => guard,
        Err(why) => {
            store.undone(&record)?;
            return Err(why);
        }
    };
    log::debug!("the guard is armed");
    fail_point::reach("guard armed");
    let mut said = None;
    let mut may_go_on = || still_guarded(store, &mut guard, &record, ends, limit);
    let ready = still_as_planned(netlink, signals, order).and_then(|()| may_go_on());
    let failed = match ready {
        Err(why) => Some((why, false)),
        Ok(()) => match apply_and_verify(netlink, signals, order, &mut may_go_on) {
            Err(why) => Some((why, true)),
            Ok(()) => match (order.confirm, &waiter) {
                (Some(limit), Some(waiter)) => match confirmed(waiter, limit, signals) {
                    Ok(stream) => {
                        said = stream;
                        still_used(netlink, order).err().map(|why| (why, true))
                    }
                    Err((why, stream)) => {
                        said = stream;
                        Some((why, true))
                    }
                },
                _ => None,
            },
        },
    };
    let outcome = match failed {
        None => {
            // If that cannot be written, the change is not known to be good by whoever finds the record: undone.
            match store.write(&record.kept()) {
                Ok(()) => Ok(Outcome::Kept),
                Err(why) => put_back(netlink, &record).map(|()| Outcome::PutBack(why.message)),
            }
        }
        Some((why, false)) => Ok(Outcome::Refused(why)),
        Some((why, true)) => put_back(netlink, &record).map(|()| Outcome::PutBack(why)),
    };
    if matches!(outcome, Ok(Outcome::Refused(_) | Outcome::PutBack(_))) {
        let _ = store.undone(&record).inspect_err(|why| log::warn!("{why}"));
    }
    let left = guard.dismiss();
    log::debug!("the guard is gone");
    fail_point::reach("guard gone");
    let undoes = match left {
        Left::Idle => false,
        // Whatever it found and did: this process may have changed something after it.
        Left::Undone => true,
        Left::Unknown => still_done(netlink, order).is_err(),
    };
    let outcome = match outcome {
        Ok(Outcome::Kept) if undoes => match put_back(netlink, &record) {
            Ok(()) => {
                let _ = store.undone(&record).inspect_err(|why| log::warn!("{why}"));
                Ok(Outcome::PutBack(
                    "it took too long, and the guard put everything back".to_owned(),
                ))
            }
            Err(why) => {
                let _ = store.write(&record).inspect_err(|why| log::warn!("{why}"));
                Err(why)
            }
        },
        other => other,
    };
    let (done, sentence) = match &outcome {
        Ok(Outcome::Kept) => (true, "the change is kept".to_owned()),
        Ok(Outcome::Refused(why) | Outcome::PutBack(why)) => {
            (false, format!("the change was put back: {why}"))
        }
        Err(why) => (false, why.to_string()),
    };
    // Who asks for a rollback gets what was asked for when it is put back.
    let done = done
        || matches!(&outcome, Ok(Outcome::PutBack(_)))
            && said.as_ref().is_some_and(|(word, _)| *word == Word::Rollback);
    confirm::answer(said.and_then(|(_, stream)| stream), done, &sentence);
    outcome
}

/// Whether everything is still as it was when the plan was made.
fn still_as_planned(
    netlink: &mut Netlink,
    signals: &Held,
    order: &Order<'_>,
) -> Result<(), String> {
    if signals.pending().is_some() {
        return Err("the program was told to end".to_owned());
    }
    let defaults = kernel::defaults4(netlink).map_err(|why| why.to_string())?;
    if defaults != order.plan.before {
        return Err("the default routes were changed by somebody else in the meantime".to_owned());
    }
    let hop =
        netlink.next_hop(order.gateway, Some(order.link.index)).map_err(|why| why.to_string())?;
    match hop {
        Some(hop) if hop.gateway.is_none() && hop.interface == Some(order.link.index) => Ok(()),
        _ => Err(format!("{} is not on-link on {} any more", order.gateway, order.link.name)),
    }
}

/// Whether the guard would still undo the change, and will not do so before it can be verified: a process that was held up
/// for long must not begin, nor go on where the guard may have undone what it did.
fn still_guarded(
    store: &Store,
    guard: &mut Guard,
    record: &Record,
    ends: BootInstant,
    limit: Duration,
) -> Result<(), String> {
    if !guard.stands_by() {
        return Err(
            "the process that would undo the change does not answer: it was killed or stopped"
                .to_owned(),
        );
    }
    let is_pending = |found: &Record| found.state == State::Pending && found.id == record.id;
    if !store.read().is_some_and(|found| is_pending(&found))
        || ends.since(BootInstant::now()) + SLACK / 2 < limit
    {
        return Err("it took too long, and the guard has undone it or is about to".to_owned());
    }
    Ok(())
}

/// `may_go_on`: asked before every removal, since this process may have been held up at any moment before.
fn apply_and_verify(
    netlink: &mut Netlink,
    signals: &Held,
    order: &Order<'_>,
    may_go_on: &mut dyn FnMut() -> Result<(), String>,
) -> Result<(), String> {
    for change in &order.plan.changes {
        if let Change::Remove(_) = change {
            may_go_on()?;
            let present = kernel::defaults4(netlink).map_err(|why| why.to_string())?;
            if !present.contains(&order.plan.wanted) {
                return Err(
                    "somebody else removed the new default route at the same time".to_owned()
                );
            }
        }
        apply(netlink, change)?;
    }
    still_done(netlink, order)?;
    log::debug!("the routes are changed");
    fail_point::reach("routes changed");
    order.checks.verify(netlink, order.gateway, order.link, &|| signals.pending().is_some())?;
    log::debug!("the change is verified");
    fail_point::reach("change verified");
    Ok(())
}

/// Whether everything is as the plan leaves it: not even a route that was not to be touched is gone.
fn still_done(netlink: &mut Netlink, order: &Order<'_>) -> Result<(), String> {
    let present = kernel::defaults4(netlink).map_err(|why| why.to_string())?;
    let expected = plan::after(&order.plan.changes, &order.plan.before)?;
    match expected.iter().find(|route| !present.contains(route)) {
        None if plan::is_done(&order.plan.changes, &present) => Ok(()),
        None => Err("somebody else put back a default route that was removed".to_owned()),
        Some(gone) => {
            let text = plan::show(gone, &kernel::namer(netlink));
            Err(format!("somebody else changed the routes at the same time: {text} is gone"))
        }
    }
}

/// Whether what was confirmed is still what was verified before the wait.
fn still_used(netlink: &mut Netlink, order: &Order<'_>) -> Result<(), String> {
    match kernel::is_used(netlink, order.gateway, Some(order.link.index)) {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err("somebody else changed the default route before it was confirmed".to_owned())
        }
        Err(why) => Err(why.to_string()),
    }
}

/// Applies one step. Nothing is forced: a route that is not there any more, or is there already, was changed by somebody
/// else.
fn apply(netlink: &mut Netlink, change: &Change) -> Result<(), String> {
    let (what, route, done) = match change {
        Change::Add(route) => ("added", route, netlink.add(route, Position::First)),
        Change::Append(route) => ("added", route, netlink.add(route, Position::Last)),
        Change::Remove(route) => ("removed", route, netlink.remove(route)),
    };
    let text = plan::show(route, &kernel::namer(netlink));
    match done {
        Ok(true) => {
            log::debug!("{what}: {text}");
            fail_point::reach(if what == "added" { "route added" } else { "route removed" });
            Ok(())
        }
        Ok(false) => Err(format!(
            "somebody else changed the routes at the same time: {text} could not be {what}"
        )),
        Err(why) => Err(format!("{text} cannot be {what}: {why}")),
    }
}

type Said = Option<(Word, Option<std::os::unix::net::UnixStream>)>;

fn confirmed(waiter: &Waiter, limit: Duration, signals: &Held) -> Result<Said, (String, Said)> {
    log::info!(
        "the new gateway works; everything is put back in {} unless it is confirmed: press Enter here, or run \
         \"rackconnect gateway confirm\" in any session",
        human(limit)
    );
    fail_point::reach("awaiting confirmation");
    match waiter.wait(BootInstant::now() + limit, signals) {
        End::Said(Word::Confirm, stream) => Ok(Some((Word::Confirm, stream))),
        End::Said(Word::Rollback, stream) => {
            Err(("gateway rollback asked for it".to_owned(), Some((Word::Rollback, stream))))
        }
        End::TooLate => Err((format!("nobody confirmed it within {}", human(limit)), None)),
        End::Interrupted => {
            Err(("the program was told to end before it was confirmed".to_owned(), None))
        }
    }
}

/// Undoes what `record` says, and verifies that. What cannot come back (its interface may be down) keeps nothing else from
/// coming back, and where anything has, what was added goes.
fn put_back(netlink: &mut Netlink, record: &Record) -> Result<()> {
    let mut last = String::new();
    let mut is_whole = true;
    // Once more where somebody changed something in between.
    for _ in 0..3 {
        let present = kernel::defaults4(netlink)?;
        let mut failed = None;
        for step in record.undo(&present) {
            let goes = matches!(step, Change::Remove(_));
            if goes && failed.is_some() && !has_any(&kernel::defaults4(netlink)?, &record.plan) {
                continue;
            }
            if let Err(why) = undo_step(netlink, &step) {
                failed.get_or_insert(why);
            }
        }
        if let Some(why) = failed {
            (last, is_whole) = (why, false);
            continue;
        }
        let present = kernel::defaults4(netlink)?;
        if plan::is_undone(&record.plan.changes, &present) {
            log::debug!("everything is as it was");
            fail_point::reach("undone");
            return Ok(());
        }
        // What somebody else put in place of ours stays.
        if is_whole && !present.is_empty() && record.undo(&present).is_empty() {
            log::warn!("somebody else has changed the default route: it is left as it is");
            return Ok(());
        }
        last = "the routes are not as they were".to_owned();
    }
    let name = kernel::namer(netlink);
    let by_hand: Vec<String> = record
        .plan
        .changes
        .iter()
        .filter_map(|change| match change {
            // Not "add", which another default route of that metric keeps from working.
            Change::Remove(route) => {
                Some(format!("\"ip route prepend {}\"", plan::show(route, &name)))
            }
            Change::Add(_) | Change::Append(_) => None,
        })
        .collect();
    Err(Error::new(
        Kind::Other,
        format!(
            "the default route could not be put back: {last}. \"rackconnect gateway rollback\" tries again; by hand: {}",
            if by_hand.is_empty() {
                "\"ip route del default\"".to_owned()
            } else {
                by_hand.join(", ")
            }
        ),
    ))
}

/// Whether any default route of before the change, but the one that it leads to, is there.
fn has_any(present: &[Route], plan: &Plan) -> bool {
    plan.before.iter().any(|route| *route != plan.wanted && present.contains(route))
}

fn undo_step(netlink: &mut Netlink, step: &Change) -> Result<(), String> {
    let done = match step {
        Change::Add(route) => netlink.add(route, Position::First),
        Change::Append(route) => netlink.add(route, Position::Last),
        Change::Remove(route) => netlink.remove(route),
    };
    let (what, route) = match step {
        Change::Add(route) | Change::Append(route) => ("put back", route),
        Change::Remove(route) => ("removed", route),
    };
    let text = plan::show(route, &kernel::namer(netlink));
    match done {
        Ok(_) => {
            log::debug!("{what}: {text}");
            fail_point::reach(if what == "removed" {
                "added route removed"
            } else {
                "route put back"
            });
            Ok(())
        }
        Err(why) => Err(format!("{text} cannot be {what}: {why}")),
    }
}

/// The record of the change that was `guarded`, where it is not known to be good and no other has begun since.
///
/// # Errors
/// The kernel does not answer.
pub fn abandoned(store: &Store, guarded: &Record) -> Result<Option<Record>> {
    if let Some(record) = store.read() {
        return Ok((record.state == State::Pending && record.id == guarded.id).then_some(record));
    }
    // The record is lost, and what is remembered has to do; or the change was undone already, and nothing is left to do.
    let present = kernel::defaults4(&mut kernel::open()?)?;
    Ok((!guarded.undo(&present).is_empty()).then(|| guarded.clone()))
}

/// Finishes the undo of a change whose process is gone, unless somebody else has done so, or another change has begun since.
/// `guarded`: the record as it was when the guard was armed. Whether there was something to undo.
///
/// # Errors
/// It could not be undone.
pub fn undo_abandoned(store: &Store, guarded: &Record) -> Result<bool> {
    // A process that hangs still holds the lock: the guard goes on without.
    let _lock = store.lock(LOCK_PATIENCE).ok().flatten();
    let Some(record) = abandoned(store, guarded)? else { return Ok(false) };
    put_back(&mut kernel::open()?, &record)?;
    // Nobody waits there any more.
    let _ = fs::remove_file(store.socket());
    let _ = store.undone(&record).inspect_err(|why| log::warn!("{why}"));
    Ok(true)
}

/// At the beginning of every gateway command that changes something: finishes what a killed process left behind. Silent
/// where this one has no right to. Whether there was something. `held`: the signals, where the caller holds them anyway.
///
/// # Errors
/// It could not be finished.
pub fn finish_interrupted(store: &Store, held: Option<&Held>) -> Result<bool> {
    if !kernel::may_change_routes() || !store.has_pending() {
        return Ok(false);
    }
    // Whoever holds the lock is at work on it.
    let Some(_lock) = store.lock(Duration::ZERO)? else { return Ok(false) };
    let Some(record) = store.read().filter(|record| record.state == State::Pending) else {
        return Ok(false);
    };
    let own = match held {
        Some(_) => None,
        None => Some(signals::hold()?),
    };
    log::warn!(
        "a change of the default route to {} was interrupted: it is undone first",
        record.gateway
    );
    fail_point::reach("undo begins");
    let done = kernel::open()
        .and_then(|mut netlink| put_back(&mut netlink, &record))
        .and_then(|()| store.undone(&record));
    let _ = fs::remove_file(store.socket());
    if let Some(own) = own {
        own.let_go();
    }
    done.map(|()| true)
}

/// What to say of a change that is not known to be good, to whoever does not finish it; none if there is none.
pub fn unfinished(store: &Store) -> Option<String> {
    let waits = store.socket().exists();
    match store.read() {
        Some(record) if record.state == State::Pending => {
            // Whoever holds the lock is at work on it.
            let why = match store.is_locked() {
                true if waits => "waits for \"rackconnect gateway confirm\"",
                true => "is under way",
                false => "was interrupted: \"rackconnect gateway rollback\" undoes it",
            };
            Some(format!("a change of the default route to {} {why}", record.gateway))
        }
        Some(_) => None,
        // The record is for root's eyes alone.
        None => waits.then(|| {
            "a change of the default route waits for \"rackconnect gateway confirm\"".to_owned()
        }),
    }
}

/// Undoes the last change, which was kept.
///
/// # Errors
/// There is none, or it is not there any more, or it could not be undone, or `gateway keep` would undo the undoing.
pub fn roll_back(store: &Store, network: &Network) -> Result<String> {
    let nothing = || {
        Error::new(
            Kind::Refused,
            format!("there is no change of the default route to undo{}", store.searched()),
        )
    };
    let Some(first) = store.read() else { return Err(nothing()) };
    if !kernel::may_change_routes() {
        return Err(Error::new(Kind::Refused, "changing routes needs CAP_NET_ADMIN (root)"));
    }
    if store.is_kept() {
        return Err(Error::new(
            Kind::Refused,
            "\"rackconnect gateway keep\" runs and would set the gateway again at once: stop it first (\"systemctl stop \
             rackconnect-gateway\"); nothing was changed",
        ));
    }
    let Some(_lock) = store.lock(LOCK_PATIENCE)? else {
        return Err(Error::new(Kind::Refused, "another change of the default route is under way"));
    };
    let Some(mut record) = store.read() else { return Err(nothing()) };
    let mut netlink = kernel::open()?;
    let present = kernel::defaults4(&mut netlink)?;
    if record.is_taken(&present) || record.undo(&present).is_empty() {
        store.remove()?;
        return Err(Error::new(
            Kind::Refused,
            format!(
                "the default route to {} was changed since by somebody else: nothing is put back",
                first.gateway
            ),
        ));
    }
    let signals = signals::hold()?;
    let done = undo_guarded(&mut netlink, store, &mut record);
    signals.release();
    done?;
    let restored: Vec<Route> = kernel::defaults4(&mut netlink)?;
    let name = |index| Some(network.name(index));
    Ok(match restored.first() {
        Some(route) => format!("put back: {}", plan::show(route, &name)),
        None => "put back: there is no default route, as before".to_owned(),
    })
}

fn undo_guarded(netlink: &mut Netlink, store: &Store, record: &mut Record) -> Result<()> {
    // From here on whoever finds it finishes it.
    record.state = State::Pending;
    store.write(record)?;
    log::debug!("the undo is on disk");
    fail_point::reach("undo recorded");
    // Without a guard it is undone all the same: it may be all that is left to someone.
    let guard = Guard::start(store, SLACK).inspect_err(|why| log::warn!("{why}"));
    log::debug!("the guard is armed");
    fail_point::reach("guard armed");
    let done = put_back(netlink, record);
    // Before the guard goes, which leaves what is kept.
    settle(netlink, store, record, done.is_ok());
    if let Ok(guard) = guard {
        let _ = guard.dismiss();
        log::debug!("the guard is gone");
        fail_point::reach("guard gone");
    }
    done
}

/// Says on disk how an undo that was asked for ended. What could not be undone, and is in effect as it was, is kept: else the
/// next command would undo it at a time that nobody chose.
fn settle(netlink: &mut Netlink, store: &Store, record: &mut Record, undone: bool) {
    let written = match undone {
        true => store.remove(),
        false
            if kernel::defaults4(netlink)
                .is_ok_and(|present| present.first() == Some(&record.plan.wanted)) =>
        {
            record.state = State::Kept;
            store.write(record)
        }
        false => Ok(()),
    };
    let _ = written.inspect_err(|why| log::warn!("{why}"));
}
