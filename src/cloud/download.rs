//! The destination of a streamed body: a file, or standard output.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};

use nix::sys::stat::Mode;

use super::response::{CloudResponse, CopyError};
use super::timed_file::TimedFile;
use super::transfer::TransferProgress;
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result, plain};
use crate::state::replacement::{Durability, Replacement};
use crate::ui;

/// The mode of a new file, before the umask.
const NEW_FILE_MODE: Mode = Mode::from_bits_truncate(0o666);

/// The file that a signal has to remove.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Whether standard output still has a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It has, as far as is known.
    Open,
    /// The pipe is closed: its reader has read enough.
    Gone,
}

/// A file or standard output, for the bodies of one or more responses.
pub struct Download {
    target: DownloadTarget,
    label: String,
}

enum DownloadTarget {
    /// Standard output, or a file that cannot be replaced, such as `/dev/null`.
    Direct(TimedFile),
    /// A file that is replaced when the download is complete.
    Replaced { replacement: Replacement<File>, name: String, mode: Option<u32> },
}

impl Download {
    /// To standard output, until `end`.
    ///
    /// # Errors
    /// It is closed.
    pub fn to_stdout(end: BootInstant) -> Result<Download> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let file = stdout.map_err(|err| cannot_write("standard output", &err))?.into();
        let target = DownloadTarget::Direct(TimedFile::new(file, end));
        Ok(Download { target, label: "standard output".to_owned() })
    }

    /// To a file. What is there now stays until [`Download::finish`]. A pipe is written until
    /// `end`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn to_file(path: &Path, end: BootInstant) -> Result<Download> {
        let label = path.display().to_string();
        let target = open_target(path, end).map_err(|err| match err.kind() {
            ErrorKind::TimedOut => cannot_write(&label, &err),
            _ => Error::usage(format!("--output: {label} cannot be written: {}", plain(&err))),
        })?;
        Ok(Download { target, label })
    }

    /// Writes a body.
    ///
    /// # Errors
    /// It is not received completely, or cannot be written.
    pub fn receive(&mut self, response: &mut CloudResponse) -> Result<Reader> {
        let label = format!("downloading to {}", self.label);
        let progress = TransferProgress::new(label, response.content_length());
        match response.copy_to(self, |done| progress.show(done)) {
            Ok(()) => Ok(Reader::Open),
            Err(CopyError::Read(err)) => Err(err),
            Err(CopyError::Write(err)) if err.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(CopyError::Write(err)) => Err(cannot_write(&self.label, &err)),
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be replaced.
    pub fn finish(self) -> Result<()> {
        let DownloadTarget::Replaced { replacement, name, mode } = self.target else {
            return Ok(());
        };
        let permissions = mode.map(|mode| Permissions::from_mode(mode & 0o7777));
        let set = |permissions| replacement.file.set_permissions(permissions);
        let committed = permissions
            .map_or(Ok(()), set)
            .and_then(|()| replacement.commit(&name, Durability::Synced));
        *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = None;
        committed.map_err(|err| cannot_write(&self.label, &err))
    }
}

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            DownloadTarget::Direct(file) => file.write(bytes),
            DownloadTarget::Replaced { replacement, .. } => replacement.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cannot_write(label: &str, err: &io::Error) -> Error {
    Error::new(Kind::Other, format!("cannot write to {label}: {}", plain(err)))
}

fn open_target(path: &Path, end: BootInstant) -> io::Result<DownloadTarget> {
    let (target, mode) = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            return Err(io::Error::other("it is a directory"));
        }
        Ok(metadata) if !metadata.is_file() => {
            let file = TimedFile::open_for_writing(path, end)?;
            // The body may contain control characters.
            return if file.as_fd().is_terminal() {
                Err(io::Error::other("it is a terminal"))
            } else {
                Ok(DownloadTarget::Direct(file))
            };
        }
        // A symbolic link stays one: the file that it leads to is replaced.
        Ok(metadata) => (path.canonicalize()?, Some(metadata.permissions().mode())),
        Err(err) if err.kind() == ErrorKind::NotFound && path.is_symlink() => {
            return Err(io::Error::other("it is a link to a file that does not exist"));
        }
        Err(err) if err.kind() == ErrorKind::NotFound => (path.to_owned(), None),
        Err(err) => return Err(err),
    };
    let is_dir = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    let name = target.file_name().filter(|_| !is_dir).and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::other("it is not the name of a file"))?.to_owned();
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    // The process id distinguishes processes that write the same file at the same time.
    let temporary = format!(".rackconnect-{}.part", process::id());
    let dir = File::open(parent)?;
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    let replacement = Replacement::start(dir, &temporary, NEW_FILE_MODE)?;
    *unfinished = Some(parent.join(temporary));
    Ok(DownloadTarget::Replaced { replacement, name, mode })
}

/// Removes the temporary file and the live line when a signal ends the program.
pub fn tidy_up_transfer() {
    let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(path) = unfinished {
        let _ = std::fs::remove_file(path);
    }
    ui::end_live_for_good();
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
        symlink("target", &link).unwrap();
        let write = |path: &Path| {
            let mut download = Download::to_file(path, BootInstant::NEVER).unwrap();
            download.write_all(b"new").unwrap();
            download
        };
        drop(write(&link));
        assert_eq!(fs::read(&target).unwrap(), b"old");
        write(&link).finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(target.metadata().unwrap().mode() & 0o7777, 0o640);
        write(&folder.path().join("other")).finish().unwrap();
        assert_eq!(names(folder.path()), ["link", "other", "target"]);
        // The link was replaced, and the slash ignored.
        symlink("missing", folder.path().join("dangling")).unwrap();
        for name in ["no/file", "", "..", "new/", "dangling"] {
            let path = folder.path().join(name);
            assert!(Download::to_file(&path, BootInstant::NEVER).is_err(), "{}", path.display());
        }
        assert_eq!(names(folder.path()), ["dangling", "link", "other", "target"]);
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        let mut download = Download::to_file(Path::new("/dev/null"), BootInstant::NEVER).unwrap();
        download.write_all(b"new").unwrap();
        download.finish().unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }
}
