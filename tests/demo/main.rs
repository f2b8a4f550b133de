//! The demo of the README: runs the program against a simulated RackConnect API that deploys a
//! server in 20 seconds.
//!
//! Run it with `cargo run --example demo`. It first builds the program, because Cargo does not do
//! that for an example. All traffic stays on loopback. The exit code is not zero if the program
//! ends with an unexpected exit code.

mod program;

use std::process::{Command, ExitCode};

use simulated_api::{Config, Script, Simulator};

/// The arguments of each run, and the expected exit code.
const RUNS: [(&[&str], i32); 6] = [
    (&["status"], 0),
    (&["gateway"], 3),
    (&["wait", "--interval", "3s"], 0),
    (&["details"], 0),
    (&["gateway"], 0),
    (&["wait", "--", "echo", "and now the rest of the boot script"], 0),
];

fn main() -> ExitCode {
    program::end("demo", demo())
}

fn demo() -> Result<(), String> {
    let program = program::build()?;
    let api = Simulator::start(Config { script: Script::demo(), ..Config::default() })
        .map_err(|err| err.to_string())?;
    let state = std::env::temp_dir().join(format!("rackconnect-demo-{}", std::process::id()));
    println!(
        "A simulated RackConnect API runs at {} and deploys this \"server\" in 20 seconds.",
        api.endpoint()
    );
    for (arguments, expected_code) in RUNS {
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .env("RACKCONNECT_ENDPOINT", api.endpoint())
            .env("RACKCONNECT_CA_FILE", api.ca_file())
            .env("RACKCONNECT_STATE_DIR", &state);
        program::show(command, expected_code)?;
    }
    let _ = std::fs::remove_dir_all(state);
    println!(
        "\nThe API received {} requests, at most {} in any minute.",
        api.log().len(),
        most_in_a_minute(&api)
    );
    Ok(())
}

fn most_in_a_minute(api: &Simulator) -> usize {
    api.max_in_any_window([127, 0, 0, 1].into(), std::time::Duration::from_secs(60))
}
