//! `--report`: everything in one text file for a support ticket, without secrets.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::evidence::RawEvidence;
use super::redact::redact;
use super::render::{self, Colours, Detail, Judged};
use crate::error::{Error, Kind, Result, plain};
use crate::ui::escape_control;

/// A report that is being written.
#[derive(Debug)]
pub(crate) struct ReportFile {
    file: File,
    path: PathBuf,
}

impl ReportFile {
    /// Creates the file, readable only by its owner. A file that exists is never overwritten.
    ///
    /// # Errors
    /// It exists, or cannot be created.
    pub(crate) fn create(path: &Path) -> Result<ReportFile> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        match options.open(path) {
            Ok(file) => Ok(ReportFile { file, path: path.to_owned() }),
            Err(err) => Err(error(path, &err)),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(mut self, judged: &[Judged], raw: &[RawEvidence]) -> Result<()> {
        let text = text(judged, raw);
        self.file.write_all(text.as_bytes()).map_err(|err| error(&self.path, &err))
    }
}

fn error(path: &Path, err: &std::io::Error) -> Error {
    Error::new(Kind::Other, format!("cannot write the report {}: {}", path.display(), plain(err)))
}

/// The whole report.
fn text(judged: &[Judged], raw: &[RawEvidence]) -> String {
    let mut text = format!(
        "rackconnect {} doctor\nPasswords, keys and tokens are removed; addresses are not.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut lines = render::text(judged, Detail::Evidence, Colours::NONE);
    lines.extend(render::closing(judged, Detail::Evidence));
    for line in lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    for evidence in raw {
        text.push_str(&format!("\n=== {}\n", escape_control(&evidence.title)));
        for line in redact(&evidence.text).lines() {
            text.push_str(&escape_control(&line.replace('\t', "    ")));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_report_is_private_and_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let evidence = RawEvidence {
            title: "/etc/x".to_owned(),
            text: "nameserver 10.1.2.3\npassword=hunter2\n\x1b[31m".to_owned(),
        };
        ReportFile::create(&path).unwrap().write(&[], &[evidence]).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("=== /etc/x\nnameserver 10.1.2.3\npassword=[removed]\n"), "{text}");
        assert!(!text.contains('\x1b'));
        let again = ReportFile::create(&path).unwrap_err();
        assert!(again.message.contains("File exists"), "{again}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert!(ReportFile::create(&link).is_err());
    }
}
