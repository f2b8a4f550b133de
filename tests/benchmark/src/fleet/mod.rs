//! A fleet of servers in one region that wait for their deployment: a deterministic simulation
//! without a clock or a network. The agent is simulated by its own code, `wait::Machine`.

mod client;
mod endpoint;
mod random;
mod report;
mod simulate;

pub use report::{Report, Scale};
