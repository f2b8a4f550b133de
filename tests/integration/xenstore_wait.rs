//! The program with xenstore and the API, both simulated, the API over TLS.

use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{self, Ended, World, bare_agent, finish};
use simulated_api::{Operation, Script, Simulator, Step};
use simulated_xenstore::{Config as Store, Fault, Simulator as Xenstore, faults};

const STATUS: &str = "vm-data/user-metadata/rackconnect_automation_status";
const MANAGED: &str = "vm-data/user-metadata/rax_service_level_automation";
const ROLES: &str = "vm-data/provider_data/roles";
const PROVIDER: &str = "vm-data/provider_data/provider";

/// Long enough for any machine; only a failure takes so long.
const LONG: Duration = Duration::from_secs(100);

/// An interval longer than any test: a wait that ends sooner was not ended by polling.
const NEVER: &str = "1h";

fn store() -> Store {
    Store::default().with(PROVIDER, "Rackspace").with(ROLES, r#"["rack_connect", "rax_managed"]"#)
}

fn broken() -> Step {
    Step::new("DEPLOYED").fault("reset")
}

/// DEPLOYING for so many requests of the status; those of the tasks do not count.
fn deploying(requests: u32) -> Step {
    Step { count: Some(Operation::AutomationStatus), ..Step::new("DEPLOYING").requests(requests) }
}

fn start(world: &World, store: &Xenstore, arguments: &[&str]) -> Child {
    let mut agent = world.agent(arguments);
    agent.env("XENSTORED_PATH", store.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    agent.spawn().expect("the agent starts")
}

fn run(world: &World, store: &Xenstore, arguments: &[&str]) -> Ended {
    finish(start(world, store, arguments))
}

#[track_caller]
fn ends(ended: &Ended, code: i32, stdout: &str) {
    ended.expect(code);
    assert_eq!(ended.text(), stdout, "{}", ended.stderr);
}

fn asked(api: &Simulator) -> usize {
    api.log()
        .iter()
        .filter(|request| request.operation() == Some(Operation::AutomationStatus))
        .count()
}

#[test]
fn a_change_ends_the_wait_without_a_poll() {
    for pty in [false, true] {
        let store =
            Xenstore::start(Store { pty, ..store().with(STATUS, "\"DEPLOYING\"") }).unwrap();
        let world = World::of([deploying(1), Step::new("DEPLOYED")]);
        let wait = start(&world, &store, &["wait", "-v", "--interval", NEVER]);
        assert!(world.api.wait_until(LONG, |api| asked(api) == 1));
        assert!(store.wait_until(LONG, |store| store.watches() == 1));
        store.set("vm-data/hostname", "unrelated");
        store.set(STATUS, "\"DEPLOYED\"");
        let ended = finish(wait);
        ends(&ended, 0, "DEPLOYED\n");
        assert_eq!(world.api.log().len(), 2, "two questions, and none for the tasks");
    }
}

/// Followers are woken by xenstore as well, and need a response from after the change.
#[test]
fn a_change_ends_all_waits_of_the_server() {
    let store = Xenstore::start(store().with(STATUS, "\"DEPLOYING\"")).unwrap();
    let world = World::of([Step::new("DEPLOYING")]);
    let waits: Vec<Child> =
        (0..3).map(|_| start(&world, &store, &["wait", "--interval", NEVER])).collect();
    assert!(store.wait_until(LONG, |store| store.watches() == 3));
    assert!(world.api.wait_until(LONG, |api| asked(api) >= 1));
    // Until all are followers.
    thread::sleep(Duration::from_secs(1));
    let before = asked(&world.api);
    world.api.set_script(std::net::Ipv4Addr::LOCALHOST.into(), Script::of([Step::new("DEPLOYED")]));
    store.set(STATUS, "\"DEPLOYED\"");
    for wait in waits {
        ends(&finish(wait), 0, "DEPLOYED\n");
    }
    assert!(before <= 3 && asked(&world.api) - before <= 3, "{before}, {}", asked(&world.api));
}

#[test]
fn a_stale_deployed_is_not_believed_and_the_wait_ends_at_the_last() {
    let store = Xenstore::start(store().with(STATUS, "\"DEPLOYED\"")).unwrap();
    let world = World::of([broken().requests(3), deploying(1), Step::new("DEPLOYED")]);
    let wait = start(&world, &store, &["wait", "--interval", "3s"]);
    assert!(world.api.wait_until(LONG, |api| asked(api) == 4));
    // The automation continues, and the metadata change.
    store.set(STATUS, "\"DEPLOYING\"");
    let ended = finish(wait);
    ends(&ended, 0, "DEPLOYED\n");
    assert!(!ended.stderr.contains("believed"), "{}", ended.stderr);
    assert!(asked(&world.api) >= 5);
}

#[test]
fn a_change_that_the_wait_saw_is_believed_if_the_api_fails_and_the_message_says_so() {
    for (word, code) in [("DEPLOYED", 0), ("FAILED", 4), ("UNPROCESSABLE", 5)] {
        let store = Xenstore::start(store().with(STATUS, "\"DEPLOYING\"")).unwrap();
        let world = World::of([broken()]);
        let wait = start(&world, &store, &["wait", "--interval", "3s"]);
        assert!(world.api.wait_until(LONG, |api| asked(api) >= 1));
        store.set(STATUS, &format!("\"{word}\""));
        let ended = finish(wait);
        ends(&ended, code, &format!("{word}\n"));
        ended.says("xenstore is believed");
        assert!(asked(&world.api) >= 3, "two questions after the change, and one before it");
    }
}

#[test]
fn with_every_fault_the_wait_goes_on_by_polling() {
    thread::scope(|scope| {
        for (pty, fault) in
            [false, true].into_iter().flat_map(|pty| faults().map(move |fault| (pty, fault)))
        {
            scope.spawn(move || {
                // A value from before disagrees with the API, so the watch does not slow the
                // polling down.
                let config = Store { pty, ..store().with(STATUS, "\"DEPLOYED\"") };
                let config = if fault == Fault::Vanish { config } else { config.fault(fault) };
                let store = Xenstore::start(config).unwrap();
                let world = World::of([deploying(2), Step::new("DEPLOYED")]);
                let wait = start(&world, &store, &["wait", "--interval", "3s"]);
                assert!(world.api.wait_until(LONG, |api| asked(api) >= 1));
                if fault == Fault::Vanish {
                    store.fault(fault);
                }
                let ended = finish(wait);
                ends(&ended, 0, "DEPLOYED\n");
            });
        }
    });
}

/// With a watch the next request is an hour later; without it that would be too late.
#[test]
fn without_its_store_a_wait_goes_on_by_polling() {
    let store = Xenstore::start(store().with(STATUS, "\"DEPLOYING\"")).unwrap();
    let world = World::of([deploying(1), Step::new("DEPLOYED")]);
    let wait = start(&world, &store, &["wait", "--interval", "3s"]);
    assert!(world.api.wait_until(LONG, |api| asked(api) == 1));
    store.fault(Fault::Vanish);
    let ended = finish(wait);
    ends(&ended, 0, "DEPLOYED\n");
    ended.says("going on without it");
}

#[test]
fn other_servers_end_the_wait_at_once() {
    for (path, value) in [(PROVIDER, "Amazon"), (ROLES, r#"["rackconnect:v3-DFW"]"#)] {
        let store = Xenstore::start(store().with(path, value)).unwrap();
        let world = World::of([Step::new("DEPLOYED")]);
        let refused = run(&world, &store, &["wait"]);
        ends(&refused, 5, "NOT-RACKCONNECT\n");
        let allowed = run(
            &world,
            &store,
            &["wait", "--ok-if", "not-rackconnect", "--", "sh", "-c", "echo $RACKCONNECT_STATUS"],
        );
        ends(&allowed, 0, "NOT-RACKCONNECT\n");
        assert!(world.api.log().is_empty());
    }
}

#[test]
#[ignore = "it takes a minute: tests/system/xenstore-timing.sh"]
fn a_server_without_the_role_ends_after_a_minute_of_silence() {
    let store = Xenstore::start(store().with(ROLES, r#"["compute:default"]"#)).unwrap();
    let world = World::of([Step::default()]);
    let ended = run(&world, &store, &["wait"]);
    ends(&ended, 5, "NOT-RACKCONNECT\n");
    assert_eq!(world.api.log().len(), 3, "twice a minute");
}

#[test]
fn managed_operations_are_waited_for_after_rackconnect() {
    let metadata = |managed| store().with(STATUS, "\"DEPLOYED\"").with(MANAGED, managed);
    for (word, code) in
        [("\"Complete\"", 0), ("\"Build Error\"", 4), ("\"Authentication Error\"", 4)]
    {
        let store = Xenstore::start(metadata("\"Pending\"")).unwrap();
        let world = World::of([Step::new("DEPLOYED")]);
        let wait = start(&world, &store, &["wait", "--for", "managed", "--interval", NEVER]);
        assert!(world.api.wait_until(LONG, |api| asked(api) == 1));
        store.set(MANAGED, "\"In Progress\"");
        store.set(MANAGED, word);
        let ended = finish(wait);
        ends(&ended, code, "DEPLOYED\n");
    }
    // It was complete before the wait.
    let store = Xenstore::start(metadata("\"Complete\"")).unwrap();
    let world = World::of([Step::new("DEPLOYED")]);
    ends(&run(&world, &store, &["wait", "--for", "managed"]), 0, "DEPLOYED\n");
}

/// Regression: an hour without a message, and then the deadline, was all that was shown.
#[test]
fn a_wait_for_managed_operations_says_that_xenstore_cannot_be_read() {
    let world = World::of([Step::new("DEPLOYED")]);
    let mut agent = world.agent(&["wait", "--for", "managed", "--timeout", "2s"]);
    agent.env("XENSTORED_PATH", "/no/such/xenstore").stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = finish(agent.spawn().expect("the agent starts"));
    ends(&ended, 124, "DEPLOYED\n");
    assert!(
        ended.stderr.contains("nothing from Managed Operations yet: xenstore cannot be read here"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_account_without_managed_operations_does_not_wait_forever() {
    let store = Xenstore::start(store().with(ROLES, r#"["rack_connect"]"#)).unwrap();
    let world = World::of([Step::new("DEPLOYED")]);
    let refused = run(&world, &store, &["wait", "--for", "managed"]);
    ends(&refused, 5, "DEPLOYED\n");
    let allowed = run(&world, &store, &["wait", "--for", "managed", "--ok-if", "not-managed"]);
    ends(&allowed, 0, "DEPLOYED\n");
}

#[test]
fn an_empty_store_is_looked_at_until_the_deadline() {
    let wait = |store: &Xenstore, timeout: &str| {
        let mut agent = bare_agent(&["wait", "--timeout", timeout]);
        agent.env("XENSTORED_PATH", store.path());
        support::ended(agent.output().expect("the agent starts"))
    };
    let store = Xenstore::start(Store::default()).unwrap();
    ends(&wait(&store, "2s"), 124, "");
    store.set(PROVIDER, "Amazon");
    ends(&wait(&store, "60s"), 5, "NOT-RACKCONNECT\n");
    // A xenstore that does not work (yet) is tried again.
    store.fault(Fault::Vanish);
    ends(&wait(&store, "2s"), 124, "");
}

/// Regression: the region was looked for only once, and the exit code was 2 at once.
#[test]
fn a_wait_did_not_find_its_region_in_a_slow_xenstore() {
    for fault in [Fault::Slow(1_900), Fault::Stall] {
        let store = Xenstore::start(store().fault(fault)).unwrap();
        let mut agent = bare_agent(&["wait", "--timeout", "3s"]);
        agent.env("XENSTORED_PATH", store.path());
        let ended = support::ended(agent.output().expect("the agent starts"));
        ends(&ended, 124, "");
        assert!(ended.stderr.contains("the region is not known yet"), "{}", ended.stderr);
    }
}

/// Two minutes of waiting, then a change: at most two requests a minute before it, and the end
/// within 100 ms after it.
#[test]
#[ignore = "it takes two minutes and measures time: tests/system/xenstore-timing.sh"]
fn two_questions_a_minute_and_then_the_end_within_100_ms() {
    let store = Xenstore::start(store().with(STATUS, "\"DEPLOYING\"")).unwrap();
    let world = World::of([Step::new("DEPLOYING")]);
    let wait = start(&world, &store, &["wait"]);
    thread::sleep(Duration::from_secs(125));
    let minute = Duration::from_secs(60);
    let most = world.api.max_in_any_window(std::net::Ipv4Addr::LOCALHOST.into(), minute);
    world.api.set_script(std::net::Ipv4Addr::LOCALHOST.into(), Script::of([Step::new("DEPLOYED")]));
    let changed = Instant::now();
    store.set(STATUS, "\"DEPLOYED\"");
    let ended = finish(wait);
    let took = changed.elapsed();
    ends(&ended, 0, "DEPLOYED\n");
    println!(
        "at most {most} questions in any minute, {} in all; from the change to the end {took:?}",
        asked(&world.api)
    );
    assert!(most <= 2, "{most}");
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[test]
#[ignore = "it measures time: tests/system/xenstore-timing.sh"]
fn from_a_change_to_the_end() {
    for pty in [false, true] {
        let mut took: Vec<Duration> = (0..25).map(|_| one_end(pty)).collect();
        took.sort();
        println!(
            "{}: median {:?}, longest {:?}",
            if pty { "pty" } else { "socket" },
            took[12],
            took[24]
        );
        assert!(took[24] < Duration::from_millis(100));
    }
}

fn one_end(pty: bool) -> Duration {
    let store = Xenstore::start(Store { pty, ..store().with(STATUS, "\"DEPLOYING\"") }).unwrap();
    let world = World::of([deploying(1), Step::new("DEPLOYED")]);
    let wait = start(&world, &store, &["wait", "--interval", NEVER]);
    assert!(world.api.wait_until(LONG, |api| asked(api) == 1));
    thread::sleep(Duration::from_millis(200));
    let changed = Instant::now();
    store.set(STATUS, "\"DEPLOYED\"");
    let ended = finish(wait);
    ends(&ended, 0, "DEPLOYED\n");
    changed.elapsed()
}

/// Regression: a wait of eight seconds ended after ten to twenty-two, without a request.
#[test]
fn a_slow_xenstore_does_not_keep_a_wait_from_asking() {
    thread::scope(|scope| {
        for fault in [Fault::Slow(1_900), Fault::Error("EAGAIN"), Fault::Stall] {
            scope.spawn(move || {
                let store = Xenstore::start(store().fault(fault)).unwrap();
                let world = World::of([Step::new("DEPLOYED")]);
                let ended = run(&world, &store, &["wait", "--timeout", "8s"]);
                ends(&ended, 0, "DEPLOYED\n");
            });
        }
    });
}

/// Regression: it failed with 7, because root's `status` looked the region up for status.json
/// before its request.
#[test]
fn a_status_with_an_endpoint_does_not_ask_xenstore() {
    let store = Xenstore::start(store().fault(Fault::Stall)).unwrap();
    let world = World::of([Step::new("DEPLOYED")]);
    let ended = run(&world, &store, &["status", "--deadline", "30s"]);
    ends(&ended, 0, "DEPLOYED\n");
    assert!(store.log().is_empty(), "{:?}", store.log());
}
