//! Records a wait on a terminal: the real program against the simulated API. Writes the animated
//! picture docs/pictures/wait.svg.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benchmark::page::in_checkout;
use benchmark::terminal::{Frame, Screen, svg};
use nix::pty::{Winsize, openpty};
use simulated_api::{Config, Script, Simulator};

/// Wide enough for the names of the tasks.
const COLUMNS: u16 = 112;
const ROWS: u16 = 4;

/// The command line that is shown at the prompt.
const COMMAND: &str = "rackconnect wait --interval 3s";

fn main() -> Result<(), Box<dyn Error>> {
    let program = std::env::args_os().nth(1).map(PathBuf::from);
    let program = program.unwrap_or_else(|| in_checkout("target/debug/rackconnect"));
    let api = Simulator::start(Config { script: Script::demo(), ..Config::default() })?;
    let folder = tempfile::tempdir()?;
    let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None)?;
    let side = || terminal.slave.try_clone().map(Stdio::from);
    let mut command = Command::new(&program);
    command
        .args(COMMAND.split(' ').skip(1))
        .env("RACKCONNECT_ENDPOINT", api.endpoint())
        .env("RACKCONNECT_CA_FILE", api.ca_file())
        .env("RACKCONNECT_STATE_DIR", folder.path())
        .env("XENSTORED_PATH", "/nonexistent")
        .stdin(side()?)
        .stdout(side()?)
        .stderr(side()?);
    let mut child = command.spawn().map_err(|err| format!("{}: {err}", program.display()))?;
    // The output ends when the last copy of the descriptor is closed.
    drop(command);
    drop(terminal.slave);
    let frames = record(File::from(terminal.master));
    if !child.wait()?.success() {
        return Err("the wait failed".into());
    }
    let path = in_checkout("docs/pictures/wait.svg");
    fs::write(&path, svg(&frames, usize::from(COLUMNS), usize::from(ROWS)))?;
    Ok(())
}

/// The frames until the terminal is closed.
fn record(mut terminal: File) -> Vec<Frame> {
    let mut screen = Screen::new(usize::from(COLUMNS));
    screen.print(&format!("$ {COMMAND}\n"));
    let mut frames = vec![Frame { at: Duration::ZERO, lines: screen.lines() }];
    let (start, mut buffer) = (Instant::now(), [0; 4_096]);
    while let Ok(length @ 1..) = terminal.read(&mut buffer) {
        screen.print(&String::from_utf8_lossy(&buffer[..length]));
        frames.push(Frame { at: start.elapsed(), lines: screen.lines() });
    }
    frames
}
