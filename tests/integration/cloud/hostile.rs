//! Services and files that are hostile, or broken in ways that look like it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use simulated_cloud::{FaultKind, Response, Server};

use super::world::granted;
use super::{CloudWorld, PASSWORD};
use crate::support::ended;

/// The date of a response minus the overlap of two lists was before 1970: the thread of the list
/// panicked, and the wait never asked again.
#[test]
fn a_service_with_a_clock_at_the_epoch_stopped_the_wait() {
    let world = CloudWorld::of("six servers");
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    world.cloud.state().clock_behind = since_epoch - Duration::from_secs(5);
    let running = world.wait_for_web2();
    world.cloud.state().set_automation("web2", "DEPLOYED");
    assert!(!running.end().expect(0).stderr.contains("panicked"));
}

/// These are times that cannot be written in RFC 3339, which was a panic.
#[test]
fn an_expiry_outside_the_years_1970_to_9999_was_a_panic() {
    let world = CloudWorld::new();
    for expires in ["1970-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"] {
        world.cloud.fault("POST /v2.0/tokens", 1, granted("t", expires, json!([])));
        world.run("cloud login").expect(8).says("does not say when the token expires");
    }
}

#[test]
fn a_pause_without_end_ends_with_the_deadline() {
    let world = CloudWorld::of("six servers");
    let limit = Response::fault("overLimit", 413, "OverLimit Retry...")
        .with("Retry-After", &u64::MAX.to_string());
    world.cloud.fault("POST /v2.0/tokens", 1, FaultKind::Answer(limit.clone()));
    world.run("cloud login").expect(6).says("HTTP 413");
    world.cloud.fault("GET /dfw", 99, FaultKind::Answer(limit));
    world.run("cloud servers").expect(6).says("HTTP 413");
    world.run("cloud wait web1 --timeout 4s --interval 3s").expect(124);
}

/// A page whose next page is the same one was read until the memory was full.
#[test]
fn a_list_of_servers_that_goes_round_in_circles_had_no_end() {
    let world = CloudWorld::new();
    let page = |ids: &[&str]| {
        let servers: Vec<_> = ids.iter().map(|id| json!({"id": id, "name": "web1"})).collect();
        let links = json!([{"rel": "next", "href": "?marker=1"}]);
        FaultKind::Answer(Response::json(200, &json!({"servers": servers, "servers_links": links})))
    };
    world.cloud.fault("GET /dfw", u32::MAX, page(&["1", "2"]));
    world.run("cloud servers --region dfw").expect(8).says("is not a list of servers");
    assert_eq!(world.cloud.count("GET /dfw"), 2);
}

/// The pages lead to each other.
#[test]
fn pages_that_go_round_in_circles_had_no_end() {
    let world = CloudWorld::new();
    for marker in ["?marker=1", "?marker=2", "?marker=1"] {
        let page = json!({"servers": [], "next": marker});
        world.cloud.fault("/servers/detail", 1, FaultKind::Answer(Response::json(200, &page)));
    }
    let output = world.run("cloud api servers /servers/detail --region dfw --paginate");
    output.expect(8).says("has no end");
    assert_eq!(world.cloud.count("GET /dfw"), 3);
}

/// Control characters in what Identity and Cloud Servers name.
#[test]
fn a_region_reached_the_terminal_as_it_was() {
    const REGION: &str = "D\u{1b}[2J\u{202e}";
    let world = CloudWorld::new();
    let url = format!("{}/dfw/v2/110011", world.cloud.identity_url().replace("/v2.0", ""));
    let endpoint = json!({"region": REGION, "publicURL": url});
    let catalog = json!([
        {"name": "cloudServersOpenStack", "type": "compute", "endpoints": [endpoint]}]);
    let name = "w\u{1b}]0;x\u{7}\r\n\u{9b}2Jeb";
    let server = |number, status| {
        let mut server = Server::new("DFW", number, name, Some(status));
        server.status = "ACTIVE\u{1b}[0m".to_owned();
        server
    };
    world.cloud.state().servers = vec![server(1, "DEPLOYED"), server(2, "FAILED")];
    let ids: Vec<String> = world.cloud.state().servers.iter().map(|it| it.id.clone()).collect();
    let token = world.run("cloud token").text().trim().to_owned();
    world.run("cloud logout");
    world.cloud.state().tokens.values_mut().for_each(|token| token.is_revoked = false);
    for arguments in [
        "cloud login".to_owned(),
        "cloud catalog".to_owned(),
        "cloud catalog --format json".to_owned(),
        "cloud servers".to_owned(),
        "cloud servers --format names".to_owned(),
        "cloud servers --format json".to_owned(),
        "cloud servers --format ansible".to_owned(),
        "cloud servers --region x".to_owned(),
        format!("cloud status {} {}", ids[0], ids[1]),
        format!("cloud wait {} {}", ids[0], ids[1]),
        "cloud wait --all".to_owned(),
        "cloud api servers /servers".to_owned(),
        "cloud api dns /".to_owned(),
    ] {
        world.cloud.state().faults.clear();
        let access = granted(&*token, "2099-01-01T00:00:00Z", catalog.clone());
        world.cloud.fault("POST /v2.0/tokens", u32::MAX, access);
        let run = world.run(&*arguments);
        let is_control = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        for text in [run.text(), &run.stderr] {
            assert!(!text.contains(is_control), "{arguments}: {text:?}");
        }
        let shown = world.on_terminal(&*arguments);
        let shown = shown.replace("\u{1b}[K", "").replace("\u{1b}[A", "");
        assert!(!shown.contains(is_control), "{arguments}: {shown:?}");
    }
}

#[test]
fn a_credentials_file_of_another_system() {
    let world = CloudWorld::new();
    let text = format!("[default]\nusername = 'jsmith'\npassword = '{PASSWORD}'\n");
    for text in [text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
        world.write_credentials(&text, 0o600);
        ended(world.anonymous("cloud login").output().unwrap()).expect(0);
    }
}

/// A catalog that is longer than the cache takes.
#[test]
fn a_huge_catalog() {
    let world = CloudWorld::new();
    let service = |number: u32| {
        json!({"name": format!("service{number}"), "type": "x", "endpoints": [
            {"region": "DFW", "publicURL": format!("https://{number}.example/{}", "x".repeat(100))}]})
    };
    let catalog: Value = (0..20_000).map(service).collect();
    world.cloud.fault("POST /v2.0/tokens", 9, granted("t", "2099-01-01T00:00:00Z", catalog));
    let output = world.run("cloud catalog");
    assert_eq!(output.expect(0).text().lines().count(), 20_000);
    let output = world.run("cloud token");
    assert_eq!(output.expect(0).text(), "t\n");
    // Twice, since the cache does not take it.
    assert_eq!(world.authentications(), 2);
}

/// A thread that cannot be started was a panic, in the program and in ureq's name lookup.
#[test]
fn a_machine_on_which_no_thread_can_be_started() {
    let world = CloudWorld::of("six servers");
    let run = |command: &str| {
        let mut agent = world.agent(command);
        // No stack is as large as that.
        agent.env("RUST_MIN_STACK", "70368744177664");
        ended(agent.output().expect("the agent starts"))
    };
    run("cloud login").expect(7).says("a thread cannot be started");
    world.run("cloud login").expect(0);
    run("cloud servers").expect(1).says("a thread cannot be started");
    run("cloud wait --all --timeout 2s").expect(1).says("a thread cannot be started");
}
