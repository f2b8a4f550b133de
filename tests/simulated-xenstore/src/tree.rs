//! What is in the store, and who watches which part of it.

use std::collections::BTreeMap;

/// The domain that relative paths belong to.
const HOME: &str = "/local/domain/0";

/// A path as it is kept: absolute, without a slash at its end. None if it is no path.
pub fn absolute(path: &str) -> Option<String> {
    let path = match path {
        "/" => return Some(String::new()),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{HOME}/{path}"),
    };
    let good = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_@:".contains(&b))
    };
    path[1..].split('/').all(good).then_some(path)
}

/// Whether `path` is `top` or below it.
pub fn is_within(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The store's values by absolute path.
#[derive(Debug, Default)]
pub struct Tree(BTreeMap<String, Vec<u8>>);

impl Tree {
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        match (path, self.0.get(path)) {
            ("", _) => Some(b""),
            (_, value) => value.map(Vec::as_slice),
        }
    }

    pub fn children(&self, path: &str) -> Option<Vec<String>> {
        self.get(path)?;
        let below = self.0.keys().filter_map(|key| key.strip_prefix(path)?.strip_prefix('/'));
        Some(below.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    /// Sets a value; what is above it comes to be, empty.
    pub fn set(&mut self, path: &str, value: &[u8]) {
        for (slash, _) in path.match_indices('/').skip(1) {
            self.0.entry(path[..slash].to_owned()).or_default();
        }
        self.0.insert(path.to_owned(), value.to_vec());
    }

    /// Removes a path and all below it; whether it was there.
    pub fn remove(&mut self, path: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|key, _| !is_within(key, path));
        self.0.len() < before
    }
}

/// A watch: what it was registered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub path: String,
    pub token: String,
}

impl Watch {
    /// The path that an event names when `changed` (absolute) has changed, or has been removed with
    /// all below it.
    pub fn sees(&self, changed: &str, removed: bool) -> Option<String> {
        let watched = absolute(&self.path)?;
        let seen = match is_within(changed, &watched) {
            true => changed,
            false if removed && is_within(&watched, changed) => &watched,
            false => return None,
        };
        match self.path.starts_with('/') {
            true => Some(seen.to_owned()),
            false => seen.strip_prefix(HOME)?.strip_prefix('/').map(str::to_owned),
        }
    }
}
