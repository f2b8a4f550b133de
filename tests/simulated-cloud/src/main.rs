//! The simulated cloud as a program, for scripts: the six servers of the demo.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use lexopt::Arg::{Long, Short};
use simulated_cloud::Cloud;

const HELP: &str = "\
Usage: simulated-cloud

Simulates Rackspace Cloud Identity and Cloud Servers on a free port of the loopback address, with
six servers. The user is jsmith, with the API key k3y-of-jsmith.

Prints the URL of Identity. Ends on SIGTERM.
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("simulated-cloud: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(argument) = lexopt::Parser::from_env().next()? {
        return match argument {
            Long("help") | Short('h') => Ok(io::stdout().write_all(HELP.as_bytes())?),
            _ => Err(argument.unexpected().into()),
        };
    }
    let cloud = Cloud::demo()?;
    let mut out = io::stdout();
    writeln!(out, "{}", cloud.identity_url())?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}
