//! No output and no file contains a secret, except the credentials file and the cache.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use simulated_cloud::{FaultKind, Response};

use super::{CloudWorld, KEY, PASSWORD};
use crate::support::{PATIENCE, binary, with_environment_of};

/// Checks that a text contains no secret and no part of one.
#[track_caller]
fn clean(text: &[u8], what: &str) {
    let text = String::from_utf8_lossy(text);
    for secret in [KEY, PASSWORD, "wr0ng-key", "AAB0000", "1411594", "SIMULATED-SESSION"] {
        assert!(!text.contains(secret), "{secret} is in {what}: {text}");
    }
}

#[test]
fn the_log_at_its_highest_level_has_no_secret() {
    let world = CloudWorld::new();
    for (variable, value) in [("RACKCONNECT_LOG", "trace"), ("RAX_API_KEY", "wr0ng-key")] {
        for arguments in ["cloud login -vv", "cloud login", "cloud catalog -vv", "cloud logout -vv"]
        {
            let mut command = world.agent(arguments);
            command.env("RACKCONNECT_LOG", "trace").env(variable, value);
            let output = command.output().unwrap();
            clean(&output.stdout, "standard output");
            clean(&output.stderr, "standard error");
        }
    }
    world.cloud.state().users[0].passcode = Some("1411594".to_owned());
    let output = world.agent("cloud login -vv").output().unwrap();
    clean(&output.stderr, "standard error");
}

/// The files of a directory and of its subdirectories.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (dirs, mut all): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    all.extend(dirs.iter().flat_map(|dir| files(dir)));
    all
}

/// All output and files of a login with two factors, a rate limit, a revoked token and a wait that
/// starts a command: only the two private files contain secrets.
#[test]
fn nothing_that_is_written_has_a_secret_in_it() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().users[0].passcode = Some("1411594".to_owned());
    let profiles = format!("[default]\nusername = 'jsmith'\npassword = '{PASSWORD}'\n");
    let credentials = world.write_credentials(&profiles, 0o600);
    let command = "cat /proc/self/environ /proc/$$/cmdline /proc/$PPID/cmdline";
    let run = |arguments: &[&str]| {
        let mut agent = world.anonymous(arguments);
        agent.args(["-vv", "--passcode-fd", "0"]).stdin(Stdio::piped());
        agent.env("RACKCONNECT_LOG", "trace").env("RAX_TOKEN", "").env("OS_TENANT_NAME", "");
        agent.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = agent.spawn().unwrap();
        // A program that needs no passcode may have ended already.
        let _ = child.stdin.take().unwrap().write_all(b"1411594\n");
        let output = child.wait_with_output().unwrap();
        clean(&output.stdout, "standard output");
        clean(&output.stderr, "standard error");
        assert!(output.stderr.windows(5).any(|word| word == b"debug"));
        output.status.code()
    };
    let limit = Response::fault("overLimit", 413, "OverLimit Retry...").with("Retry-After", "1");
    world.cloud.fault("POST /v2.0/tokens", 1, FaultKind::Answer(limit.clone()));
    assert_eq!(run(&["cloud", "login"]), Some(0));
    world.cloud.fault("GET /dfw", 1, FaultKind::Answer(limit));
    assert_eq!(run(&["cloud", "servers"]), Some(0));
    world.cloud.state().revoke_all();
    assert_eq!(run(&["cloud", "facts", "web1"]), Some(0));
    world.cloud.fault("GET /ord", 2, FaultKind::Close);
    assert_eq!(run(&["cloud", "status", "db1"]), Some(7));
    let mut wait = world.anonymous(&["cloud", "wait", "web1", "-vv", "--", "sh", "-c", command]);
    for name in ["RAX_API_KEY", "RAX_PASSWORD", "OS_PASSWORD", "RAX_TOKEN", "OS_TOKEN"] {
        wait.env(name, KEY);
    }
    wait.env("RAX_USERNAME", "jsmith");
    // These are other credentials, so there is no token yet, and a passcode is asked for.
    world.cloud.state().users[0].passcode = None;
    let output = wait.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.windows(19).any(|it| it == b"RACKCONNECT_STATUS="));
    clean(&output.stdout, "the environment of COMMAND, or a command line");
    clean(&output.stderr, "standard error");
    for file in files(world.home.path()) {
        let text = fs::read(&file).unwrap();
        if file == credentials || world.cached().contains(&file) {
            assert!(!text.windows(KEY.len()).any(|it| it == KEY.as_bytes()), "{file:?}")
        } else {
            clean(&text, &file.display().to_string())
        }
    }
    assert_eq!(run(&["cloud", "logout"]), Some(0));
    assert!(files(world.home.path()).len() >= 2);
}

#[test]
fn nothing_is_in_the_process_title_or_on_disk() {
    let world = CloudWorld::new();
    world.cloud.state().authentication_time = Duration::from_secs(2);
    let running = world.start("cloud login");
    assert!(world.cloud.wait_for("POST /v2.0/tokens", 1, PATIENCE));
    let process = format!("/proc/{}", running.pid());
    clean(&fs::read(format!("{process}/cmdline")).unwrap(), "cmdline");
    clean(&fs::read(format!("{process}/comm")).unwrap(), "comm");
    running.end().expect(0);
    let [cache] = &world.cached()[..] else { panic!("one file in the cache") };
    let text = fs::read_to_string(cache).unwrap();
    assert!(text.contains("AAB0000") && !text.contains(KEY), "{text}");
    let files = fs::read_dir(cache.parent().unwrap()).unwrap().flatten();
    for file in files.filter(|file| file.path() != *cache) {
        clean(&fs::read(file.path()).unwrap(), "the directory of the cache");
    }
}

/// Whether a process that is aborted, with no limit for cores, has dumped one.
fn dumps_core(mut child: Child) -> bool {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGABRT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
    status.core_dumped()
}

#[test]
fn a_crash_leaves_no_core() {
    let world = CloudWorld::new();
    world.cloud.state().authentication_time = PATIENCE;
    let start = |program: &str| {
        let mut command = Command::new("sh");
        let script = format!("ulimit -c unlimited && echo && exec {program}");
        command.args(["-c", &script]).arg(binary());
        with_environment_of(&world.agent(""), &mut command);
        command.current_dir(world.home.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let raised = child.stdout.as_mut().unwrap().read(&mut [0]).unwrap();
        (raised == 1).then_some(child)
    };
    // Another program shows whether the system dumps cores at all.
    if !start("sleep 600").is_some_and(dumps_core) {
        eprintln!("NOT RUN: this system dumps no cores");
        return;
    }
    let child = start("\"$0\" cloud login").unwrap();
    assert!(world.cloud.wait_for("POST /v2.0/tokens", 1, PATIENCE));
    assert!(!dumps_core(child));
}
