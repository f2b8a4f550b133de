//! A file that is replaced as a whole: written beside its name, then renamed.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

/// Whether a replaced file has to survive a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It need not: its content is useless after a reboot.
    UntilReboot,
    /// It has to: the file and the directory are synced.
    Synced,
}

/// Replaces a file. If that fails, the old file stays, and nothing else is left behind.
///
/// # Errors
/// The system's error.
pub fn replace(
    dir: &File,
    name: &str,
    content: &[u8],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let mut replacement = Replacement::start(dir, &format!(".{name}.new"), Mode::S_IRUSR)?;
    replacement.file.write_all(content)?;
    replacement.file.set_permissions(Permissions::from_mode(mode))?;
    replacement.commit(name, durability)
}

/// A file that is being written, and vanishes unless it takes the place of another one.
pub struct Replacement<Dir: AsFd> {
    /// The file itself.
    pub file: File,
    dir: Dir,
    /// Its name for now; none once it has its own.
    temporary: Option<String>,
}

impl<Dir: AsFd> Replacement<Dir> {
    /// Creates an empty file. One of that name that a killed process has left over is removed.
    ///
    /// # Errors
    /// The system's error.
    pub fn start(dir: Dir, temporary: &str, mode: Mode) -> io::Result<Replacement<Dir>> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let create = || openat(&dir, temporary, flags, mode);
        let created = match create() {
            Err(Errno::EEXIST) => {
                unlinkat(&dir, temporary, UnlinkatFlags::NoRemoveDir)?;
                create()
            }
            created => created,
        };
        let file = File::from(created?);
        Ok(Replacement { file, dir, temporary: Some(temporary.to_owned()) })
    }

    /// Gives it the name of the file that it replaces, if there is one.
    ///
    /// # Errors
    /// The system's error.
    pub fn commit(mut self, name: &str, durability: Durability) -> io::Result<()> {
        if durability == Durability::Synced {
            self.file.sync_all()?;
        }
        if let Some(temporary) = &self.temporary {
            renameat(&self.dir, temporary.as_str(), &self.dir, name)?;
        }
        self.temporary = None;
        if durability == Durability::Synced { Ok(fsync(&self.dir)?) } else { Ok(()) }
    }
}

impl<Dir: AsFd> Drop for Replacement<Dir> {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = unlinkat(&self.dir, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::*;

    fn open_dir(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    /// A stamp's .new file stayed after a failed write.
    #[test]
    fn a_failed_replacement_leaves_only_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let dir = open_dir(folder.path()).unwrap();
        replace(&dir, "file", b"old", 0o640, Durability::Synced).unwrap();
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(replace(&dir, "taken", b"new", 0o640, Durability::Synced).is_err());
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["file", "taken"]);
        let mode = fs::metadata(folder.path().join("file")).unwrap().mode() & 0o7777;
        assert_eq!((fs::read(folder.path().join("file")).unwrap(), mode), (b"old".to_vec(), 0o640));
    }

    /// A temporary file may be left over from a killed process.
    #[test]
    fn a_leftover_or_a_link_in_place_of_the_temporary_file_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let dir = open_dir(folder.path()).unwrap();
        let precious = folder.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, folder.path().join(".file.new")).unwrap();
        replace(&dir, "file", b"new", 0o600, Durability::UntilReboot).unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "new");
    }
}
