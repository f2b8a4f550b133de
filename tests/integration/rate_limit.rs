//! The rate limit with real processes, checked by the requests that the simulated API counts.
//!
//! Tests that take minutes or several users are in tests/system/limit.sh.

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::geteuid;
use rackconnect_agent::clock::BootInstant;
use rackconnect_agent::coalesce::Demand;
use simulated_api::{Align, Config, Script, Step};

use crate::support::{
    Ended, Gate, PATIENCE, Running, World, binary, ended, until, with_environment_of,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A world with an API that has its usual limit, and a state directory that does not exist yet.
fn world(config: Config) -> World {
    World::with(Config { align: Align::Start, ..config }).with_new_state_dir()
}

fn world_of(steps: impl IntoIterator<Item = Step>) -> World {
    world(Config { script: Script::of(steps), ..Config::default() })
}

/// Checks of a run.
trait Answered {
    /// Checks that the status was printed.
    fn is_answered(&self) -> &Self;
    /// The same, with exactly one message that the rate limit is not shared.
    fn is_alone(&self) -> &Self;
}

impl Answered for Ended {
    #[track_caller]
    fn is_answered(&self) -> &Ended {
        assert_eq!((self.code, self.text().trim()), (Some(0), "DEPLOYED"), "{self:?}");
        self
    }

    #[track_caller]
    fn is_alone(&self) -> &Ended {
        assert_eq!(self.is_answered().stderr.matches("cannot be shared").count(), 1, "{self:?}");
        self
    }
}

fn deployed() -> World {
    world_of([Step::new("DEPLOYED").gateway("10.1.2.3")])
}

fn deploying() -> World {
    world_of([Step::new("DEPLOYING")])
}

/// The number of sockets with that abstract name: the listening one and its connections.
fn sockets_named(name: &str) -> usize {
    let sockets = fs::read_to_string("/proc/net/unix").expect("the sockets");
    sockets.lines().filter(|line| line.ends_with(&format!("@{name}"))).count()
}

/// Waits until these share their requests: one is the leader, and the others are connected to it.
#[track_caller]
fn all_share(waits: &[Running]) {
    until("all share", || waits.iter().any(|wait| wait.sockets().len() == waits.len()));
}

#[test]
fn thirty_requests_of_all_processes_and_then_no_more() {
    let world = deployed();
    for asked in 0..30 {
        let line = ["status", "gateway", "details --format json", "features"][asked % 4];
        assert_eq!(world.run(line).code, Some(0), "{line}");
    }
    let more = world.run("status --deadline 15s");
    assert_eq!(more.code, Some(6), "{more:?}");
    assert!(more.stderr.contains("the rate limit of this server is used up"), "{more:?}");
    assert_eq!(world.count(), 30);
}

#[test]
fn a_wait_leaves_the_reserve_to_a_person() {
    let world = deployed();
    for _ in 0..24 {
        world.run("status").is_answered();
    }
    assert_eq!(world.run("wait --timeout 1s").code, Some(124));
    assert_eq!(world.count(), 24);
    world.run("status").is_answered();
}

#[test]
fn a_403_blocks_all_processes() {
    let world = world(Config {
        limit: 3,
        script: Script::of([Step::new("DEPLOYED")]),
        ..Config::default()
    });
    for _ in 0..3 {
        world.run("status").is_answered();
    }
    let refused = world.run("status --deadline 30s");
    assert_eq!(refused.code, Some(6), "{refused:?}");
    assert!(refused.stderr.contains("something else on this server"), "{refused:?}");
    assert_eq!(world.count(), 4);
    // Another process with another request sends nothing, and says why.
    let other = world.run("features --deadline 30s");
    assert_eq!(other.code, Some(6), "{other:?}");
    assert!(other.stderr.contains("(HTTP 403): something else on this server"), "{other:?}");
    assert_eq!(world.run("wait --timeout 1s").code, Some(124));
    assert_eq!(world.count(), 4);
}

#[test]
fn one_response_for_all_processes_that_asked_before_it() {
    let world = deployed();
    let gate = Gate::closed(world.api.addresses()[0]);
    let command =
        format!("status --endpoint https://{} --request-timeout 60s --deadline 5m", gate.address());
    let all: Vec<Running> = (0..20).map(|_| world.start(command.as_str())).collect();
    // Followers are accepted just before the request is sent; until then they are only connected.
    let has_all_others =
        |one: &Running| one.sockets().first().is_some_and(|name| sockets_named(name) == all.len());
    until("all are connected to one", || all.iter().any(has_all_others));
    gate.open();
    for one in all {
        one.end().is_answered();
    }
    assert_eq!(world.count(), 1);
}

/// A process that asks after the request was sent gets a response of its own.
#[test]
fn no_answer_to_a_later_question() {
    let world = world_of([Step::new("DEPLOYING").fault("slow").requests(1), Step::new("DEPLOYED")]);
    let early = world.start("status");
    world.wait_for_requests(1);
    world.run("status").is_answered();
    assert_eq!(early.end().text().trim(), "DEPLOYING");
    assert_eq!(world.count(), 2);
}

#[test]
fn other_questions_have_other_answers() {
    let world = world_of([Step::new("DEPLOYED").gateway("10.1.2.3").fault("slow")]);
    let status = world.start("status");
    let gateway = world.start("gateway show");
    assert_eq!(gateway.end().text().trim(), "10.1.2.3");
    status.end().is_answered();
}

#[test]
fn waits_share_and_receive_the_response_of_a_status_beside_them() {
    let world = deploying();
    let waits: Vec<Running> = (0..20).map(|_| world.start("wait --interval 1h")).collect();
    world.wait_for_requests(1);
    all_share(&waits);
    let asked = world.count();
    assert!(asked < 20, "{asked}");
    world.play([Step::new("DEPLOYED")]);
    world.run("status").is_answered();
    for wait in waits {
        wait.end().is_answered();
    }
    // One more, if one of them joined after the first request and had sent its own by then.
    assert!(world.count() <= asked + 2, "{asked}, then {}", world.count());
}

/// Regression: beside a wait with an interval of an hour, a later wait got no response for an hour,
/// or gave up without one.
#[test]
fn a_wait_that_joins_another_gets_its_first_response_soon() {
    let world = deploying();
    let first = world.start("wait --interval 1h --timeout 50s");
    // The status and the tasks.
    world.wait_for_requests(2);
    let joins = world.start("wait --interval 1h --timeout 50s --ok-if failed");
    world.wait_for_requests(3);
    world.play([Step::new("FAILED")]);
    let later = world.start("wait --interval 1h --timeout 50s");
    assert_eq!(later.end().code, Some(4));
    assert_eq!(joins.end().code, Some(0));
    assert_eq!(first.end().code, Some(4));
    assert!(world.count() <= 6, "{}", world.count());
}

/// Regression: it ended without a request, because the leader sends one an hour.
#[test]
fn a_short_wait_beside_another_asks() {
    let world = deploying();
    let _first = world.start("wait --interval 1h");
    world.wait_for_requests(2);
    let run = world.run("wait --timeout 6s");
    assert_eq!((run.code, run.text().trim()), (Some(124), "DEPLOYING"), "{run:?}");
}

#[test]
fn a_failed_automation_names_its_tasks_in_every_wait() {
    let world = deploying();
    let waits: Vec<Running> = (0..8).map(|_| world.start("wait --interval 3s")).collect();
    world.wait_for_requests(1);
    all_share(&waits);
    let failed = Step::new("FAILED").task("Update access", "FAILED");
    world.play([failed]);
    for wait in waits {
        let run = wait.end();
        assert_eq!(run.code, Some(4), "{run:?}");
        assert!(run.stderr.contains("Update access"), "{run:?}");
    }
    assert!(world.count() < 12, "{}", world.count());
}

#[test]
fn waits_for_the_gateway_share_too() {
    let world = deploying();
    let waits: Vec<Running> =
        (0..8).map(|_| world.start("wait --for gateway --interval 3s")).collect();
    world.wait_for_requests(2);
    world.play([Step::new("DEPLOYED").gateway("10.1.2.3")]);
    for wait in waits {
        assert_eq!(wait.end().text().trim(), "10.1.2.3");
    }
    assert!(world.count() < 20, "{}", world.count());
}

#[test]
fn when_the_leader_is_killed_a_follower_takes_over() {
    let world = deploying();
    let mut waits: Vec<Running> = (0..6).map(|_| world.start("wait --interval 3s")).collect();
    world.wait_for_requests(1);
    for round in 0..5 {
        // One of them is the leader.
        waits.remove(0);
        let asked = world.count();
        world.wait_for_requests(asked + 1);
        assert!(round > 4 || world.count() < 20);
    }
    world.play([Step::new("DEPLOYED")]);
    waits.remove(0).end().is_answered();
    assert!(world.most_in_a_minute() <= 30);
}

#[test]
fn when_the_leader_is_stopped_a_follower_takes_over() {
    let world = deploying();
    let mut leader = world.start("wait --interval 3s");
    world.wait_for_requests(1);
    let follower = world.start("wait --interval 3s --request-timeout 2s");
    // Its own socket and the follower's connection.
    until("the follower is connected", || leader.sockets().len() == 2);
    leader.signal(Signal::SIGSTOP);
    world.play([Step::new("DEPLOYED")]);
    follower.end().is_answered();
    // A new process sees that the leader is stopped.
    world.run("status --request-timeout 30s --deadline 60s").is_answered();
    assert!(leader.is_running());
    leader.signal(Signal::SIGCONT);
    leader.end().is_answered();
}

/// Any user of the server can connect again and again.
#[test]
fn endless_connections_do_not_delay_a_request() {
    let world = deploying();
    let mut wait = world.start("wait --interval 3s --timeout 16s");
    world.wait_for_requests(1);
    let name = wait.sockets().pop().unwrap();
    let (name, over) = (UnixAddr::new_abstract(name.as_bytes()).unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
                    let stream =
                        socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
                    let _ = connect(stream.as_raw_fd(), &name);
                    // Thousands a second are enough, and leave the processor to other tests.
                    thread::sleep(Duration::from_micros(200));
                }
            });
        }
        let start = Instant::now();
        while wait.is_running() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::Relaxed);
        assert!(start.elapsed() < PATIENCE, "it never ends");
    });
    let asked = world.count();
    let run = wait.end();
    assert_eq!(run.code, Some(124), "{run:?}");
    // One of them is for the tasks. Without the request in time there would be three.
    assert!(asked >= 4, "{asked}");
}

/// Any user of the server can ask for a response at once again and again.
#[test]
fn repeated_connections_without_a_permit_keep_no_process_busy() {
    let world = world(Config {
        limit: 1,
        script: Script::of([Step::new("DEPLOYING")]),
        ..Config::default()
    });
    world.run("status");
    let wait = world.start("wait --timeout 5m");
    world.wait_for_requests(2);
    let name = loop {
        if let Some(name) = wait.sockets().pop() {
            break name;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let name = UnixAddr::new_abstract(name.as_bytes()).unwrap();
    let (start, mut answers) = (Instant::now(), 0_u64);
    let mut answer = [0; 100];
    while start.elapsed() < Duration::from_secs(4) {
        let stream =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(stream.as_raw_fd(), &name).unwrap();
        let mut stream = File::from(stream);
        stream.write_all(&Demand { interval: None, reserved: 6, is_new: true }.encode()).unwrap();
        answers += u64::from(stream.read(&mut answer).unwrap() > 0);
    }
    let most = 2 * start.elapsed().as_secs() + 4;
    assert!((1..=most).contains(&answers), "{answers} > {most}");
    assert_eq!(world.count(), 2);
}

#[test]
fn killed_and_started_at_random() {
    let world = deploying();
    let lines = [
        "status",
        "wait --interval 3s",
        "details",
        "wait --for gateway --interval 3s",
        "gateway",
        "features",
    ];
    let mut running: Vec<Running> = (0..36).map(|i| world.start(lines[i % lines.len()])).collect();
    let mut random = 12_345_usize;
    for _ in 0..1_000 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let one = (random >> 33) % running.len();
        // Dropping a process kills it.
        running[one] = world.start(lines[(random >> 40) % lines.len()]);
        thread::sleep(Duration::from_millis((random >> 50) as u64 % 20));
    }
    // A process that is killed between its permit and its request wastes the permit; on a busy
    // machine that can be most permits of a minute. The last processes get permits of the next
    // minute.
    let start = Instant::now();
    while world.count() <= 10 {
        assert!(start.elapsed() < 5 * MINUTE, "{}", world.count());
        thread::sleep(Duration::from_millis(50));
    }
    drop(running);
    assert!(world.most_in_a_minute() <= 30);
}

/// Contents of a damaged budget.
fn damages() -> Vec<(&'static str, Vec<u8>)> {
    let zero = vec![0; 288];
    vec![
        ("empty", vec![]),
        ("truncated", b"RCbudget\x01\x02".to_vec()),
        ("all zeros", zero.clone()),
        ("too long", vec![b'x'; 100_000]),
        ("text", b"[budget]\nfree = 30\n".to_vec()),
        ("of a wrong checksum", [b"RCbudget".to_vec(), zero[8..].to_vec()].concat()),
    ]
}

#[test]
fn corrupt_windows_are_replaced_with_caution() {
    for (name, bytes) in damages() {
        let world = deployed();
        world.run("status").is_answered();
        fs::write(world.budget(), bytes).unwrap();
        // The requests of the last minute are not known, so the limit counts as used up for a
        // minute.
        let run = world.run("status --deadline 20s");
        assert_eq!(run.code, Some(6), "{name}: {run:?}");
        assert!(run.stderr.contains("was corrupt"), "{name}: {run:?}");
        assert_eq!(fs::metadata(world.budget()).unwrap().len(), 288, "{name}");
        let again = world.run("status --deadline 20s");
        assert_eq!(
            (again.code, again.stderr.contains("was corrupt")),
            (Some(6), false),
            "{name}: {again:?}"
        );
        assert_eq!(world.count(), 1, "{name}");
    }
}

/// A changed record with the right checksum.
fn resealed(mut record: Vec<u8>, change: impl Fn(&mut [u8])) -> Vec<u8> {
    change(&mut record);
    let sum = record[..280].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    record[280..].copy_from_slice(&sum.to_le_bytes());
    record
}

#[test]
fn windows_from_the_future_from_another_boot_and_of_another_byte_order() {
    let world = deployed();
    world.run("status").is_answered();
    let good = fs::read(world.budget()).unwrap();
    let far = u64::MAX.to_le_bytes();
    let future = resealed(good.clone(), |record| record[40..48].copy_from_slice(&far));
    let held = resealed(good.clone(), |record| record[24..32].copy_from_slice(&far));
    let mut foreign = good.clone();
    foreign[24..].chunks_exact_mut(8).for_each(|number| number.reverse());
    for (name, bytes) in [("future", future), ("held", held), ("foreign", foreign)] {
        fs::write(world.budget(), bytes).unwrap();
        let run = world.run("status --deadline 20s");
        assert_eq!(run.code, Some(6), "{name}: {run:?}");
        assert!(run.stderr.contains("was corrupt"), "{name}: {run:?}");
    }
    // A budget from before a reboot is ignored.
    let full = resealed(good, |record| {
        record[8] ^= 1;
        record[40..280].fill(0x11);
    });
    fs::write(world.budget(), full).unwrap();
    assert_eq!(world.run("status").is_answered().stderr, "");
}

#[test]
fn anything_but_a_regular_file_is_not_changed() {
    let world = deployed();
    fs::create_dir(&world.state_dir).unwrap();
    let precious = world.folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, world.budget()).unwrap();
    world.run("status").is_alone();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_file(world.budget()).unwrap();
    fs::hard_link(&precious, world.budget()).unwrap();
    world.run("status").is_alone();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    fs::remove_file(world.budget()).unwrap();
    fs::create_dir(world.budget()).unwrap();
    world.run("status").is_alone();
    fs::remove_dir(world.budget()).unwrap();
    assert!(Command::new("mkfifo").arg(world.budget()).status().unwrap().success());
    world.run("status").is_alone();
}

#[test]
fn unusable_state_directories() {
    let world = deployed();
    let state = world.state_dir.clone();
    fs::write(&state, "a file").unwrap();
    world.run("status").is_alone();
    fs::remove_file(&state).unwrap();
    symlink(world.folder.path(), &state).unwrap();
    world.run("status").is_alone();
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    world.run("status").is_alone();
    let mut absent = world.agent("status");
    absent.env("RACKCONNECT_STATE_DIR", world.folder.path().join("no/such/folder"));
    ended(absent.output().unwrap()).is_alone();
    assert_eq!(world.run("status --state-dir=").code, Some(2));
}

/// Regression: every ten seconds it said that the limit was used up, and then that it was not.
#[test]
fn a_process_local_wait_logs_no_spreading() {
    let world = deploying();
    fs::write(&world.state_dir, "a file").unwrap();
    let run = world.run("wait --interval 3s --timeout 5s");
    assert_eq!(run.code, Some(124), "{run:?}");
    assert!(!run.stderr.contains("used up"), "{run:?}");
}

#[test]
fn a_file_that_cannot_be_written() {
    let world = deployed();
    let limited = |limit: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -f {limit} && exec \"$0\" \"$@\"")]);
        shell.arg(binary()).arg("status").env_clear();
        let agent = world.agent("");
        shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        ended(shell.output().unwrap())
    };
    // As on a full disk: the file cannot be created, or not be changed.
    limited("0").is_alone();
    assert!(!world.budget().exists());
    world.run("status").is_answered();
    limited("0").is_alone();
    assert_eq!(world.run("status").is_answered().stderr, "", "what was there is still good");
    if !geteuid().is_root() {
        fs::set_permissions(world.budget(), Permissions::from_mode(0o444)).unwrap();
        world.run("status").is_alone();
    }
}

/// Takes the lock of the budget.
fn holder(world: &World) -> Flock<File> {
    Flock::lock(File::open(world.budget()).unwrap(), FlockArg::LockExclusive).unwrap()
}

/// Regression: a process that could not get the lock within a second sent its request without
/// counting it. Dozens of them, delayed by a busy disk, exceeded the limit.
#[test]
fn a_lock_that_was_held_for_seconds_broke_the_limit() {
    let world = deployed();
    for _ in 0..30 {
        world.run("status").is_answered();
    }
    let lock = holder(&world);
    let run = world.run("status --deadline 4s");
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(run.stderr.contains("another process holds the lock of the rate limit"), "{run:?}");
    assert_eq!(world.run("wait --timeout 4s").code, Some(124));
    assert_eq!(world.count(), 30);
    drop(lock);
}

#[test]
fn a_lock_that_is_held_for_two_seconds_is_waited_for() {
    let world = deployed();
    world.run("status").is_answered();
    let lock = holder(&world);
    let mut waiting = world.start("status");
    assert!(waiting.says("holds the lock of the rate limit: trying again"));
    assert_eq!(world.count(), 1);
    drop(lock);
    let run = waiting.end();
    assert_eq!(run.is_answered().stderr, "", "it was said once");
}

/// Any user who can read the budget can hold its lock forever.
#[test]
fn a_lock_that_is_never_given_back_ends_the_sharing() {
    let world = deployed();
    world.run("status").is_answered();
    let lock = holder(&world);
    let start = Instant::now();
    assert!(world.run("status --deadline 60s").is_alone().stderr.contains("locked"));
    // So a loop of such commands sends six a minute at most as well.
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
    // So many processes that they share one attempt.
    let many: Vec<Running> = (0..8).map(|_| world.start("details --deadline 60s")).collect();
    world.run("wait --timeout 60s").is_alone();
    for one in many {
        assert_eq!(one.end().code, Some(0));
    }
    assert!(world.count() <= 6, "{}", world.count());
    drop(lock);
    assert_eq!(world.run("status").is_answered().stderr, "");
}

/// Regression: a leader without a permit told its followers so, and its next request was an hour
/// later.
#[test]
fn a_wait_without_a_permit_asks_as_soon_as_there_is_one() {
    let world = deployed();
    world.run("status").is_answered();
    let lock = holder(&world);
    let mut wait = world.start("wait --interval 1h --timeout 50s");
    assert!(wait.says("locked"));
    let joins = world.start("wait --interval 1h --timeout 50s");
    drop(lock);
    wait.end().is_answered();
    joins.end().is_answered();
}

/// Six permits are free for `status`, but not for the wait that sends its request.
#[test]
fn a_status_received_the_rate_limit_of_the_wait_beside_it() {
    let world = deploying();
    for _ in 0..24 {
        assert_eq!(world.run("status").code, Some(0));
    }
    let lock = holder(&world);
    let wait = world.start("wait --timeout 5m");
    until("it is a leader", || !wait.sockets().is_empty());
    // It joins while the wait looks for a permit.
    let status = world.start("status --deadline 30s");
    thread::sleep(Duration::from_millis(300));
    drop(lock);
    assert_eq!(status.end().code, Some(0));
}

/// Regression: a leader that was blocked for a minute sent nothing to its followers, and was
/// skipped forever.
#[test]
fn a_follower_that_joins_while_blocked_stays() {
    let world = world(Config {
        limit: 1,
        script: Script::of([Step::new("DEPLOYING")]),
        ..Config::default()
    });
    world.run("status");
    let _leader = world.start("wait --request-timeout 1s --timeout 5m");
    world.wait_for_requests(2);
    let run = world.run("wait -v --request-timeout 1s --timeout 12s");
    assert_eq!(run.code, Some(124), "{run:?}");
    assert!(run.stderr.contains("(HTTP 403)") && !run.stderr.contains("silent"), "{run:?}");
    assert_eq!(world.count(), 2);
}

/// Any user can open the directory, and hold a lock on it.
#[test]
fn a_lock_on_the_directory_kept_the_window_and_status_json_from_being_created() {
    let world = deployed();
    fs::create_dir(&world.state_dir).unwrap();
    let _lock =
        Flock::lock(File::open(&world.state_dir).unwrap(), FlockArg::LockExclusive).unwrap();
    assert_eq!(world.run("status").is_answered().stderr, "");
    assert!(world.budget().exists());
    assert_eq!(world.state_dir.join("status.json").exists(), geteuid().is_root());
}

/// Writes into the file until when no request may be sent, after so many 403s in a row.
fn block(world: &World, until: BootInstant, consecutive_403s: u32) {
    let blocked = resealed(fs::read(world.budget()).unwrap(), |record| {
        record[24..32].copy_from_slice(&(until.0.as_nanos() as u64).to_le_bytes());
        record[32..36].copy_from_slice(&consecutive_403s.to_le_bytes());
    });
    fs::write(world.budget(), blocked).unwrap();
}

/// tests/cases/api/limit-is-waited-for.toml waits for the whole minute.
#[test]
fn after_a_403_no_request_is_sent_for_a_minute_and_the_next_one_is_answered() {
    let forbidden = Step::new("DEPLOYED").fault("http-403").requests(1);
    let world = world_of([forbidden, Step::new("DEPLOYED")]);
    let start = BootInstant::now();
    assert_eq!(world.run("status --deadline 1s").code, Some(6));
    let record = fs::read(world.budget()).unwrap();
    let until = u64::from_le_bytes(record[24..32].try_into().unwrap());
    assert!(BootInstant(Duration::from_nanos(until)) >= start + MINUTE);
    // Two seconds remain of the minute.
    let until = BootInstant::now() + Duration::from_secs(2);
    block(&world, until, 1);
    world.run("status --deadline 60s").is_answered();
    assert!(BootInstant::now() >= until);
    assert_eq!(world.count(), 2);
}

/// States that take minutes to develop, written into the file.
#[test]
fn a_series_of_403s_names_the_usual_suspects() {
    let world = deployed();
    world.run("status").is_answered();
    block(&world, BootInstant::now() + Duration::from_secs(50), 3);
    let run = world.run("gateway --deadline 20s");
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(
        run.stderr.contains("(HTTP 403, 3 times in a row with a minute's pause between them)"),
        "{run:?}"
    );
    assert!(run.stderr.contains("rcrun"), "{run:?}");
    assert_eq!(world.count(), 1);
}

#[test]
fn a_window_deleted_while_in_use_is_created_again_with_the_known_permits() {
    let world = deploying();
    for _ in 0..20 {
        world.run("status");
    }
    let wait = world.start("wait --interval 3s");
    // The status, and the tasks.
    world.wait_for_requests(22);
    thread::sleep(Duration::from_millis(500));
    fs::remove_dir_all(&world.state_dir).unwrap();
    world.wait_for_requests(23);
    thread::sleep(Duration::from_millis(500));
    let mut more = 0;
    while world.run("status --deadline 1s").code == Some(0) {
        more += 1;
    }
    drop(wait);
    assert!(more < 10, "{more}");
    assert!(world.most_in_a_minute() <= 30);
}

#[test]
fn only_root_writes_status_json() {
    let world = world_of([Step::new("DEPLOYING").gateway("10.1.2.3")]);
    assert_eq!(world.run("status --region dfw").code, Some(0));
    assert_eq!(world.run("gateway").code, Some(0));
    let file = world.state_dir.join("status.json");
    if !geteuid().is_root() {
        assert!(!file.exists());
        return;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    for part in [
        r#""status":"DEPLOYING""#,
        r#""gateway":"10.1.2.3""#,
        r#""region":"dfw""#,
        r#""learned_at":"2"#,
        boot.trim(),
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let names = fs::read_dir(world.state_dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 3, "these two, the lock, and nothing else is left behind");
}

/// Runs a shell script as root in a mount namespace of its own; `$0` is the program.
fn script(world: &World, script: &str) -> Ended {
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-ec", script]).arg(binary());
    ended(with_environment_of(&world.agent(""), &mut shell).output().unwrap())
}

/// Regression: any user could fill /run through the file that all users can write.
#[test]
fn the_file_for_all_users_is_only_in_a_small_file_system() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: it needs root");
        return;
    }
    let world = deployed();
    fs::set_permissions(world.folder.path(), Permissions::from_mode(0o755)).unwrap();
    let run = script(
        &world,
        r#"
        bob="setpriv --reuid=2001 --regid=2001 --clear-groups"
        "$0" status
        $bob "$0" status --ca-file /dev/fd/3 3< "$RACKCONNECT_CA_FILE" 2>&1
        stat -c %a "$RACKCONNECT_STATE_DIR/budget"
        mkdir "$RACKCONNECT_STATE_DIR/shared"
        mount -t tmpfs -o mode=0755,size=64k,nr_inodes=16 tmpfs "$RACKCONNECT_STATE_DIR/shared"
        "$0" status
        $bob "$0" status
        cd "$RACKCONNECT_STATE_DIR/shared"
        stat -c %a budget
        $bob head -c 1M /dev/zero > budget 2>/dev/null || true
        test "$(du -k budget | cut -f1)" -le 64
        "#,
    );
    assert_eq!(run.code, Some(0), "{run:?}");
    let alone = "budget is for one user only, since no small file system is mounted";
    assert!(run.text().contains(alone), "{run:?}");
    let lines: Vec<&str> = run.text().lines().filter(|line| !line.contains(alone)).collect();
    assert_eq!(lines, ["DEPLOYED", "DEPLOYED", "600", "DEPLOYED", "DEPLOYED", "666"]);
    assert_eq!(run.stderr, "", "in the small file system all share");
}

/// Regression: thirty-one requests were sent in sixty seconds, because a record with another clock
/// was taken for corrupt.
#[test]
fn a_time_namespace_that_shares_the_state_directory_broke_the_limit() {
    if !geteuid().is_root() || fs::read_link("/proc/self/ns/time").is_err() {
        eprintln!("NOT RUN: it needs root and time namespaces");
        return;
    }
    let world = deployed();
    for offset in ["100000", "-20", "0"].into_iter().cycle().take(30) {
        let run = script(
            &world,
            &format!(r#"exec unshare --time --boottime={offset} --fork "$0" status"#),
        );
        assert_eq!((run.text(), run.stderr.as_str()), ("DEPLOYED\n", ""), "{offset}");
    }
    for command in [
        r#"exec unshare --time --boottime=7 --fork "$0" status --deadline 20s"#,
        r#"exec "$0" status --deadline 20s"#,
    ] {
        let run = script(&world, command);
        assert_eq!(run.code, Some(6), "{run:?}");
    }
    assert_eq!(world.count(), 30);
}

/// A file in the state directory itself that all users could write is made root's again.
#[test]
fn a_file_that_other_users_can_write_to_is_closed_to_them() {
    let world = deployed();
    world.run("status").is_answered();
    fs::set_permissions(world.budget(), Permissions::from_mode(0o666)).unwrap();
    assert_eq!(world.run("status").is_answered().stderr, "");
    assert_eq!(fs::metadata(world.budget()).unwrap().permissions().mode() & 0o777, 0o600);
}
