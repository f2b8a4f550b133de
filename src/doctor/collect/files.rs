//! The server's files, below a root directory. Their content can be kept for the report.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wildmatch::WildMatch;

use crate::doctor::evidence::{RawEvidence, Reading, Unread};
use crate::state::file::{self, FileError, Links};

/// The directories of programs.
const PROGRAM_DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The files below a root directory. Paths are absolute, as they are on the server.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    raw: Vec<RawEvidence>,
}

impl Files {
    /// The files below `root`.
    pub(super) fn below(root: PathBuf) -> Files {
        Files { root, raw: Vec::new() }
    }

    /// The content kept for the report.
    pub(super) fn into_raw(self) -> Vec<RawEvidence> {
        self.raw
    }

    /// Keeps a text for the report.
    pub(super) fn keep(&mut self, title: &str, text: &str) {
        self.raw.push(RawEvidence { title: title.to_owned(), text: text.to_owned() });
    }

    /// The path below the root directory.
    pub(super) fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether these are the files of the running server.
    pub(super) fn is_of_this_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Whether a path exists.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.locate(path).exists()
    }

    /// Whether a path is a program.
    pub(super) fn is_program(&self, path: &str) -> bool {
        fs::metadata(self.locate(path))
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }

    /// The path of a program with this name, on the server.
    pub(super) fn find_program(&self, name: &str) -> Option<String> {
        let paths = PROGRAM_DIRECTORIES.map(|directory| format!("{directory}/{name}"));
        paths.into_iter().find(|path| self.is_program(path))
    }

    /// The text of a file.
    pub(super) fn read(&self, path: &str) -> Reading<String> {
        match file::read(&self.locate(path), MAX_BYTES, Links::Follow) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(err) if err.is_not_found() => Err(Unread::Absent(format!("there is no {path}"))),
            Err(FileError::Io(err)) if err.kind() == ErrorKind::PermissionDenied => {
                Err(Unread::NeedsRoot(path.to_owned()))
            }
            Err(err) => Err(Unread::Failed(format!("{path} {err}"))),
        }
    }

    /// The text of a file, which also goes into the report.
    pub(super) fn read_and_keep(&mut self, path: &str) -> Reading<String> {
        let text = self.read(path)?;
        self.keep(path, &text);
        Ok(text)
    }

    /// The names in a directory, in order; empty if it cannot be read.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.locate(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The target of a symbolic link.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        Some(fs::read_link(self.locate(path)).ok()?.to_string_lossy().into_owned())
    }

    /// The user id of a file's owner.
    pub(super) fn owner(&self, path: &str) -> Option<u32> {
        Some(fs::metadata(self.locate(path)).ok()?.uid())
    }

    /// When a file was last changed.
    pub(super) fn changed(&self, path: &str) -> Option<SystemTime> {
        fs::metadata(self.locate(path)).ok()?.modified().ok()
    }

    /// The paths that match a pattern, which may have `*` and `?` in its last part.
    pub(super) fn expand(&self, pattern: &str) -> Vec<String> {
        let (directory, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        if !last.contains(['*', '?']) {
            return vec![pattern.to_owned()];
        }
        let pattern = WildMatch::new(last);
        let names = self.names(directory).into_iter();
        names
            .filter(|name| !name.starts_with('.') && pattern.matches(name))
            .map(|name| format!("{directory}/{name}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_a_root() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc/d")).unwrap();
        fs::write(folder.path().join("etc/d/b.conf"), "two").unwrap();
        fs::write(folder.path().join("etc/d/a.conf"), "one").unwrap();
        fs::write(folder.path().join("etc/d/a.conf.bak"), "").unwrap();
        fs::write(folder.path().join("etc/d/.hidden.conf"), "").unwrap();
        let mut files = Files::below(folder.path().to_owned());
        assert_eq!(files.expand("/etc/d/*.conf"), ["/etc/d/a.conf", "/etc/d/b.conf"]);
        assert_eq!(files.expand("/etc/d/?.conf"), ["/etc/d/a.conf", "/etc/d/b.conf"]);
        assert_eq!(files.expand("/etc/d/c.conf"), ["/etc/d/c.conf"]);
        assert_eq!(files.read_and_keep("/etc/d/a.conf"), Ok("one".to_owned()));
        assert!(matches!(files.read("/etc/none"), Err(Unread::Absent(_))));
        assert!(matches!(files.read("/etc/d"), Err(Unread::Failed(_))));
        assert!(files.exists("/etc") && !files.is_program("/etc/d/a.conf"));
        assert_eq!(files.into_raw().len(), 1);
    }
}
