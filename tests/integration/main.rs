//! The program against the simulated API and the simulated xenstore, one module per subject.
//!
//! One target with many threads, because most tests wait for something (`RUST_TEST_THREADS` in
//! `.cargo/config.toml`). Tests that a data file can describe are in `tests/cases/`; those that
//! change routes are in `tests/gateway/`.

mod agent;
#[cfg(feature = "cloud")]
mod cloud;
mod completions;
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
