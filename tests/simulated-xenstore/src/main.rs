//! The simulated xenstore as a program, for namespaces, containers and other clients.

#![forbid(unsafe_code)]

use lexopt::prelude::*;
use simulated_xenstore::{Config, Simulator};
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

const HELP: &str = "\
Usage: simulated-xenstore [--path PATH] [--pty] [--script FILE] [--set PATH=VALUE]...

  --path PATH         where to create the socket, or the link to the pseudo-terminal; default: in a
                      temporary directory
  --pty               use a pseudo-terminal in place of the device instead of a socket
  --script FILE       values and changes in TOML (see README.md)
  --set PATH=VALUE    set an initial value

Prints `XENSTORED_PATH=PATH` once it accepts connections. Ends on SIGTERM.
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulated-xenstore: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    let (mut path, mut pty, mut values) = (None, false, Vec::new());
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("path") => path = Some(PathBuf::from(arguments.value()?)),
            Long("pty") => pty = true,
            Long("script") => {
                config = Config::from_toml(&std::fs::read_to_string(arguments.value()?)?)?
            }
            Long("set") => values.push(arguments.value()?.string()?),
            Long("help") | Short('h') => return Ok(io::stdout().write_all(HELP.as_bytes())?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    for value in &values {
        let (path, value) = value.split_once('=').ok_or("--set needs PATH=VALUE")?;
        config = config.with(path, value);
    }
    config.path = path.or(config.path);
    config.pty |= pty;
    let simulator = Simulator::start(config)?;
    println!("XENSTORED_PATH={}", simulator.path().display());
    io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
