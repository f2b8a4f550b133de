//! The notifications of `wait` to systemd.

use std::os::unix::net::UnixDatagram;

use simulated_api::Step;

use crate::support::{World, ended};

pub const TESTS: &[(&str, fn())] =
    &[("notify::wait_reports_its_progress", wait_reports_its_progress)];

fn told(steps: &[Step], arguments: &[&str]) -> Vec<String> {
    let world = World::of(steps.to_vec());
    let path = world.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    ended(world.agent(arguments).env("NOTIFY_SOCKET", &path).output().unwrap());
    let mut told = Vec::new();
    let mut buffer = [0; 1000];
    while let Ok(length) = socket.recv(&mut buffer) {
        told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    told
}

fn wait_reports_its_progress() {
    let deploying = Step::new("DEPLOYING").requests(2);
    let lines = told(
        &[deploying, Step::new("DEPLOYED")],
        &["wait", "--interval", "3s", "--timeout", "60s"],
    );
    assert_eq!(lines[0], "STATUS=DEPLOYING");
    assert!(lines[lines.len() - 2].starts_with("STATUS=DEPLOYED after"), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "READY=1");
    // With a COMMAND, `READY=1` is left to that.
    let lines = told(&[Step::new("DEPLOYED")], &["wait", "--", "true"]);
    assert!(lines.iter().all(|line| line.starts_with("STATUS=")), "{lines:?}");
    let lines = told(&[Step::new("FAILED")], &["wait"]);
    assert_eq!(lines.last().unwrap(), "STOPPING=1");
    assert!(!lines.contains(&"READY=1".to_owned()));
}
