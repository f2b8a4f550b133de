//! The xenstore client against the simulated xenstore, on a socket and on a pseudo-terminal,
//! without and with every fault.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use rackconnect_agent::clock::BootInstant;
use rackconnect_agent::xenstore::{Connection, XenstoreError};
use simulated_xenstore::{Config, Fault, Simulator, faults};

const REGION: &str = "vm-data/provider_data/region";
const STATUS: &str = "vm-data/user-metadata/rackconnect_automation_status";

/// Long enough for any machine; only a failure takes so long.
const LONG: Duration = Duration::from_secs(60);

fn config(pty: bool) -> Config {
    Config { pty, ..Config::default().with(REGION, "DFW").with(STATUS, "\"DEPLOYING\"") }
}

fn refused(path: &str, errno: &str) -> XenstoreError {
    XenstoreError::Refused { path: path.to_owned(), errno: errno.to_owned() }
}

fn both() -> impl Iterator<Item = (Simulator, Connection)> {
    [false, true].into_iter().map(|pty| {
        let store = Simulator::start(config(pty)).unwrap();
        let connection = Connection::open_at(store.path()).unwrap();
        (store, connection)
    })
}

/// Waits for a value, however often the watch fires.
fn becomes(connection: &mut Connection, path: &str, value: Option<&str>) {
    let until = BootInstant::now() + LONG;
    loop {
        // A new deadline, because the machine may be busy.
        connection.set_deadline(None);
        if connection.read(path).unwrap().as_deref() == value {
            return;
        }
        assert!(connection.wait_for_event(until).unwrap(), "the watch never fired for {path}");
    }
}

#[test]
fn reads_and_lists() {
    for (_store, mut connection) in both() {
        assert_eq!(connection.read(REGION).unwrap().as_deref(), Some("DFW"));
        assert_eq!(connection.read("vm-data/nothing").unwrap(), None);
        assert_eq!(
            connection.directory("vm-data").unwrap().unwrap(),
            ["provider_data", "user-metadata"]
        );
        assert_eq!(connection.directory(REGION).unwrap().unwrap(), Vec::<String>::new());
        assert_eq!(connection.directory("vm-data/nothing").unwrap(), None);
        assert!(
            matches!(connection.read("vm-data//"), Err(XenstoreError::Refused { errno, .. }) if errno == "EINVAL")
        );
        assert!(
            matches!(connection.read(&"x".repeat(5000)), Err(XenstoreError::Refused { errno, .. }) if errno == "E2BIG")
        );
        assert_eq!(
            connection.read(REGION).unwrap().as_deref(),
            Some("DFW"),
            "a refusal ends nothing"
        );
    }
}

#[test]
fn it_only_reads_and_watches() {
    for (store, mut connection) in both() {
        connection.read(REGION).unwrap();
        connection.directory("vm-data").unwrap();
        connection.watch("vm-data", "t").unwrap();
        connection.unwatch("vm-data", "t").unwrap();
        let kinds: Vec<u32> = store.log().iter().map(|request| request.kind).collect();
        assert_eq!(kinds, [2, 1, 4, 5]);
    }
}

#[test]
fn a_watch_fires_at_once_and_then_for_every_change() {
    for (store, mut connection) in both() {
        connection.watch("vm-data", "t").unwrap();
        assert!(connection.wait_for_event(BootInstant::now() + LONG).unwrap());
        assert!(
            !connection.wait_for_event(BootInstant::now() + Duration::from_millis(20)).unwrap()
        );
        store.set(STATUS, "\"DEPLOYED\"");
        becomes(&mut connection, STATUS, Some("\"DEPLOYED\""));
        store.remove("vm-data/user-metadata");
        becomes(&mut connection, STATUS, None);
        connection.unwatch("vm-data", "t").unwrap();
        assert_eq!(store.watches(), 0);
    }
}

#[test]
fn changes_between_requests_are_not_lost() {
    for (store, mut connection) in both() {
        connection.watch("vm-data", "t").unwrap();
        let changing = thread::spawn(move || {
            for n in 0..200 {
                store.set(STATUS, &n.to_string());
            }
            store
        });
        becomes(&mut connection, STATUS, Some("199"));
        changing.join().unwrap();
    }
}

/// A store with a fault, and the results of the first two requests to it.
struct Attempt {
    store: Simulator,
    connection: Connection,
    read: Result<Option<String>, XenstoreError>,
    watched: Result<(), XenstoreError>,
}

/// Tries again if the responses were late: a busy machine may need more than the two seconds that
/// the client allows.
fn attempt_in_time(fault: Fault, pty: bool) -> Attempt {
    let is_late = |err: &XenstoreError| err.to_string().contains("no answer within");
    let never_answers = matches!(fault, Fault::Stall | Fault::StallMidway | Fault::Error("EAGAIN"));
    let mut attempts = if never_answers { 1 } else { 10 };
    loop {
        let store = Simulator::start(config(pty).fault(fault)).unwrap();
        let mut connection = Connection::open_at(store.path()).unwrap();
        let read = connection.read(REGION);
        let watched = connection.watch("vm-data", "t");
        attempts -= 1;
        let was_late = read.as_ref().is_err_and(is_late) || watched.as_ref().is_err_and(is_late);
        if attempts == 0 || !was_late {
            return Attempt { store, connection, read, watched };
        }
    }
}

#[test]
fn every_fault_is_survived_or_named() {
    for pty in [false, true] {
        for fault in faults() {
            // Tested below, in another order.
            if matches!(fault, Fault::Vanish) {
                continue;
            }
            let Attempt { store, mut connection, read, watched } = attempt_in_time(fault, pty);
            match fault {
                Fault::Error("ENOENT") => assert_eq!(read, Ok(None)),
                Fault::Error("EAGAIN") => {
                    assert!(matches!(read, Err(XenstoreError::Broken(_))), "{read:?}");
                }
                Fault::Error(name) => {
                    assert_eq!(read, Err(refused(REGION, name)));
                    assert_eq!(watched, Err(refused("vm-data", name)));
                }
                Fault::WrongIds
                | Fault::WrongTypes
                | Fault::Stall
                | Fault::StallMidway
                | Fault::Oversized
                | Fault::Huge => {
                    assert!(
                        matches!(read, Err(XenstoreError::Broken(_))),
                        "{fault} (pty: {pty}): {read:?}"
                    );
                }
                // The payload cannot be told from other bytes, but what follows it can.
                Fault::EventInsideReply => {
                    assert!(matches!(watched, Err(XenstoreError::Broken(_))), "{watched:?}")
                }
                Fault::NoWatches => {
                    assert!(
                        matches!(watched, Err(XenstoreError::Refused { errno, .. }) if errno == "EACCES")
                    );
                    assert_eq!(connection.read(REGION).unwrap().as_deref(), Some("DFW"));
                }
                _ => {
                    assert_eq!(read.unwrap().as_deref(), Some("DFW"), "{fault} (pty: {pty})");
                    watched.unwrap();
                    store.set(STATUS, "\"DEPLOYED\"");
                    becomes(&mut connection, STATUS, Some("\"DEPLOYED\""));
                }
            }
        }
    }
}

#[test]
fn a_store_that_vanishes_is_noticed_while_it_is_watched() {
    for (store, mut connection) in both() {
        connection.watch("vm-data", "t").unwrap();
        assert!(connection.wait_for_event(BootInstant::now() + LONG).unwrap());
        store.fault(Fault::Vanish);
        let gone = connection.wait_for_event(BootInstant::now() + LONG);
        assert!(matches!(gone, Err(XenstoreError::Broken(_))), "{gone:?}");
    }
}

#[test]
fn absent_unreadable_and_broken_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("absent");
    assert_eq!(Connection::open_at(&place).err(), Some(XenstoreError::Absent));
    assert_eq!(Connection::open_at(&place.join("below")).err(), Some(XenstoreError::Absent));
    // A socket on which no process listens.
    let left = folder.path().join("left");
    let _bound = bound_socket(&left);
    assert!(matches!(Connection::open_at(&left), Err(XenstoreError::Broken(_))));
}

/// A request would be written into a regular file in place of the device.
#[test]
fn a_file_in_the_place_of_the_device_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(Connection::open_at(&file), Err(XenstoreError::Broken(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

/// A socket with an address, which does not listen yet.
fn bound_socket(path: &Path) -> OwnedFd {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

/// A blocking connect() to a socket with a full backlog waits forever.
#[test]
fn a_store_that_does_not_accept_connections_causes_no_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full");
    let full = bound_socket(&path);
    listen(&full, Backlog::new(0).unwrap()).unwrap();
    let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert!(matches!(Connection::open_at(&path), Err(XenstoreError::Broken(_))));
    drop(waiting);
}

/// Regression: each of four reads took up to two seconds, and retried EAGAIN.
#[test]
fn a_slow_xenstore_counts_as_broken_after_one_timeout_for_all_reads() {
    for fault in [Fault::Slow(900), Fault::Error("EAGAIN"), Fault::Stall] {
        let store = Simulator::start(config(false).fault(fault)).unwrap();
        let mut connection = Connection::open_at(store.path()).unwrap();
        let reads: Vec<_> = (0..4).map(|_| connection.read(REGION)).collect();
        assert!(matches!(reads[3], Err(XenstoreError::Broken(_))), "{fault}: {reads:?}");
        // At most three fit into the two seconds, however fast or slow this machine is.
        assert!(store.log().len() < 200, "{}", store.log().len());
    }
}

/// All reads together end by the deadline.
#[test]
fn all_reads_end_at_the_deadline_of_the_caller() {
    let store = Simulator::start(config(false).fault(Fault::Stall)).unwrap();
    let mut connection = Connection::open_at(store.path()).unwrap();
    connection.set_deadline(Some(BootInstant::default()));
    let Err(XenstoreError::Broken(reason)) = connection.read(REGION) else { panic!() };
    assert!(reason.ends_with("no answer within 0s"), "{reason}");
}
