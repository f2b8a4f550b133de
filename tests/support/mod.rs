//! Shared by the test targets: the simulated API, and the program that runs against it.

#![allow(dead_code, unused_imports, reason = "each test target uses what it needs")]

pub mod case_file;
pub mod documents;
mod gate;
mod prepared_server;
mod process;
mod random;
mod terminal;
mod world;

pub use gate::Gate;
pub use prepared_server::PreparedServer;
pub use process::{Ended, Running, bare_agent, binary, ended, finish, run, with_environment_of};
pub use random::Random;
pub use terminal::Terminal;
pub use world::{World, config};

/// The timeout for anything that has to happen, generous enough for a busy machine.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits until a condition holds.
#[track_caller]
pub fn until(description: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "timed out: {description}");
        std::thread::sleep(std::time::Duration::from_millis(5));
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
