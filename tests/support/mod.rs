//! Shared by the test targets: the simulated API, and the program that runs against it.

#![allow(dead_code, unused_imports, reason = "each test target uses what it needs")]

use std::thread;
use std::time::{Duration, Instant};

pub mod case_file;
pub mod documents;
mod gate;
mod prepared_server;
mod process;
mod random;
pub mod sample;
mod terminal;
mod world;

pub use gate::Gate;
pub use prepared_server::PreparedServer;
pub use process::{
    Ended, NO_THREADS, Running, bare_agent, binary, ended, finish, finish_within, full_pipe, run,
    with_environment_of, write_program,
};
pub use random::Random;
pub use terminal::Terminal;
pub use world::{World, config};

/// The timeout for anything that has to happen, generous enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition holds. The longer it waits, the longer are the pauses between two looks,
/// so that tests which wait leave the processor to those that compute.
#[track_caller]
pub fn until(description: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        let waited = start.elapsed();
        assert!(waited < PATIENCE, "timed out: {description}");
        thread::sleep((waited / 8).clamp(Duration::from_millis(2), Duration::from_millis(50)));
    }
}

/// The arguments of a command: one string split at white space, or a slice of them.
pub trait Arguments {
    /// The arguments one by one.
    fn list(&self) -> Vec<&str>;
}

impl Arguments for str {
    fn list(&self) -> Vec<&str> {
        self.split_whitespace().collect()
    }
}

impl Arguments for [&str] {
    fn list(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl<const N: usize> Arguments for [&str; N] {
    fn list(&self) -> Vec<&str> {
        self.to_vec()
    }
}

impl Arguments for Vec<&str> {
    fn list(&self) -> Vec<&str> {
        self.clone()
    }
}
