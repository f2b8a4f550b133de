//! Signals. SIGINT, SIGTERM and SIGHUP end the program at once, in the middle of whatever it does, and so that its parent
//! sees by which: that is what the kernel does by itself. Two cases need more.

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

/// Lets `tidy_up` run before a signal ends the program.
///
/// # Errors
/// The handlers or their thread cannot be had.
pub fn tidy_up_first(tidy_up: fn()) -> Result<()> {
    if process::id() == 1 {
        return Ok(());
    }
    let error = |why: std::io::Error| Error::new(Kind::Other, format!("cannot handle signals: {why}"));
    let mut signals = Signals::new(ENDING).map_err(error)?;
    let run = move || {
        for signal in signals.forever() {
            tidy_up();
            let _ = emulate_default_handler(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).stack_size(64 * 1024).spawn(run).map_err(error)?;
    Ok(())
}
