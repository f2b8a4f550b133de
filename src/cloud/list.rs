//! Lists of servers, page by page, from all regions at the same time.

use std::collections::BTreeSet;
use std::time::SystemTime;
use std::{io, thread};

use serde_json::Value;

use super::account::{Account, OnFault};
use super::catalog::CatalogEndpoint;
use super::date;
use super::fault::CloudError;
use super::page::MAX_PAGES;
use super::server::CloudServer;
use super::url::encode;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};

/// The page size; the service may return fewer servers.
const PAGE_LIMIT: usize = 1_000;

/// A filter for the servers of a region.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListQuery<'a> {
    /// A regular expression for the name, in the service's dialect.
    pub name: Option<&'a str>,
    /// Only those that have changed since then, deleted ones included.
    pub changes_since: Option<SystemTime>,
}

/// All servers of a region.
#[derive(Debug, Default)]
pub struct ServerList {
    /// The servers.
    pub servers: Vec<CloudServer>,
    /// When the first page was made, by the service's clock.
    pub date: Option<SystemTime>,
}

/// Servers of an account.
#[derive(Debug)]
pub struct AccountServers {
    /// The servers, in the order of the regions.
    pub servers: Vec<CloudServer>,
    /// The regions that were listed.
    pub regions: Vec<ListedRegion>,
}

/// A region whose servers were listed.
#[derive(Debug)]
pub struct ListedRegion {
    /// Its endpoint of Cloud Servers.
    pub endpoint: CatalogEndpoint,
    /// When the list was made, by the service's clock.
    pub date: Option<SystemTime>,
}

/// The endpoints of Cloud Servers: of the region of the settings, or else of all regions.
///
/// # Errors
/// There is no token, or the account has no Cloud Servers there.
fn regions(account: &Account) -> Result<Vec<CatalogEndpoint>> {
    let catalog = account.access(None, account.settings().end)?.catalog;
    let all: Vec<CatalogEndpoint> = catalog.cloud_servers().cloned().collect();
    let Some(wanted) = account.settings().region.as_deref() else {
        return if all.is_empty() {
            Err(Error::usage("this account has no Cloud Servers (cloudServersOpenStack)"))
        } else {
            Ok(all)
        };
    };
    let names: Vec<&str> = all.iter().filter_map(|endpoint| endpoint.region.as_deref()).collect();
    let message =
        format!("this account has no Cloud Servers in {wanted}, only in {}", names.join(", "));
    let found: Vec<_> =
        all.iter().filter(|endpoint| endpoint.region.as_deref() == Some(wanted)).cloned().collect();
    if found.is_empty() { Err(Error::usage(message)) } else { Ok(found) }
}

/// The servers of the region of the settings, or else of all regions, which are listed at the same
/// time.
///
/// # Errors
/// There is no token, or the account has no Cloud Servers there; or the error of the first region
/// that cannot be listed.
pub fn list_all(account: &Account, query: ListQuery) -> Result<AccountServers> {
    let endpoints = regions(account)?;
    let deadline = account.settings().end;
    let lists: Vec<Result<ServerList, CloudError>> = thread::scope(|scope| {
        let threads: Vec<_> = endpoints
            .iter()
            .map(|endpoint| {
                thread::Builder::new().spawn_scoped(scope, move || {
                    list(account, endpoint, query, deadline, OnFault::Retry)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| Err(panicked().into())),
                Err(err) => Err(no_thread(&err).into()),
            })
            .collect()
    });
    let mut all = AccountServers { servers: Vec::new(), regions: Vec::new() };
    for (endpoint, list) in endpoints.into_iter().zip(lists) {
        let list = list?;
        all.servers.extend(list.servers);
        all.regions.push(ListedRegion { endpoint, date: list.date });
    }
    Ok(all)
}

/// The error of a thread that cannot be started.
pub(super) fn no_thread(err: &io::Error) -> Error {
    Error::new(Kind::Other, format!("a thread cannot be started: {}", plain(err)))
}

fn panicked() -> Error {
    Error::new(Kind::Other, "a region could not be listed")
}

/// All servers of a region.
///
/// # Errors
/// A page cannot be read or understood.
pub fn list(
    account: &Account,
    endpoint: &CatalogEndpoint,
    query: ListQuery,
    deadline: BootInstant,
    on_fault: OnFault,
) -> Result<ServerList, CloudError> {
    let region = endpoint.region.as_deref().unwrap_or_default();
    let mut all = ServerList::default();
    let mut urls = BTreeSet::new();
    loop {
        let marker = all.servers.last().map(|server| server.id.as_str());
        let url = format!("{}/servers/detail?{}", endpoint.url, parameters(query, marker));
        // A list that leads back to an earlier page has no end.
        if !urls.insert(url.clone()) || urls.len() > MAX_PAGES {
            return Err(not_a_list(&url).into());
        }
        let response = account.get(&url, deadline, on_fault)?;
        all.date = all.date.or(response.date);
        let page = Page::parse(region, &response.body).ok_or_else(|| not_a_list(&url))?;
        let is_empty = page.servers.is_empty();
        all.servers.extend(page.servers);
        if !page.has_next || is_empty {
            return Ok(all);
        }
    }
}

/// One page of the list of servers.
pub(crate) struct Page {
    servers: Vec<CloudServer>,
    has_next: bool,
}

impl Page {
    /// Reads the body of a response. None if any part of it is not understood: a server must not
    /// seem to be gone because its entry is malformed.
    pub(crate) fn parse(region: &str, body: &[u8]) -> Option<Page> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let servers = body["servers"].as_array()?.iter();
        // The next page is requested by the last id, not by the link: the links of front ends can
        // contain other hosts and schemes, which must not get the token.
        let mut links = body["servers_links"].as_array().into_iter().flatten();
        Some(Page {
            servers: servers
                .map(|value| CloudServer::parse(region, value))
                .collect::<Option<_>>()?,
            has_next: links.any(|link| link["rel"] == "next"),
        })
    }
}

fn not_a_list(url: &str) -> Error {
    Error::new(Kind::NotUnderstood, format!("the response from {url} is not a list of servers"))
}

fn parameters(query: ListQuery, marker: Option<&str>) -> String {
    let mut text = format!("limit={PAGE_LIMIT}");
    let mut add = |name: &str, value: &str| text += &format!("&{name}={}", encode(value));
    if let Some(marker) = marker {
        add("marker", marker);
    }
    if let Some(name) = query.name {
        add("name", name);
    }
    if let Some(time) = query.changes_since {
        add("changes-since", &date::timestamp(time));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was skipped, and the server seemed to be gone.
    #[test]
    fn a_malformed_server_was_skipped_in_the_list() {
        let is_page = |body: &str| Page::parse("DFW", body.as_bytes()).is_some();
        assert!(is_page(r#"{"servers": []}"#));
        assert!(is_page(r#"{"servers": [{"id": "a-1", "name": "web1"}]}"#));
        for broken in ["7", "null", r#"{"name": "web2"}"#, r#"{"id": "../x", "name": "web2"}"#] {
            let body = format!(r#"{{"servers": [{{"id": "a-1", "name": "web1"}}, {broken}]}}"#);
            assert!(!is_page(&body), "{body}");
        }
    }

    #[test]
    fn parameters_are_encoded() {
        let query =
            ListQuery { name: Some("^web&[0-9]+$"), changes_since: Some(SystemTime::UNIX_EPOCH) };
        assert_eq!(
            parameters(query, Some("1-2")),
            "limit=1000&marker=1-2&name=%5Eweb%26%5B0-9%5D%2B%24\
             &changes-since=1970-01-01T00%3A00%3A00Z"
        );
    }
}
