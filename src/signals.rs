//! Signals. SIGINT, SIGTERM and SIGHUP end the program at once, in the middle of whatever it does, and so that its parent
//! sees by which: that is what the kernel does by itself. Two cases need more.

use std::fs;
use std::process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::error::{Error, Kind, Result};

const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// The kernel delivers no signal to process 1 of a container that it does not handle: there the program exits with
/// 128+n instead.
pub fn start() {
    if process::id() == 1 {
        for signal in ENDING {
            let always = Arc::new(AtomicBool::new(true));
            // It fails for signals that cannot be handled alone.
            let _ = flag::register_conditional_shutdown(signal, 128 + signal, always);
        }
    }
}

/// The signals that the program was started to ignore (by nohup, or in the background of a script), as the kernel's mask:
/// proc_pid_status(5). They stay ignored.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Lets `tidy_up` run before a signal ends the program.
///
/// # Errors
/// The handlers or their thread cannot be had.
pub fn tidy_up_first(tidy_up: fn()) -> Result<()> {
    if process::id() == 1 {
        return Ok(());
    }
    let error = |why: std::io::Error| Error::new(Kind::Other, format!("cannot handle signals: {why}"));
    let ignored = ignored();
    let heeded = ENDING.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(heeded).map_err(error)?;
    let run = move || {
        for signal in signals.forever() {
            tidy_up();
            let _ = emulate_default_handler(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).stack_size(64 * 1024).spawn(run).map_err(error)?;
    Ok(())
}
