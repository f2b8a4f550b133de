//! Log messages on standard error, and the live line.
//!
//! On a terminal there may be live lines at the bottom (`ui::live`), below the messages. In
//! systemd's journal messages carry a priority and no timestamp. Control characters are escaped in
//! both.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter};

use super::{escape_control, live, stderr};

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors only.
    Quiet,
    /// Also warnings and progress.
    Default,
    /// Also debug messages.
    More,
    /// Everything, including the messages of libraries.
    Everything,
}

/// Whether the messages of libraries are dropped at every level.
static LIBRARIES_SILENT: AtomicBool = AtomicBool::new(false);

/// Drops the messages of libraries from now on, because they log requests and responses with the
/// secrets in them.
#[cfg(feature = "cloud")]
pub fn silence_libraries() {
    LIBRARIES_SILENT.store(true, Ordering::Relaxed);
}

/// Starts logging to standard error. Called once, before anything is logged.
pub fn start(verbosity: Verbosity) {
    let journal = is_journal();
    let mut builder = env_logger::Builder::new();
    let own = |level| [("rackconnect_agent", level), ("rackconnect", level)];
    let level = match verbosity {
        Verbosity::Quiet => LevelFilter::Error,
        Verbosity::Default => LevelFilter::Info,
        Verbosity::More => LevelFilter::Debug,
        Verbosity::Everything => LevelFilter::Trace,
    };
    match env::var("RACKCONNECT_LOG") {
        Ok(filters) if verbosity == Verbosity::Default && !filters.is_empty() => {
            // Errors are logged even if the filters are about other modules only.
            for (module, level) in own(LevelFilter::Error) {
                builder.filter_module(module, level);
            }
            builder.parse_filters(&filters);
        }
        _ if verbosity == Verbosity::Everything => {
            builder.filter_level(level);
        }
        _ => {
            for (module, level) in own(level) {
                builder.filter_module(module, level);
            }
        }
    }
    builder.format(move |out, record| {
        if LIBRARIES_SILENT.load(Ordering::Relaxed) && !record.target().starts_with("rackconnect") {
            return Ok(());
        }
        let (priority, prefix) = match record.level() {
            Level::Error => (3, "error: "),
            Level::Warn => (4, "warning: "),
            Level::Info => (6, ""),
            Level::Debug | Level::Trace => (7, "debug: "),
        };
        if let Some(erase) = live::take() {
            out.write_all(erase.as_bytes())?;
        }
        let text = escape_control(&record.args().to_string());
        if journal {
            writeln!(out, "<{priority}>{text}")
        } else {
            writeln!(out, "rackconnect: {prefix}{text}")
        }
    });
    builder.target(env_logger::Target::Pipe(Box::new(stderr::Stderr)));
    builder.init();
}

/// Whether standard error is systemd's journal: then JOURNAL_STREAM holds its device and inode
/// numbers (systemd.exec(5)).
pub fn is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = io::stderr().as_fd().try_clone_to_owned() else { return false };
    let Ok(metadata) = File::from(stderr).metadata() else { return false };
    stream == format!("{}:{}", metadata.dev(), metadata.ino())
}

/// Whether a person watches standard error on a terminal that can redraw a line.
pub fn is_watched() -> bool {
    io::stderr().is_terminal()
        && env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}
