//! Selects the servers of a command: by ids, names, a regular expression, or all.

use super::account::Account;
use super::list::{AccountServers, ListQuery, list_all};
use super::server::CloudServer;
use crate::config::ServerSelection;
use crate::error::{Error, Kind, Result};

/// Requests the selected servers from the regions.
///
/// # Errors
/// A region cannot be listed; a server does not exist, or its name is ambiguous.
pub fn select(account: &Account, selection: &ServerSelection) -> Result<AccountServers> {
    match selection {
        ServerSelection::All => list_all(account, ListQuery::default()),
        ServerSelection::Matching(regex) => {
            let query = ListQuery { name: Some(regex.as_str()), ..ListQuery::default() };
            let mut found = list_all(account, query)?;
            // The service's regular expressions have another syntax.
            found.servers.retain(|server| regex.is_match(&server.name));
            Ok(found)
        }
        ServerSelection::Named(names) => {
            let pattern = match &names[..] {
                [name] if !is_uuid(name) && is_plain(name) => Some(format!("^{name}$")),
                _ => None,
            };
            let query = ListQuery { name: pattern.as_deref(), ..ListQuery::default() };
            let AccountServers { servers, regions } = list_all(account, query)?;
            let named = names.iter().map(|name| find(&servers, name).cloned());
            let mut named = named.collect::<Result<Vec<CloudServer>>>()?;
            let mut seen = std::collections::BTreeSet::new();
            named.retain(|server| seen.insert(server.id.clone()));
            Ok(AccountServers { servers: named, regions })
        }
    }
}

/// Whether a name matches itself as a regular expression in every syntax. (A dot matches more, but
/// names are compared again.)
pub fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// The server with an id or a name.
///
/// # Errors
/// There is none, or more than one.
fn find<'a>(servers: &'a [CloudServer], name: &str) -> Result<&'a CloudServer> {
    if let Some(server) = servers.iter().find(|server| server.id == name) {
        return Ok(server);
    }
    let named: Vec<&CloudServer> = servers.iter().filter(|server| server.name == name).collect();
    match named[..] {
        [server] => Ok(server),
        [] => Err(Error::new(Kind::NotYet, format!("there is no server {name:?}"))),
        _ => {
            let describe = |server: &&CloudServer| {
                format!("{} ({}, {})", server.id, server.region, server.state)
            };
            let candidates: Vec<String> = named.iter().map(describe).collect();
            Err(Error::usage(format!(
                "{} servers are named {name:?}; use an id: {}",
                named.len(),
                candidates.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ambiguous_name_lists_the_candidates() {
        let server = |id: &str, name: &str| {
            CloudServer::parse("DFW", &json!({"id": id, "name": name, "status": "ACTIVE"})).unwrap()
        };
        let servers = [server("1", "a"), server("2", "b"), server("3", "b")];
        assert_eq!(find(&servers, "a").unwrap().id, "1");
        assert_eq!(find(&servers, "3").unwrap().id, "3");
        let err = find(&servers, "b").unwrap_err();
        assert!(err.message.contains("use an id: 2 (DFW, ACTIVE), 3 (DFW, ACTIVE)"), "{err}");
        assert_eq!(find(&servers, "c").unwrap_err().kind, Kind::NotYet);
    }
}
