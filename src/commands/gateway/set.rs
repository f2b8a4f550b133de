//! `gateway set`: makes the API's gateway the default gateway.

use std::path::Path;

use super::{journal_to_change, journal_to_read};
use crate::config::{SetSettings, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::gateway::export;
use crate::gateway::lookup::{GatewayLookup, Schedule};
use crate::gateway::set::{SetOptions, SetOutcome, set};
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::ui::{escape_control, output};

/// Sets the gateway.
pub fn run(sources: &Sources) -> Result<Exit> {
    let settings = SetSettings::resolve(sources)?;
    let one_shot = settings.one_shot;
    let journal = if settings.dry_run {
        journal_to_read(&one_shot.api.state_dir.value)
    } else {
        journal_to_change(&one_shot.api.state_dir.value)
    };
    let schedule = settings.wait.map_or(Schedule::Once, |wait| Schedule::Wait {
        interval: wait.interval,
        deadline: wait.end,
    });
    let options = SetOptions {
        interface: settings.interface.map(|interface| interface.value),
        keep_old_metric: settings.keep_old_metric.map(|metric| metric.value),
        probes: settings.probes,
        confirm: settings.confirm,
        force: settings.force,
        dry_run: settings.dry_run,
    };
    let (started, deadline) = (one_shot.api.started, one_shot.deadline.value);
    let on_broken = match schedule {
        Schedule::Once => OnBrokenXenstore::GiveUp,
        Schedule::Wait { .. } | Schedule::Forever => OnBrokenXenstore::Retry,
    };
    let session = Session::new(one_shot.api, on_broken);
    let lookup = GatewayLookup::new(session, started, deadline, schedule);
    let print = |line: &str| output::line(&escape_control(line));
    report(set(&lookup, &journal, &options, &print)?, &print)
}

fn report(outcome: SetOutcome, print: &dyn Fn(&str) -> Result<()>) -> Result<Exit> {
    match outcome {
        SetOutcome::NothingToDo { gateway, interface } => {
            print(&format!("nothing to do: {gateway} on {interface} is the default gateway"))?;
        }
        SetOutcome::Planned => {}
        SetOutcome::Set { gateway, link } => {
            // A failure to write does not change the outcome.
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
