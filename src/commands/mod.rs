//! The commands, a file each: settings in, one call into a feature, output, an exit code.

mod completions;
mod details;
mod doctor;
mod facts;
mod features;
mod gateway;
mod hooks;
mod man;
mod once;
mod region;
mod status;
mod wait;

use crate::cli::{Arguments, Command};
use crate::config::Settings;
use crate::error::Result;
use crate::exit::Exit;
use crate::signals;

/// Does what was asked for.
///
/// # Errors
/// What a person is to be told, and what the exit code follows from.
pub fn run(arguments: &Arguments) -> Result<Exit> {
    if matches!(
        arguments.command,
        Command::Hooks | Command::GatewaySet | Command::GatewayKeep | Command::GatewayRollback
    ) {
        signals::notice_children();
    }
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
        Command::Doctor => doctor::run(&Settings::load(arguments)?),
        Command::Hooks => hooks::run(&Settings::load(arguments)?, arguments.operand.as_deref()),
        Command::Region => region::run(&Settings::load(arguments)?),
        Command::Completions => completions::run(arguments.operand.as_deref().unwrap_or_default()),
        Command::Man => man::run(),
    }
}
