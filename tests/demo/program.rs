//! Shared by the demos: builds the program and shows its runs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Builds the program, because Cargo does not do that for an example.
///
/// # Errors
/// It cannot be built.
pub fn build() -> Result<PathBuf, String> {
    let mut cargo = Command::new(env!("CARGO"));
    // The example makes Cargo enable the features that this one was built with.
    cargo.args([
        "build",
        "--quiet",
        "--example",
        "demo",
        "--bin",
        "rackconnect",
        "--manifest-path",
    ]);
    cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    // `cargo run` describes the demo in these variables. The build script of ring is run again when
    // they change, and then almost everything is compiled again: now, and at the next build.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_PKG_") {
            cargo.env_remove(&name);
        }
    }
    let cargo = cargo.status();
    if !cargo.map_err(|err| format!("cargo does not run: {err}"))?.success() {
        return Err("the program cannot be built".to_owned());
    }
    // The demo is target/PROFILE/examples/NAME, and the program that was just built is
    // target/debug/rackconnect.
    let own = std::env::current_exe().map_err(|err| err.to_string())?;
    let program = own.ancestors().nth(3).map(|target| target.join("debug/rackconnect"));
    let program = program.filter(|path| path.is_file());
    program.ok_or_else(|| "the program that was built is not where it should be".to_owned())
}

/// Shows a command and its output, and checks its exit code.
///
/// # Errors
/// It cannot be run, or ends with another exit code.
pub fn show(mut command: Command, right: i32) -> Result<(), String> {
    let arguments: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
    println!("\n$ rackconnect {}", arguments.join(" "));
    io::stdout().flush().map_err(|err| err.to_string())?;
    let status = command.status().map_err(|err| err.to_string())?;
    println!("(exit code {})", status.code().unwrap_or(-1));
    if status.code() == Some(right) {
        Ok(())
    } else {
        Err(format!("the exit code should be {right}"))
    }
}

/// The exit code of a demo. An error is printed.
pub fn end(name: &str, result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{name}: {err}");
            ExitCode::FAILURE
        }
    }
}
