//! `gateway set`: asks, validates, plans, and then changes the default route so that nothing is lost if it was wrong.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use super::{ask, store, store_to_look_at};
use crate::api::reach::Target;
use crate::api::tls;
use crate::cli::options;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::change::{self, Order, Outcome};
use crate::gateway::interface::{self, Network};
use crate::gateway::plan::{self, Change, Plan};
use crate::gateway::verify::Checks;
use crate::gateway::{export, kernel};
use crate::netlink::{INET, Link, Netlink};
use crate::signals;
use crate::ui::escape_control;
use crate::ui::output;
use crate::xenstore::Connection;

/// How long a person has to confirm if nobody says otherwise.
const CONFIRM: Duration = Duration::from_secs(60);

/// What there is to do.
pub enum Task {
    /// Nothing: the kernel uses that gateway, on that interface.
    Nothing(Ipv4Addr, String),
    /// The gateway is to be set.
    Set(Box<Aim>),
}

/// The gateway and where it is.
pub struct Aim {
    /// The gateway.
    pub gateway: Ipv4Addr,
    /// The interface.
    pub link: Link,
    /// What the kernel has.
    pub network: Network,
}

/// Sets the gateway.
pub fn run(settings: &Settings) -> Result<Exit> {
    let confirm = match settings.confirm()? {
        None if io::stdin().is_terminal() => Some(CONFIRM),
        None | Some(Duration::ZERO) => None,
        given => given,
    };
    let keep_old = settings.keep_old_metric()?;
    let probes = settings.probes()?;
    let store = match settings.has(&options::DRY_RUN) {
        true => store_to_look_at(settings)?,
        false => store(settings, None)?,
    };
    let mut netlink = kernel::open()?;
    let aim = match task(settings, &mut netlink)? {
        None => {
            log::error!("gave up waiting: the deadline passed");
            return Ok(Exit::DeadlinePassed);
        }
        Some(Task::Nothing(gateway, interface)) => {
            if let Some(why) = change::unfinished(&store) {
                return Err(refused(&format!(
                    "{gateway} is the default gateway, but {why}; nothing was changed"
                )));
            }
            output::line(&escape_control(&format!(
                "nothing to do: {gateway} on {interface} is the default gateway"
            )))?;
            return Ok(Exit::Ok);
        }
        Some(Task::Set(aim)) => aim,
    };
    let plan = planned(&mut netlink, &aim, keep_old)?;
    print(&plan, &aim)?;
    if settings.has(&options::DRY_RUN) {
        return Ok(Exit::Ok);
    }
    if !kernel::may_change_routes() {
        return Err(refused("changing routes needs CAP_NET_ADMIN (root); nothing was changed"));
    }
    let checks = Checks::choose(Some(target(settings)?), probes);
    store.prepare().map_err(|why| refused(&format!("{why}; nothing was changed")))?;
    let Some(lock) = store.lock(Duration::ZERO)? else {
        let why = change::unfinished(&store);
        let why =
            why.unwrap_or_else(|| "another change of the default route is under way".to_owned());
        return Err(refused(&format!("{why}; nothing was changed")));
    };
    // Its undo could not be finished, and would be forgotten.
    if store.has_pending() && !settings.has(&options::FORCE) {
        return Err(refused(
            "a change of the default route was interrupted and is not undone yet: \"rackconnect gateway rollback\" tries that \
             again; nothing was changed (--force sets it all the same)",
        ));
    }
    let signals = signals::hold()?;
    let order = Order {
        plan: &plan,
        gateway: aim.gateway.into(),
        link: &aim.link,
        checks: &checks,
        confirm,
    };
    let outcome = change::carry_out(&mut netlink, &store, &lock, &signals, &order);
    // Standard output may keep us waiting, but nobody else.
    drop(lock);
    let exit = match outcome {
        Ok(Outcome::Kept) => {
            // From here on nothing may fail any more.
            let _ = output::line(&escape_control(&format!(
                "set: {} on {} is the default gateway",
                aim.gateway, aim.link.name
            )));
            log::info!("{}", export::warning(Path::new("/"), &aim.link));
            Ok(Exit::Ok)
        }
        Ok(Outcome::Refused(why)) => Err(refused(&format!("{why}; nothing was changed"))),
        Ok(Outcome::PutBack(why)) => Err(refused(&format!("{why}; everything is put back"))),
        Err(why) => Err(why),
    };
    if let Err(why) = &exit
        && signals.pending().is_some()
    {
        log::error!("{why}");
    }
    signals.release();
    exit
}

/// Finds out what there is to do, waiting if that is asked for. None if the deadline of the wait passed.
fn task(settings: &Settings, netlink: &mut Netlink) -> Result<Option<Task>> {
    let mut patience = match settings.has(&options::WAIT) {
        true => Some(ask::Patience::of(settings)?),
        false => None,
    };
    loop {
        let task = match (ask::gateway(settings), &mut patience) {
            (Ok(gateway), _) => aim(settings, netlink, gateway)?,
            (Err(why), Some(patience)) if is_passing(&why) => match patience.wait(&why.message) {
                true => continue,
                false => return Ok(None),
            },
            (Err(why), _) => return Err(why),
        };
        if matches!(task, Task::Nothing(..)) || settings.has(&options::FORCE) {
            return Ok(Some(task));
        }
        let mut waited = false;
        loop {
            let (why, error) = match ask::refusal(settings) {
                Ok(None) => break,
                Ok(Some((why, passes))) => {
                    let error = refused(&format!(
                        "{why}; nothing was changed (--force sets it all the same)"
                    ));
                    if !passes {
                        return Err(error);
                    }
                    (why, error)
                }
                Err(error) if is_passing(&error) => (error.message.clone(), error),
                Err(error) => return Err(error),
            };
            let Some(patience) = &mut patience else { return Err(error) };
            waited = true;
            if !patience.wait(&why) {
                return Ok(None);
            }
        }
        // The automation may have changed anything in the meantime.
        if !waited {
            return Ok(Some(task));
        }
    }
}

/// Whether waiting could help.
fn is_passing(why: &Error) -> bool {
    matches!(why.kind, Kind::NotYet | Kind::LimitUsedUp | Kind::Unreachable | Kind::NotUnderstood)
}

/// Where the gateway is, and whether there is anything to do.
pub fn aim(settings: &Settings, netlink: &mut Netlink, gateway: IpAddr) -> Result<Task> {
    let IpAddr::V4(v4) = gateway else {
        return Err(refused(&format!(
            "{gateway} is an IPv6 address: no RackConnect gateway is known to be one, and none is set; nothing was changed"
        )));
    };
    let named = settings.interface()?;
    let network = kernel::network(netlink, INET)?;
    if let Some(hop) = kernel::internet(netlink, INET)?
        && hop.gateway == Some(gateway)
        && let Some(index) = hop.interface
        && named.as_ref().is_none_or(|named| *named == network.name(index))
        && !kernel::is_split(netlink, INET)?
    {
        return Ok(Task::Nothing(v4, network.name(index)));
    }
    let refuse = |why: &str| refused(&format!("{why}; nothing was changed"));
    let link = interface::interface(&network, gateway, named.as_deref(), &service_net)
        .map_err(|why| refuse(&why))?;
    let link = link.clone();
    // The kernel has the last word.
    let hop = netlink
        .next_hop(gateway, Some(link.index))
        .map_err(|why| kernel::error("the kernel cannot be asked", why))?;
    match hop {
        Some(hop) if hop.gateway.is_none() && hop.kind == crate::netlink::RouteType::Unicast => {}
        _ => {
            return Err(refuse(&format!(
                "the kernel does not take {gateway} for a neighbour on {}: it would send {}",
                link.name,
                kernel::describe(hop, |index| network.name(index))
            )));
        }
    }
    Ok(Task::Set(Box::new(Aim { gateway: v4, link, network })))
}

/// The link-layer address of the ServiceNet interface, where something certain knows it: xenstore.
pub fn service_net() -> Option<Vec<u8>> {
    let mac = Connection::open().and_then(|mut store| store.servicenet_mac());
    let mac = mac.inspect_err(|why| {
        log::debug!("which interface is ServiceNet's is not asked of xenstore: {why}")
    });
    mac.ok()??.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}

/// The plan.
pub fn planned(netlink: &mut Netlink, aim: &Aim, keep_old: Option<u32>) -> Result<Plan> {
    let refuse = |why: &str| refused(&format!("{why}; nothing was changed"));
    let defaults = kernel::defaults4(netlink)?;
    let plan =
        plan::plan(&defaults, aim.gateway, aim.link.index, keep_old).map_err(|why| refuse(&why))?;
    match plan.changes.is_empty() {
        false => Ok(plan),
        true => Err(refuse(&format!(
            "{} is the default gateway of the main table already, but a rule or a more specific route sends packets for the \
             internet elsewhere",
            aim.gateway
        ))),
    }
}

fn print(plan: &Plan, aim: &Aim) -> Result<()> {
    output::line(&escape_control(&format!(
        "{} on {} becomes the default gateway:",
        aim.gateway, aim.link.name
    )))?;
    let name = |index| Some(aim.network.name(index));
    plan.changes.iter().try_for_each(|change| {
        let (sign, route) = match change {
            Change::Add(route) | Change::Append(route) => ('+', route),
            Change::Remove(route) => ('-', route),
        };
        output::line(&escape_control(&format!("{sign} {}", plan::show(route, &name))))
    })
}

/// The API, to be reached without a request.
pub fn target(settings: &Settings) -> Result<Target> {
    let ca_file = settings.ca_file()?;
    let roots =
        tls::roots(ca_file.as_ref().map(|(path, origin)| (path.as_path(), origin.as_str())))?;
    Ok(Target::new(&settings.endpoint()?, roots.config))
}

/// An error of a change that was not made.
pub fn refused(why: &str) -> Error {
    Error::new(Kind::Refused, why)
}
