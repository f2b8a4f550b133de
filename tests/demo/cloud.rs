//! The demo of docs/cloud.md: the real program against a simulated Identity and Cloud Servers with
//! six servers, of which two are deployed while it waits.
//!
//! `cargo run --example cloud-demo`. It builds the program first, asks nothing but loopback, and
//! exits non-zero if the program does not end as it should.

mod program;

use std::process::{Command, ExitCode};

use simulated_cloud::Cloud;

/// What is shown: the arguments, the exit code that is right.
const SHOWN: [(&[&str], i32); 8] = [
    (&["cloud", "login"], 0),
    (&["cloud", "catalog"], 0),
    (&["cloud", "servers"], 0),
    (&["cloud", "status", "web1"], 0),
    (&["cloud", "wait", "web2", "plain", "--interval", "3s"], 0),
    (&["cloud", "wait", "db1"], 4),
    (&["cloud", "servers", "--rackconnect", "deployed", "--format", "names"], 0),
    (&["cloud", "logout"], 0),
];

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("cloud-demo: {err}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<(), String> {
    let program = program::build()?;
    let cloud = Cloud::demo().map_err(|err| err.to_string())?;
    let home = tempfile::tempdir().map_err(|err| err.to_string())?;
    println!(
        "A simulated Identity and Cloud Servers run at {}: two of the account's six servers are \
         deployed within 15 seconds.",
        cloud.identity_url()
    );
    for (arguments, right) in SHOWN {
        let mut command = Command::new(&program);
        // Nothing of the account of the person who runs this.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["RAX_", "OS_", "XDG_", "RACKCONNECT_"].iter().any(|it| name.starts_with(it)) {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .env("HOME", home.path())
            .env("RAX_IDENTITY_URL", cloud.identity_url())
            .env("RAX_USERNAME", "jsmith")
            .env("RAX_API_KEY", "k3y-of-jsmith");
        program::show(command, right)?;
    }
    println!("\nThe services were asked {} times.", cloud.count(""));
    Ok(())
}
