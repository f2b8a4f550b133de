//! The demo of docs/cloud.md: runs the program against a simulated Identity and Cloud Servers with
//! six servers, two of which are deployed meanwhile.
//!
//! Run it with `cargo run --example cloud-demo`. It first builds the program. All traffic stays on
//! loopback. The exit code is not zero if the program ends with an unexpected exit code.

mod program;

use std::process::{Command, ExitCode};

use simulated_cloud::Cloud;

/// The arguments of each run, and the expected exit code.
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
    program::end("cloud-demo", demo())
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
        // Without the credentials of the user who runs the demo.
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
