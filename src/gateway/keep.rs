//! `gateway keep`: carries out the decisions of [`Keeper`], and listens to the kernel in between.

use std::iter::successors;
use std::net::Ipv4Addr;
use std::sync::mpsc::TryRecvError;
use std::thread::{self, Scope};
use std::time::Duration;

use log::Level;

use super::apply::{self, PlannedChange};
use super::journal::Journal;
use super::keep_error::{KeepError, refused};
use super::keeper::{Keeper, KeeperStep, RouteState};
use super::lookup::GatewayLookup;
use super::outcome::Outcome;
use super::resolve::{self, Action, ChangeRequest};
use super::route_events::{KERNEL_RETRY, drain, subscribe, wait_for_events};
use super::running_lookup::{LookupResult, RunningLookup};
use super::verify::Checks;
use super::{kernel, undo};
use crate::clock::{BootInstant, random_unit};
use crate::error::{Error, Kind, Result};
use crate::netlink::{Events, INET, Netlink, Position, Route};
use crate::signals::{self, DeferredSignals};
use crate::{systemd, ui};

/// Events come in bursts: after this long without one a burst is over.
const BURST_GAP: Duration = Duration::from_millis(100);

/// The longest burst that is waited out.
const MAX_BURST: Duration = Duration::from_secs(1);

/// How long a restore waits for another process that changes routes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the first lookup may delay units that wait for this service, such as the boot itself.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(2);

struct Keep<'a> {
    lookup: &'a GatewayLookup<'a>,
    interface: Option<&'a str>,
    journal: &'a Journal,
    signals: &'a DeferredSignals,
    netlink: Netlink,
    events: Events,
    keeper: Keeper,
    running: Option<RunningLookup>,
    /// The last verified gateway, and the metric of its route.
    verified: Option<(Ipv4Addr, u32)>,
    /// Whether this process has changed routes since the events were last drained.
    has_changed_routes: bool,
    is_ready: bool,
    /// When this service reports readiness at the latest.
    startup_end: BootInstant,
    last_message: String,
}

/// Keeps the gateway until there is a reason to give up. Signals are deferred, and end the program
/// between changes.
///
/// # Errors
/// It gave up, or could not start.
pub(crate) fn keep(
    lookup: &GatewayLookup<'_>,
    interface: Option<&str>,
    journal: &Journal,
    signals: &DeferredSignals,
) -> Result<()> {
    if !kernel::may_change_routes() {
        return Err(Error::new(Kind::Refused, "keeping the gateway needs CAP_NET_ADMIN (root)"));
    }
    // A later start may succeed, so this is not a refusal, after which systemd would not restart
    // the service.
    let may_pass = |err: Error| Error::new(Kind::Other, err.message);
    journal.prepare().map_err(may_pass)?;
    let Some(_lock) = journal.lock_keep().map_err(may_pass)? else {
        return Err(Error::new(Kind::Refused, "another \"rackconnect gateway keep\" runs already"));
    };
    // A stopped reader of standard error must not delay the restore of a lost route.
    ui::stderr::defer();
    // Before the routes are read for the first time, so that no change is missed.
    let events = subscribe()?;
    let verified = last_kept(journal);
    let now = BootInstant::now();
    let keeper = match verified {
        Some(_) => Keeper::with_verified_gateway(now),
        None => Keeper::new(now),
    };
    let mut keep = Keep {
        lookup,
        interface,
        journal,
        signals,
        netlink: kernel::open()?,
        events,
        keeper,
        running: None,
        verified,
        has_changed_routes: false,
        is_ready: false,
        startup_end: now + STARTUP_TIMEOUT,
        last_message: String::new(),
    };
    let end = thread::scope(|scope| keep.run(scope));
    systemd::stopping();
    Err(Error::new(Kind::Refused, end.to_string()))
}

/// The gateway of the last change that was kept, by any process, and the metric of its route.
fn last_kept(journal: &Journal) -> Option<(Ipv4Addr, u32)> {
    let mut changes = successors(journal.read(), |record| record.earlier.as_deref().cloned());
    let record = changes.find(|record| !record.is_pending())?;
    Some((record.gateway.parse().ok()?, record.plan.wanted.metric))
}

impl<'a> Keep<'a> {
    /// Runs until there is a reason to give up.
    fn run<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>) -> KeepError {
        loop {
            self.end_startup();
            let Some(state) = self.route_state() else { continue };
            match self.keeper.next(BootInstant::now(), state) {
                KeeperStep::Listen(until) => self.listen(until),
                KeeperStep::Restore => self.restore(),
                KeeperStep::LookUp => self.start_lookup(scope),
            }
            let Some(result) = self.lookup_result() else { continue };
            match self.handle(result) {
                Ok(()) => self.keeper.verified(BootInstant::now()),
                Err(KeepError::Retry(err)) => self.lookup_failed(&err),
                Err(end) => return end,
            }
        }
    }

    /// Reports readiness after [`STARTUP_TIMEOUT`], so that other units do not wait for the API.
    fn end_startup(&mut self) {
        if !self.is_ready && BootInstant::now() >= self.startup_end {
            self.say(Level::Info, "waiting for the API");
            self.ready();
        }
    }

    /// Where packets go now. If the kernel does not respond: none, after a pause.
    fn route_state(&mut self) -> Option<RouteState> {
        match self.ask_route_state() {
            Ok(state) => Some(state),
            Err(err) => {
                self.say(Level::Warn, &format!("waiting: {err}"));
                thread::sleep(KERNEL_RETRY);
                if let Ok(netlink) = kernel::open() {
                    self.netlink = netlink;
                }
                None
            }
        }
    }

    fn ask_route_state(&mut self) -> Result<RouteState> {
        if kernel::internet(&mut self.netlink, INET)?.is_none() {
            return Ok(RouteState::Missing);
        }
        Ok(match self.verified {
            Some((gateway, _)) if kernel::is_used(&mut self.netlink, gateway.into(), None)? => {
                RouteState::Verified
            }
            _ => RouteState::Other,
        })
    }

    fn listen(&mut self, until: Option<BootInstant>) {
        let startup_end = Some(self.startup_end).filter(|_| !self.is_ready);
        let until = [until, startup_end].into_iter().flatten().min();
        let done = self.running.as_ref().map(|running| &running.done);
        if wait_for_events(&self.events, done, until) {
            self.wait_out_burst();
            self.keeper.event();
        }
    }

    fn wait_out_burst(&mut self) {
        let end = BootInstant::now() + MAX_BURST;
        while drain(&mut self.events) && BootInstant::now() < end {
            if !wait_for_events(&self.events, None, Some(BootInstant::now() + BURST_GAP)) {
                return;
            }
        }
    }

    fn start_lookup<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>) {
        match RunningLookup::start(scope, self.lookup, self.interface) {
            Ok(running) => {
                self.running = Some(running);
                self.keeper.lookup_started();
            }
            Err(err) => {
                self.say(Level::Warn, &format!("waiting: {err}"));
                self.keeper.lookup_failed(BootInstant::now(), random_unit());
            }
        }
    }

    /// The result of the lookup if it has ended.
    fn lookup_result(&mut self) -> Option<Result<LookupResult>> {
        let result = match self.running.as_ref()?.result.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => {
                Err(Error::new(Kind::Other, "the thread for the API ended"))
            }
            Ok(result) => result,
        };
        self.running = None;
        Some(result)
    }

    fn lookup_failed(&mut self, err: &Error) {
        self.say(Level::Warn, &format!("waiting: {err}"));
        // There is no gateway to set yet, or it cannot be set now. The service runs, and waits.
        self.ready();
        self.keeper.lookup_failed(BootInstant::now(), random_unit());
    }

    /// Sets the gateway that was looked up, after undoing an interrupted change.
    fn handle(&mut self, result: Result<LookupResult>) -> Result<(), KeepError> {
        let interrupted = {
            let _busy = signals::begin_change();
            undo::finish_interrupted_deferred(self.journal, self.signals)
        };
        let done =
            result.map_err(KeepError::Retry).and_then(|found| self.set(&found, interrupted.err()));
        // The events of this process's own changes are of no interest. Changes of other processes
        // show when the routes are read next.
        if std::mem::take(&mut self.has_changed_routes) {
            drain(&mut self.events);
        }
        done
    }

    /// Restores the last verified gateway when there is no default route.
    fn restore(&mut self) {
        let Some((gateway, metric)) = self.verified else { return };
        let _busy = signals::begin_change();
        // Another process that changes routes comes first. But one that hangs, or waits for its
        // confirmation, may hold the lock for hours, and without the directory there is no lock.
        // Going on without the lock is safe: the route is added only if there is no other one at
        // its metric.
        let lock = self.journal.prepare().and_then(|()| self.journal.lock(LOCK_TIMEOUT));
        let circumstances = match &lock {
            Ok(Some(_)) => String::new(),
            Ok(None) => " beside another change of the default route, which is under way or hangs"
                .to_owned(),
            Err(err) => format!(" without a lock ({err})"),
        };
        let restored = self.add_missing(gateway, metric);
        match &restored {
            Ok(true) => self.say(
                Level::Info,
                &format!("the default route was lost: {gateway} is put back{circumstances}"),
            ),
            Ok(false) => {}
            Err(err) => {
                let message = format!("{gateway} cannot be put back{circumstances}: {err}");
                self.say(Level::Warn, &message);
            }
        }
        match restored {
            Ok(_) => self.keeper.restored(BootInstant::now()),
            Err(_) => self.keeper.restore_failed(BootInstant::now(), random_unit()),
        }
    }

    /// Adds the route unless there is a default route again. Returns whether it was added.
    fn add_missing(&mut self, gateway: Ipv4Addr, metric: u32) -> Result<bool> {
        if kernel::internet(&mut self.netlink, INET)?.is_some() {
            return Ok(false);
        }
        let Action::Set(request) =
            resolve::resolve(&mut self.netlink, gateway.into(), self.interface, None)?
        else {
            return Ok(false);
        };
        let route = Route::default_via(gateway, request.link.index, metric);
        self.netlink
            .add(&route, Position::Only)
            .map_err(|err| kernel::error("the route cannot be added", err))?;
        if kernel::is_used(&mut self.netlink, gateway.into(), Some(request.link.index))? {
            Ok(true)
        } else {
            Err(Error::new(
                Kind::Other,
                "the kernel does not send packets for the internet through it",
            ))
        }
    }

    /// Sets the gateway if it is not in use. `stuck`: why an interrupted change cannot be undone,
    /// for example because its interface is down. That may never pass, so the new change starts
    /// from the present routes.
    fn set(&mut self, found: &LookupResult, stuck: Option<Error>) -> Result<(), KeepError> {
        let request =
            match resolve::resolve(&mut self.netlink, found.gateway, self.interface, None)? {
                // A change that may still be undone has put it there.
                Action::Nothing { .. } if self.journal.pending().is_some() => {
                    return Err(stuck.map_or_else(
                        || refused("another change of the default route is under way"),
                        KeepError::Retry,
                    ));
                }
                Action::Nothing { gateway, interface } => {
                    let defaults = kernel::defaults4(&mut self.netlink)?;
                    let metric = defaults.first().map_or(0, |route| route.metric);
                    self.verified(gateway, metric, &interface);
                    return Ok(());
                }
                Action::Set(request) => request,
            };
        match &found.permission {
            Some(Ok(checks)) => self.change(&request, checks, stuck.as_ref()),
            Some(Err(refusal)) => Err(refused(&refusal.to_string())),
            None => Err(refused("the default route was changed while the API was asked")),
        }
    }

    fn change(
        &mut self,
        request: &ChangeRequest,
        checks: &Checks,
        stuck: Option<&Error>,
    ) -> Result<(), KeepError> {
        let plan = resolve::plan_change(&mut self.netlink, request, None)?;
        let _busy = signals::begin_change();
        self.journal.prepare()?;
        let Some(lock) = self.journal.lock(Duration::ZERO)? else {
            return Err(refused("another change of the default route is under way"));
        };
        if stuck.is_none() && self.journal.pending().is_some() {
            return Err(refused(
                "a change of the default route was interrupted and is not undone yet",
            ));
        }
        let replaces = !plan.before.is_empty();
        if replaces && !self.keeper.may_replace(BootInstant::now()) {
            return Err(KeepError::Contended);
        }
        // The next message is shown even if it repeats the last one.
        self.last_message.clear();
        for change in &plan.changes {
            log::info!("{}", change.describe(&request.names));
        }
        self.has_changed_routes = true;
        let gateway = request.gateway.into();
        let change =
            PlannedChange { plan: &plan, gateway, link: &request.link, checks, confirm: None };
        let outcome =
            apply::carry_out(&mut self.netlink, self.journal, &lock, self.signals, &change)?;
        match outcome {
            Outcome::Kept => {
                if replaces {
                    self.keeper.replaced(BootInstant::now());
                }
                self.verified(request.gateway, plan.wanted.metric, &request.link.name);
                Ok(())
            }
            Outcome::Refused(err) => Err(refused(&format!("{err}; nothing was changed"))),
            Outcome::Undone(err) => Err(refused(&format!("{err}; everything is put back"))),
        }
    }

    fn verified(&mut self, gateway: Ipv4Addr, metric: u32, interface: &str) {
        self.verified = Some((gateway, metric));
        self.say(Level::Info, &format!("{gateway} on {interface} is the default gateway"));
        self.ready();
    }

    fn ready(&mut self) {
        if !self.is_ready {
            self.is_ready = true;
            systemd::ready();
        }
    }

    /// Logs a message and reports it to systemd, unless it repeats the last one.
    fn say(&mut self, level: Level, message: &str) {
        if self.last_message != message {
            log::log!(level, "{message}");
            systemd::status(message);
            message.clone_into(&mut self.last_message);
        }
    }
}
