//! The `cloud` commands, which work outside a server: Rackspace Cloud Identity v2.0 returns a token
//! and the catalog of services; Cloud Servers has the automation status in each server's metadata.
//!
//! `http` sends requests, `identity` and `catalog` know Identity's JSON, `token_cache` keeps the
//! token between commands, and `account` combines them: requests with a valid token. `list` lists
//! the servers of all regions, `select` finds those of a command, `watch` waits for them with a
//! state machine of `wait` for each server (`watched_server`), and `progress` reports the progress.
//! The connections of `http` have three layers of this program: `proxy`, `tls_layer` and `wipe`.
//!
//! `call` sends a request written by the user to any `service`, page by page (`page`); bodies of
//! any length are read from a file (`upload`) or written to one (`download`). Pipes are read and
//! written by a deadline (`timed_file`).

mod account;
mod call;
mod catalog;
mod date;
mod download;
pub(crate) mod fault;
mod http;
pub(crate) mod identity;
mod inventory;
mod list;
pub(crate) mod page;
mod progress;
mod proxy;
mod resolver;
mod response;
mod select;
pub(crate) mod server;
mod service;
mod timed_file;
mod tls_layer;
mod token_cache;
mod transfer;
mod upload;
pub(crate) mod url;
mod watch;
mod watched_server;
mod wipe;

pub use account::Account;
pub use call::Call;
pub use catalog::CatalogEndpoint;
pub use download::{Download, Reader, tidy_up_transfer};
pub use fault::fault_of;
pub use inventory::{host, inventory};
pub use response::CloudResponse;
pub use select::select;
pub use server::CloudServer;
pub use watch::{WatchEnd, find, watch};

/// The parsers, for fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) mod parsers {
    use std::time::{Duration, SystemTime};

    use super::{date, list, token_cache};

    /// A page of the list of servers.
    pub(crate) fn server_list(body: &[u8]) {
        let _ = list::Page::parse("DFW", body);
    }

    /// A date, which is the same after it was written.
    pub(crate) fn timestamp(text: &str) {
        let whole_seconds = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
        };
        if let Some(time) = date::parse_timestamp(text)
            && time >= SystemTime::UNIX_EPOCH
        {
            let again = date::parse_timestamp(&date::timestamp(time));
            assert_eq!(again, Some(whole_seconds(time)), "{text}");
        }
    }

    /// The file of a cached token.
    pub(crate) fn token_cache(bytes: &[u8]) {
        token_cache::parse_for_fuzzing(bytes);
    }
}
