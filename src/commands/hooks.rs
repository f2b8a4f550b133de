//! `hooks`: runs the programs of a folder in order, once per deployment.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::cli::options;
use crate::clock::BootInstant;
use crate::config::Settings;
use crate::duration::human;
use crate::error::{Error, Kind, Result, plain};
use crate::exit::Exit;
use crate::hooks::identity;
use crate::hooks::runner::{self, End};
use crate::hooks::select::{self, Choice, Owned, Passed};
use crate::hooks::stamp;
use crate::signals;
use crate::state::file::{self, Links};
use crate::state::lock::{LockAttempt, try_exclusive};
use crate::ui::escape_control;
use crate::ui::output;

/// The folder of the hooks, and the one whose absence is no mistake.
const FOLDER: &str = "/etc/rackconnect-agent/deployed.d";

/// The variables that a hook sees.
const VARIABLES: (&str, &str) = ("RACKCONNECT_STATUS", "RACKCONNECT_REGION");

/// Whose hooks are at work above this process: the names of their stamps, which hold no slash.
const ABOVE: &str = "RACKCONNECT_HOOKS_ABOVE";

/// How many links the kernel follows. Source: path_resolution(7).
const LINKS: usize = 40;

/// The largest stamp that is read.
const MAX_STAMP_BYTES: u64 = 16 * 1024;

/// Runs the hooks of `folder`.
pub fn run(settings: &Settings, folder: Option<&str>) -> Result<Exit> {
    let (dry_run, again) = (settings.has(&options::DRY_RUN), settings.has(&options::AGAIN));
    let limit = settings.hook_limit()?;
    let stamps = settings.stamp_dir()?;
    let typed = Path::new(folder.unwrap_or(FOLDER));
    let Some((folder, names)) = names(folder)? else {
        log::info!("there is no {FOLDER}: no hooks to run");
        return Ok(Exit::Ok);
    };
    check_stamp_dir(&stamps)?;
    // Held to the end: a second process finds the stamps of the first.
    let _lock = if dry_run { None } else { Some(lock(&stamps, &folder)?) };
    let ids = identity::read(Path::new("/"));
    let mut environment = environment(settings)?;
    environment.push((ABOVE, format!("{}/{}", above(), stamp::name(&folder))));
    if !dry_run {
        signals::tidy_up_first(runner::end_running)?;
    }

    let mut failed = Vec::new();
    for name in &names {
        let path = folder.join(name);
        let shown = escape_control(&name.to_string_lossy());
        if let Choice::Skip(why) = select::choose(name, kind(&path)) {
            say(dry_run, &format!("skip {shown}: {why}"))?;
            continue;
        }
        if let Err(why) = trusted(&typed.join(name)) {
            failed.push(shown.clone());
            match dry_run {
                true => output::line(&format!("refuse {shown}: {why}"))?,
                false => log::error!("{shown} is refused: {why}"),
            }
            continue;
        }
        let stamp = stamps.join(stamp::name(&path));
        if let Some(text) = read(&stamp).filter(|text| !again && stamp::is_of(text, &ids)) {
            say(dry_run, &format!("skip {shown}: it is done already"))?;
            let renewed = stamp::renewed(&text, &ids);
            if !dry_run
                && text != renewed
                && let Err(why) = write(&stamps, &stamp, &renewed)
            {
                log::warn!("{} cannot be written: {why}", stamp.display());
            }
            continue;
        }
        say(dry_run, &format!("run {shown}"))?;
        if dry_run {
            continue;
        }
        let started = BootInstant::now();
        match runner::run(&path, &environment, limit) {
            End::Done => {
                log::info!("{shown} is done, after {}", human(BootInstant::now().since(started)));
                if let Err(why) = write(&stamps, &stamp, &stamp::text(&ids)) {
                    log::error!(
                        "{shown} is done, and will run again: {} cannot be written: {why}",
                        stamp.display()
                    );
                    failed.push(shown);
                }
            }
            End::Skipped(why) => log::info!("skip {shown}: {why}"),
            End::Failed(why) => {
                log::error!("{shown} failed: {why}");
                failed.push(shown);
            }
        }
    }
    match failed.is_empty() {
        true => Ok(Exit::Ok),
        false if dry_run => Ok(Exit::Other),
        false => {
            let names: Vec<&str> = failed.iter().map(String::as_str).collect();
            let verb = if names.len() == 1 { "was" } else { "were" };
            let names = crate::ui::enumerate(&names);
            Err(Error::new(
                Kind::Other,
                format!("{names} {verb} not done; the next rackconnect hooks tries again"),
            ))
        }
    }
}

/// A line of the plan, or of the log.
fn say(dry_run: bool, line: &str) -> Result<()> {
    match dry_run {
        true => output::line(line),
        false => {
            log::info!("{line}");
            Ok(())
        }
    }
}

/// The folder, links resolved, and the names in it, in their order; none if nobody has made the usual one.
fn names(folder: Option<&str>) -> Result<Option<(PathBuf, Vec<OsString>)>> {
    let path = Path::new(folder.unwrap_or(FOLDER));
    let read = || -> io::Result<(PathBuf, Vec<OsString>)> {
        let names: io::Result<Vec<OsString>> =
            fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        Ok((fs::canonicalize(path)?, names?))
    };
    match read() {
        Ok((folder, mut names)) => {
            names.sort();
            Ok(Some((folder, names)))
        }
        Err(why) if folder.is_none() && why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(Error::usage(format!(
            "the folder of the hooks {} cannot be read: {why}",
            path.display()
        ))),
    }
}

fn kind(path: &Path) -> select::Kind {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            select::Kind::File { executable: metadata.mode() & 0o111 != 0 }
        }
        Ok(_) => select::Kind::Other,
        Err(_) => select::Kind::Nowhere,
    }
}

/// Whether the one who runs the hook may. root alone has something to lose to others.
fn trusted(path: &Path) -> Result<(), String> {
    if !geteuid().is_root() {
        return Ok(());
    }
    select::trust(&way(path).map_err(|why| why.to_string())?)
}

/// All that is passed on the way to a hook: whoever can change one of the folders and links can change where it leads.
fn way(path: &Path) -> io::Result<Vec<Owned>> {
    let steps = |path: &Path| path.iter().rev().map(OsString::from).collect::<Vec<_>>();
    let (mut at, mut left, mut way) =
        (PathBuf::new(), steps(&std::path::absolute(path)?), Vec::new());
    while let Some(step) = left.pop() {
        match step.as_bytes() {
            b"." => continue,
            b".." => {
                at.pop();
                continue;
            }
            _ => at.push(step),
        }
        let metadata = fs::symlink_metadata(&at)?;
        let what = match metadata.file_type() {
            kind if kind.is_symlink() => Passed::Link,
            kind if kind.is_dir() => Passed::Folder,
            _ => Passed::Hook,
        };
        way.push(Owned { path: at.clone(), what, uid: metadata.uid(), mode: metadata.mode() });
        if what == Passed::Link {
            if way.iter().filter(|passed| passed.what == Passed::Link).count() > LINKS {
                return Err(Errno::ELOOP.into());
            }
            left.extend(steps(&fs::read_link(&at)?));
            at.pop();
        }
    }
    Ok(way)
}

/// Makes the folder of the stamps, and waits until no other process runs the hooks of this folder. (Those of another one may
/// be what a hook of this one runs.)
fn lock(stamps: &Path, folder: &Path) -> Result<File> {
    let path = stamps.join(format!(".lock-{}", stamp::name(folder)));
    let open = || {
        DirBuilder::new().recursive(true).mode(0o755).create(stamps)?;
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let cannot = |why: &dyn std::fmt::Display| {
        Error::new(
            Kind::Other,
            format!(
                "no hook was run, as it could not be kept which are done: {} cannot be written: {why} (--stamp-dir)",
                path.display()
            ),
        )
    };
    let file = open().map_err(|why| cannot(&why))?;
    let wait_for_itself = above().split('/').any(|name| name == stamp::name(folder));
    match try_exclusive(&file).map_err(|err| cannot(&plain(&err)))? {
        LockAttempt::Held => {}
        LockAttempt::Taken if wait_for_itself => {
            let folder = folder.display();
            return Err(Error::new(
                Kind::Other,
                format!(
                    "a hook of {folder} runs the hooks of {folder} and would wait for itself; no hook \
                     was run"
                ),
            ));
        }
        LockAttempt::Taken => {
            log::info!("another \"rackconnect hooks\" runs the hooks of this directory; waiting");
            file.lock().map_err(|err| cannot(&plain(&err)))?;
        }
    }
    Ok(file)
}

fn above() -> String {
    env::var_os(ABOVE).unwrap_or_default().to_string_lossy().into_owned()
}

/// What the hooks see. The word of `wait -- rackconnect hooks` comes by the environment; under systemd another process has
/// waited, and left word in the state directory.
fn environment(settings: &Settings) -> Result<Vec<(&'static str, String)>> {
    let (status, region) = VARIABLES;
    let mut environment = Vec::new();
    if env::var_os(status).is_none_or(|word| word.is_empty())
        && let Some(word) = crate::state::status_file::word(&settings.state_dir()?)
    {
        environment.push((status, word));
    }
    if let Some((code, _)) = settings.region()? {
        environment.push((region, code.code().to_owned()));
    }
    Ok(environment)
}

fn read(path: &Path) -> Option<String> {
    match file::read_trusted(path, MAX_STAMP_BYTES, Links::Refuse) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(err) if err.is_not_found() => None,
        Err(err) => {
            log::warn!("the stamp {} {err}; it does not count", path.display());
            None
        }
    }
}

/// Replaces the stamp: written beside, synced, renamed. Nothing is written through a link, and what
/// was begun is removed where that fails.
fn write(stamps: &Path, stamp: &Path, text: &str) -> io::Result<()> {
    let beside = stamp.with_extension("new");
    match fs::remove_file(&beside) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let written = File::options().write(true).create_new(true).mode(0o644).open(&beside).and_then(
        |mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, stamp)
        },
    );
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(stamps)?.sync_all()
}

/// Whether the directory of the stamps can be trusted: run as root it has to belong to root, and no
/// other user may be able to write to it.
fn check_stamp_dir(stamps: &Path) -> Result<()> {
    let Ok(metadata) = fs::metadata(stamps) else { return Ok(()) };
    let is_trusted = metadata.uid() == 0 && metadata.mode() & 0o022 == 0;
    if !geteuid().is_root() || is_trusted {
        return Ok(());
    }
    Err(Error::usage(format!(
        "--stamp-dir: {} belongs to another user or can be written by others (uid {}, mode {:04o}); \
         give one that only root can write to",
        stamps.display(),
        metadata.uid(),
        metadata.mode() & 0o7777
    )))
}
