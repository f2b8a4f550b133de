//! `rackconnect cloud` against a simulated Identity and Cloud Servers.

mod identity;
mod secrets;
mod servers;
mod wait;
mod world;

pub use world::CloudWorld;
use world::{KEY, PASSWORD};
