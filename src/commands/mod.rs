//! The commands, a file each: settings in, one question or a wait, an answer on standard output, an exit code.

mod completions;
mod details;
mod facts;
mod features;
mod gateway;
mod hooks;
mod man;
mod once;
mod region;
mod status;
mod wait;

use crate::cli::{Arguments, Command, definitions};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::NamedStatus;
use crate::model::{Format, Operation};
use crate::ui::output;

/// Does what was asked for.
///
/// # Errors
/// What a person is to be told, and what the exit code follows from.
pub fn run(arguments: &Arguments) -> Result<Exit> {
    match arguments.command {
        Command::Status => status::run(&Settings::load(arguments)?),
        Command::Details => details::run(&Settings::load(arguments)?),
        Command::Features => features::run(&Settings::load(arguments)?),
        Command::GatewayShow => gateway::show(&Settings::load(arguments)?),
        Command::GatewayCheck => gateway::check(&Settings::load(arguments)?),
        Command::GatewaySet => gateway::set(&Settings::load(arguments)?),
        Command::GatewayConfirm => gateway::confirm(&Settings::for_rescue(arguments)),
        Command::GatewayRollback => gateway::rollback(&Settings::for_rescue(arguments)),
        Command::GatewayKeep => gateway::keep(&Settings::load(arguments)?),
        Command::Wait => wait::run(&Settings::load(arguments)?, &arguments.program),
        Command::Facts => facts::run(&Settings::load(arguments)?),
        Command::Hooks => hooks::run(&Settings::load(arguments)?, arguments.operand.as_deref()),
        Command::Region => region::run(&Settings::load(arguments)?),
        Command::Completions => completions::run(arguments.operand.as_deref().unwrap_or_default()),
        Command::Man => man::run(),
    }
}

/// The format that was asked for, if it is one that the operation has.
fn format(settings: &Settings, operation: Operation) -> Result<Option<Format>> {
    let Some(name) = settings.flag(&definitions::FORMAT) else { return Ok(None) };
    let formats = operation.formats();
    match formats.iter().find(|format| format.name() == name) {
        Some(format) => Ok(Some(*format)),
        None => {
            let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
            Err(Error::usage(format!(
                "--format: there is no {name:?} of this, but {}",
                crate::ui::and(&names)
            )))
        }
    }
}

/// What a 404 to `status`, `details` or `features` means.
fn unknown_server() -> Error {
    Error::new(Kind::NotYet, "RackConnect does not know this server (yet): HTTP 404")
}

/// A table of named things and their statuses for a terminal.
fn print_table(things: &[NamedStatus]) -> Result<()> {
    let width = things.iter().map(|thing| thing.status.chars().count()).max().unwrap_or(0);
    things.iter().try_for_each(|thing| {
        let line = format!("  {:width$}  {}", thing.status, thing.name);
        output::line(&crate::ui::escape_control(&line))
    })
}
