//! Signals. SIGINT, SIGTERM and SIGHUP end the program immediately, whatever it is doing, and its
//! parent sees which of them it was. The kernel does that by default.
//!
//! Three cases need more: process 1 of a container ([`start`]), output or children to be cleaned up
//! first ([`on_signal`]), and changes to the routes, which are never left half done ([`defer()`],
//! [`end_between_changes`]).

use std::fs;
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use nix::libc::SIGXFSZ;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::{emulate_default_handler, pipe};

use crate::error::{Error, Kind, Result, plain};

const ENDING_SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// Prepares the program for signals, before anything else is started.
///
/// The kernel discards signals to process 1 of a container that it does not handle: there the
/// program handles them, and exits with 128+n.
pub fn start() {
    unblock();
    // Exceeding RLIMIT_FSIZE is then an error of write(2) like any other. Programs that this one
    // executes have the default action again.
    let _ = flag::register(SIGXFSZ, Arc::default());
    if process::id() == 1 {
        for signal in ENDING_SIGNALS {
            // This fails only for signals that cannot be handled.
            let _ =
                flag::register_conditional_shutdown(signal, 128 + signal, ends_at_once().clone());
        }
    }
}

/// The signal mask that the program was started with.
static INHERITED_MASK: OnceLock<SigSet> = OnceLock::new();

/// A parent may have blocked the signals, which would make this program unstoppable.
fn unblock() {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD] {
        signals.add(signal);
    }
    if let Ok(inherited) = signals.thread_swap_mask(SigmaskHow::SIG_UNBLOCK) {
        let _ = INHERITED_MASK.set(inherited);
    }
}

/// Restores the signal mask that this program was started with, for a program that replaces it.
pub fn restore_inherited_mask() {
    if let Some(mask) = INHERITED_MASK.get() {
        let _ = mask.thread_set_mask();
    }
}

/// Starts a child with the signal mask that this program was started with. A signal that comes in
/// between is obeyed afterwards.
pub fn with_inherited_mask<T>(start: impl FnOnce() -> T) -> T {
    let own =
        INHERITED_MASK.get().and_then(|mask| mask.thread_swap_mask(SigmaskHow::SIG_SETMASK).ok());
    let started = start();
    if let Some(own) = own {
        let _ = own.thread_set_mask();
    }
    started
}

/// For commands that start children: if the parent made this program ignore SIGCHLD, the kernel
/// would discard the exit status of its children. A handler that does nothing prevents that.
/// Programs that this one executes have the default action again.
pub fn reset_ignored_sigchld() {
    if ignored() >> (SIGCHLD - 1) & 1 == 1 {
        // This fails only for signals that cannot be handled.
        let _ = flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)));
    }
}

/// The signals that the parent made this program ignore (nohup, or the background of a script), as
/// a bit mask: proc_pid_status(5). They stay ignored.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The ending signals that are not ignored.
fn not_ignored() -> impl Iterator<Item = i32> {
    let ignored = ignored();
    ENDING_SIGNALS.into_iter().filter(move |signal| ignored >> (signal - 1) & 1 == 0)
}

/// What runs before a signal ends the program.
static TIDY_UPS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

fn tidy_ups() -> MutexGuard<'static, Vec<fn()>> {
    TIDY_UPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets `tidy_up` run before a signal ends the program, after those of earlier calls.
///
/// # Errors
/// The handlers cannot be installed, or their thread cannot be started.
pub fn on_signal(tidy_up: fn()) -> Result<()> {
    let is_first = {
        let mut tidy_ups = tidy_ups();
        tidy_ups.push(tidy_up);
        tidy_ups.len() == 1
    };
    if !is_first {
        return Ok(());
    }
    // One thread runs them all: the end of another one would end the program in the middle.
    let spawned = spawn_handler(|signal| {
        tidy_ups().iter().for_each(|tidy_up| tidy_up());
        die_by(signal);
    });
    if spawned.is_err() {
        tidy_ups().clear();
    }
    spawned
}

/// Calls `handle` for each ending signal, on a thread of its own. Without the thread, the signals
/// go on ending the program.
fn spawn_handler(handle: impl Fn(i32) + Send + 'static) -> Result<()> {
    let mut signals = Signals::new(not_ignored()).map_err(|err| cannot_handle(&err))?;
    // Process 1 would exit from the handler that it has from the start.
    let ended_at_once = ends_at_once().swap(false, Ordering::SeqCst);
    let spawned = thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || signals.forever().for_each(handle));
    if let Err(err) = spawned {
        // The kernel's default action is not restored by itself.
        if ended_at_once {
            end_at_once();
        }
        return Err(cannot_handle(&err));
    }
    Ok(())
}

/// Lets the ending signals end the program immediately.
fn end_at_once() {
    ends_at_once().store(true, Ordering::SeqCst);
    // Process 1 has its handlers from the start.
    if process::id() != 1 {
        for signal in not_ignored() {
            let _ = flag::register_conditional_default(signal, ends_at_once().clone());
        }
    }
}

fn cannot_handle(err: &std::io::Error) -> Error {
    Error::new(Kind::Other, format!("cannot handle signals: {}", plain(err)))
}

/// Whether the handlers of [`start`] (process 1) and [`DeferredSignals::restore`] end the program.
fn ends_at_once() -> &'static Arc<AtomicBool> {
    static ENDS_AT_ONCE: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    ENDS_AT_ONCE.get_or_init(|| Arc::new(AtomicBool::new(true)))
}

/// The deferral of signals: SIGINT and SIGTERM are remembered, SIGHUP is ignored.
#[derive(Debug)]
pub struct DeferredSignals {
    pending: Arc<AtomicUsize>,
    wakeup: UnixStream,
}

/// Defers the ending signals until [`DeferredSignals::restore`], so that none ends the program in
/// the middle of a change to the routes.
///
/// # Errors
/// The handlers cannot be installed.
pub fn defer() -> Result<DeferredSignals> {
    let error = |err| cannot_handle(&err);
    let pending = Arc::new(AtomicUsize::new(0));
    let (wakeup, sender) = UnixStream::pair().map_err(error)?;
    wakeup.set_nonblocking(true).map_err(error)?;
    for signal in not_ignored().filter(|signal| *signal != SIGHUP) {
        let number = usize::try_from(signal).unwrap_or(0);
        flag::register_usize(signal, pending.clone(), number).map_err(error)?;
        pipe::register(signal, sender.try_clone().map_err(error)?).map_err(error)?;
    }
    if not_ignored().any(|signal| signal == SIGHUP) {
        flag::register(SIGHUP, Arc::new(AtomicBool::new(false))).map_err(error)?;
    }
    ends_at_once().store(false, Ordering::SeqCst);
    Ok(DeferredSignals { pending, wakeup })
}

impl DeferredSignals {
    /// The signal that was received, if any.
    pub fn pending(&self) -> Option<i32> {
        match i32::try_from(self.pending.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => None,
            Ok(signal) => Some(signal),
        }
    }

    /// Becomes readable when a signal is received.
    pub fn wakeup(&self) -> &UnixStream {
        &self.wakeup
    }

    /// Ends the program by the signal that was received, if any. Later signals end it immediately.
    pub fn restore(self) {
        self.end_if_pending();
        end_at_once();
        // It may have been received in between.
        self.end_if_pending();
    }

    /// Ends the program by the signal that was received, if any.
    pub fn end_if_pending(&self) {
        if let Some(signal) = self.pending() {
            die_by(signal);
        }
    }
}

/// Held while a service changes routes.
static CHANGING: Mutex<()> = Mutex::new(());

/// Keeps [`end_between_changes`] from ending the program while it lives.
pub fn begin_change() -> MutexGuard<'static, ()> {
    CHANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For a service, after [`defer()`]: lets the ending signals end the program as soon as no change
/// is under way. SIGTERM stops a service, so the exit code is 0.
///
/// # Errors
/// The handlers cannot be installed, or their thread cannot be started.
pub fn end_between_changes(tidy_up: fn()) -> Result<()> {
    spawn_handler(move |signal| {
        let _idle = begin_change();
        tidy_up();
        if signal == SIGTERM {
            process::exit(0);
        }
        die_by(signal);
    })
}

/// Ends the program as the signal does by default; process 1 exits with 128+n.
fn die_by(signal: i32) {
    if process::id() == 1 {
        process::exit(128 + signal);
    }
    let _ = emulate_default_handler(signal);
}
