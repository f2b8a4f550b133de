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
use super::list::{AccountServers, ListQuery, ServerList, list};
use super::part::Part;
use super::progress::Progress;
use super::select::{is_plain, select};
use crate::clock::{BootInstant, random_unit};
use crate::config::ServerSelection;
use crate::error::{Kind, Result};
use crate::exit::Exit;
use crate::ui;
use crate::wait::Policy;

/// One list in this many is a complete one.
const WHOLE_ONE_IN: u32 = 6;

/// The overlap of a list of changes with the previous list.
const OVERLAP: Duration = Duration::from_secs(60);

/// How often the heartbeat is logged, and the live lines are redrawn.
const HEARTBEAT: Duration = Duration::from_secs(60);
const REDRAW: Duration = Duration::from_secs(1);

/// When the wait for several servers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When all have ended.
    All,
    /// When one has ended.
    Any,
}

/// How it ended.
pub struct WatchEnd {
    /// The servers, in their order.
    pub parts: Vec<Part>,
    /// The exit code.
    pub exit: Exit,
}

/// A region with servers that the command waits for.
struct WatchedRegion {
    endpoint: CatalogEndpoint,
    due: BootInstant,
    /// Whether a list is being requested.
    is_asked: bool,
    polls: u32,
    /// When the previous list was made, by the service's clock.
    seen: Option<SystemTime>,
}

impl WatchedRegion {
    /// The `changes-since` of the next list; none for a complete one.
    fn changes_since(&self) -> Option<SystemTime> {
        let is_whole = self.polls.is_multiple_of(WHOLE_ONE_IN);
        self.seen.filter(|_| !is_whole).map(|seen| seen - OVERLAP)
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
        let next = BootInstant::now() + policy.interval;
        if policy.deadline.is_some_and(|deadline| next >= deadline) {
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
            is_asked: false,
            polls: 1,
            seen: region.date,
        })
        .collect();
    let mut parts: Vec<Part> =
        servers.into_iter().map(|server| Part::new(server, policy, now)).collect();
    for part in &mut parts {
        let seen = part.server.clone();
        part.observe(Some(&seen), now, now);
    }
    let account = account.clone();
    let mut watch =
        Watch { account, regions, parts, policy, last_line: now, lists: mpsc::channel() };
    watch.run(until)?;
    ui::end_live();
    let exit = watch.exit(until);
    Ok(WatchEnd { parts: watch.parts, exit })
}

/// The list of a region, or why there is none.
struct RegionAnswer {
    region: usize,
    asked: BootInstant,
    list: Result<ServerList, CloudError>,
}

struct Watch {
    account: Arc<Account>,
    regions: Vec<WatchedRegion>,
    parts: Vec<Part>,
    policy: Policy,
    last_line: BootInstant,
    /// Each list is requested in its own thread, so that a region that hangs delays neither the
    /// others nor the end.
    lists: (Sender<RegionAnswer>, Receiver<RegionAnswer>),
}

impl Watch {
    fn run(&mut self, until: Until) -> Result<()> {
        self.report(BootInstant::now());
        loop {
            let now = BootInstant::now();
            self.parts.iter_mut().for_each(|part| part.check(now));
            let open = self.parts.iter().filter(|part| part.end.is_none()).count();
            if open == 0 || (until == Until::Any && open < self.parts.len()) {
                self.report(now);
                return Ok(());
            }
            self.ask_regions_that_are_due(now);
            self.say_that_it_goes_on(now);
            if let Ok(answer) = self.lists.1.recv_timeout(self.next(now).since(now)) {
                self.take_in(answer)?;
                self.report(BootInstant::now());
            }
        }
    }

    /// When there is something to do, if no list arrives before that.
    fn next(&self, now: BootInstant) -> BootInstant {
        let pause = if self.policy.is_watched { REDRAW } else { HEARTBEAT };
        let idle = self.regions.iter().filter(|region| !region.is_asked);
        let due = idle.map(|region| region.due);
        due.chain(self.policy.deadline).fold(now + pause, Ord::min)
    }

    fn ask_regions_that_are_due(&mut self, now: BootInstant) {
        let deadline = self.policy.deadline.unwrap_or(now + Duration::from_secs(86_400));
        // For a single server, its name keeps the list short.
        let name = match &self.parts[..] {
            [part] => Some(part.server.name.clone()).filter(|name| is_plain(name)),
            _ => None,
        };
        let name = name.map(|name| format!("^{name}$"));
        for (index, region) in self.regions.iter_mut().enumerate() {
            if region.is_asked || region.due > now {
                continue;
            }
            region.is_asked = true;
            let (account, sender) = (self.account.clone(), self.lists.0.clone());
            let (endpoint, name) = (region.endpoint.clone(), name.clone());
            let changes_since = region.changes_since();
            thread::spawn(move || {
                let query = ListQuery { name: name.as_deref(), changes_since };
                let list = list(&account, &endpoint, query, deadline, OnFault::Return);
                // The receiver is gone once the wait has ended.
                let _ = sender.send(RegionAnswer { region: index, asked: now, list });
            });
        }
    }

    fn take_in(&mut self, answer: RegionAnswer) -> Result<()> {
        let asked = answer.asked;
        let now = BootInstant::now();
        let region = &mut self.regions[answer.region];
        region.is_asked = false;
        let name = region.endpoint.region.clone().unwrap_or_default();
        let is_whole = region.changes_since().is_none();
        let jitter = self.policy.interval.mul_f64(0.1 * random_unit());
        region.due = asked + self.policy.interval + jitter;
        let open = self.parts.iter_mut().filter(|part| part.server.region == name);
        let list = match answer.list {
            Ok(list) => list,
            Err(err) => {
                if let CloudError::Limited { pause, .. } = err {
                    region.due = region.due.max(now + pause);
                }
                let err = err.into();
                open.for_each(|part| part.fail(&err, asked, now));
                return if err.kind == Kind::Usage { Err(err) } else { Ok(()) };
            }
        };
        region.polls += 1;
        region.seen = list.date.or(region.seen);
        for part in open {
            let before = part.server.clone();
            let seen = list.servers.iter().find(|server| server.id == before.id);
            let unchanged = (!is_whole).then_some(&before);
            part.observe(seen.or(unchanged), asked, now);
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
            for line in self.parts.iter_mut().filter_map(|part| part.line(elapsed)) {
                log::info!("{line}");
            }
        }
        for part in self.parts.iter_mut().filter(|part| !part.is_reported) {
            let Some(sentence) = part.sentence(elapsed) else { continue };
            part.is_reported = true;
            match part.end.as_ref().map(|end| end.exit(&self.policy)) {
                Some(Exit::Ok) => log::info!("{sentence}"),
                _ => log::error!("{sentence}"),
            }
        }
    }

    /// Shows the live lines, or the heartbeat in a log.
    fn say_that_it_goes_on(&mut self, now: BootInstant) {
        let progress = Progress { parts: &self.parts, elapsed: self.elapsed(now) };
        if self.policy.is_watched {
            ui::live_lines(&progress.lines(ui::live_room()));
        } else if now.since(self.last_line) >= HEARTBEAT {
            log::info!("{}", progress.heartbeat());
            self.last_line = now;
        }
    }

    /// The exit code: of the first server that ended, or of the worst.
    fn exit(&self, until: Until) -> Exit {
        let codes =
            self.parts.iter().filter_map(|part| Some(part.end.as_ref()?.exit(&self.policy)));
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
