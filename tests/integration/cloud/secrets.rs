//! Nothing that is written has a secret in it, except the credentials file and the cache.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{CloudWorld, KEY, PASSWORD};
use crate::support::{PATIENCE, binary};

/// No secret, and no part of one, in a text.
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

#[test]
fn a_crash_leaves_no_core() {
    let world = CloudWorld::new();
    world.cloud.state().authentication_time = PATIENCE;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" cloud login"]).arg(binary());
    for (name, value) in world.agent("").get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut child = command.current_dir(world.home.path()).stderr(Stdio::null()).spawn().unwrap();
    assert!(world.cloud.wait_for("POST /v2.0/tokens", 1, PATIENCE));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGABRT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
    assert!(!status.core_dumped());
}
