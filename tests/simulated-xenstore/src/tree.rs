//! The values in the store, and the watches.

use std::collections::BTreeMap;

/// The domain that relative paths belong to.
const HOME: &str = "/local/domain/0";

/// The path in its internal form: absolute, without a trailing slash. `None` if it is invalid.
pub fn absolute(path: &str) -> Option<String> {
    let path = match path {
        "/" => return Some(String::new()),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{HOME}/{path}"),
    };
    let is_valid = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_@:".contains(&b))
    };
    path[1..].split('/').all(is_valid).then_some(path)
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

    /// Sets a value. Creates missing parents, with empty values.
    pub fn set(&mut self, path: &str, value: &[u8]) {
        for (slash, _) in path.match_indices('/').skip(1) {
            self.0.entry(path[..slash].to_owned()).or_default();
        }
        self.0.insert(path.to_owned(), value.to_vec());
    }

    /// Removes a path and everything below it. Returns whether it existed.
    pub fn remove(&mut self, path: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|key, _| !is_within(key, path));
        self.0.len() < before
    }
}

/// A watch, with the path and the token of its registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub path: String,
    pub token: String,
}

impl Watch {
    /// The path in the event for a change of `changed`, which is absolute, or for its removal with
    /// everything below it. `None` if the watch does not cover it.
    pub fn event_path(&self, changed: &str, removed: bool) -> Option<String> {
        let watched = absolute(&self.path)?;
        let path = match is_within(changed, &watched) {
            true => changed,
            false if removed && is_within(&watched, changed) => &watched,
            false => return None,
        };
        if self.path.starts_with('/') {
            Some(path.to_owned())
        } else {
            path.strip_prefix(HOME)?.strip_prefix('/').map(str::to_owned)
        }
    }
}
