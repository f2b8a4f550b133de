//! `doctor` with faults of the API, of xenstore and of the server's files. It must end in time,
//! find a failure where there is one, and change nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use simulated_xenstore::Fault as XenstoreFault;

use super::{Row, has_code};
use crate::broken_servers::{Scene, step};

/// Breaks something on a healthy server.
type Break = Box<dyn FnOnce(&Scene) + Send>;

/// The expected finding.
#[derive(Clone, Copy)]
enum Expected {
    /// No failure. The time limit is long, for slow machines.
    Nothing,
    /// A failure. The deadline is short, because something may never answer.
    AFailure,
    /// It depends on the file.
    Either,
}

/// Whether the endpoint is given, or only xenstore has the region.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Given,
    Unknown,
}

/// Faults of the API that are compatible with a healthy server, or that `doctor` may not find in
/// time.
const UNDECIDED_API_FAULTS: [&str; 3] = ["http-404", "json", "slow"];

/// Faults of xenstore in spite of which it can be read.
const HARMLESS_XENSTORE_FAULTS: [&str; 7] = [
    "none",
    "short-reads",
    "split-headers",
    "again",
    "no-watches",
    "event-before-reply",
    "old-kernel",
];

/// Faults of xenstore that matter if nothing else tells the region.
const XENSTORE_FAULTS: [&str; 9] = [
    "wrong-ids",
    "wrong-types",
    "error-EACCES",
    "error-EAGAIN",
    "stall",
    "stall-midway",
    "oversized",
    "huge",
    "vanish",
];

/// Files that `doctor` reads.
const FILES: [&str; 6] = [
    "etc/ssh/sshd_config",
    "etc/passwd",
    "etc/resolv.conf",
    "etc/fstab",
    "proc/uptime",
    "proc/mounts",
];

/// Replaces a file by something else.
type Replace = fn(&Path);

/// The replacements.
const CONTENTS: [(&str, Replace); 7] = [
    ("empty", |path| fs::write(path, "").expect("a file")),
    ("binary", |path| fs::write(path, [0, 0xff, b'\n', 0x80, 0x1b, b'[']).expect("a file")),
    ("one long line", |path| fs::write(path, "x".repeat(1 << 20)).expect("a file")),
    ("a FIFO", |path| mkfifo(path, Mode::S_IRWXU).expect("a FIFO")),
    ("a directory", |path| fs::create_dir(path).expect("a directory")),
    ("endless", |path| symlink("/dev/zero", path).expect("a link")),
    ("a link in a circle", |path| {
        symlink(path.file_name().expect("a name"), path).expect("a link");
    }),
];

pub fn trials() -> impl Iterator<Item = Trial> {
    let api = simulated_api::faults().map(|name| {
        let fault: simulated_api::Fault = name.parse().expect("a fault");
        let expected = match fault.is_harmless() {
            _ if UNDECIDED_API_FAULTS.contains(&name) => Expected::Either,
            true => Expected::Nothing,
            false => Expected::AFailure,
        };
        let break_server: Break = Box::new(move |scene| scene.play(step().fault(name)));
        row(format!("the API: {name}"), expected, Endpoint::Given, break_server)
    });
    let spoil = |name: &'static str| -> Break {
        let fault: XenstoreFault = name.parse().expect("a fault");
        Box::new(move |scene| scene.server.xenstore.fault(fault))
    };
    let xenstore = HARMLESS_XENSTORE_FAULTS.iter().chain(&XENSTORE_FAULTS).map(move |name| {
        row(format!("xenstore: {name}"), Expected::Nothing, Endpoint::Given, spoil(name))
    });
    let without_endpoint = XENSTORE_FAULTS.iter().map(move |name| {
        let case = format!("xenstore: {name}, without an endpoint");
        row(case, Expected::AFailure, Endpoint::Unknown, spoil(name))
    });
    let files = FILES.iter().flat_map(|file| {
        CONTENTS.iter().map(move |(content, replace)| {
            let break_server: Break = Box::new(move |scene| {
                scene.server.remove(file);
                replace(&scene.server.root().join(file));
            });
            row(format!("{file}: {content}"), Expected::Either, Endpoint::Given, break_server)
        })
    });
    api.chain(xenstore).chain(without_endpoint).chain(files)
}

fn row(name: String, expected: Expected, endpoint: Endpoint, break_server: Break) -> Trial {
    Trial::test(format!("campaign/doctor/{name}"), move || run(expected, endpoint, break_server))
}

fn run(expected: Expected, endpoint: Endpoint, break_server: Break) -> Result<(), Failed> {
    let scene = Scene::healthy();
    break_server(&scene);
    let (network, server) = (&scene.network, &scene.server);
    let deadline = match expected {
        Expected::Nothing => "50s",
        Expected::AFailure | Expected::Either => "5s",
    };
    let root = server.root().to_str().expect("UTF-8");
    let arguments = ["doctor", "--root", root, "--deadline", deadline];
    let mut agent = network.agent(&arguments);
    agent.env("XENSTORED_PATH", server.xenstore.path());
    if endpoint == Endpoint::Unknown {
        agent.env_remove("RACKCONNECT_ENDPOINT");
        server.write("sys/hypervisor/type", "xen\n");
    }
    let mut row = Row::default();
    row.case("doctor", network.start(agent), |ended| {
        if ended.stderr.bytes().chain(ended.stdout.iter().copied()).any(|byte| byte == 0x1b) {
            return Err("control characters".to_owned());
        }
        match expected {
            Expected::Nothing => has_code(ended, 0),
            Expected::AFailure => has_code(ended, 1),
            Expected::Either => has_code(ended, 0).or_else(|_| has_code(ended, 1)),
        }
    });
    row.end()
}
