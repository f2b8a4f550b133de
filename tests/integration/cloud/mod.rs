//! `rackconnect cloud` against a simulated Identity and the services of its catalog.

mod api;
mod api_recipes;
mod api_transfers;
mod campaign;
mod hostile;
mod identity;
mod memory;
mod proxy;
mod secrets;
mod servers;
mod terminal;
mod wait;
mod world;

pub use world::CloudWorld;
use world::{KEY, PASSWORD};
