//! The simulated cloud as a program, for scripts: the six servers of the demo.
//!
//! Prints the URL of Identity, and runs until it is killed. The user is `jsmith` with the API key
//! `k3y-of-jsmith`.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use simulated_cloud::Cloud;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("simulated-cloud: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let cloud = Cloud::demo()?;
    let mut out = io::stdout();
    writeln!(out, "{}", cloud.identity_url())?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}
