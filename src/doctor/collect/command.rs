//! Runs a program of the system and reads its output, within a time limit.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::clock::BootInstant;

/// The largest output that is read.
const MAX_BYTES: u64 = 1 << 20;

/// How often a running program is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The standard output of a program that exits with 0 in time.
pub(super) fn output(program: &Path, arguments: &[&str], limit: Duration) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.env("LC_ALL", "C");
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let reader = thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        let _ = Read::take(&mut stdout, MAX_BYTES).read_to_end(&mut bytes);
        bytes
    });
    let limit = if reader.is_ok() { limit } else { Duration::ZERO };
    if !ends_well(&mut child, BootInstant::now() + limit) {
        return None;
    }
    let bytes = reader.ok()?.join().ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for a child until `deadline`, and then kills it.
fn ends_well(child: &mut Child, deadline: BootInstant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if BootInstant::now() < deadline => thread::sleep(POLL_INTERVAL),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed() {
        let sh = Path::new("/bin/sh");
        let limit = Duration::from_secs(30);
        assert_eq!(output(sh, &["-c", "echo x"], limit).as_deref(), Some("x\n"));
        assert_eq!(output(sh, &["-c", "echo x; exit 3"], limit), None);
        assert_eq!(output(sh, &["-c", "exec sleep 60"], Duration::from_millis(50)), None);
        assert_eq!(output(Path::new("/nonexistent"), &[], limit), None);
    }
}
