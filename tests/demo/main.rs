//! The demo of the README: the real program against a simulated RackConnect API that deploys a
//! server in 20 seconds.
//!
//! `cargo run --example demo`. It builds the program first (Cargo builds none for an example), sends
//! nothing beyond loopback, and fails if the program does not end as it should.

use std::io::{self, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use simulated_api::{Config, Script, Simulator};

/// One command of the demo.
struct Scene {
    /// What the reader sees first.
    comment: &'static str,
    arguments: &'static [&'static str],
    /// How it has to end.
    exit_code: i32,
}

const SCENES: [Scene; 7] = [
    Scene {
        comment: "A new cloud server. Has the RackConnect automation finished?",
        arguments: &["status"],
        exit_code: 0,
    },
    Scene {
        comment: "The gateway is assigned in the course of the automation.",
        arguments: &["gateway"],
        exit_code: 3,
    },
    Scene {
        comment: "A boot script waits for the end of the automation.",
        arguments: &["wait", "--interval", "3s"],
        exit_code: 0,
    },
    Scene {
        comment: "What the automation has done (a table on a terminal, JSON into a pipe).",
        arguments: &["details"],
        exit_code: 0,
    },
    Scene {
        comment: "What the automation manages on this server.",
        arguments: &["features"],
        exit_code: 0,
    },
    Scene { comment: "Now there is a gateway.", arguments: &["gateway"], exit_code: 0 },
    Scene {
        comment: "Or: run a command as soon as the server is deployed.",
        arguments: &["wait", "--", "echo", "and now the rest of the boot script"],
        exit_code: 0,
    },
];

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("demo: {err}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<(), String> {
    let program = build()?;
    let api = Simulator::start(Config { script: Script::demo(), ..Config::default() })
        .map_err(|err| err.to_string())?;
    let state_dir = std::env::temp_dir().join(format!("rackconnect-demo-{}", std::process::id()));
    println!("A simulated RackConnect API at {} deploys this server in 20 s.", api.endpoint());
    for scene in SCENES {
        let line = scene.arguments.join(" ");
        println!("\n{}", style("2", &format!("# {}", scene.comment)));
        println!("{} {}", style("1;32", "$"), style("1", &format!("rackconnect {line}")));
        io::stdout().flush().map_err(|err| err.to_string())?;
        let status = Command::new(&program)
            .args(scene.arguments)
            .env("RACKCONNECT_ENDPOINT", api.endpoint())
            .env("RACKCONNECT_CA_FILE", api.ca_file())
            .env("RACKCONNECT_STATE_DIR", &state_dir)
            .status()
            .map_err(|err| err.to_string())?;
        if status.code() != Some(scene.exit_code) {
            return Err(format!("{status}, expected exit code {}", scene.exit_code));
        }
        if scene.exit_code != 0 {
            println!("{}", style("2", &format!("(exit code {})", scene.exit_code)));
        }
    }
    let _ = std::fs::remove_dir_all(state_dir);
    let most = api.max_in_any_window(Ipv4Addr::LOCALHOST.into(), Duration::from_secs(60));
    println!(
        "\nThe API has received {} requests, at most {most} in any 60 s; its limit is 30.",
        api.log().len()
    );
    Ok(())
}

/// Builds the program and returns its path.
fn build() -> Result<PathBuf, String> {
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--bin", "rackconnect", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status();
    if !cargo.map_err(|err| format!("cargo: {err}"))?.success() {
        return Err("the program does not build".to_owned());
    }
    // This is target/PROFILE/examples/demo, and the program is target/debug/rackconnect.
    let own = std::env::current_exe().map_err(|err| err.to_string())?;
    own.ancestors()
        .nth(3)
        .map(|target| target.join("debug/rackconnect"))
        .filter(|path| path.is_file())
        .ok_or_else(|| "the program is not in target/debug".to_owned())
}

/// The text in that style (SGR parameters) on a terminal, as it is elsewhere.
fn style(parameters: &str, text: &str) -> String {
    match io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => format!("\x1b[{parameters}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}
