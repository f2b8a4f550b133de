//! `gateway keep`: sets the gateway, then listens to the kernel, and sets it again when it was lost.

use std::iter::successors;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, Scope};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::set::{self, Task};
use super::{ask, store};
use crate::api::tls;
use crate::clock::{BootInstant, random_unit};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::change::{self, Order, Outcome};
use crate::gateway::journal::{State, Store};
use crate::gateway::keeper::{Keeper, REPLACEMENTS, Sight, Step, WINDOW};
use crate::gateway::verify::Checks;
use crate::gateway::{kernel, plan};
use crate::netlink::{Events, INET, Netlink, Position, Route};
use crate::signals::{self, Held};
use crate::{duration, systemd};

/// Events come in crowds: so long without one means that a crowd is over.
const QUIET: Duration = Duration::from_millis(100);

/// A crowd is waited out no longer than this.
const CROWD: Duration = Duration::from_secs(1);

/// How long to wait where the kernel itself does not answer.
const TROUBLE: Duration = Duration::from_secs(1);

/// How long somebody else who changes routes is waited for where there is no default route.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How long the first answer of the API may keep those who wait for this service, such as the end of the boot.
const STARTUP: Duration = Duration::from_secs(2);

/// What is kept, and by what.
struct Keep<'a> {
    settings: &'a Settings<'a>,
    store: Store,
    netlink: Netlink,
    signals: Held,
    /// The gateway that was last verified, and the metric of its route.
    verified: Option<(Ipv4Addr, u32)>,
    /// Whether routes were changed since the events were last heard.
    changed: bool,
    ready: bool,
    said: String,
}

/// Keeps the gateway.
pub fn run(settings: &Settings) -> Result<Exit> {
    check(settings)?;
    let signals = signals::hold()?;
    signals::end_between_changes(systemd::stopping)?;
    let store = {
        let _busy = signals::busy();
        store(settings, Some(&signals))?
    };
    if !kernel::may_change_routes() {
        return Err(Error::new(Kind::Refused, "keeping the gateway needs CAP_NET_ADMIN (root)"));
    }
    // Another start may find it in order: no refusal, after which none is made.
    let passes = |why: Error| Error::new(Kind::Other, why.message);
    store.prepare().map_err(passes)?;
    let Some(_keeping) = store.keeping().map_err(passes)? else {
        return Err(Error::new(Kind::Refused, "another \"rackconnect gateway keep\" runs already"));
    };
    // Before the first look, so that nothing that happens after it is missed.
    let mut events = subscribe()?;
    let netlink = kernel::open()?;
    let verified = remembered(&store);
    let keep = Keep {
        settings,
        store,
        netlink,
        signals,
        verified,
        changed: false,
        ready: false,
        said: String::new(),
    };
    thread::scope(|scope| keep.run(scope, &mut events))
}

/// Wrong settings show before anything is kept. A region that may still come is waited for with the API, and keeps nobody who
/// waits for this service.
fn check(settings: &Settings) -> Result<()> {
    settings.interface()?;
    let ca_file = settings.ca_file()?;
    tls::roots(ca_file.as_ref().map(|(path, origin)| (path.as_path(), origin.as_str())))?;
    if settings.has_endpoint()? {
        return Ok(());
    }
    match settings.known_region() {
        Err(why) if why.kind == Kind::NotYet => Ok(()),
        known => known.map(drop),
    }
}

/// The gateway that the last change led to, by whichever process: it was verified, and not undone since. Of a change that is
/// not known to be good, the one before it.
fn remembered(store: &Store) -> Option<(Ipv4Addr, u32)> {
    let mut changes = successors(store.read(), |record| record.earlier.as_deref().cloned());
    let record = changes.find(|record| record.state == State::Kept)?;
    Some((record.gateway.parse().ok()?, record.plan.wanted.metric))
}

/// The messages of the errors that end it: somebody contends …
const GAVE_UP: &str = "contended";

/// … or it cannot be set, ever.
const IPV6: &str = "ipv6";

/// What the API said, and everything else that takes its time.
struct Found {
    gateway: IpAddr,
    /// Why it must not be set now.
    refusal: Option<String>,
    /// What must still work after it is set; none if there was nothing to set.
    checks: Option<Checks>,
}

/// A question that is under way: its answer, and what becomes readable when it is there.
struct Question {
    answer: Receiver<Result<Found>>,
    done: UnixStream,
}

impl Question {
    /// Asks in a thread: a lost default route does not wait for the API.
    fn ask<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        settings: &'env Settings<'env>,
    ) -> Result<Question> {
        let error = |why: std::io::Error| {
            Error::new(Kind::Other, format!("cannot start a thread for the API: {why}"))
        };
        let (done, end) = UnixStream::pair().map_err(error)?;
        let (sender, answer) = channel();
        let run = move || {
            let _ = sender.send(find(settings));
            drop(end);
        };
        thread::Builder::new().name("api".to_owned()).spawn_scoped(scope, run).map_err(error)?;
        Ok(Question { answer, done })
    }
}

fn find(settings: &Settings) -> Result<Found> {
    let gateway = ask::gateway(settings)?;
    let mut netlink = kernel::open()?;
    let (mut refusal, mut checks) = (None, None);
    if let Ok(Task::Set(_)) = set::aim(settings, &mut netlink, gateway) {
        refusal = ask::refusal(settings)?.map(|(why, _)| why);
        if refusal.is_none() {
            checks = Some(Checks::choose(Some(set::target(settings)?), Vec::new()));
        }
    }
    Ok(Found { gateway, refusal, checks })
}

impl<'a> Keep<'a> {
    fn run<'scope>(
        mut self,
        scope: &'scope Scope<'scope, 'a>,
        events: &mut Events,
    ) -> Result<Exit> {
        let mut keeper = Keeper::new(BootInstant::now(), self.verified.is_some());
        let mut question: Option<Question> = None;
        let startup = BootInstant::now() + STARTUP;
        loop {
            if !self.ready && BootInstant::now() >= startup {
                self.say(log::Level::Info, "waiting for the API");
                self.ready();
            }
            // Nothing that may pass ends what must never be given up.
            let sight = match self.sight() {
                Ok(sight) => sight,
                Err(why) => {
                    self.say(log::Level::Warn, &format!("waiting: {why}"));
                    thread::sleep(TROUBLE);
                    self.netlink = kernel::open().unwrap_or(self.netlink);
                    continue;
                }
            };
            match keeper.next(BootInstant::now(), sight) {
                Step::Listen(until) => {
                    let until = match self.ready {
                        true => until,
                        false => Some(until.map_or(startup, |until| until.min(startup))),
                    };
                    let heard =
                        listen(events, question.as_ref().map(|question| &question.done), until);
                    if heard {
                        keeper.heard();
                    }
                }
                Step::Restore => {
                    let done = self.restore();
                    keeper.restored(BootInstant::now(), done, random_unit());
                }
                Step::Ask => match Question::ask(scope, self.settings) {
                    Ok(asked) => {
                        question = Some(asked);
                        keeper.asking();
                    }
                    Err(why) => {
                        self.say(log::Level::Warn, &format!("waiting: {why}"));
                        keeper.failed(BootInstant::now(), random_unit());
                    }
                },
            }
            let answer = match question.as_ref().map(|question| question.answer.try_recv()) {
                None | Some(Err(TryRecvError::Empty)) => continue,
                Some(Ok(answer)) => answer,
                Some(Err(TryRecvError::Disconnected)) => {
                    Err(Error::new(Kind::Other, "the question broke off"))
                }
            };
            question = None;
            // Whatever the answer is: what was interrupted may be all that is known.
            let undone = {
                let _busy = signals::busy();
                change::finish_interrupted(&self.store, Some(&self.signals))
            };
            let done = answer.and_then(|found| self.set(&mut keeper, &found, undone.err()));
            // What this process did itself is no reason to hurry; what else has happened, the next look shows.
            if std::mem::take(&mut self.changed) {
                drain(events);
            }
            match done {
                Ok(()) => keeper.verified(BootInstant::now()),
                Err(why) if why.kind == Kind::Refused && why.message == IPV6 => {
                    systemd::stopping();
                    return Err(set::refused(
                        "the gateway is an IPv6 address: no RackConnect gateway is known to be one, and \
                                             none is set",
                    ));
                }
                Err(why) if why.kind == Kind::Refused && why.message == GAVE_UP => {
                    systemd::stopping();
                    return Err(Error::new(
                        Kind::Refused,
                        format!(
                            "somebody else sets another default route again and again: it was replaced {REPLACEMENTS} times \
                             in {} and is left to them now",
                            duration::human(WINDOW)
                        ),
                    ));
                }
                Err(why) => {
                    self.say(log::Level::Warn, &format!("waiting: {why}"));
                    // There is nothing to set yet, or nothing that can be: the service is up, and waits.
                    self.ready();
                    keeper.failed(BootInstant::now(), random_unit());
                }
            }
        }
    }

    fn sight(&mut self) -> Result<Sight> {
        let hop = kernel::internet(&mut self.netlink, INET)?;
        Ok(match (hop, self.verified) {
            (None, _) => Sight::Nowhere,
            (Some(_), Some((gateway, _)))
                if kernel::is_used(&mut self.netlink, gateway.into(), None)? =>
            {
                Sight::Ours
            }
            (Some(_), _) => Sight::Elsewhere,
        })
    }

    /// Puts the last verified gateway back where no default route is left. Nothing is lost if that is wrong.
    fn restore(&mut self) -> bool {
        let Some((gateway, metric)) = self.verified else { return false };
        let _busy = signals::busy();
        // Somebody else may change routes right now, and comes first; but who hangs, or waits to be confirmed, may hold the lock
        // for hours, and where the folder is lost there is none. It is added only where there is none at its metric, and so
        // takes nothing from anybody.
        let lock = self.store.prepare().and_then(|()| self.store.lock(LOCK_PATIENCE));
        let aside = match &lock {
            Ok(Some(_)) => String::new(),
            Ok(None) => " beside another change of the default route, which is under way or hangs"
                .to_owned(),
            Err(why) => format!(" without a lock ({why})"),
        };
        match self.put_back(gateway, metric) {
            Ok(true) => {
                self.say(
                    log::Level::Info,
                    &format!("the default route was lost: {gateway} is put back{aside}"),
                );
                true
            }
            Ok(false) => true,
            Err(why) => {
                self.say(log::Level::Warn, &format!("{gateway} cannot be put back{aside}: {why}"));
                false
            }
        }
    }

    /// Adds the route, unless there is one by now. Whether it did.
    fn put_back(&mut self, gateway: Ipv4Addr, metric: u32) -> Result<bool> {
        if kernel::internet(&mut self.netlink, INET)?.is_some() {
            return Ok(false);
        }
        let Task::Set(aim) = set::aim(self.settings, &mut self.netlink, gateway.into())? else {
            return Ok(false);
        };
        let route = Route::default_via(gateway, aim.link.index, metric);
        self.netlink
            .add(&route, Position::Only)
            .map_err(|why| kernel::error("the route cannot be added", why))?;
        match kernel::is_used(&mut self.netlink, gateway.into(), Some(aim.link.index))? {
            true => Ok(true),
            false => {
                Err(set::refused("the kernel does not send packets for the internet through it"))
            }
        }
    }

    /// Sets what the API says, if it is not in effect. `stuck`: why an interrupted change cannot be undone, which may stay so
    /// for ever, as where its interface is down for good: this one goes on from what that one left.
    fn set(&mut self, keeper: &mut Keeper, found: &Found, stuck: Option<Error>) -> Result<()> {
        let gateway = found.gateway;
        if gateway.is_ipv6() {
            return Err(set::refused(IPV6));
        }
        let aim = match set::aim(self.settings, &mut self.netlink, gateway)? {
            // What may still be undone is no gateway that works.
            Task::Nothing(..) if self.store.has_pending() => {
                return Err(stuck.unwrap_or_else(|| {
                    set::refused("another change of the default route is under way")
                }));
            }
            Task::Nothing(gateway, interface) => {
                let defaults = kernel::defaults4(&mut self.netlink)?;
                let metric = defaults.first().map_or(0, |route| route.metric);
                self.verified(gateway, metric, &interface);
                return Ok(());
            }
            Task::Set(aim) => aim,
        };
        if let Some(why) = &found.refusal {
            return Err(set::refused(why));
        }
        let Some(checks) = &found.checks else {
            return Err(set::refused("the default route was changed while the API was asked"));
        };
        let plan = set::planned(&mut self.netlink, &aim, None)?;
        let _busy = signals::busy();
        self.store.prepare()?;
        let Some(lock) = self.store.lock(Duration::ZERO)? else {
            return Err(set::refused("another change of the default route is under way"));
        };
        if stuck.is_none() && self.store.has_pending() {
            return Err(set::refused(
                "a change of the default route was interrupted and is not undone yet",
            ));
        }
        if !plan.before.is_empty() && !keeper.may_replace(BootInstant::now()) {
            return Err(set::refused(GAVE_UP));
        }
        // Whatever follows is news.
        self.said.clear();
        let name = |index| Some(aim.network.name(index));
        for change in &plan.changes {
            let (what, route) = match change {
                plan::Change::Add(route) | plan::Change::Append(route) => ("adding", route),
                plan::Change::Remove(route) => ("removing", route),
            };
            log::info!("{what} {}", plan::show(route, &name));
        }
        let order = Order { plan: &plan, gateway, link: &aim.link, checks, confirm: None };
        self.changed = true;
        match change::carry_out(&mut self.netlink, &self.store, &lock, &self.signals, &order)? {
            Outcome::Kept => {
                if !plan.before.is_empty() {
                    keeper.replaced(BootInstant::now());
                }
                self.verified(aim.gateway, plan.wanted.metric, &aim.link.name);
                Ok(())
            }
            Outcome::Refused(why) => Err(set::refused(&format!("{why}; nothing was changed"))),
            Outcome::PutBack(why) => Err(set::refused(&format!("{why}; everything is put back"))),
        }
    }

    fn verified(&mut self, gateway: Ipv4Addr, metric: u32, interface: &str) {
        self.verified = Some((gateway, metric));
        self.say(log::Level::Info, &format!("{gateway} on {interface} is the default gateway"));
        self.ready();
    }

    fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            systemd::ready();
        }
    }

    /// Says what is new, to people and to systemd.
    fn say(&mut self, level: log::Level, line: &str) {
        if self.said != line {
            log::log!(level, "{line}");
            systemd::status(line);
            line.clone_into(&mut self.said);
        }
    }
}

fn subscribe() -> Result<Events> {
    Events::subscribe().map_err(|why| kernel::error("the kernel's events cannot be heard", why))
}

/// Waits for events, until then or until the question is done. Whether there were any events.
fn listen(events: &mut Events, question: Option<&UnixStream>, until: Option<BootInstant>) -> bool {
    if !wait(events, question, until) {
        return false;
    }
    let end = BootInstant::now() + CROWD;
    loop {
        if !drain(events) {
            return true;
        }
        if BootInstant::now() >= end || !wait(events, None, Some(BootInstant::now() + QUIET)) {
            return true;
        }
    }
}

/// Forgets the events that are there. Whether the socket is still the same: one that fails is replaced. What it would have
/// said, the next look shows.
fn drain(events: &mut Events) -> bool {
    if events.drain().is_ok() {
        return true;
    }
    match subscribe() {
        Ok(new) => *events = new,
        Err(why) => {
            log::warn!("{why}");
            thread::sleep(TROUBLE);
        }
    }
    false
}

/// Whether there are events to hear before then, and before the question is done.
fn wait(events: &Events, question: Option<&UnixStream>, until: Option<BootInstant>) -> bool {
    let timeout = match until {
        None => PollTimeout::NONE,
        Some(until) => {
            let left = until.since(BootInstant::now());
            if left.is_zero() {
                return false;
            }
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        }
    };
    let mut watched = vec![PollFd::new(events.as_fd(), PollFlags::POLLIN)];
    watched.extend(question.map(|question| PollFd::new(question.as_fd(), PollFlags::POLLIN)));
    poll(&mut watched, timeout).is_ok() && watched[0].any().unwrap_or(false)
}
