//! The demo of the README: the real program against a simulated RackConnect API that deploys a
//! server in 20 seconds.
//!
//! `cargo run --example demo`. It builds the program first (Cargo builds none for an example), asks
//! nothing but loopback, and exits non-zero if the program does not end as it should.

use std::io::{self, Write};
use std::process::{Command, ExitCode};

use simulated_api::{Config, Script, Simulator};

/// What is shown: the arguments, the exit code that is right.
const SHOWN: [(&[&str], i32); 6] = [
    (&["status"], 0),
    (&["gateway"], 3),
    (&["wait", "--interval", "3s"], 0),
    (&["details"], 0),
    (&["gateway"], 0),
    (&["wait", "--", "echo", "and now the rest of the boot script"], 0),
];

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<(), String> {
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--bin", "rackconnect", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status();
    if !cargo.map_err(|why| format!("cargo does not run: {why}"))?.success() {
        return Err("the program cannot be built".to_owned());
    }
    // This program is target/PROFILE/examples/demo, and the one that was just built is
    // target/debug/rackconnect.
    let own = std::env::current_exe().map_err(|why| why.to_string())?;
    let program = own
        .ancestors()
        .nth(3)
        .map(|target| target.join("debug/rackconnect"))
        .filter(|path| path.is_file())
        .ok_or("the program that was built is not where it should be")?;

    let api = Simulator::start(Config { script: Script::demo(), ..Config::default() })
        .map_err(|why| why.to_string())?;
    let state = std::env::temp_dir().join(format!("rackconnect-demo-{}", std::process::id()));
    println!(
        "A simulated RackConnect API runs at {}: it deploys this \"server\" in 20 seconds.",
        api.endpoint()
    );
    for (arguments, right) in SHOWN {
        println!("\n$ rackconnect {}", arguments.join(" "));
        io::stdout().flush().map_err(|why| why.to_string())?;
        let status = Command::new(&program)
            .args(arguments)
            .env("RACKCONNECT_ENDPOINT", api.endpoint())
            .env("RACKCONNECT_CA_FILE", api.ca_file())
            .env("RACKCONNECT_STATE_DIR", &state)
            .status()
            .map_err(|why| why.to_string())?;
        println!("(exit code {})", status.code().unwrap_or(-1));
        if status.code() != Some(right) {
            return Err(format!("the exit code should be {right}"));
        }
    }
    let _ = std::fs::remove_dir_all(state);
    println!(
        "\nThe API was asked {} times, at most {} times in any minute.",
        api.log().len(),
        max(&api)
    );
    Ok(())
}

fn max(api: &Simulator) -> usize {
    api.max_in_any_window([127, 0, 0, 1].into(), std::time::Duration::from_secs(60))
}
