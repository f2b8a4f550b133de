//! The processes, from /proc.

use std::time::Duration;

use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{Evidence, ProcessInfo};

/// The unit of times in /proc/PID/stat: USER_HZ, which is 100 on every architecture of ours.
const TICKS_PER_SECOND: u64 = 100;

/// The most processes that are examined.
const MAX_PROCESSES: usize = 20_000;

/// Reads /proc.
pub(super) fn collect(_: &Subject, files: &mut Files) -> Addition {
    let processes = read(files);
    let lines: Vec<String> = processes
        .iter()
        .map(|process| format!("{} {}", process.pid, process.arguments.join(" ")))
        .filter(|line| line.contains(' ') && !line.ends_with(' '))
        .collect();
    files.keep("processes", &lines.join("\n"));
    Box::new(|evidence: &mut Evidence| evidence.processes = Ok(processes))
}

/// All processes but this one.
pub(super) fn read(files: &Files) -> Vec<ProcessInfo> {
    let users = files.read("/etc/passwd").unwrap_or_default();
    let ids = files.names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    ids.filter(|pid| *pid != std::process::id())
        .take(MAX_PROCESSES)
        .filter_map(|pid| process(files, pid, &users))
        .collect()
}

/// `users`: the text of /etc/passwd.
fn process(files: &Files, pid: u32, users: &str) -> Option<ProcessInfo> {
    let stat = parse_stat(&files.read(&format!("/proc/{pid}/stat")).ok()?)?;
    let arguments = files.read(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Some(ProcessInfo {
        pid,
        name: stat.name,
        parent: stat.parent,
        arguments: arguments.split_terminator('\0').map(str::to_owned).collect(),
        user: files.owner(&format!("/proc/{pid}")).map(|id| user_name(users, id)),
        program: files.link(&format!("/proc/{pid}/exe")),
        started: stat.started,
    })
}

/// The name of a user or, if it has none, its id.
fn user_name(users: &str, id: u32) -> String {
    let id = id.to_string();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(id.as_str())).then_some(name)
    });
    name.map_or_else(|| format!("uid {id}"), str::to_owned)
}

/// The fields of /proc/PID/stat that are used.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: Option<u32>,
    started: Option<Duration>,
}

/// Source: proc_pid_stat(5).
fn parse_stat(stat: &str) -> Option<Stat> {
    let (start, end) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(end + 1..)?.split_whitespace().collect();
    // The 4th and the 22nd field; the first after the name is the third.
    let ticks = fields.get(19).and_then(|ticks| ticks.parse::<u64>().ok());
    Some(Stat {
        name: stat.get(start + 1..end)?.to_owned(),
        parent: fields.get(1).and_then(|parent| parent.parse().ok()),
        started: ticks.map(|ticks| Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_users() {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\napp:x:1000:0::/:/bin/sh\n";
        assert_eq!(user_name(users, 1_000), "app");
        assert_eq!(user_name(users, 7), "uid 7");
    }

    #[test]
    fn the_fields_of_stat() {
        let stat = |name: &str, parent, milliseconds: Option<u64>| {
            let started = milliseconds.map(Duration::from_millis);
            Some(Stat { name: name.to_owned(), parent, started })
        };
        let whole = "77 (a) b) S 12 77 77 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 12345 1 2 3\n";
        assert_eq!(parse_stat(whole), stat("a) b", Some(12), Some(123_450)));
        assert_eq!(parse_stat("77 (a"), None);
        assert_eq!(parse_stat("77 (a) S"), stat("a", None, None));
    }
}
