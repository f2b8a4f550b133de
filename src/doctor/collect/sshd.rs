//! The configuration of the SSH daemon: from `sshd -T` if it can be run, else from its files.

use std::time::{Duration, SystemTime};

use nix::unistd::geteuid;

use super::files::Files;
use super::subject::{Addition, Subject};
use super::{command, processes};
use crate::doctor::evidence::{Evidence, ProcessInfo, Reading, SshdEvidence};
use crate::doctor::sshd::SshdConfig;

/// The configuration file.
const CONFIG: &str = "/etc/ssh/sshd_config";

/// The path of the daemon.
const PROGRAMS: [&str; 2] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];

/// How long the daemon may take to print its configuration.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads it.
pub(super) fn collect(_: &Subject, files: &mut Files) -> Addition {
    let sshd = read(files);
    Box::new(|evidence: &mut Evidence| evidence.sshd = sshd)
}

fn read(files: &mut Files) -> Reading<SshdEvidence> {
    let text = files.read_and_keep(CONFIG)?;
    let mut read = vec![CONFIG.to_owned()];
    let mut kept = Vec::new();
    let mut config = SshdConfig::parse(&text, &mut |pattern| {
        let paths = files.expand(pattern).into_iter();
        let texts: Vec<_> = paths.map(|path| (path.clone(), files.read(&path).ok())).collect();
        read.extend(texts.iter().map(|(path, _)| path.clone()));
        kept.extend(texts.iter().filter_map(|(path, text)| Some((path.clone(), text.clone()?))));
        texts
    });
    for (path, text) in kept {
        files.keep(&path, &text);
    }
    let mut source = CONFIG.to_owned();
    if let Some(effective) = effective(files) {
        files.keep("sshd -T", &effective);
        // It does not apply Match conditions, so those of the files count.
        let effective = SshdConfig::parse(&effective, &mut |_| Vec::new());
        config = effective.with_match_blocks_of(config);
        source = "sshd -T".to_owned();
    }
    let changed_since_start = changed_since(files, daemon_start(files), read);
    Ok(SshdEvidence { config, source, changed_since_start })
}

/// The daemon's own output. It needs root, because the host keys belong to root.
fn effective(files: &Files) -> Option<String> {
    if !geteuid().is_root() && files.is_of_this_system() {
        return None;
    }
    let program = PROGRAMS.iter().find(|path| files.is_program(path))?;
    command::output(&files.locate(program), &["-T"], TEST_TIMEOUT)
}

/// When the daemon was started; none if it is not running.
fn daemon_start(files: &Files) -> Option<SystemTime> {
    // The processes of sessions are named "sshd: USER".
    let is_daemon = |process: &ProcessInfo| {
        process.name == "sshd"
            && process
                .arguments
                .first()
                .is_some_and(|first| !first.starts_with("sshd: ") || first.contains("[listener]"))
    };
    let daemon = processes::read(files).into_iter().find(is_daemon)?;
    let stat = files.read("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(boot))?.checked_add(daemon.started?)
}

/// The files that were changed after `start`.
fn changed_since(files: &Files, start: Option<SystemTime>, paths: Vec<String>) -> Vec<String> {
    let Some(start) = start else { return Vec::new() };
    // The boot time is in whole seconds.
    let start = start + Duration::from_secs(2);
    let is_newer = |path: &String| files.changed(path).is_some_and(|changed| changed > start);
    paths.into_iter().filter(is_newer).collect()
}
