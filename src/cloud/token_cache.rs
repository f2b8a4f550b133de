//! The cached token: one file for each Identity endpoint and user, in a private directory.
//!
//! A process that requests a token holds the lock beside the file, so that only one of several
//! processes authenticates and the others use its token. A cache that cannot be used costs more
//! authentications and nothing else.

use std::collections::hash_map::DefaultHasher;
use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::catalog::Catalog;
use super::identity::Access;
use crate::clock::BootInstant;
use crate::error::plain;
use crate::model::Secret;
use crate::state::dir::{StateDir, check_file};
use crate::state::lock::{LockAttempt, lock_until};
use crate::state::replacement::Durability;

/// The largest file that is read. A catalog has a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How long to wait for another process that requests a token. It may be waiting at a prompt.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A token and its expiry.
#[derive(Clone, Debug)]
pub struct CachedAccess {
    /// Identity's result.
    pub access: Access,
    /// When it is no longer used, by this machine's clock, which may be wrong.
    pub used_until: SystemTime,
}

/// The file of one user.
pub struct TokenCache {
    dir: StateDir,
    name: String,
}

impl TokenCache {
    /// The cache of one user at one Identity endpoint, both in `identity`. None, with a warning, if
    /// the directory cannot be used.
    pub fn open(dir: &Path, identity: &impl Hash) -> Option<TokenCache> {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let opened = created
            .map_err(|err| format!("{} cannot be created: {}", dir.display(), plain(&err)))
            .and_then(|()| StateDir::open(dir).map_err(|err| err.to_string()))
            .and_then(|opened| {
                if opened.is_own() {
                    Ok(opened)
                } else {
                    Err(format!("{} belongs to another user", dir.display()))
                }
            });
        match opened {
            Ok(dir) => Some(TokenCache { dir, name: format!("token-{:016x}", hasher.finish()) }),
            Err(err) => {
                log::warn!("{err}; the token is not cached");
                None
            }
        }
    }

    /// Keeps other processes from requesting a token at the same time while the file lives. None if
    /// the lock cannot be taken, or not in time.
    pub fn lock(&self, deadline: BootInstant) -> Option<File> {
        let name = format!("{}.lock", self.name);
        let file = self.dir.open_file(&name, OFlag::O_RDWR | OFlag::O_CREAT, 0o600).ok()?;
        match lock_until(&file, deadline.min(BootInstant::now() + LOCK_TIMEOUT)) {
            Ok(LockAttempt::Held) => Some(file),
            Ok(LockAttempt::Taken) | Err(_) => None,
        }
    }

    /// The cached token.
    pub fn read(&self) -> Option<CachedAccess> {
        let file = self.dir.open_file(&self.name, OFlag::O_RDONLY, 0).ok()?;
        let metadata = check_file(&file).ok()?;
        if metadata.mode() & 0o077 != 0 {
            log::warn!("{} can be read by other users; ignoring it", self.path());
            return None;
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        parse(&bytes)
    }

    /// Replaces it.
    pub fn write(&self, cached: &CachedAccess) {
        let content = Zeroizing::new(to_json(cached).to_string().into_bytes());
        if let Err(err) = self.dir.replace(&self.name, &content, 0o600, Durability::UntilReboot) {
            log::warn!(
                "{} cannot be written: {}; the token is not cached",
                self.path(),
                plain(&err)
            );
        }
    }

    /// Forgets it.
    pub fn clear(&self) {
        let path = self.dir.path().join(&self.name);
        if let Err(err) = std::fs::remove_file(path)
            && err.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("{} cannot be removed: {}", self.path(), plain(&err));
        }
    }

    fn path(&self) -> String {
        self.dir.path().join(&self.name).display().to_string()
    }
}

fn to_json(cached: &CachedAccess) -> Value {
    let Access { token, expires, user, tenant, catalog } = &cached.access;
    json!({
        "token": token.expose(), "expires": seconds(*expires), "user": user, "tenant": tenant,
        "catalog": catalog.to_json(), "used_until": seconds(cached.used_until),
    })
}

fn parse(bytes: &[u8]) -> Option<CachedAccess> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let time =
        |key: &str| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(value[key].as_u64()?));
    let access = Access {
        token: Secret::new(text("token")?),
        expires: time("expires")?,
        user: text("user")?,
        tenant: text("tenant")?,
        catalog: Catalog::from_json(&value["catalog"])?,
    };
    Some(CachedAccess { access, used_until: time("used_until")? })
}

/// Reads a file, for fuzzers: a token that is understood is written and read again.
#[cfg(any(test, fuzzing))]
pub(super) fn parse_for_fuzzing(bytes: &[u8]) {
    if let Some(cached) = parse(bytes) {
        let written = to_json(&cached).to_string();
        let again = parse(written.as_bytes()).map(|cached| to_json(&cached).to_string());
        assert_eq!(again, Some(written));
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn cached() -> CachedAccess {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let access = Access {
            token: Secret::new("AAB".to_owned()),
            expires: time,
            user: "jsmith".to_owned(),
            tenant: "110011".to_owned(),
            catalog: Catalog::default(),
        };
        CachedAccess { access, used_until: time }
    }

    #[test]
    fn the_file_is_private_and_one_that_is_not_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = TokenCache::open(&folder.path().join("a/b"), &"x").unwrap();
        assert!(cache.read().is_none());
        cache.write(&cached());
        assert_eq!(cache.read().unwrap().access.token.expose(), "AAB");
        let path = folder.path().join("a/b").join(&cache.name);
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        let other = TokenCache::open(&folder.path().join("a/b"), &"y").unwrap();
        assert!(other.read().is_none());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(cache.read().is_none());
        cache.clear();
        assert!(!path.exists());
    }

    #[test]
    fn a_malformed_file_is_not_a_token() {
        let whole = to_json(&cached()).to_string();
        for length in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..length]).is_none());
        }
    }
}
