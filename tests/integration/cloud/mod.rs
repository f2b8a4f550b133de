//! `rackconnect cloud` against a simulated Identity and Cloud Servers.

mod identity;
mod proxy;
mod secrets;
mod servers;
mod terminal;
mod wait;
mod world;

pub use world::CloudWorld;
use world::{KEY, PASSWORD};
