//! Whether root may trust a file: no other user can change it, or replace it by changing a
//! directory or a symbolic link on the path to it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::plain;

/// How many symbolic links the kernel follows. Source: path_resolution(7).
const MAX_LINKS: usize = 40;

/// The type of a [`PathStep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else: the last step of a path.
    File,
}

/// A directory, link or file on the path to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStep {
    /// Its path.
    pub path: PathBuf,
    /// Its type.
    pub kind: StepKind,
    /// Its owner.
    pub uid: u32,
    /// Its mode.
    pub mode: u32,
}

/// What is trusted in a directory that everyone can write to and that has the sticky bit, such as
/// /tmp. Other users cannot replace root's files there, but they may be able to add hard links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyDirectory {
    /// Only directories, which cannot have hard links: for files that are executed.
    HoldsDirectories,
    /// Directories and files: for files that are only read.
    HoldsFiles,
}

/// Why a path is not trusted. Displayed as a sentence that begins with `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// The step that other users can change.
    pub path: PathBuf,
    /// How they can change it.
    pub reason: UntrustedReason,
}

/// How other users can change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntrustedReason {
    /// This user owns it.
    Owner(u32),
    /// Its mode lets them write to it.
    Mode(u32),
}

impl fmt::Display for UntrustedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UntrustedReason::Owner(uid) => write!(f, "belongs to another user (uid {uid})"),
            UntrustedReason::Mode(mode) => {
                write!(f, "is writable by other users (mode {mode:04o})")
            }
        }
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.reason)
    }
}

/// Why a path is not trusted, or cannot be examined.
#[derive(Debug)]
pub enum TrustError {
    /// Others can change it.
    Untrusted(Untrusted),
    /// The system's error.
    Io(io::Error),
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustError::Untrusted(untrusted) => untrusted.fmt(f),
            TrustError::Io(err) => f.write_str(&plain(err)),
        }
    }
}

impl TrustError {
    /// The error as a sentence about `path`, which was examined.
    pub fn sentence(&self, path: &Path) -> String {
        match self {
            TrustError::Untrusted(untrusted) if untrusted.path == path => untrusted.to_string(),
            TrustError::Untrusted(untrusted) => {
                format!("{} can be replaced by other users: {untrusted}", path.display())
            }
            TrustError::Io(err) => format!("{} cannot be examined: {}", path.display(), plain(err)),
        }
    }
}

/// Checks that only root can change the file that `path` leads to.
///
/// # Errors
/// See [`TrustError`].
pub fn check_path(path: &Path, sticky: StickyDirectory) -> Result<(), TrustError> {
    let steps = steps(path).map_err(TrustError::Io)?;
    check(&steps, sticky).map_err(TrustError::Untrusted)
}

/// Checks that only root can change the file that these steps, beginning with /, lead to: all of
/// them belong to root, and no other user can write to them. Every group counts as other users,
/// even root's: it may have members, and an ACL shows in its permissions. The owner of / is trusted
/// as well, since it can replace everything; in a user namespace it may be an unmapped user.
///
/// # Errors
/// The first step that others can change.
pub fn check(steps: &[PathStep], sticky: StickyDirectory) -> Result<(), Untrusted> {
    let owner_of_root_dir = steps.first().map_or(0, |step| step.uid);
    let next = steps.iter().skip(1).map(|next| Some(next.kind)).chain([None]);
    steps.iter().zip(next).try_for_each(|(step, next)| {
        let may_hold_next = match sticky {
            StickyDirectory::HoldsDirectories => next == Some(StepKind::Directory),
            StickyDirectory::HoldsFiles => next.is_some(),
        };
        let is_sticky =
            step.mode & 0o1000 != 0 && step.kind == StepKind::Directory && may_hold_next;
        // The mode of a symbolic link has no meaning.
        let is_writable = step.mode & 0o022 != 0 && step.kind != StepKind::Link;
        let reason = if step.uid != 0 && step.uid != owner_of_root_dir {
            UntrustedReason::Owner(step.uid)
        } else if is_writable && !is_sticky {
            UntrustedReason::Mode(step.mode & 0o7777)
        } else {
            return Ok(());
        };
        Err(Untrusted { path: step.path.clone(), reason })
    })
}

/// The steps from / to the file that `path` leads to, with all symbolic links followed.
fn steps(path: &Path) -> io::Result<Vec<PathStep>> {
    let reversed = |path: &Path| path.iter().rev().map(OsString::from).collect::<Vec<_>>();
    let mut remaining = reversed(&std::path::absolute(path)?);
    let (mut at, mut steps, mut links) = (PathBuf::new(), Vec::new(), 0);
    while let Some(name) = remaining.pop() {
        match name.as_bytes() {
            b"." => continue,
            b".." => {
                at.pop();
                continue;
            }
            _ => at.push(name),
        }
        let metadata = fs::symlink_metadata(&at)?;
        let kind = match metadata.file_type() {
            kind if kind.is_symlink() => StepKind::Link,
            kind if kind.is_dir() => StepKind::Directory,
            _ => StepKind::File,
        };
        let (uid, mode) = (metadata.uid(), metadata.mode());
        steps.push(PathStep { path: at.clone(), kind, uid, mode });
        if kind == StepKind::Link {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP.into());
            }
            remaining.extend(reversed(&fs::read_link(&at)?));
            at.pop();
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::StickyDirectory::{HoldsDirectories, HoldsFiles};
    use super::*;
    use StepKind::{Directory, File, Link};

    fn step(path: &str, kind: StepKind, uid: u32, mode: u32) -> PathStep {
        PathStep { path: path.into(), kind, uid, mode }
    }

    fn result(steps: &[PathStep]) -> Result<(), String> {
        check(steps, HoldsDirectories).map_err(|untrusted| untrusted.to_string())
    }

    #[test]
    fn a_file_is_trusted_if_only_root_can_write_to_it() {
        let root = step("/", Directory, 0, 0o755);
        let file = |uid, mode| result(&[root.clone(), step("/h", File, uid, mode)]);
        assert_eq!(file(0, 0o755), Ok(()));
        assert_eq!(file(1000, 0o755), Err("/h belongs to another user (uid 1000)".to_owned()));
        assert_eq!(file(0, 0o775), Err("/h is writable by other users (mode 0775)".to_owned()));
        assert!(file(0, 0o757).is_err());
        // A file's sticky bit protects nothing.
        assert!(file(0, 0o1757).is_err());
    }

    /// A parent directory that others can write to makes the file replaceable.
    #[test]
    fn a_directory_on_the_way_that_others_can_change_makes_a_file_untrusted() {
        let below = |uid, mode| {
            result(&[
                step("/", Directory, 0, 0o755),
                step("/home/me", Directory, uid, mode),
                step("/home/me/h", File, 0, 0o644),
            ])
        };
        assert_eq!(below(0, 0o755), Ok(()));
        assert!(below(1000, 0o755).is_err());
        assert!(below(0, 0o775).is_err());
        assert!(below(0, 0o777).is_err());
    }

    #[test]
    fn a_sticky_directory_holds_directories_and_files_that_are_only_read() {
        let root = step("/", Directory, 0, 0o755);
        let tmp = step("/tmp", Directory, 0, 0o1777);
        let below = step("/tmp/d", Directory, 0, 0o755);
        let deep = step("/tmp/d/h", File, 0, 0o755);
        assert_eq!(result(&[root.clone(), tmp.clone(), below.clone(), deep.clone()]), Ok(()));
        let open = step("/tmp", Directory, 0, 0o777);
        assert!(result(&[root.clone(), open, below, deep]).is_err());
        let file = [root.clone(), tmp.clone(), step("/tmp/h", File, 0, 0o755)];
        assert!(check(&file, HoldsDirectories).is_err());
        assert_eq!(check(&file, HoldsFiles), Ok(()));
        let link =
            [root.clone(), tmp, step("/tmp/l", Link, 0, 0o777), root, step("/h", File, 0, 0)];
        assert!(check(&link, HoldsDirectories).is_err());
    }

    #[test]
    fn a_link_is_trusted_if_root_owns_it() {
        let root = step("/", Directory, 0, 0o755);
        let link =
            |uid| result(&[root.clone(), step("/l", Link, uid, 0o777), step("/h", File, 0, 0o755)]);
        assert_eq!(link(0), Ok(()));
        assert!(link(1000).is_err());
    }

    /// In a user namespace / may belong to a user that is not mapped.
    #[test]
    fn the_owner_of_the_root_directory_is_trusted() {
        let (root, file) = (step("/", Directory, 65_534, 0o755), step("/h", File, 0, 0o644));
        assert_eq!(result(&[root.clone(), file]), Ok(()));
        assert_eq!(result(&[root.clone(), step("/h", File, 65_534, 0o644)]), Ok(()));
        assert!(result(&[root, step("/h", File, 1000, 0o644)]).is_err());
    }

    #[test]
    fn the_steps_of_a_path_include_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        fs::create_dir(folder.join("d")).unwrap();
        fs::write(folder.join("d/file"), "").unwrap();
        std::os::unix::fs::symlink("../d/file", folder.join("d/link")).unwrap();
        std::os::unix::fs::symlink("loop", folder.join("loop")).unwrap();
        let found = steps(&folder.join("d/link")).unwrap();
        let names: Vec<_> = found
            .iter()
            .filter_map(|step| Some((step.path.strip_prefix(&folder).ok()?.to_str()?, step.kind)))
            .filter(|(path, _)| !path.is_empty())
            .collect();
        assert_eq!(names, [("d", Directory), ("d/link", Link), ("d", Directory), ("d/file", File)]);
        assert!(steps(&folder.join("loop")).is_err());
    }
}
