//! `gateway set`: makes the API's gateway the default gateway.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use super::{SettingsApi, journal_to_change, journal_to_read};
use crate::cli::options;
use crate::config::Settings;
use crate::error::Result;
use crate::exit::Exit;
use crate::gateway::export;
use crate::gateway::lookup::Schedule;
use crate::gateway::set::{SetOptions, SetOutcome, set};
use crate::ui::{escape_control, output};

/// How long a person on a terminal has to confirm unless told otherwise.
const DEFAULT_CONFIRM: Duration = Duration::from_secs(60);

/// Sets the gateway.
pub fn run(settings: &Settings) -> Result<Exit> {
    let options = set_options(settings)?;
    let journal = match options.dry_run {
        true => journal_to_read(settings)?,
        false => journal_to_change(settings)?,
    };
    let api = SettingsApi::new(settings);
    let lookup = api.lookup(schedule(settings)?)?;
    let print = |line: &str| output::line(&escape_control(line));
    match set(&lookup, &journal, &options, &print)? {
        SetOutcome::NothingToDo { gateway, interface } => {
            print(&format!("nothing to do: {gateway} on {interface} is the default gateway"))?;
        }
        SetOutcome::Planned => {}
        SetOutcome::Set { gateway, link } => {
            // The change is kept, whatever happens to the output.
            let _ = print(&format!("set: {gateway} on {} is the default gateway", link.name));
            log::info!("{}", export::warning(Path::new("/"), &link));
        }
        SetOutcome::DeadlinePassed => {
            log::error!("gave up waiting: the deadline passed");
            return Ok(Exit::DeadlinePassed);
        }
    }
    Ok(Exit::Ok)
}

fn set_options(settings: &Settings) -> Result<SetOptions> {
    let confirm = match settings.confirm()? {
        None if io::stdin().is_terminal() => Some(DEFAULT_CONFIRM),
        None | Some(Duration::ZERO) => None,
        given => given,
    };
    Ok(SetOptions {
        interface: settings.interface()?,
        keep_old_metric: settings.keep_old_metric()?,
        probes: settings.probes()?,
        confirm,
        force: settings.has(&options::FORCE),
        dry_run: settings.has(&options::DRY_RUN),
    })
}

fn schedule(settings: &Settings) -> Result<Schedule> {
    if !settings.has(&options::WAIT) {
        return Ok(Schedule::Once);
    }
    let deadline = settings.wait_timeout()?.map(|timeout| settings.began() + timeout);
    Ok(Schedule::Wait { interval: settings.wait_interval()?, deadline })
}
