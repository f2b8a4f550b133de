//! `cloud api` with files: `--upload` and `--output`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use simulated_cloud::{FaultKind, Response};

use super::CloudWorld;
use crate::support::{Ended, PATIENCE, finish_within, full_pipe, until};

const OBJECT: &str = "/backups/large";

/// Longer than any buffer, and without repeated parts.
fn large() -> Vec<u8> {
    (0..600_000_u32).flat_map(u32::to_be_bytes).collect()
}

fn world() -> CloudWorld {
    let world = CloudWorld::of("an account");
    fs::write(world.home.path().join("large"), large()).unwrap();
    fs::write(world.home.path().join("old"), "old").unwrap();
    world
}

/// Runs `cloud api` in the home directory.
fn api(world: &CloudWorld, arguments: &str) -> Ended {
    let line = format!("cloud api {arguments} --region dfw");
    let mut command = world.agent(line.as_str());
    crate::support::ended(command.current_dir(world.home.path()).output().unwrap())
}

/// The files in the home directory, without the cache.
fn files(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != ".cache");
    names.sort();
    names
}

#[test]
fn a_file_is_the_same_after_upload_and_download() {
    let world = world();
    let sent = api(&world, &format!("files {OBJECT} --upload large --include"));
    assert!(sent.expect(0).text().starts_with("HTTP/1.1 201 Created\n"), "{}", sent.text());
    let request = world.cloud.state().last.clone().unwrap();
    assert_eq!(request.header("content-length"), Some("2400000"));
    assert_eq!(request.header("content-type"), Some("application/octet-stream"));
    for target in ["new", "old"] {
        let got = api(&world, &format!("files {OBJECT} --output {target}"));
        assert_eq!((got.expect(0).text(), got.stderr.as_str()), ("", ""));
        assert!(fs::read(world.home.path().join(target)).unwrap() == large());
    }
    assert!(api(&world, &format!("files {OBJECT} --output -")).expect(0).stdout == large());
    assert!(api(&world, &format!("files {OBJECT}")).expect(0).stdout == large());
    api(&world, &format!("files {OBJECT} --output /dev/null")).expect(0);
    assert_eq!(files(world.home.path()), ["large", "new", "old"]);
    fs::write(world.home.path().join("empty"), "").unwrap();
    api(&world, "files /backups/empty --upload empty").expect(0);
    assert_eq!(api(&world, "files /backups/empty --output old").expect(0).text(), "");
    assert_eq!(fs::read(world.home.path().join("old")).unwrap(), b"");
}

#[test]
fn a_failed_download_leaves_only_the_old_file() {
    let object = || Response::bytes(200, "application/octet-stream", &large());
    for (kind, code) in [
        (FaultKind::Cut(object(), 1_000_000), 7),
        (FaultKind::Cut(object(), 0), 7),
        (FaultKind::Pieces(object(), 1_000_000, PATIENCE), 7),
        (FaultKind::Slow(PATIENCE), 7),
        (FaultKind::Answer(Response::html(404, "Not Found")), 3),
        (FaultKind::Answer(Response::html(503, "Service Unavailable")), 7),
    ] {
        // Each case in its own world, because an abandoned request may still arrive later.
        let world = world();
        world.cloud.fault(OBJECT, 2, kind.clone());
        let got = api(&world, &format!("files {OBJECT} --output old --request-timeout 2s"));
        got.expect(code);
        assert_eq!(got.stderr.lines().count(), 1, "{}", got.stderr);
        // The body of an error response is printed.
        let is_refusal = matches!(kind, FaultKind::Answer(_));
        assert_eq!(got.text().starts_with("<html>"), is_refusal, "{}", got.text());
        assert_eq!(fs::read(world.home.path().join("old")).unwrap(), b"old");
        assert_eq!(files(world.home.path()), ["large", "old"]);
    }
    let world = world();
    api(&world, &format!("files {OBJECT} --output none/file")).expect(2).says("No such file");
    api(&world, &format!("files {OBJECT} --output .")).expect(2).says("it is a directory");
    let full = api(&world, "files /backups/db.sql --output /dev/full");
    full.expect(1).says("cannot write to /dev/full: No space left on device");
}

/// The request timeout limits each wait for data, not the whole transfer.
#[test]
fn a_transfer_may_take_longer_than_the_request_timeout() {
    let world = world();
    let object = Response::bytes(200, "application/octet-stream", &[7; 50]);
    let slow = FaultKind::Pieces(object, 10, Duration::from_secs(1));
    world.cloud.fault(OBJECT, 1, slow.clone());
    api(&world, &format!("files {OBJECT} --output old --request-timeout 3s")).expect(0);
    assert_eq!(fs::read(world.home.path().join("old")).unwrap(), [7; 50]);
    // A given deadline applies.
    world.cloud.fault(OBJECT, 1, slow.clone());
    let late = api(&world, &format!("files {OBJECT} --output old --deadline 2s"));
    late.expect(7).says("no response from");
    world.cloud.fault(OBJECT, 2, slow);
    api(&world, &format!("files {OBJECT} --request-timeout 3s --deadline 4s")).expect(7);
}

#[test]
fn a_signal_leaves_only_the_old_file() {
    let world = world();
    let object = Response::bytes(200, "application/octet-stream", &large());
    world.cloud.fault(OBJECT, 1, FaultKind::Pieces(object, 1_000_000, PATIENCE));
    let line = format!("cloud api files {OBJECT} --region dfw --output old");
    let mut command = world.agent(line.as_str());
    let mut child = command.current_dir(world.home.path()).stderr(Stdio::null()).spawn().unwrap();
    until("a part of the file is there", || {
        let parts = files(world.home.path()).into_iter().filter(|name| name.ends_with(".part"));
        parts.into_iter().any(|name| {
            world.home.path().join(name).metadata().is_ok_and(|metadata| metadata.len() > 0)
        })
    });
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    assert_eq!(files(world.home.path()), ["large", "old"]);
    assert_eq!(fs::read(world.home.path().join("old")).unwrap(), b"old");
}

/// The service refuses an upload before it is sent, and receives it completely after that.
#[test]
fn an_upload_restarts_after_401_and_429() {
    let world = world();
    let upload = format!("files {OBJECT} --upload large");
    api(&world, "files /backups --header Accept:text/plain").expect(0);
    world.cloud.state().revoke_all();
    api(&world, &upload).expect(0);
    assert_eq!(world.authentications(), 2);
    let limit = Response::html(429, "Too Many Requests").with("Retry-After", "1");
    world.cloud.fault(OBJECT, 1, FaultKind::Answer(limit));
    api(&world, &upload).expect(0);
    assert!(world.cloud.state().containers["DFW"]["backups"].objects["large"].content == large());
    assert_eq!(world.cloud.count("PUT"), 4);
}

/// In response to an upload, 413 without `Retry-After` means that the file is too large.
#[test]
fn an_upload_that_is_too_large_is_not_tried_again() {
    let world = world();
    let too_large = Response::html(413, "Request Entity Too Large");
    world.cloud.fault(OBJECT, 1, FaultKind::Answer(too_large));
    let refused = api(&world, &format!("files {OBJECT} --upload large"));
    refused.expect(6).says("HTTP 413");
    assert!(refused.text().contains("Request Entity Too Large"));
    assert_eq!(world.cloud.count("PUT"), 1);
    // Not a byte of it was sent.
    assert_eq!(world.cloud.state().last.as_ref().map(|request| request.body.is_none()), Some(true));
    // 5xx is not retried either, because the service may have stored the file.
    world.cloud.fault(OBJECT, 1, FaultKind::Answer(Response::html(503, "Service Unavailable")));
    api(&world, &format!("files {OBJECT} --upload large")).expect(7);
    assert_eq!(world.cloud.count("PUT"), 2);
}

/// A body that is read into memory is bounded; one that is streamed is not.
#[test]
fn a_body_of_more_than_32_mib_has_to_be_streamed() {
    let world = world();
    let object = Response::bytes(200, "application/octet-stream", &vec![7; (32 << 20) + 1]);
    world.cloud.fault(OBJECT, 3, FaultKind::Answer(object));
    let whole = api(&world, &format!("files {OBJECT}"));
    whole.expect(8).says("is longer than 32 MiB; cloud api --output takes any length");
    assert_eq!(whole.text(), "");
    assert_eq!(
        api(&world, &format!("files {OBJECT} --output -")).expect(0).stdout.len(),
        33_554_433
    );
    api(&world, &format!("files {OBJECT} --output old")).expect(0);
    assert_eq!(world.home.path().join("old").metadata().unwrap().len(), 33_554_433);
}

/// The body may contain control characters.
#[test]
fn nothing_is_streamed_onto_a_terminal() {
    let world = world();
    let odd = Response::bytes(200, "text/plain", b"a\x1b[31mb\n");
    world.cloud.fault(OBJECT, 1, FaultKind::Answer(odd));
    let line = format!("cloud api files {OBJECT} --region dfw --output -");
    assert_eq!(world.on_terminal(line.as_str()), "a\\u{1b}[31mb\n");
    let line = format!("cloud api files {OBJECT} --region dfw --output /dev/stdout");
    let shown = world.on_terminal(line.as_str());
    assert!(shown.contains("/dev/stdout cannot be written: it is a terminal"), "{shown}");
}

#[test]
fn a_terminal_shows_the_progress_of_a_download() {
    let world = world();
    let object = Response::bytes(200, "application/octet-stream", &[7; 2_000]);
    world.cloud.fault(OBJECT, 1, FaultKind::Pieces(object, 1_000, Duration::from_secs(1)));
    let target = world.home.path().join("new");
    let line = format!("cloud api files {OBJECT} --region dfw --output {}", target.display());
    let shown = world.on_terminal(line.as_str());
    let line = format!("downloading to {}: 1000 B of 2.0 KiB (50 %)", target.display());
    assert!(shown.contains(&line), "{shown:?}");
    // The live line is erased.
    assert!(shown.ends_with("\u{1b}[K") || shown.ends_with("\u{1b}[J"), "{shown:?}");
    assert_eq!(fs::read(target).unwrap(), [7; 2_000]);
}

/// Starts `cloud api` in the home directory, with an open pipe as standard input.
fn start(world: &CloudWorld, arguments: &str, stdout: impl Into<Stdio>) -> Child {
    let line = format!("cloud api {arguments} --region dfw");
    let mut command = world.agent(line.as_str());
    command.current_dir(world.home.path()).stdin(Stdio::piped()).stdout(stdout);
    command.stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of a child without closing its standard input before.
fn end_of(mut child: Child) -> Ended {
    let _stdin = child.stdin.take();
    finish_within(child, PATIENCE).unwrap()
}

fn make_fifo(world: &CloudWorld, name: &str) -> PathBuf {
    let path = world.home.path().join(name);
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

/// Regression: the deadline did not apply to pipes.
#[test]
fn a_pipe_is_waited_for_until_the_deadline() {
    let world = world();
    make_fifo(&world, "fifo");
    for name in ["@fifo", "@-", "@/dev/stdin"] {
        let arguments = format!("servers /servers --data {name} --deadline 1s");
        let late = end_of(start(&world, &arguments, Stdio::piped()));
        late.expect(1).says("cannot be read: the deadline passed");
    }
    assert!(world.cloud.state().log.is_empty());
    api(&world, &format!("files {OBJECT} --upload large")).expect(0);
    // Readers that do not read.
    let [one, other] = ["one", "other"].map(|name| {
        let path = make_fifo(&world, name);
        File::options().read(true).write(true).open(path).unwrap()
    });
    let get = |target: &str, stdout: Stdio| {
        start(&world, &format!("files {OBJECT} --output {target} --deadline 5s"), stdout)
    };
    let late = [
        ("fifo", get("fifo", Stdio::piped())),
        ("one", get("one", Stdio::piped())),
        ("standard output", get("-", other.try_clone().unwrap().into())),
    ];
    for (target, child) in late {
        let message = format!("cannot write to {target}: the deadline passed");
        end_of(child).expect(1).says(&message);
    }
    drop((one, other));
}

/// Regression: with `--paginate`, the deadline did not apply to standard output.
#[test]
fn pages_that_nobody_reads_are_waited_for_until_the_deadline() {
    let world = world();
    let (_reader, full) = full_pipe();
    let child = start(&world, "servers /servers/detail --paginate --deadline 1s", full);
    end_of(child).expect(1).says("cannot write to standard output: the deadline passed");
}

#[test]
fn pipes_are_read_and_written() {
    let world = world();
    let fifo = make_fifo(&world, "fifo");
    let server = "00000001-0000-4000-8000-000000000000";
    for name in ["@fifo", "@-", "@/dev/stdin"] {
        let arguments = format!("servers /servers/{server}/metadata --data {name}");
        let mut child = start(&world, &arguments, Stdio::piped());
        let mut pipe: Box<dyn Write> = match (name, child.stdin.take()) {
            // This waits for the reader.
            ("@fifo", _) => Box::new(File::options().write(true).open(&fifo).unwrap()),
            (_, stdin) => Box::new(stdin.unwrap()),
        };
        pipe.write_all(br#"{"metadata": {"role": "db"}}"#).unwrap();
        drop(pipe);
        let set = end_of(child);
        assert!(set.expect(0).text().contains(r#""role":"db""#), "{}", set.text());
    }
    api(&world, &format!("files {OBJECT} --upload large")).expect(0);
    let reader = thread::spawn(move || fs::read(fifo).unwrap());
    api(&world, &format!("files {OBJECT} --output fifo")).expect(0);
    assert!(reader.join().unwrap() == large());
}
