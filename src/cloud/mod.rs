//! The same questions from anywhere: Rackspace Cloud Identity v2.0 gives a token and the catalog
//! of services; Cloud Servers has the automation status in each server's metadata.
//!
//! `http` sends requests, `identity` and `catalog` know Identity's JSON, `token_cache` keeps the
//! token between commands, and `account` puts them together: requests with a valid token.

mod account;
mod catalog;
mod date;
mod fault;
mod http;
mod identity;
mod tls_layer;
mod token_cache;

pub use account::Account;
pub use catalog::CatalogEndpoint;
