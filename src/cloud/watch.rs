//! The wait for many servers: one list for each region and interval, however many servers there
//! are.
//!
//! After the first list only changes are requested, by the service's clock. It is not documented
//! whether a change of the metadata counts as one, so every sixth list is a complete one, which
//! also shows deletions.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use super::account::{Account, OnFault};
use super::catalog::CatalogEndpoint;
use super::fault::CloudError;
use super::list::{AccountServers, ListQuery, ServerList, list, no_thread};
use super::progress::Progress;
use super::select::{is_plain, select};
use super::watched_server::WatchedServer;
use crate::clock::{BootInstant, random_unit};
use crate::config::{ServerSelection, Until};
use crate::error::{Kind, Result};
use crate::exit::Exit;
use crate::ui;
use crate::wait::Policy;

/// One list in this many is a complete one.
const COMPLETE_LIST_EVERY: u32 = 6;

/// The overlap of a list of changes with the previous list.
const OVERLAP: Duration = Duration::from_secs(60);

/// How often the heartbeat is logged, and the live lines are redrawn.
const HEARTBEAT: Duration = Duration::from_secs(60);
const REDRAW: Duration = Duration::from_secs(1);

/// How a wait ended.
pub struct WatchEnd {
    /// The servers, in their order.
    pub servers: Vec<WatchedServer>,
    /// The exit code.
    pub exit: Exit,
}

/// A region with servers that the command waits for.
struct WatchedRegion {
    endpoint: CatalogEndpoint,
    due: BootInstant,
    /// Whether a list is being requested.
    is_requested: bool,
    polls: u32,
    /// When the previous list was made, by the service's clock.
    last_date: Option<SystemTime>,
}

impl WatchedRegion {
    /// The `changes-since` of the next list; none for a complete one.
    fn changes_since(&self) -> Option<SystemTime> {
        let is_complete = self.polls.is_multiple_of(COMPLETE_LIST_EVERY);
        self.last_date.filter(|_| !is_complete).map(|date| date - OVERLAP)
    }
}

/// Finds the servers. Waits until temporary failures have passed: no network, Identity or a region
/// that is down, the rate limit. None if the deadline passes before that.
///
/// # Errors
/// The credentials are not accepted, or a server does not exist or is ambiguous.
pub fn find(
    account: &Account,
    selection: &ServerSelection,
    policy: &Policy,
) -> Result<Option<AccountServers>> {
    loop {
        let err = match select(account, selection) {
            Err(err) if matches!(err.kind, Kind::Unreachable | Kind::RateLimited) => err,
            found => return found.map(Some),
        };
        let next_wakeup = BootInstant::now() + policy.interval;
        if policy.deadline.is_some_and(|deadline| next_wakeup >= deadline) {
            log::error!("gave up before any server was found: {err}");
            return Ok(None);
        }
        log::warn!("{err}; trying again");
        thread::sleep(policy.interval);
    }
}

/// Waits for the servers that were found.
///
/// # Errors
/// The credentials are no longer accepted.
pub fn watch(
    account: &Arc<Account>,
    found: AccountServers,
    policy: Policy,
    until: Until,
) -> Result<WatchEnd> {
    let now = BootInstant::now();
    let AccountServers { servers, mut regions } = found;
    regions.retain(|region| {
        servers.iter().any(|server| Some(&server.region) == region.endpoint.region.as_ref())
    });
    // The list that contained them is the first.
    let regions = regions
        .into_iter()
        .map(|region| WatchedRegion {
            endpoint: region.endpoint,
            due: now + policy.interval,
            is_requested: false,
            polls: 1,
            last_date: region.date,
        })
        .collect();
    let mut servers: Vec<WatchedServer> =
        servers.into_iter().map(|server| WatchedServer::new(server, policy, now)).collect();
    for watched in &mut servers {
        let seen = watched.server.clone();
        watched.observe(Some(&seen), now, now);
    }
    let account = account.clone();
    let (sender, receiver) = mpsc::channel();
    let mut watch =
        Watch { account, regions, servers, policy, last_heartbeat: now, sender, receiver };
    watch.run(until)?;
    ui::end_live();
    let exit = watch.exit(until);
    Ok(WatchEnd { servers: watch.servers, exit })
}

/// The result of a request for the list of a region.
struct RegionPoll {
    region: usize,
    asked: BootInstant,
    list: Result<ServerList, CloudError>,
}

struct Watch {
    account: Arc<Account>,
    regions: Vec<WatchedRegion>,
    servers: Vec<WatchedServer>,
    policy: Policy,
    last_heartbeat: BootInstant,
    /// Each list is requested in its own thread, so that a region that hangs delays neither the
    /// others nor the end.
    sender: Sender<RegionPoll>,
    receiver: Receiver<RegionPoll>,
}

impl Watch {
    fn run(&mut self, until: Until) -> Result<()> {
        self.report(BootInstant::now());
        loop {
            let now = BootInstant::now();
            self.servers.iter_mut().for_each(|watched| watched.check(now));
            let open = self.servers.iter().filter(|watched| watched.end.is_none()).count();
            if open == 0 || (until == Until::Any && open < self.servers.len()) {
                self.report(now);
                return Ok(());
            }
            self.request_due_lists(now);
            self.show_progress(now);
            if let Ok(poll) = self.receiver.recv_timeout(self.next_wakeup(now).since(now)) {
                self.record(poll)?;
                self.report(BootInstant::now());
            }
        }
    }

    /// When there is something to do, if no list arrives before that.
    fn next_wakeup(&self, now: BootInstant) -> BootInstant {
        let idle_time = if self.policy.is_watched { REDRAW } else { HEARTBEAT };
        let regions = self.regions.iter().filter(|region| !region.is_requested);
        let due = regions.map(|region| region.due);
        due.chain(self.policy.deadline).fold(now + idle_time, Ord::min)
    }

    fn request_due_lists(&mut self, now: BootInstant) {
        let deadline = self.policy.deadline.unwrap_or(now + Duration::from_secs(86_400));
        // For a single server, its name keeps the list short.
        let name = match &self.servers[..] {
            [watched] => Some(watched.server.name.clone()).filter(|name| is_plain(name)),
            _ => None,
        };
        let name = name.map(|name| format!("^{name}$"));
        for (index, region) in self.regions.iter_mut().enumerate() {
            if region.is_requested || region.due > now {
                continue;
            }
            region.is_requested = true;
            let (account, sender) = (self.account.clone(), self.sender.clone());
            let (endpoint, name) = (region.endpoint.clone(), name.clone());
            let changes_since = region.changes_since();
            let report = move |list| {
                // The receiver is gone once the wait has ended.
                let _ = sender.send(RegionPoll { region: index, asked: now, list });
            };
            let report_failure = report.clone();
            let started = thread::Builder::new().spawn(move || {
                let query = ListQuery { name: name.as_deref(), changes_since };
                report(list(&account, &endpoint, query, deadline, OnFault::Return));
            });
            if let Err(err) = started {
                report_failure(Err(no_thread(&err).into()));
            }
        }
    }

    fn record(&mut self, poll: RegionPoll) -> Result<()> {
        let asked = poll.asked;
        let now = BootInstant::now();
        let region = &mut self.regions[poll.region];
        region.is_requested = false;
        let name = region.endpoint.region.clone().unwrap_or_default();
        let is_complete = region.changes_since().is_none();
        let jitter = self.policy.interval.mul_f64(0.1 * random_unit());
        region.due = asked + self.policy.interval + jitter;
        let open = self.servers.iter_mut().filter(|watched| watched.server.region == name);
        let list = match poll.list {
            Ok(list) => list,
            Err(err) => {
                if let CloudError::RateLimited { retry_after, .. } = err {
                    region.due = region.due.max(now + retry_after);
                }
                let err = err.into();
                open.for_each(|watched| watched.fail(&err, asked, now));
                return if err.kind == Kind::Usage { Err(err) } else { Ok(()) };
            }
        };
        region.polls += 1;
        region.last_date = list.date.or(region.last_date);
        for watched in open {
            let before = watched.server.clone();
            let seen = list.servers.iter().find(|server| server.id == before.id);
            let unchanged = (!is_complete).then_some(&before);
            watched.observe(seen.or(unchanged), asked, now);
        }
        Ok(())
    }

    fn elapsed(&self, now: BootInstant) -> Duration {
        now.since(self.account.settings().started)
    }

    /// A line for each change.
    fn report(&mut self, now: BootInstant) {
        let elapsed = self.elapsed(now);
        if !self.policy.is_watched {
            for line in self.servers.iter_mut().filter_map(|watched| watched.next_log_line(elapsed))
            {
                log::info!("{line}");
            }
        }
        for watched in self.servers.iter_mut().filter(|watched| !watched.is_reported) {
            let Some(message) = watched.end_message(elapsed) else { continue };
            watched.is_reported = true;
            match watched.end.as_ref().map(|end| end.exit(&self.policy)) {
                Some(Exit::Ok) => log::info!("{message}"),
                _ => log::error!("{message}"),
            }
        }
    }

    /// Shows the live lines, or the heartbeat in a log.
    fn show_progress(&mut self, now: BootInstant) {
        let progress = Progress { servers: &self.servers, elapsed: self.elapsed(now) };
        if self.policy.is_watched {
            ui::live_lines(&progress.lines(ui::live_room()));
        } else if now.since(self.last_heartbeat) >= HEARTBEAT {
            log::info!("{}", progress.heartbeat());
            self.last_heartbeat = now;
        }
    }

    /// The exit code: of all servers the worst; with [`Until::Any`] the best of those that have
    /// ended.
    fn exit(&self, until: Until) -> Exit {
        let codes = self
            .servers
            .iter()
            .filter_map(|watched| Some(watched.end.as_ref()?.exit(&self.policy)));
        match until {
            Until::Any => codes.min_by_key(|exit| rank(*exit)),
            Until::All => codes.max_by_key(|exit| rank(*exit)),
        }
        .unwrap_or(Exit::Ok)
    }
}

/// From the best to the worst.
fn rank(exit: Exit) -> u8 {
    match exit {
        Exit::Ok => 0,
        Exit::DeadlinePassed => 1,
        Exit::NothingToWaitFor => 2,
        _ => 3,
    }
}
