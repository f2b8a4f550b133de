//! The on-server agent for Rackspace RackConnect v2.0, as a library below a thin `main`, so that
//! tests reach everything.
//!
//! The layers, lowest first, are those of `tests/architecture.rs`; docs/architecture.md describes
//! them. The code that decides (`ratelimit::window`, `coalesce::demand`, `wait::machine`,
//! `gateway::plan`, `gateway::keeper`, the codecs) does no I/O and is passed the time; the modules
//! beside it do the I/O.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod api; // The RackConnect API: client, transport, responses.
pub mod cli; // The command line: definition, parsing, help, manual, completions.
pub mod clock; // The boot clock.
#[cfg(feature = "cloud")]
mod cloud; // Cloud Identity and Cloud Servers, from outside a server.
pub mod coalesce; // One request for many processes.
pub mod commands; // The commands, a file each.
pub mod config; // Settings: flags, environment, configuration file.
mod doctor; // The diagnosis of this server.
pub mod duration; // Durations as people write them.
pub mod error; // Errors and their kinds.
pub mod exit; // The exit codes.
pub mod facts; // Everything known about this server.
mod fail_point; // Where tests pause the program; debug builds only.
mod fnv; // The hash function FNV-1a.
#[cfg(any(test, fuzzing))]
pub mod fuzz; // The parsers of untrusted bytes, for fuzzers.
pub mod gateway; // The default gateway: checked, set, undone, kept.
pub mod hooks; // Programs that run once per deployment.
pub mod model; // Plain values that every layer may know.
pub mod netlink; // The kernel's routes.
pub mod ratelimit; // The rate limit.
mod ready; // Waiting for a file, by a deadline.
pub mod region; // The region of this server, detected.
mod script; // Scripts that the kernel does not execute by itself.
pub mod session; // One command's use of the API.
pub mod signals; // Signals: SIGINT, SIGTERM, SIGHUP, SIGCHLD.
pub mod state; // The state directory.
pub mod systemd; // Notifications to systemd.
pub mod ui; // Standard output and standard error.
pub mod wait; // The wait.
pub mod xenstore; // The hypervisor's data about this server.

use std::env;

use cli::Invocation;
use exit::Exit;
use ui::Verbosity;
use ui::output;

/// The arguments, without the program's name. Started as `rackconnect-inventory`, the program is an
/// inventory script for Ansible.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let is_inventory = cfg!(feature = "cloud")
        && std::path::Path::new(&name).file_name().is_some_and(|it| it == "rackconnect-inventory");
    let prefix: &[&str] =
        if is_inventory { &["cloud", "servers", "--format", "ansible"] } else { &[] };
    prefix.iter().map(Into::into).chain(arguments).collect()
}

/// The whole program: arguments in, exit code out.
pub fn main() -> Exit {
    signals::start();
    if env::args_os().nth(1).is_some_and(|argument| argument == gateway::guard::ARGUMENT) {
        ui::start(Verbosity::Default);
        return gateway::guard::main(env::args_os().skip(2));
    }
    let invocation = cli::parse(arguments());
    ui::start(match &invocation {
        Ok(Invocation::Run(arguments)) => cli::verbosity(arguments),
        _ => Verbosity::Default,
    });
    let outcome = invocation.and_then(|invocation| match invocation {
        Invocation::Version => {
            output::line(concat!("rackconnect ", env!("CARGO_PKG_VERSION"))).map(|()| Exit::Ok)
        }
        Invocation::Help(topic, length) => {
            let text = cli::help::text(topic, length, ui::terminal_width());
            output::write(text.as_bytes()).map(|()| Exit::Ok)
        }
        Invocation::Usage => {
            ui::write_to_stderr(&cli::help::usage(ui::terminal_width()));
            Ok(Exit::Usage)
        }
        Invocation::Run(arguments) => commands::run(&arguments),
    });
    let exit = outcome.unwrap_or_else(|error| {
        log::error!("{error}");
        error.exit()
    });
    ui::finish_output();
    exit
}
