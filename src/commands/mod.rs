//! The commands, one file each: typed settings in, one call of a feature, output, exit code.

#[cfg(feature = "cloud")]
mod cloud;
mod completions;
mod details;
mod doctor;
mod facts;
mod features;
mod gateway;
mod hooks;
mod man;
mod region;
mod status;
mod wait;

use crate::cli::{Arguments, CloudCommand, Command, options};
use crate::clock::BootInstant;
use crate::config::Sources;
#[cfg(not(feature = "cloud"))]
use crate::error::Error;
use crate::error::Result;
use crate::exit::Exit;
use crate::{signals, ui};

/// Runs the command of the arguments.
///
/// # Errors
/// The command failed; the kind of the error determines the exit code.
pub fn run(arguments: &Arguments) -> Result<Exit> {
    if starts_children(arguments.command) {
        signals::reset_ignored_sigchld();
    }
    let load = || -> Result<Sources> {
        let sources = Sources::load(arguments)?;
        // Without a deadline, a person may read in a pager for as long as they like.
        if ends_by_deadline(arguments.command)
            && let Some(deadline) = sources.given(&options::DEADLINE)?
        {
            ui::limit_output(BootInstant::now() + deadline.value);
        }
        Ok(sources)
    };
    let operand = || arguments.operands.first().map(String::as_str);
    match arguments.command {
        Command::Status => status::run(&load()?),
        Command::Details => details::run(&load()?),
        Command::Features => features::run(&load()?),
        Command::GatewayShow => gateway::show(&load()?),
        Command::GatewayCheck => gateway::check(&load()?),
        Command::GatewaySet => gateway::set(&load()?),
        Command::GatewayConfirm => gateway::confirm(&Sources::load_leniently(arguments)),
        Command::GatewayRollback => gateway::rollback(&Sources::load_leniently(arguments)),
        Command::GatewayKeep => gateway::keep(&load()?),
        Command::Wait => wait::run(&load()?, &arguments.program),
        Command::Facts => facts::run(load()),
        Command::Doctor => doctor::run(arguments),
        Command::Hooks => hooks::run(&load()?, operand()),
        Command::Region => region::run(&load()?),
        Command::Completions => completions::run(operand().unwrap_or_default()),
        Command::Man => man::run(),
        #[cfg(feature = "cloud")]
        Command::Cloud(command) => cloud::run(command, arguments, &load()?),
        // The parser does not return it without the feature.
        #[cfg(not(feature = "cloud"))]
        Command::Cloud(_) => Err(Error::usage("this build has no cloud commands")),
    }
}

/// Whether `--deadline` is the deadline of the whole command. That of `wait` is `--timeout`.
fn ends_by_deadline(command: Command) -> bool {
    match command {
        Command::Status | Command::Details | Command::Features => true,
        Command::GatewayShow | Command::GatewayCheck => true,
        Command::Cloud(command) => command != CloudCommand::Wait,
        _ => false,
    }
}

fn starts_children(command: Command) -> bool {
    matches!(
        command,
        Command::Doctor
            | Command::Hooks
            | Command::GatewaySet
            | Command::GatewayKeep
            | Command::GatewayRollback
    )
}
