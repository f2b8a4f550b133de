//! `cloud wait`: blocks until servers are done, then executes COMMAND.

use std::ffi::OsString;
use std::sync::Arc;

use crate::clock::BootInstant;
use crate::cloud::{Account, WatchEnd, find, watch};
use crate::config::credentials::SECRET_VARIABLES;
use crate::config::{CloudWaitSettings, Sources};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::Region;
use crate::ui::{self, output};
use crate::wait::{Policy, Program};
use crate::{signals, systemd};

/// Waits, then prints the words or executes `program`.
pub fn run(sources: &Sources, operands: &[String], program: &[OsString]) -> Result<Exit> {
    let settings = CloudWaitSettings::resolve(sources, operands)?;
    ui::limit_output(settings.end.unwrap_or(BootInstant::NEVER));
    let policy = Policy {
        goal: settings.goal,
        interval: settings.interval,
        deadline: settings.end,
        ok_if: settings.ok_if,
        through_failed: settings.through_failed,
        is_watched: settings.is_watched,
    };
    let program = Program::find(program)?;
    let account = Arc::new(Account::new(settings.cloud)?);
    if policy.is_watched {
        signals::on_signal(ui::end_live_for_good)?;
    }
    let found = find(&account, &settings.selection, &policy);
    let found = found.map_err(|err| match err.kind {
        // In `cloud wait web1 echo ready`, the words of the COMMAND are taken for servers.
        Kind::NotYet if operands.len() > 1 && program.is_none() => Error::new(
            err.kind,
            format!(
                "{err}; COMMAND goes after \"--\": rackconnect cloud wait SERVER... -- COMMAND"
            ),
        ),
        _ => err,
    })?;
    let Some(found) = found else { return Ok(Exit::DeadlinePassed) };
    if found.servers.is_empty() {
        return Err(Error::new(Kind::NotYet, "there is no such server"));
    }
    let end = watch(&account, found, policy, settings.until)?;
    match program {
        Some(program) if end.exit == Exit::Ok => {
            let (word, region) = for_command(&end);
            Err(program.without(&SECRET_VARIABLES).exec(&word, region))
        }
        Some(_) => Ok(end.exit),
        None => print(&end),
    }
}

/// The variables of COMMAND: the status of all servers, and their region, where all have the same.
fn for_command(end: &WatchEnd) -> (String, Option<Region>) {
    let same = |mut words: Vec<String>| {
        words.dedup();
        if words.len() == 1 { words.pop() } else { None }
    };
    let word = same(end.servers.iter().map(|watched| watched.word()).collect());
    let region = same(end.servers.iter().map(|watched| watched.server.region.clone()).collect());
    (word.unwrap_or_default(), region.and_then(|code| Region::from_code(&code)))
}

/// Prints the word of one server, or a line for each.
fn print(end: &WatchEnd) -> Result<Exit> {
    let printed = match &end.servers[..] {
        [watched] if watched.word().is_empty() => Ok(()),
        [watched] => output::line(&watched.word()),
        servers => {
            let rows = servers.iter().map(|watched| {
                let word = Some(watched.word()).filter(|word| !word.is_empty());
                let word = word.unwrap_or_else(|| "none".to_owned());
                [word, watched.server.name.clone(), watched.server.region.clone()]
            });
            output::columns(&rows.collect::<Vec<_>>())
        }
    };
    let exit = output::outcome(printed, Ok(end.exit))?;
    if exit == Exit::Ok {
        systemd::ready();
    }
    Ok(exit)
}
