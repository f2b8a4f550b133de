//! A fleet of servers in one region that wait for their deployment: a simulation without a clock,
//! a network or chance that is not from a seed. The agent's part is `wait::Machine`, its own code.

mod client;
mod endpoint;
mod random;
mod report;
mod simulate;

pub use report::{Report, Scale};
