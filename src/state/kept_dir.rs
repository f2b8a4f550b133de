//! A state directory that stays open while a process needs it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::dir::{StateDir, StateDirError};

/// A state directory that is opened at its first use and kept open for all who hold a clone of
/// this. Opening it costs a system call for each step of its path, keeping it one for each use.
#[derive(Clone)]
pub struct KeptStateDir {
    path: PathBuf,
    open: Arc<Mutex<Option<Arc<StateDir>>>>,
}

impl From<PathBuf> for KeptStateDir {
    fn from(path: PathBuf) -> KeptStateDir {
        KeptStateDir { path, open: Arc::default() }
    }
}

impl KeptStateDir {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that its path leads to now, created if it is missing.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn get(&self) -> Result<Arc<StateDir>, StateDirError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = open.as_ref().filter(|dir| dir.is_current()) {
            return Ok(dir.clone());
        }
        *open = None;
        Ok(open.insert(Arc::new(StateDir::open(&self.path)?)).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_that_was_replaced_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let kept = KeptStateDir::from(path.clone());
        let first = kept.clone().get().unwrap();
        assert!(Arc::ptr_eq(&first, &kept.get().unwrap()));
        fs::rename(&path, folder.path().join("away")).unwrap();
        let second = kept.get().unwrap();
        assert!(!first.is_current() && second.is_current() && path.exists());
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "in the way").unwrap();
        assert!(matches!(kept.get(), Err(StateDirError::Unusable(_))));
    }
}
