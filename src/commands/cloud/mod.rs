//! The `cloud` commands.

mod api;
mod catalog;
mod servers;
mod status;
mod token;
mod wait;

use crate::cli::{Arguments, CloudCommand};
use crate::config::Sources;
use crate::error::Result;
use crate::exit::Exit;
use crate::ui;

/// Runs a command of `cloud`.
pub fn run(command: CloudCommand, arguments: &Arguments, sources: &Sources) -> Result<Exit> {
    ui::silence_libraries();
    forbid_core_dumps();
    match command {
        CloudCommand::Login => token::log_in(sources),
        CloudCommand::Logout => token::log_out(sources),
        CloudCommand::Token => token::print(sources),
        CloudCommand::Catalog => catalog::run(sources),
        CloudCommand::Servers => servers::run(sources),
        CloudCommand::Status => status::run(sources, &arguments.operands),
        CloudCommand::Facts => status::facts(sources, &arguments.operands),
        CloudCommand::Api => api::run(sources, &arguments.operands),
        CloudCommand::Wait => wait::run(sources, &arguments.operands, &arguments.program),
    }
}

/// A core dump would contain the credentials. This also keeps other processes of this user from
/// reading this one's memory.
fn forbid_core_dumps() {
    if let Err(errno) = nix::sys::prctl::set_dumpable(false) {
        log::debug!("core dumps cannot be disabled: {errno}");
    }
}
