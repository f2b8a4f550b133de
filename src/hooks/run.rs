//! Runs the hooks of a directory, one after the other.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::identity::{self, Ids};
use super::runner::{self, HookEnd};
use super::select::{EntryKind, Selection, select};
use super::stamp;
use super::stamp_dir::StampDir;
use crate::clock::BootInstant;
use crate::duration::human;
use crate::error::{Error, Kind, Result, plain};
use crate::exit::Exit;
use crate::fail_point;
use crate::model::Region;
use crate::signals;
use crate::state::dir::{StateDirError, check_path};
use crate::state::status_file;
use crate::ui::{enumerate, escape_control, output};

/// The default directory of hooks, which need not exist.
const DEFAULT_DIR: &str = "/etc/rackconnect-agent/deployed.d";

/// Variables in the environment of a hook.
const STATUS_VARIABLE: &str = "RACKCONNECT_STATUS";
const REGION_VARIABLE: &str = "RACKCONNECT_REGION";

/// The variable by which a process knows the hook directories that its ancestors run: their names
/// as those of stamps, separated by slashes.
const ABOVE_VARIABLE: &str = "RACKCONNECT_HOOKS_ABOVE";

/// How long to wait for the lock if the hooks have no time limit.
const NO_LIMIT: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Whether hooks are run, or only listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunMode {
    /// They are run.
    Run,
    /// They are only listed.
    DryRun,
}

/// Which hooks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Those that have not succeeded in this deployment.
    OncePerDeployment,
    /// All.
    Always,
}

/// Which hooks to run, and how.
#[derive(Clone, Debug)]
pub struct HooksRequest {
    /// The directory of the hooks, if one was given.
    pub directory: Option<PathBuf>,
    /// The directory of the stamps.
    pub stamp_dir: PathBuf,
    /// The state directory, where a wait has recorded its outcome.
    pub state_dir: PathBuf,
    /// The time limit of each hook; none for no limit.
    pub limit: Option<Duration>,
    /// Whether hooks are run, or only listed.
    pub mode: RunMode,
    /// Which hooks are run.
    pub repeat: Repeat,
    /// The region, if it is known.
    pub region: Option<Region>,
}

/// Runs the hooks. Returns exit code 1 if a dry run found one that would be refused.
///
/// # Errors
/// The directories are unusable, or not all hooks were done.
pub fn run(request: &HooksRequest) -> Result<Exit> {
    let typed = request.directory.as_deref().unwrap_or(Path::new(DEFAULT_DIR));
    let Some((directory, names)) = list(request.directory.as_deref())? else {
        log::info!("there is no {DEFAULT_DIR}: no hooks to run");
        return Ok(Exit::Ok);
    };
    let mut run = match request.mode {
        RunMode::DryRun => {
            let stamps = StampDir::open(&request.stamp_dir).map_err(stamp_dir_error)?;
            HooksRun::new(request, &directory, stamps)
        }
        RunMode::Run => {
            let stamps = StampDir::open_or_create(&request.stamp_dir).map_err(stamp_dir_error)?;
            let lock = lock(request, &stamps, &directory, names.len())?;
            signals::on_signal(runner::end_running)?;
            HooksRun { _lock: Some(lock), ..HooksRun::new(request, &directory, Some(stamps)) }
        }
    };
    for name in &names {
        run.hook(name, &directory.join(name), &typed.join(name))?;
    }
    run.finish()
}

/// The directory, with links resolved, and the names in it in their order; none if it is the
/// default one and does not exist.
fn list(directory: Option<&Path>) -> Result<Option<(PathBuf, Vec<OsString>)>> {
    let path = directory.unwrap_or(Path::new(DEFAULT_DIR));
    let read = || -> io::Result<(PathBuf, Vec<OsString>)> {
        let names: io::Result<Vec<OsString>> =
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        Ok((fs::canonicalize(path)?, names?))
    };
    match read() {
        Ok((path, mut names)) => {
            names.sort();
            Ok(Some((path, names)))
        }
        Err(err) if directory.is_none() && err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(Error::usage(format!(
            "cannot read the hook directory {}: {}",
            path.display(),
            plain(&err)
        ))),
    }
}

/// Takes the lock of the directory, so that two processes do not run a hook at the same time and
/// the second one sees the stamps of the first. Waits at most as long as all hooks may take.
fn lock(
    request: &HooksRequest,
    stamps: &StampDir,
    directory: &Path,
    hooks: usize,
) -> Result<fs::File> {
    let now = BootInstant::now();
    if let Some(lock) = stamps.lock(directory, now).map_err(stamp_dir_error)? {
        return Ok(lock);
    }
    let shown = directory.display();
    if ancestor_directories().split('/').any(|name| name == stamp::name(directory)) {
        return Err(Error::new(
            Kind::Other,
            format!(
                "a hook of {shown} runs the hooks of {shown} and would wait for itself; no hook \
                 was run"
            ),
        ));
    }
    log::info!("another \"rackconnect hooks\" runs the hooks of this directory; waiting");
    fail_point::reach("hooks locked");
    let all = u32::try_from(hooks.max(1)).unwrap_or(u32::MAX);
    let lock_timeout = request
        .limit
        .map_or(NO_LIMIT, |limit| (limit + runner::END_TIMEOUT).saturating_mul(all).min(NO_LIMIT));
    stamps.lock(directory, now + lock_timeout).map_err(stamp_dir_error)?.ok_or_else(|| {
        let message = format!(
            "another \"rackconnect hooks\" has held the lock of {shown} for {}; no hook was run",
            human(lock_timeout)
        );
        Error::new(Kind::Other, message)
    })
}

fn stamp_dir_error(err: StateDirError) -> Error {
    match err {
        StateDirError::Untrusted(reason) => Error::usage(format!(
            "--stamp-dir: {reason}; give a directory that only root can write to"
        )),
        StateDirError::Unusable(reason) => {
            let message = format!(
                "no hook was run, because it could not be recorded as done: {reason} (--stamp-dir)"
            );
            Error::new(Kind::Other, message)
        }
    }
}

fn ancestor_directories() -> String {
    env::var_os(ABOVE_VARIABLE).unwrap_or_default().to_string_lossy().into_owned()
}

/// A run through the hooks of one directory.
struct HooksRun<'a> {
    request: &'a HooksRequest,
    stamps: Option<StampDir>,
    /// Held until the end, so that a process that waits for it sees all stamps.
    _lock: Option<fs::File>,
    ids: Ids,
    environment: Vec<(&'static str, String)>,
    failed: Vec<String>,
}

impl<'a> HooksRun<'a> {
    fn new(request: &'a HooksRequest, directory: &Path, stamps: Option<StampDir>) -> HooksRun<'a> {
        HooksRun {
            request,
            stamps,
            _lock: None,
            ids: identity::read(Path::new("/")),
            environment: environment(request, directory),
            failed: Vec::new(),
        }
    }

    /// Runs, skips or refuses an entry. `typed`: its path as the user wrote it.
    fn hook(&mut self, name: &OsString, path: &Path, typed: &Path) -> Result<()> {
        let shown = escape_control(&name.to_string_lossy());
        match select(name, kind(path)) {
            Selection::Run => {}
            Selection::Skip(reason) => return self.report(&format!("skip {shown}: {reason}")),
            Selection::Refuse(reason) => return self.refuse(shown, &reason),
        }
        if let Err(reason) = check_path(typed) {
            return self.refuse(shown, &reason.to_string());
        }
        let stamp = stamp::name(path);
        if self.is_done(&stamp) {
            return self.report(&format!("skip {shown}: it is done already"));
        }
        self.report(&format!("run {shown}"))?;
        if self.request.mode == RunMode::Run {
            self.execute(&shown, path, &stamp);
        }
        Ok(())
    }

    fn refuse(&mut self, shown: String, reason: &str) -> Result<()> {
        match self.request.mode {
            RunMode::DryRun => output::line(&format!("refuse {shown}: {reason}"))?,
            RunMode::Run => log::error!("{shown} is refused: {reason}"),
        }
        self.failed.push(shown);
        Ok(())
    }

    /// Whether a stamp says that the hook is done. New ids of the deployment are added to the
    /// stamp.
    fn is_done(&self, stamp: &str) -> bool {
        let Some(stamps) = &self.stamps else { return false };
        if self.request.repeat == Repeat::Always {
            return false;
        }
        let Some(text) = stamps.read(stamp).filter(|text| stamp::is_of(text, &self.ids)) else {
            return false;
        };
        let renewed = stamp::renewed(&text, &self.ids);
        if self.request.mode == RunMode::Run
            && text != renewed
            && let Err(err) = stamps.write(stamp, &renewed)
        {
            let path = stamps.path_of(stamp);
            log::warn!("{} cannot be written: {}", path.display(), plain(&err));
        }
        true
    }

    fn execute(&mut self, shown: &str, path: &Path, stamp: &str) {
        let start = BootInstant::now();
        match runner::run(path, &self.environment, self.request.limit) {
            HookEnd::Done => {
                log::info!("{shown} is done, after {}", human(BootInstant::now().since(start)));
                self.record(shown, stamp);
            }
            HookEnd::Skipped(reason) => log::info!("skip {shown}: {reason}"),
            HookEnd::Failed(reason) => {
                log::error!("{shown} failed: {reason}");
                self.failed.push(shown.to_owned());
            }
        }
    }

    fn record(&mut self, shown: &str, stamp: &str) {
        let Some(stamps) = &self.stamps else { return };
        if let Err(err) = stamps.write(stamp, &stamp::text(&self.ids)) {
            log::error!(
                "{shown} is done, but will run again: {} cannot be written: {}",
                stamps.path_of(stamp).display(),
                plain(&err)
            );
            self.failed.push(shown.to_owned());
        }
    }

    /// Prints a line of the plan in a dry run, and logs it otherwise.
    fn report(&self, line: &str) -> Result<()> {
        match self.request.mode {
            RunMode::DryRun => output::line(line),
            RunMode::Run => {
                log::info!("{line}");
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Exit> {
        if self.failed.is_empty() {
            return Ok(Exit::Ok);
        }
        if self.request.mode == RunMode::DryRun {
            return Ok(Exit::Other);
        }
        let names: Vec<&str> = self.failed.iter().map(String::as_str).collect();
        let verb = if names.len() == 1 { "was" } else { "were" };
        Err(Error::new(
            Kind::Other,
            format!("{} {verb} not done; \"rackconnect hooks\" tries again", enumerate(&names)),
        ))
    }
}

fn kind(path: &Path) -> EntryKind {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            EntryKind::File { is_executable: metadata.mode() & 0o111 != 0 }
        }
        Ok(_) => EntryKind::Other,
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            EntryKind::DanglingLink
        }
        Err(err) => EntryKind::Unknown(format!("it cannot be examined: {}", plain(&err))),
    }
}

/// The variables that are added to the environment of the hooks. The status is there already under
/// `wait -- rackconnect hooks`; under systemd another process has waited, and recorded it in the
/// state directory.
fn environment(request: &HooksRequest, directory: &Path) -> Vec<(&'static str, String)> {
    let mut environment = Vec::new();
    if env::var_os(STATUS_VARIABLE).is_none_or(|word| word.is_empty())
        && let Some(word) = status_file::last_word(&request.state_dir)
    {
        environment.push((STATUS_VARIABLE, word));
    }
    if let Some(region) = request.region {
        environment.push((REGION_VARIABLE, region.code().to_owned()));
    }
    environment
        .push((ABOVE_VARIABLE, format!("{}/{}", ancestor_directories(), stamp::name(directory))));
    environment
}
