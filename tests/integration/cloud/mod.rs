//! `rackconnect cloud` against a simulated Identity and Cloud Servers.

mod identity;
mod secrets;
mod world;

pub use world::CloudWorld;
use world::{KEY, PASSWORD};
