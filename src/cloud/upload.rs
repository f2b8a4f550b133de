//! A file as the body of a request.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use super::transfer::TransferProgress;
use crate::error::{Error, Result, plain};

/// An open file with its length. It can be sent again, after a 401 or a 429.
pub struct Upload {
    file: File,
    length: u64,
    progress: TransferProgress,
}

impl Upload {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be read, or is not a regular file, whose length would not be known in advance.
    pub fn open(path: &Path) -> Result<Upload> {
        let wrong = |reason: String| Error::usage(format!("--upload: {} {reason}", path.display()));
        let failed = |err: io::Error| wrong(format!("cannot be read: {}", plain(&err)));
        let metadata = path.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(wrong("is not a regular file".to_owned()));
        }
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let progress = TransferProgress::new(format!("uploading {}", path.display()), Some(length));
        Ok(Upload { file, length, progress })
    }

    /// The number of bytes to send.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// A reader that begins at its start.
    pub(super) fn reader(&self) -> io::Result<UploadReader<'_>> {
        (&self.file).seek(SeekFrom::Start(0))?;
        Ok(UploadReader { upload: self, sent: 0 })
    }
}

/// Reads exactly as many bytes as were announced, even if the file changes meanwhile.
pub(super) struct UploadReader<'a> {
    upload: &'a Upload,
    sent: u64,
}

impl Read for UploadReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.upload.length - self.sent;
        let length = (&self.upload.file).take(left).read(buffer)?;
        if length == 0 && left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "the file became shorter while it was sent",
            ));
        }
        self.sent += length as u64;
        self.upload.progress.show(self.sent);
        Ok(length)
    }
}
