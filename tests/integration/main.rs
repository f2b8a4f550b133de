//! The real program against the simulated API and the simulated xenstore, one module per subject.
//!
//! One target with many threads, because the tests mostly wait (`RUST_TEST_THREADS` in
//! `.cargo/config.toml`). What a data file can say is in `tests/cases/` instead; what changes
//! routes is in `tests/gateway/`.

mod agent;
#[cfg(feature = "cloud")]
mod cloud;
mod doctor;
mod documents;
mod facts;
mod faults;
mod hooks;
mod rate_limit;
mod security;
#[path = "../support/mod.rs"]
mod support;
mod xenstore;
mod xenstore_wait;
