//! The program itself with xenstore beside the API: both simulated, the API over TLS.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use simulated_api::{Config as Api, Operation, Script, Simulator, Step};
use simulated_xenstore::{Config as Store, Fault, Simulator as Xenstore, faults};

const STATUS: &str = "vm-data/user-metadata/rackconnect_automation_status";
const MANAGED: &str = "vm-data/user-metadata/rax_service_level_automation";
const ROLES: &str = "vm-data/provider_data/roles";
const PROVIDER: &str = "vm-data/provider_data/provider";

/// Long enough for any machine; reached by a failure alone.
const LONG: Duration = Duration::from_secs(100);

/// An interval that no test waits for: what ends sooner was not polled.
const NEVER: &str = "1h";

fn store() -> Store {
    Store::default().with(PROVIDER, "Rackspace").with(ROLES, r#"["rack_connect", "rax_managed"]"#)
}

fn api(steps: impl IntoIterator<Item = Step>) -> Simulator {
    Simulator::start(Api { script: Script::of(steps), ..Api::default() }).unwrap()
}

fn broken() -> Step {
    Step::new("DEPLOYED").fault("reset")
}

/// For so many questions about the status; the tasks do not count.
fn deploying(requests: u32) -> Step {
    Step { count: Some(Operation::AutomationStatus), ..Step::new("DEPLOYING").requests(requests) }
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn program(store: &Xenstore, api: &Simulator, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rackconnect"))
        .args(["--config", "/dev/null"])
        .args(arguments)
        .env("XENSTORED_PATH", store.path())
        .env("RACKCONNECT_ENDPOINT", api.endpoint())
        .env("RACKCONNECT_CA_FILE", api.ca_file())
        .env_remove("RACKCONNECT_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(mut program: Child) -> Ended {
    let mut err = program.stderr.take().unwrap();
    let err = thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let mut out = String::new();
    program.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let code = program.wait().unwrap().code();
    Ended { code, out, err: err.join().unwrap().unwrap() }
}

fn asked(api: &Simulator) -> usize {
    api.log().iter().filter(|request| request.operation() == Some(Operation::AutomationStatus)).count()
}

#[test]
fn a_change_ends_the_wait_without_a_poll() {
    for pty in [false, true] {
        let store = Xenstore::start(Store { pty, ..store().with(STATUS, "\"DEPLOYING\"") }).unwrap();
        let api = api([deploying(1), Step::new("DEPLOYED")]);
        let wait = program(&store, &api, &["wait", "-v", "--interval", NEVER]);
        assert!(api.wait_until(LONG, |api| asked(api) == 1));
        assert!(store.wait_until(LONG, |store| store.watches() == 1));
        store.set("vm-data/hostname", "unrelated");
        store.set(STATUS, "\"DEPLOYED\"");
        let ended = ended(wait);
        assert_eq!((ended.code, ended.out.as_str()), (Some(0), "DEPLOYED\n"), "{}", ended.err);
        assert_eq!(api.log().len(), 2, "two questions, and none for the tasks");
    }
}

#[test]
fn a_stale_deployed_is_not_believed_and_the_wait_ends_at_the_last() {
    let store = Xenstore::start(store().with(STATUS, "\"DEPLOYED\"")).unwrap();
    let api = api([broken().requests(3), deploying(1), Step::new("DEPLOYED")]);
    let wait = program(&store, &api, &["wait", "--interval", "3s"]);
    assert!(api.wait_until(LONG, |api| asked(api) == 4));
    // The automation goes on as metadata show it.
    store.set(STATUS, "\"DEPLOYING\"");
    let ended = ended(wait);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "DEPLOYED\n"), "{}", ended.err);
    assert!(!ended.err.contains("believed"), "{}", ended.err);
    assert!(asked(&api) >= 5);
}

#[test]
fn a_change_that_the_wait_saw_is_believed_where_the_api_fails_and_that_is_said() {
    for (word, code) in [("DEPLOYED", 0), ("FAILED", 4), ("UNPROCESSABLE", 5)] {
        let store = Xenstore::start(store().with(STATUS, "\"DEPLOYING\"")).unwrap();
        let api = api([broken()]);
        let wait = program(&store, &api, &["wait", "--interval", "3s"]);
        assert!(api.wait_until(LONG, |api| asked(api) >= 1));
        store.set(STATUS, &format!("\"{word}\""));
        let ended = ended(wait);
        assert_eq!((ended.code, ended.out), (Some(code), format!("{word}\n")), "{}", ended.err);
        assert!(ended.err.contains("xenstore is believed"), "{}", ended.err);
        assert!(asked(&api) >= 3, "two questions after the change, and one before it");
    }
}

#[test]
fn with_every_fault_the_wait_goes_on_by_polling() {
    thread::scope(|scope| {
        for (pty, fault) in [false, true].into_iter().flat_map(|pty| faults().map(move |fault| (pty, fault))) {
            scope.spawn(move || {
                // What is left over from before disagrees with the API: so no working watch slows the polling down.
                let config = Store { pty, ..store().with(STATUS, "\"DEPLOYED\"") };
                let config = if fault == Fault::Vanish { config } else { config.fault(fault) };
                let store = Xenstore::start(config).unwrap();
                let api = api([deploying(2), Step::new("DEPLOYED")]);
                let wait = program(&store, &api, &["wait", "--interval", "3s"]);
                assert!(api.wait_until(LONG, |api| asked(api) >= 1));
                if fault == Fault::Vanish {
                    store.fault(fault);
                }
                let ended = ended(wait);
                assert_eq!((ended.code, ended.out.as_str()), (Some(0), "DEPLOYED\n"), "{fault} {}", ended.err);
            });
        }
    });
}

/// With a watch the next question is an hour away: it must not stay there when the watch is lost.
#[test]
fn a_store_that_vanishes_in_mid_wait_leaves_the_polling() {
    let store = Xenstore::start(store().with(STATUS, "\"DEPLOYING\"")).unwrap();
    let api = api([deploying(1), Step::new("DEPLOYED")]);
    let wait = program(&store, &api, &["wait", "--interval", "3s"]);
    assert!(api.wait_until(LONG, |api| asked(api) == 1));
    store.fault(Fault::Vanish);
    let ended = ended(wait);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "DEPLOYED\n"), "{}", ended.err);
    assert!(ended.err.contains("going on without it"), "{}", ended.err);
}

#[test]
fn other_servers_end_the_wait_at_once() {
    for (path, value) in [(PROVIDER, "Amazon"), (ROLES, r#"["rackconnect:v3-DFW"]"#)] {
        let store = Xenstore::start(store().with(path, value)).unwrap();
        let api = api([Step::new("DEPLOYED")]);
        let refused = ended(program(&store, &api, &["wait"]));
        assert_eq!((refused.code, refused.out.as_str()), (Some(5), "NOT-RACKCONNECT\n"), "{}", refused.err);
        let allowed = ended(program(
            &store,
            &api,
            &["wait", "--ok-if", "not-rackconnect", "--", "sh", "-c", "echo $RACKCONNECT_STATUS"],
        ));
        assert_eq!((allowed.code, allowed.out.as_str()), (Some(0), "NOT-RACKCONNECT\n"), "{}", allowed.err);
        assert!(api.log().is_empty());
    }
}

/// A minute of silence: too long for every run. `cargo test --test xenstore_wait -- --ignored`
#[test]
#[ignore = "it takes a minute"]
fn a_server_without_the_role_ends_after_a_minute_of_silence() {
    let store = Xenstore::start(store().with(ROLES, r#"["compute:default"]"#)).unwrap();
    let api = api([Step::default()]);
    let ended = ended(program(&store, &api, &["wait"]));
    assert_eq!((ended.code, ended.out.as_str()), (Some(5), "NOT-RACKCONNECT\n"), "{}", ended.err);
    assert_eq!(api.log().len(), 3, "twice a minute");
}

#[test]
fn managed_operations_are_waited_for_after_rackconnect() {
    let metadata = |managed| store().with(STATUS, "\"DEPLOYED\"").with(MANAGED, managed);
    for (word, code) in [("\"Complete\"", 0), ("\"Build Error\"", 4), ("\"Authentication Error\"", 4)] {
        let store = Xenstore::start(metadata("\"Pending\"")).unwrap();
        let api = api([Step::new("DEPLOYED")]);
        let wait = program(&store, &api, &["wait", "--for", "managed", "--interval", NEVER]);
        assert!(api.wait_until(LONG, |api| asked(api) == 1));
        store.set(MANAGED, "\"In Progress\"");
        store.set(MANAGED, word);
        let ended = ended(wait);
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), "DEPLOYED\n"), "{word} {}", ended.err);
    }
    // Done long ago.
    let store = Xenstore::start(metadata("\"Complete\"")).unwrap();
    assert_eq!(ended(program(&store, &api([Step::new("DEPLOYED")]), &["wait", "--for", "managed"])).code, Some(0));
}

#[test]
fn an_account_without_managed_operations_does_not_wait_for_ever() {
    let store = Xenstore::start(store().with(ROLES, r#"["rack_connect"]"#)).unwrap();
    let api = api([Step::new("DEPLOYED")]);
    let refused = ended(program(&store, &api, &["wait", "--for", "managed"]));
    assert_eq!((refused.code, refused.out.as_str()), (Some(5), "DEPLOYED\n"), "{}", refused.err);
    let allowed = ended(program(&store, &api, &["wait", "--for", "managed", "--ok-if", "not-managed"]));
    assert_eq!((allowed.code, allowed.out.as_str()), (Some(0), "DEPLOYED\n"), "{}", allowed.err);
}

#[test]
fn an_empty_store_is_looked_at_until_the_deadline() {
    let wait = |store: &Xenstore| {
        let api = api([Step::new("DEPLOYED")]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_rackconnect"));
        command.args(["--config", "/dev/null", "wait", "--timeout", "2s"]).env("XENSTORED_PATH", store.path());
        command.env_remove("RACKCONNECT_ENDPOINT").env_remove("RACKCONNECT_REGION");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = ended(child);
        assert!(api.log().is_empty());
        ended
    };
    let store = Xenstore::start(Store::default()).unwrap();
    let empty = wait(&store);
    assert_eq!((empty.code, empty.out.as_str()), (Some(124), ""), "{}", empty.err);
    store.set(PROVIDER, "Amazon");
    let other = wait(&store);
    assert_eq!((other.code, other.out.as_str()), (Some(5), "NOT-RACKCONNECT\n"), "{}", other.err);
    store.fault(Fault::Vanish);
    let none = wait(&store);
    assert_eq!((none.code, none.out.as_str()), (Some(2), ""), "{}", none.err);
}
