//! The campaign's part for the cloud commands: every command with faults of Identity and Cloud
//! Servers. Each must end with its exit code, in time.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use simulated_cloud::{FaultKind, Response};

use super::CloudWorld;
use super::world::granted;
use crate::support::{Ended, finish, sample};

/// The commands. `{time}`: see [`Time`].
const COMMANDS: [&str; 6] = [
    "cloud login --deadline {time}",
    "cloud token --deadline {time}",
    "cloud servers --format names --deadline {time}",
    "cloud status web1 --deadline {time}",
    "cloud facts web1 --deadline {time}",
    "cloud wait web1 --timeout {time}",
];

/// The number of faults that are tried side by side.
const ROWS_AT_ONCE: usize = 4;

/// Rows that found a fault of the program, or are like one that did.
const FOUND_A_FAULT: [&str; 3] = ["an invalid catalog", "an invalid server", "an invalid id"];

/// Their exit codes.
type Codes = [i32; COMMANDS.len()];

/// Their time limit, which is long for commands that get an answer, for slow machines.
#[derive(Clone, Copy)]
enum Time {
    /// Until an answer, which is there at once.
    ToAnAnswer,
    /// Until the deadline.
    Short,
}

/// The fault, and the exit codes of the commands.
type CloudFault = (&'static str, fn() -> FaultKind, Time, Codes);

const REFUSED: Codes = [2; 6];
const NOT_UNDERSTOOD: Codes = [8; 6];

/// Faults in the response to the request for a token.
const IDENTITY: &[CloudFault] = &[
    ("no answer", || FaultKind::Slow(Duration::from_secs(30)), Time::Short, [7, 7, 7, 7, 7, 124]),
    ("a connection that ends", || FaultKind::Close, Time::Short, [7, 7, 7, 7, 7, 124]),
    ("HTTP 500", || fault("identityFault", 500), Time::Short, [7, 7, 7, 7, 7, 124]),
    ("HTTP 503 in HTML", unavailable, Time::Short, [7, 7, 7, 7, 7, 124]),
    ("HTTP 413", || fault("overLimit", 413), Time::Short, [6, 6, 6, 6, 6, 124]),
    ("HTTP 429", || empty(429), Time::Short, [6, 6, 6, 6, 6, 124]),
    ("HTTP 401", || fault("unauthorized", 401), Time::ToAnAnswer, REFUSED),
    ("HTTP 403", || fault("forbidden", 403), Time::ToAnAnswer, REFUSED),
    ("HTTP 400", || fault("badRequest", 400), Time::ToAnAnswer, NOT_UNDERSTOOD),
    ("HTTP 302", || empty(302), Time::ToAnAnswer, NOT_UNDERSTOOD),
    ("an empty body", || empty(200), Time::ToAnAnswer, NOT_UNDERSTOOD),
    (
        "half a body",
        || untyped(200, r#"{"access": {"token": {"id": "t"#),
        Time::ToAnAnswer,
        NOT_UNDERSTOOD,
    ),
    ("an array", || untyped(200, "[]"), Time::ToAnAnswer, NOT_UNDERSTOOD),
    ("an empty object", || untyped(200, "{}"), Time::ToAnAnswer, NOT_UNDERSTOOD),
    ("null", || untyped(200, r#"{"access": null}"#), Time::ToAnAnswer, NOT_UNDERSTOOD),
    ("a number as token", || granted(7, LATE, json!([])), Time::ToAnAnswer, NOT_UNDERSTOOD),
    (
        "a token with a line break",
        || granted("a\nb", LATE, json!([])),
        Time::ToAnAnswer,
        NOT_UNDERSTOOD,
    ),
    ("an invalid date", || granted("t", "tomorrow", json!([])), Time::ToAnAnswer, NOT_UNDERSTOOD),
    ("an invalid catalog", || granted("t", LATE, json!(7)), Time::ToAnAnswer, NOT_UNDERSTOOD),
    ("an empty catalog", || granted("t", LATE, json!([])), Time::ToAnAnswer, [0, 0, 2, 2, 2, 2]),
    (
        "a catalog of untrusted endpoints",
        || granted("t", LATE, untrusted_endpoints()),
        Time::ToAnAnswer,
        [0, 0, 8, 8, 8, 8],
    ),
    (
        "nesting without end",
        || untyped(200, &"[".repeat(100_000)),
        Time::ToAnAnswer,
        NOT_UNDERSTOOD,
    ),
    (
        "a body without end",
        || untyped(200, &" ".repeat(33 << 20)),
        Time::ToAnAnswer,
        NOT_UNDERSTOOD,
    ),
    (
        "control characters",
        || fault_saying("unauthorized", 401, "\u{1b}[2J\u{202e}"),
        Time::ToAnAnswer,
        REFUSED,
    ),
];

/// Faults in the responses to requests for servers.
const SERVERS: &[CloudFault] = &[
    ("no answer", || FaultKind::Slow(Duration::from_secs(30)), Time::Short, [0, 0, 7, 7, 7, 124]),
    ("a connection that ends", || FaultKind::Close, Time::Short, [0, 0, 7, 7, 7, 124]),
    ("HTTP 500", || fault("computeFault", 500), Time::Short, [0, 0, 7, 7, 7, 124]),
    ("HTTP 503 in HTML", unavailable, Time::Short, [0, 0, 7, 7, 7, 124]),
    ("HTTP 413", || fault("overLimit", 413), Time::Short, [0, 0, 6, 6, 6, 124]),
    ("HTTP 429", || empty(429), Time::Short, [0, 0, 6, 6, 6, 124]),
    ("HTTP 401", || fault("unauthorized", 401), Time::ToAnAnswer, [0, 0, 2, 2, 2, 2]),
    ("HTTP 403", || fault("forbidden", 403), Time::ToAnAnswer, [0, 0, 2, 2, 2, 2]),
    ("HTTP 404", || fault("itemNotFound", 404), Time::ToAnAnswer, [0, 0, 3, 3, 3, 3]),
    ("HTTP 400", || fault("badRequest", 400), Time::ToAnAnswer, [0, 0, 8, 8, 8, 8]),
    ("HTTP 302", || empty(302), Time::ToAnAnswer, [0, 0, 8, 8, 8, 8]),
    ("an empty body", || empty(200), Time::ToAnAnswer, [0, 0, 8, 8, 8, 8]),
    (
        "half a body",
        || untyped(200, r#"{"servers": [{"id": "1"#),
        Time::ToAnAnswer,
        [0, 0, 8, 8, 8, 8],
    ),
    ("an array", || untyped(200, "[]"), Time::ToAnAnswer, [0, 0, 8, 8, 8, 8]),
    ("an empty object", || untyped(200, "{}"), Time::ToAnAnswer, [0, 0, 8, 8, 8, 8]),
    ("null", || untyped(200, r#"{"servers": null}"#), Time::ToAnAnswer, [0, 0, 8, 8, 8, 8]),
    (
        "an invalid server",
        || untyped(200, r#"{"servers": [7]}"#),
        Time::ToAnAnswer,
        [0, 0, 8, 8, 8, 8],
    ),
    (
        "an invalid id",
        || untyped(200, r#"{"servers": [{"id": "../../x", "name": "web1"}]}"#),
        Time::ToAnAnswer,
        [0, 0, 8, 8, 8, 8],
    ),
    (
        "nesting without end",
        || untyped(200, &"[".repeat(100_000)),
        Time::ToAnAnswer,
        [0, 0, 8, 8, 8, 8],
    ),
    (
        "a body without end",
        || untyped(200, &" ".repeat(33 << 20)),
        Time::ToAnAnswer,
        [0, 0, 8, 8, 8, 8],
    ),
    (
        "control characters",
        || fault_saying("forbidden", 403, "\u{1b}[2J\u{202e}"),
        Time::ToAnAnswer,
        [0, 0, 2, 2, 2, 2],
    ),
];

/// A date on which the tests are long over.
const LATE: &str = "2099-01-01T00:00:00Z";

/// Endpoints to which no token may be sent.
fn untrusted_endpoints() -> Value {
    json!([{"type": "compute", "name": "cloudServersOpenStack", "endpoints": [
        {"region": "DFW", "publicURL": "http://192.0.2.1/v2/110011"}]}])
}

fn unavailable() -> FaultKind {
    FaultKind::Answer(Response::html(503, "Service Unavailable"))
}

fn empty(status_code: u16) -> FaultKind {
    FaultKind::Answer(Response::empty(status_code))
}

fn untyped(status_code: u16, body: &str) -> FaultKind {
    FaultKind::Answer(Response::untyped(status_code, body))
}

fn fault(kind: &str, code: u16) -> FaultKind {
    fault_saying(kind, code, "a simulated fault")
}

fn fault_saying(kind: &str, code: u16, message: &str) -> FaultKind {
    FaultKind::Answer(Response::fault(kind, code, message))
}

#[test]
fn any_response_of_identity() {
    run("POST /v2.0/tokens", IDENTITY);
}

#[test]
fn any_response_of_cloud_servers() {
    run("GET /", SERVERS);
}

fn run(request: &str, faults: &[CloudFault]) {
    let is_run =
        |(index, row): &(usize, &CloudFault)| sample::has(*index) || FOUND_A_FAULT.contains(&row.0);
    let rows: Vec<_> = faults.iter().enumerate().filter(is_run).map(|(_, row)| row).collect();
    let next = AtomicUsize::new(0);
    let run_some = || {
        let next_row = || rows.get(next.fetch_add(1, Ordering::Relaxed)).copied();
        std::iter::from_fn(next_row).flat_map(|row| run_row(request, row)).collect::<Vec<_>>()
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..ROWS_AT_ONCE).map(|_| scope.spawn(run_some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("it does not panic")).collect()
    });
    let cases = rows.len() * COMMANDS.len();
    sample::summarize(
        &format!("campaign, {request}"),
        [rows.len(), faults.len()],
        cases,
        wrong.len(),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs all commands at once, since they mostly wait. Returns the failures.
fn run_row(request: &str, row: &CloudFault) -> Vec<String> {
    let (name, kind, time, codes) = row;
    let time = match time {
        Time::ToAnAnswer => "50s",
        Time::Short => "3s",
    };
    let world = CloudWorld::of("six servers");
    world.cloud.fault(request, u32::MAX, kind());
    let start = |(number, command): (usize, &&str)| {
        let mut agent = world.agent(&command.replace("{time}", time)[..]);
        // No token of another command.
        agent.env("XDG_CACHE_HOME", world.home.path().join(number.to_string()));
        agent.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    let children: Vec<Child> = COMMANDS.iter().enumerate().map(start).collect();
    let mut wrong = Vec::new();
    for ((command, code), child) in COMMANDS.iter().zip(codes).zip(children) {
        let ended = finish(child);
        if let Err(reason) = check(&ended, *code) {
            wrong.push(format!("{name}, {command}: {reason}: {ended:?}"));
        }
    }
    wrong
}

fn check(ended: &Ended, code: i32) -> Result<(), String> {
    match ended.code {
        _ if ended.stderr.contains("panicked") => Err("a panic".to_owned()),
        _ if ended.stderr.contains(['\u{1b}', '\u{202e}']) => Err("control characters".to_owned()),
        Some(found) if found == code => Ok(()),
        _ => Err(format!("the exit code is not {code}")),
    }
}
