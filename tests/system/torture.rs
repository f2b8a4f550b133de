//! Injects faults into system calls with strace, and checks the invariants that must always hold.
//!
//! Usage: `torture PROGRAM [--seed N] [--runs N]`. Each run selects a command by the seed, counts
//! its system calls, and makes one of them fail, take long, or kill the program. Afterwards it
//! checks:
//!
//! - the program ended in time, without a panic, with a documented exit code;
//! - no file in the state directory is incomplete;
//! - the API received no more requests than the rate limit allows;
//! - for the gateway commands: there is a default route, the old one or the new one.
//!
//! Without strace or namespaces it prints NOT RUN and fails, so that it does not count as a success.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use simulated_api::{Align, Config, Script, Simulator, Step};
use support::Random;
use tempfile::TempDir;

/// Longer than any deadline in [`COMMANDS`], even with strace on a busy machine.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);

/// The documented exit codes, without those of COMMAND and of signals.
const EXIT_CODES: [i32; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 124, 126];

/// The API's rate limit per minute.
const MAX_REQUESTS: usize = 30;

/// A command, and whether it changes routes.
struct Case {
    line: &'static str,
    changes_routes: bool,
}

const fn plain(line: &'static str) -> Case {
    Case { line, changes_routes: false }
}

const fn gateway(line: &'static str) -> Case {
    Case { line, changes_routes: true }
}

const COMMANDS: [Case; 14] = [
    plain("status --deadline 5s"),
    plain("details --deadline 5s"),
    plain("features --format xml --deadline 5s"),
    plain("gateway show --deadline 5s"),
    plain("wait --timeout 8s"),
    plain("wait --timeout 8s -- /bin/true"),
    plain("facts --deadline 5s"),
    plain("hooks HOOKS --stamp-dir STAMPS"),
    plain("region --region dfw"),
    plain("gateway check --deadline 5s"),
    gateway("gateway set --deadline 5s --confirm 0"),
    gateway("gateway set --deadline 5s --confirm 1s"),
    gateway("gateway rollback"),
    gateway("gateway confirm"),
];

/// A fault to inject; see strace(1), "Syscall Tampering".
#[derive(Clone, Copy, Debug)]
enum Fault {
    Error(&'static str),
    Delay,
    Kill,
}

const FAULTS: [Fault; 11] = [
    Fault::Error("EIO"),
    Fault::Error("ENOSPC"),
    Fault::Error("ENOMEM"),
    Fault::Error("EMFILE"),
    Fault::Error("EACCES"),
    Fault::Error("EINTR"),
    Fault::Error("EAGAIN"),
    Fault::Error("EINVAL"),
    Fault::Error("EPERM"),
    Fault::Delay,
    Fault::Kill,
];

/// Calls that are not tampered with: they start or end the program, or by definition never fail
/// (getrandom(2): up to 256 bytes always succeed; std panics otherwise).
const EXCLUDED: [&str; 16] = [
    "sigaltstack",
    "execve",
    "exit",
    "exit_group",
    "arch_prctl",
    "set_tid_address",
    "rt_sigreturn",
    "munmap",
    "restart_syscall",
    "sched_yield",
    "getpid",
    "gettid",
    "geteuid",
    "brk",
    "clock_gettime",
    "getrandom",
];

/// A server in a separate network namespace, with the simulated API on loopback.
struct World {
    api: Simulator,
    folder: TempDir,
    program: PathBuf,
}

impl World {
    fn new(program: &Path) -> World {
        let deployed = Step {
            status: Some("DEPLOYED".to_owned()),
            gateway: Some("10.182.127.198".to_owned()),
            ..Step::default()
        };
        let config = Config {
            script: Script::of([deployed]),
            align: Align::Start,
            minute: Duration::from_secs(3_600),
            ..Config::default()
        };
        let api = Simulator::start(config).expect("the simulated API starts");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let hooks = folder.path().join("hooks");
        fs::create_dir(&hooks).expect("a directory");
        fs::write(hooks.join("10-hook"), "#!/bin/sh\nexit 0\n").expect("a hook");
        set_mode(&hooks.join("10-hook"), 0o755);
        reset_routes();
        World { api, folder, program: program.to_owned() }
    }

    /// A command that runs a command line of the program under strace with these options.
    fn command(&self, options: &[String], line: &str) -> Command {
        let mut command = Command::new("strace");
        command.args(options).arg(&self.program);
        for word in line.split(' ') {
            match word {
                "HOOKS" => command.arg(self.folder.path().join("hooks")),
                "STAMPS" => command.arg(self.folder.path().join("stamps")),
                word => command.arg(word),
            };
        }
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("XENSTORED_PATH", "/nonexistent")
            .env("RACKCONNECT_CONFIG", "/dev/null")
            .env("RACKCONNECT_ENDPOINT", self.api.endpoint())
            .env("RACKCONNECT_CA_FILE", self.api.ca_file())
            .env("RACKCONNECT_STATE_DIR", self.state_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// Sets one default route, which is not that of RackConnect.
fn reset_routes() {
    ip("route flush table main");
    ip("route replace 10.182.0.0/17 dev servicenet scope link src 10.182.21.219");
    ip("route replace 198.51.100.0/24 dev public scope link src 198.51.100.7");
    ip("route replace default via 198.51.100.1 dev public");
}

fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split(' ')).output().expect("ip starts");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Enters a network namespace with the two interfaces of a RackConnect server. Nothing is connected
/// to them.
fn enter_namespace() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|err| format!("no network namespace: {err}"))?;
    ip("link set lo up");
    for (name, address) in [("public", "198.51.100.7/24"), ("servicenet", "10.182.21.219/17")] {
        ip(&format!("link add {name} type veth peer name {name}-peer"));
        ip(&format!("address add {address} dev {name}"));
        ip(&format!("link set {name} up"));
        ip(&format!("link set {name}-peer up"));
    }
    Ok(())
}

/// How a run ended.
struct Ended {
    status: ExitStatus,
    stderr: String,
    took: Duration,
}

/// Runs a command to its end. `None` if that takes longer than [`RUN_TIMEOUT`].
fn run(mut command: Command) -> Option<Ended> {
    let started = Instant::now();
    let mut child = command.spawn().expect("strace starts");
    let readers = (drain(child.stdout.take()), drain(child.stderr.take()));
    let status = loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break status,
            None if started.elapsed() > RUN_TIMEOUT => {
                kill_tree(&mut child);
                return None;
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let took = started.elapsed();
    let _ = readers.0.join();
    let stderr = readers.1.join().unwrap_or_default();
    Some(Ended { status, stderr, took })
}

fn drain(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn kill_tree(child: &mut Child) {
    let _ = Command::new("pkill").args(["-9", "-P", &child.id().to_string()]).status();
    let _ = child.kill();
    let _ = child.wait();
}

/// The system calls of a case by name, with their number.
fn count_calls(world: &World, case: &Case) -> BTreeMap<String, usize> {
    let log = world.folder.path().join("calls");
    let options = ["-f", "-qq", "-o", &log.display().to_string()].map(str::to_owned);
    run(world.command(&options, case.line)).expect("a run without a fault ends");
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(&log).unwrap_or_default().lines() {
        // Calls have the form "PID name(…"; resumed calls and signals have another one.
        let name = line.split_whitespace().nth(1).and_then(|word| word.split_once('('));
        if let Some((name, _)) = name
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !EXCLUDED.contains(&name)
        {
            *counts.entry(name.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

/// The violated invariants after a run.
fn violations(world: &World, case: &Case, fault: Fault, ended: Option<&Ended>) -> Vec<String> {
    let mut violations = Vec::new();
    match ended {
        None => violations.push(format!("it did not end within {} s", RUN_TIMEOUT.as_secs())),
        Some(ended) => violations.extend(bad_end(fault, ended)),
    }
    violations.extend(incomplete_files(&world.state_dir()));
    let requests = world.api.log().len();
    if requests > MAX_REQUESTS {
        violations.push(format!("the API received {requests} requests"));
    }
    if case.changes_routes {
        // The guard may still be restoring the routes.
        let until = Instant::now() + Duration::from_secs(20);
        while !ip("route show default").contains("default") {
            if Instant::now() > until {
                violations.push("there is no default route".to_owned());
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    violations
}

fn bad_end(fault: Fault, ended: &Ended) -> Option<String> {
    if ended.stderr.contains("panicked") {
        return Some(format!("it panicked: {}", ended.stderr.trim()));
    }
    match (ended.status.code(), ended.status.signal(), fault) {
        (Some(code), _, _) if EXIT_CODES.contains(&code) => None,
        // Without memory, Rust's allocator aborts the program. strace ends with the same code or
        // signal. All other invariants must still hold.
        (_, Some(6), _) if ended.stderr.contains("memory allocation of") => None,
        (Some(134), _, _) if ended.stderr.contains("memory allocation of") => None,
        (Some(137), _, Fault::Kill) | (_, Some(9), Fault::Kill) => None,
        (code, signal, _) => Some(format!(
            "it ended with exit code {code:?}, signal {signal:?} after {:?}: {}",
            ended.took,
            ended.stderr.trim()
        )),
    }
}

/// Files that are incomplete. Temporary files of a killed process do not have their name yet.
fn incomplete_files(directory: &Path) -> Vec<String> {
    let mut incomplete = Vec::new();
    for name in ["status.json", "gateway-undo.json"] {
        if let Ok(text) = fs::read(directory.join(name))
            && serde_json::from_slice::<serde_json::Value>(&text).is_err()
        {
            incomplete.push(format!("{name} is incomplete: {:?}", String::from_utf8_lossy(&text)));
        }
    }
    incomplete
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let program = PathBuf::from(arguments.get(1).expect("torture PROGRAM [--seed N] [--runs N]"));
    let (seed, runs) = (value("--seed").unwrap_or(1), value("--runs").unwrap_or(100));
    if Command::new("strace").arg("-V").output().is_err() {
        println!("NOT RUN: torture needs strace");
        return ExitCode::FAILURE;
    }
    if let Err(err) = enter_namespace() {
        println!("NOT RUN: torture needs root: {err}");
        return ExitCode::FAILURE;
    }
    let mut random = Random::new(seed);
    let mut counts: Vec<Option<BTreeMap<String, usize>>> = COMMANDS.iter().map(|_| None).collect();
    let mut failed = 0;
    for number in 0..runs {
        let which = random.below(COMMANDS.len());
        let case = &COMMANDS[which];
        let calls = counts[which].get_or_insert_with(|| count_calls(&World::new(&program), case));
        let (name, times) = calls.iter().nth(random.below(calls.len())).expect("it makes calls");
        let nth = random.below(*times) + 1;
        // The C library and the Rust runtime make the first of these calls, before main: memory for
        // thread-local variables, and for the stack on which a signal for a full stack is handled.
        let before_main = match name.as_str() {
            "mmap" => 2,
            "poll" | "rt_sigaction" | "mprotect" => 1,
            _ => 0,
        };
        let nth = nth.max(before_main + 1);
        let fault = FAULTS[random.below(FAULTS.len())];
        let world = World::new(&program);
        if case.line.starts_with("gateway rollback") || case.line.starts_with("gateway confirm") {
            let set = "gateway set --deadline 5s --confirm 0";
            let _ = run(world.command(&["-qq".to_owned(), "-o/dev/null".to_owned()], set));
        }
        let ended = run(world.command(&injection(name, nth, fault), case.line));
        let violations = violations(&world, case, fault, ended.as_ref());
        if !violations.is_empty() {
            failed += 1;
            println!(
                "run {number} of seed {seed}: {}: {name} #{nth}, {fault:?}: {}",
                case.line,
                violations.join("; ")
            );
        }
    }
    println!("torture: {} passed, {failed} failed (seed {seed})", runs - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// strace's options for one fault. It follows threads and children, and counts the calls of each.
fn injection(name: &str, nth: usize, fault: Fault) -> Vec<String> {
    let tampering = match fault {
        Fault::Error(errno) => format!("error={errno}"),
        Fault::Delay => "delay_enter=300000".to_owned(),
        Fault::Kill => "signal=KILL".to_owned(),
    };
    let inject = format!("inject={name}:{tampering}:when={nth}");
    ["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject]
        .map(str::to_owned)
        .to_vec()
}
