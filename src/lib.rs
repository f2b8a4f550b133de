//! The on-server agent for Rackspace RackConnect v2.0, as a library below a thin `main`, so that tests reach everything.
//!
//! The core decides and knows neither sockets nor clocks nor files: `api::body`, `api::status`, `budget::window`,
//! `wait::machine`, `xenstore::known`, `xenstore::wire`, `cli`. The edge acts: `api::client`, `wait::run`, `xenstore`,
//! `settings`, `term`, `output`, `signals`.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod api; // The RackConnect API: operations, client, bodies.
pub mod budget; // The request limit.
pub mod cli; // The command line: definition, parsing, help, manual, completions.
pub mod clock; // Time that neither steps nor stops.
pub mod commands; // The commands, a file each.
pub mod duration; // Durations as people write them.
pub mod error; // What went wrong, and in which way.
pub mod exit; // The exit codes.
pub mod gateway; // The default gateway: checked, set, undone, kept.
pub mod hooks; // Programs that run once per deployment.
pub mod netlink; // The kernel's routes.
pub mod notify; // What systemd is told.
pub mod output; // Standard output.
pub mod region; // The region and how it is found.
pub mod settings; // Flags, environment, configuration file.
pub mod share; // One question, one request: answers shared among processes.
pub mod signals; // What ends the program from outside.
pub mod term; // Standard error: log lines and the live line.
pub mod wait; // The wait.
pub mod xenstore; // What a Xen guest knows of itself.

use std::env;
use std::process::ExitCode;

use cli::Invocation;
use term::Verbosity;

/// The whole program: arguments in, exit code out.
pub fn main() -> ExitCode {
    signals::start();
    if env::args_os().nth(1).is_some_and(|argument| argument == gateway::guard::ARGUMENT) {
        term::start(Verbosity::Default);
        return gateway::guard::main(env::args_os().skip(2)).into();
    }
    let invocation = cli::parse(env::args_os().skip(1));
    term::start(match &invocation {
        Ok(Invocation::Run(arguments)) => cli::verbosity(arguments),
        _ => Verbosity::Default,
    });
    let outcome = invocation.and_then(|invocation| match invocation {
        Invocation::Version => {
            output::line(concat!("rackconnect ", env!("CARGO_PKG_VERSION"))).map(|()| exit::Exit::Ok)
        }
        Invocation::Help { command, full } => {
            output::write(cli::help::text(command, full).as_bytes()).map(|()| exit::Exit::Ok)
        }
        Invocation::Run(arguments) => commands::run(&arguments),
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{error}");
            error.exit().into()
        }
    }
}
