//! The COMMAND of `wait`: found before the wait, executed after it in place of this process.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{AccessFlags, access};

use crate::error::{Error, Kind, Result, plain};
use crate::model::Region;
use crate::script;
use crate::{signals, ui};

/// The search path if PATH is not set, as in shells.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that exists and may be executed.
#[derive(Debug)]
pub struct Program<'a> {
    path: PathBuf,
    words: &'a [OsString],
    /// Variables that it does not inherit.
    removed: &'a [&'a str],
}

impl<'a> Program<'a> {
    /// Finds a program as a shell does, so that a typing error is reported before the wait. `None`
    /// if there are no words.
    ///
    /// # Errors
    /// It does not exist, or may not be executed.
    pub fn find(words: &'a [OsString]) -> Result<Option<Program<'a>>> {
        let Some(name) = words.first() else { return Ok(None) };
        Ok(Some(Program { path: find(name)?, words, removed: &[] }))
    }

    /// The same program, without these variables.
    #[cfg(feature = "cloud")]
    pub fn without(self, removed: &'a [&'a str]) -> Program<'a> {
        Program { removed, ..self }
    }

    /// Replaces this process by the program. Returns only if that fails.
    pub fn exec(&self, status: &str, region: Option<Region>) -> Error {
        ui::finish_output();
        signals::restore_inherited_mask();
        let exec = |command: &mut Command| {
            command.args(&self.words[1..]).env("RACKCONNECT_STATUS", status);
            for name in self.removed {
                command.env_remove(name);
            }
            if let Some(region) = region {
                command.env("RACKCONNECT_REGION", region.code());
            }
            command.exec()
        };
        let mut err = exec(Command::new(&self.path).arg0(&self.words[0]));
        if script::is_for_shell(&err, &self.path) {
            err = exec(Command::new(script::SHELL).arg(&self.path));
        }
        self.exec_error(&err)
    }

    fn exec_error(&self, err: &io::Error) -> Error {
        let path = self.path.display();
        match err.kind() {
            // The file existed before the wait, so it is the interpreter that is missing.
            ErrorKind::NotFound => {
                let message = format!("{path}: {}", script::missing_interpreter(&self.path));
                Error::new(Kind::CommandNotFound, message)
            }
            _ => Error::new(
                Kind::CannotExecute,
                format!("{path} cannot be executed: {}", plain(err)),
            ),
        }
    }
}

fn find(name: &OsStr) -> Result<PathBuf> {
    if name.is_empty() {
        return Err(not_found(name));
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Some(true) => Ok(path),
            Some(false) => Err(cannot_execute(&path)),
            None => Err(not_found(name)),
        };
    }
    let directories = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut forbidden = None;
    for path in env::split_paths(&directories).map(|directory| directory.join(name)) {
        match executable(&path) {
            Some(true) => return Ok(path),
            Some(false) => forbidden = forbidden.or(Some(path)),
            None => {}
        }
    }
    Err(forbidden.map_or_else(|| not_found(name), |path| cannot_execute(&path)))
}

/// Whether this user may execute the file; `None` if it does not exist.
fn executable(path: &Path) -> Option<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Some(metadata.is_file() && access(path, AccessFlags::X_OK).is_ok()),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        // It may exist, in a directory that this user cannot search.
        Err(_) => Some(false),
    }
}

fn not_found(name: &OsStr) -> Error {
    Error::new(Kind::CommandNotFound, format!("COMMAND {name:?} was not found"))
}

fn cannot_execute(path: &Path) -> Error {
    let path = path.display();
    Error::new(
        Kind::CannotExecute,
        format!("COMMAND {path} cannot be executed: it is not a file that this user may execute"),
    )
}
