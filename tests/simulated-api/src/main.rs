//! The simulated API as a program, for namespaces, containers and the demo.

#![forbid(unsafe_code)]

use lexopt::prelude::*;
use simulated_api::{Config, Received, Script, Simulator};
use std::{
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Mutex,
};

const HELP: &str = "\
Usage: simulated-api [--listen ADDR:PORT]... [--ca-out FILE] [--script FILE] [--name NAME]...
                     [--log FILE] [--http]

  --listen ADDR:PORT  address to listen on (port 0: any free port); default 127.0.0.1:0
  --ca-out FILE       where to write the CA's certificate; default: a temporary file, whose name is
                      printed on standard error
  --script FILE       configuration and script in TOML (see README.md); default: a deployment of
                      twenty seconds
  --name NAME         an additional name or address for the certificate
  --log FILE          append each request to this file as a line of JSON, instead of printing it on
                      standard error
  --http              use HTTP without TLS

Prints `listening on https://ADDR:PORT` for each listener. Ends on SIGTERM.
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulated-api: {error}");
            ExitCode::FAILURE
        }
    }
}

type Problem = Box<dyn std::error::Error>;

fn run() -> Result<(), Problem> {
    let mut listen: Vec<SocketAddr> = Vec::new();
    let mut names = Vec::new();
    let (mut ca, mut script, mut log, mut tls) = (None, None, None, true);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => listen.push(arguments.value()?.parse()?),
            Long("name") => names.push(arguments.value()?.string()?),
            Long("ca-out") => ca = Some(PathBuf::from(arguments.value()?)),
            Long("script") => script = Some(PathBuf::from(arguments.value()?)),
            Long("log") => log = Some(PathBuf::from(arguments.value()?)),
            Long("http") => tls = false,
            Long("help") | Short('h') => return Ok(io::stdout().write_all(HELP.as_bytes())?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let about = |file: &PathBuf, error: io::Error| format!("{}: {error}", file.display());
    let mut config = match &script {
        Some(file) => std::fs::read_to_string(file)
            .and_then(|text| Config::from_toml(&text))
            .map_err(|error| about(file, error))?,
        None => Config { script: Script::demo(), ..Config::default() },
    };
    if !listen.is_empty() {
        config.listen = listen;
    }
    config.ca_file = ca.or(config.ca_file);
    let ca_is_named = config.ca_file.is_some() || !(config.tls && tls);
    config.names.extend(names);
    config.tls &= tls;
    // Limit the memory of the log, because the program may run for days.
    config.keep.get_or_insert(1000);

    let log = match &log {
        Some(file) => Some(Mutex::new(
            File::options()
                .append(true)
                .create(true)
                .open(file)
                .map_err(|error| about(file, error))?,
        )),
        None => None,
    };
    let observe = move |received: &Received| {
        let written = match &log {
            Some(log) => {
                let line = serde_json::to_string(received).expect("a record is JSON") + "\n";
                log.lock().expect("no writer panics").write_all(line.as_bytes())
            }
            None => writeln!(io::stderr(), "{}", line(received)),
        };
        let _ = written;
    };
    let simulator = Simulator::start_observed(config, observe)?;
    if !ca_is_named {
        eprintln!("the CA's certificate: {}", simulator.ca_file().display());
    }
    let mut out = io::stdout();
    for endpoint in simulator.endpoints() {
        writeln!(out, "listening on {endpoint}")?;
    }
    out.flush()?;
    loop {
        std::thread::park();
    }
}

/// A request as a readable line. Control characters in the path are escaped.
fn line(received: &Received) -> String {
    let Received { at, server, connection, method, path, step, code, fault, .. } = received;
    let step = step.map_or(String::new(), |step| format!(" step {}", step + 1));
    let code = code.map_or("no response".to_string(), |code| code.to_string());
    let fault = fault.map_or(String::new(), |fault| format!(" ({fault})"));
    let path = path.escape_debug();
    format!("{:9.3} {server} #{connection}{step} {method} {path} {code}{fault}", at.as_secs_f64())
}
