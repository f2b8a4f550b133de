//! `hooks`. Tests that need a journal, a reboot or a rebuild are in tests/system/boot.sh.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, Ended, World, bare_agent, ended};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use simulated_api::Step;
use simulated_xenstore::{Config as Store, Simulator as Xenstore};
use tempfile::TempDir;

/// A directory of hooks, and one of stamps.
struct Hooks(TempDir);

impl Hooks {
    fn new() -> Hooks {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        Hooks(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn add(&self, name: &str, script: &str, mode: u32) {
        let path = self.path("d").join(name);
        support::write_program(&path, script, mode);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare_agent(&["hooks"]);
        command
            .arg(self.path("d"))
            .args(arguments)
            .env("RACKCONNECT_STAMP_DIR", self.path("stamps"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }
}

#[test]
fn in_the_order_of_their_names_and_once() {
    let hooks = Hooks::new();
    hooks.add("20-b", "#!/bin/sh\necho b; pwd\n", 0o755);
    hooks.add("10-a.sh", "#!/bin/sh\necho a; cat; echo complaint >&2\n", 0o755);
    hooks.add("30-c", "echo 'without #!'\n", 0o700);
    for name in [".hidden", "40~", "40.bak", "40.dpkg-old", "40.rpmsave"] {
        hooks.add(name, "#!/bin/sh\necho never\n", 0o755);
    }
    hooks.add("50-data", "data", 0o644);
    fs::create_dir(hooks.path("d/60-folder")).unwrap();
    symlink("/nowhere", hooks.path("d/70-link")).unwrap();
    symlink(hooks.path("d/10-a.sh"), hooks.path("d/80-link")).unwrap();

    let plan = hooks.run(&["--dry-run"]);
    plan.expect(0);
    assert_eq!(
        plan.text(),
        "skip .hidden: it is hidden\nrun 10-a.sh\nrun 20-b\nrun 30-c\nskip 40.bak: it is a backup\n\
         skip 40.dpkg-old: a package manager left it\nskip 40.rpmsave: a package manager left it\n\
         skip 40~: it is a backup\nskip 50-data: it is not executable\nskip 60-folder: it is not a regular file\n\
         skip 70-link: it is a dangling link\nrun 80-link\n"
    );
    assert!(!hooks.path("stamps").exists());

    let first = hooks.run(&[]);
    first
        .expect(0)
        .says("complaint")
        .says("20-b is done")
        .says("skip 50-data: it is not executable");
    assert_eq!(first.text(), "a\nb\n/\nwithout #!\na\n");
    let second = hooks.run(&[]);
    second.expect(0).says("skip 20-b: it is done already");
    assert_eq!(second.text(), "");
    assert_eq!(hooks.run(&["--again", "-q"]).expect(0).text(), "a\nb\n/\nwithout #!\na\n");
}

#[test]
fn a_failing_hook_is_named_does_not_stop_others_and_runs_again() {
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\nexit 3\n", 0o755);
    hooks.add("2", "#!/bin/sh\nkill -9 $$\n", 0o755);
    hooks.add("3", "#!/no/such/interpreter\n", 0o755);
    hooks.add("4", "#!/bin/sh\nexit 126\n", 0o755);
    hooks.add("5", "\u{7f}ELF\0", 0o755);
    hooks.add("6", "#!/bin/sh\necho six\n", 0o755);
    let first = hooks.run(&[]);
    first
        .expect(1)
        .says("1 failed: exit code 3")
        .says("2 failed: ended by signal 9")
        .says("3 failed: it cannot be started");
    first.says("skip 4: it ended with exit code 126").says("skip 5: the kernel cannot execute it");
    first.says("1, 2 and 3 were not done");
    assert_eq!(first.text(), "six\n");
    hooks.add("1", "#!/bin/sh\necho one\n", 0o755);
    let second = hooks.run(&[]);
    second.expect(1);
    assert_eq!(second.text(), "one\n");
}

#[test]
fn the_time_limit_reaches_what_a_hook_has_started() {
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\nsleep 1000 & echo $!; wait\n", 0o755);
    let run = hooks.run(&["--limit", "1s"]);
    run.expect(1).says("1 failed: it was ended after 1s, its time limit");
    let child: i32 = run.text().trim().parse().unwrap();
    assert!(is_gone(child), "{child} lives");
}

/// Regression: a shell script ends at SIGTERM at once, and the processes that it had started were
/// killed at the same time.
#[test]
fn children_of_a_hook_get_time_to_clean_up() {
    let hooks = Hooks::new();
    let child = "trap 'sleep 0.3; echo tidied; exit' TERM; while :; do sleep 0.1; done";
    hooks.add("1", &format!("#!/bin/sh\n({child}) & wait\n"), 0o755);
    let run = hooks.run(&["--limit", "1s"]);
    assert_eq!(run.expect(1).text(), "tidied\n");
}

/// Regression: there was one lock for all directories, so a hook that ran `hooks` for another one
/// was a deadlock.
#[test]
fn a_hook_may_run_the_hooks_of_another_folder() {
    let (outer, inner) = (Hooks::new(), Hooks::new());
    inner.add("1", "#!/bin/sh\necho inner\n", 0o755);
    outer.add(
        "1",
        &format!(
            "#!/bin/sh\n{} hooks {}\n",
            support::binary().display(),
            inner.path("d").display()
        ),
        0o755,
    );
    let run = outer.run(&["--limit", "20s"]);
    assert_eq!(run.expect(0).text(), "inner\n");
}

/// Regression: it waited for itself until its time limit.
#[test]
fn a_hook_that_runs_its_own_directory_gets_an_error() {
    let hooks = Hooks::new();
    let agent = env!("CARGO_BIN_EXE_rackconnect");
    let (folder, stamps) = (hooks.path("d"), hooks.path("stamps"));
    let script = format!(
        "#!/bin/sh\nexec {agent} hooks {} --stamp-dir {}\n",
        folder.display(),
        stamps.display()
    );
    hooks.add("1", &script, 0o755);
    let run = hooks.run(&["--limit", "50s"]);
    assert!(run.expect(1).stderr.contains("would wait for itself"), "{}", run.stderr);
}

#[test]
fn a_signal_that_ends_the_agent_reaches_the_hook_and_waits_for_its_end() {
    let hooks = Hooks::new();
    let tidy = "trap 'sleep 0.3; mv \"$PIDS\" \"$PIDS.tidied\"; exit' TERM";
    let script = format!(
        "#!/bin/sh\n{tidy}\necho $$ > \"$PIDS.new\"; mv \"$PIDS.new\" \"$PIDS\"\nsleep 1000 & wait\n"
    );
    hooks.add("1", &script, 0o755);
    let pids = hooks.path("pid");
    let mut agent = hooks
        .command(&[])
        .env("PIDS", &pids)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !pids.exists() {
        if started.elapsed() > Duration::from_secs(60) {
            let _ = agent.kill();
            panic!("the hook did not begin");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(agent.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(agent.wait().unwrap().signal(), Some(15));
    let tidied = fs::read_to_string(hooks.path("pid.tidied")).expect("the hook has tidied up");
    assert!(is_gone(tidied.trim().parse().unwrap()));
    let stamps: Vec<_> =
        hooks.path("stamps").read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(stamps.iter().all(|name| name.to_string_lossy().starts_with(".lock")), "{stamps:?}");
}

#[test]
fn two_at_once_run_each_hook_once() {
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\nsleep 1; echo one\n", 0o755);
    let mut second = hooks.command(&[]);
    let second = std::thread::spawn(move || ended(second.output().unwrap()));
    let first = hooks.run(&[]);
    let second = second.join().unwrap();
    assert_eq!(first.expect(0).text().to_owned() + second.expect(0).text(), "one\n");
}

#[test]
fn root_runs_only_hooks_that_no_other_user_can_write() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: it needs root");
        return;
    }
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\necho one\n", 0o755);
    hooks.add("2", "#!/bin/sh\necho two\n", 0o777);
    hooks.add("3", "#!/bin/sh\necho three\n", 0o755);
    chown(hooks.path("d/3"), Some(1000), None).unwrap();
    let run = hooks.run(&[]);
    run.expect(1).says("2 is refused: ").says("3 is refused:").says("belongs to another user");
    assert_eq!(run.text(), "one\n");
    fs::set_permissions(hooks.path("d"), fs::Permissions::from_mode(0o777)).unwrap();
    hooks
        .run(&["--again"])
        .expect(1)
        .says("1 is refused")
        .says("/d is writable by other users (mode 0777)");
}

/// In a directory with the sticky bit any user could create a link to one of root's programs.
#[test]
fn root_follows_no_link_of_others() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: it needs root");
        return;
    }
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\necho one\n", 0o755);
    symlink(hooks.path("d/1"), hooks.path("d/2")).unwrap();
    symlink("d", hooks.path("others")).unwrap();
    lchown(hooks.path("d/2"), Some(1000), None).unwrap();
    let run = hooks.run(&[]);
    run.expect(1).says("2 is refused:").says("/d/2 belongs to another user (uid 1000)");
    assert_eq!(run.text(), "one\n");

    lchown(hooks.path("others"), Some(1000), None).unwrap();
    let mut command = bare_agent(&["hooks", "--again"]);
    command.arg(hooks.path("others")).env("RACKCONNECT_STAMP_DIR", hooks.path("stamps"));
    let run = ended(command.output().unwrap());
    run.expect(1).says("1 is refused:").says("/others belongs to another user");
    assert_eq!(run.text(), "");

    lchown(hooks.path("d/2"), Some(0), None).unwrap();
    fs::set_permissions(hooks.path("d"), fs::Permissions::from_mode(0o1777)).unwrap();
    hooks
        .run(&["--again"])
        .expect(1)
        .says("1 is refused")
        .says("/d is writable by other users (mode 1777)");
}

#[test]
fn after_a_wait_they_see_its_word() {
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\necho \"$RACKCONNECT_STATUS in $RACKCONNECT_REGION\"\n", 0o755);
    let world = World::of([Step::new("FAILED")]);
    let mut wait = world.agent(&["wait", "--ok-if", "failed", "--region", "syd", "--"]);
    wait.arg(support::binary())
        .arg("hooks")
        .arg(hooks.path("d"))
        .env("RACKCONNECT_STAMP_DIR", hooks.path("stamps"));
    let run = ended(wait.output().unwrap());
    assert_eq!(run.expect(0).text(), "FAILED in syd\n");
}

/// Regression: hooks saw NOT-RACKCONNECT although the API had answered DEPLOYING.
#[test]
fn hooks_see_the_last_known_status() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: it needs root");
        return;
    }
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\necho $RACKCONNECT_STATUS\n", 0o755);
    let world = World::of([Step::new("DEPLOYING")]);
    let run = |arguments: &[&str], store: Option<&Xenstore>| {
        let mut agent = world.agent(arguments);
        if let Some(store) = store {
            agent.env("XENSTORED_PATH", store.path());
        }
        ended(agent.env("RACKCONNECT_STAMP_DIR", hooks.path("stamps")).output().unwrap())
    };
    let folder = hooks.path("d");
    let seen =
        || run(&["hooks", "--again", folder.to_str().unwrap()], None).expect(0).text().to_owned();
    let amazon =
        Xenstore::start(Store::default().with("vm-data/provider_data/provider", "Amazon")).unwrap();
    run(&["wait", "--ok-if", "not-rackconnect"], Some(&amazon)).expect(0);
    assert_eq!(seen(), "NOT-RACKCONNECT\n");
    run(&["status"], None).expect(0);
    assert_eq!(seen(), "DEPLOYING\n");
}

#[test]
fn missing_directories() {
    let missing = ended(bare_agent(&["hooks", "/no/such/folder"]).output().unwrap());
    missing.expect(2).says("cannot read the hook directory /no/such/folder");
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\necho one\n", 0o755);
    fs::write(hooks.path("stamps"), "a file").unwrap();
    let run = hooks.run(&[]);
    run.expect(1).says("no hook was run");
    assert_eq!(run.text(), "");
}

/// Whether a process ends in time.
fn is_gone(pid: i32) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    })
}

/// Regression: as process 1 of a container, `hooks` did not reap orphans, and a signal ended it at
/// once, and the hook with it.
#[test]
fn as_process_1_hooks_collects_orphans_and_ends_its_hook() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: it needs root");
        return;
    }
    let hooks = Hooks::new();
    let (log, pipe) = (hooks.path("log"), hooks.path("pipe"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Starts twenty orphans and counts the zombies, then handles SIGTERM.
    let script = format!(
        "#!/bin/sh\ntrap 'echo tidy >>{log}; exit 0' TERM\n\
         for n in $(seq 20); do (sleep 0.01 & ) ; done\n\
         while pgrep -x sleep >/dev/null; do :; done\n\
         echo \"zombies: $(ps -eo stat= | grep -c '^Z')\" >>{log}\n\
         echo ready >{pipe}\nwhile :; do sleep 0.1; done\n",
        log = log.display(),
        pipe = pipe.display(),
    );
    hooks.add("1", &script, 0o755);
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(crate::support::binary());
    command.args(["hooks"]).arg(hooks.path("d")).env("RACKCONNECT_STAMP_DIR", hooks.path("stamps"));
    command.stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    fs::read(&pipe).unwrap();
    let process = children(child.id());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    let run = crate::support::finish(child);
    assert_eq!(run.code, Some(143), "{run:?}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "zombies: 0\ntidy\n");
}

/// The only child of a process.
fn children(parent: u32) -> nix::unistd::Pid {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = fs::read_to_string(path).unwrap();
    nix::unistd::Pid::from_raw(list.trim().parse().expect("one child"))
}

/// Regression: it waited forever for a lock that another process held, or on a FIFO in its place.
#[test]
fn anything_but_a_regular_file_is_refused_as_lock() {
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\necho one\n", 0o755);
    hooks.run(&[]).expect(0);
    let lock = fs::read_dir(hooks.path("stamps"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(".lock-"))
        .unwrap();
    fs::remove_file(&lock).unwrap();
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
    hooks.run(&["--again"]).expect(1).says("no hook was run");
    fs::remove_file(&lock).unwrap();
    let precious = hooks.path("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, &lock).unwrap();
    hooks.run(&["--again"]).expect(1).says("no hook was run");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
}

/// Regression: it waited for the other process without a deadline.
#[test]
fn a_lock_that_is_held_for_longer_than_the_hooks_may_take_is_not_waited_for() {
    let hooks = Hooks::new();
    hooks.add("1", "#!/bin/sh\necho one\n", 0o755);
    hooks.run(&[]).expect(0);
    let path = fs::read_dir(hooks.path("stamps"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(".lock-"))
        .unwrap();
    let lock = fs::File::open(path).unwrap();
    lock.lock().unwrap();
    let run = hooks.run(&["--again", "--limit", "1s"]);
    run.expect(1).says("has held the lock").says("no hook was run");
}
