//! `cloud wait`.

use std::time::Duration;

use simulated_cloud::{FaultKind, Response, Server};

use super::world::six_servers;
use super::{CloudWorld, KEY};
use crate::support::{PATIENCE, until};

#[test]
fn one_server_until_it_is_deployed_then_a_command_without_the_credentials() {
    let world = CloudWorld::of("six servers");
    let command = ["cloud", "wait", "web2", "--interval", "3s", "--", "env"];
    let running = world.start(&command);
    assert!(world.cloud.wait_for("GET /dfw", 2, PATIENCE));
    world.cloud.state().set_automation("web2", "DEPLOYED");
    let end = running.end();
    end.expect(0).says("web2 (DFW): DEPLOYING").says("web2 (DFW): DEPLOYED after ");
    assert!(end.text().contains("RACKCONNECT_STATUS=DEPLOYED\n"), "{}", end.text());
    assert!(end.text().contains("RACKCONNECT_REGION=dfw\n"), "{}", end.text());
    assert!(!end.text().contains(KEY), "{}", end.text());
}

#[test]
fn every_end_of_one_server() {
    let world = CloudWorld::of("six servers");
    assert_eq!(world.run("cloud wait web1").expect(0).text(), "DEPLOYED\n");
    assert_eq!(world.run("cloud wait db1").expect(4).text(), "FAILED\n");
    assert_eq!(world.run("cloud wait db1 --ok-if failed").expect(0).text(), "FAILED\n");
    world.run("cloud wait db2 --region syd").expect(5);
    world.run("cloud wait db2").expect(2).says("use an id");
    let hint = "COMMAND goes after \"--\"";
    let missing = world.run("cloud wait web3");
    assert!(!missing.expect(3).stderr.contains(hint), "{}", missing.stderr);
    world.run("cloud wait web1 echo hi").expect(3).says("there is no server \"echo\"").says(hint);
    world.run("cloud wait --all echo hi").expect(2).says(hint);
    world.run("cloud wait").expect(2).says("give one of");
    world.run("cloud wait web1 --for gateway").expect(2);
    world.run("cloud wait web1 -- /nonexistent/program").expect(127);
    let late = world.run("cloud wait plain --timeout 2s");
    late.expect(124).says("perhaps the account has no RackConnect");
    let through = world.run("cloud wait db1 --through-failed --timeout 1s");
    assert_eq!(through.expect(124).text(), "FAILED\n");
}

#[test]
fn a_server_that_is_deleted_or_in_error_ends_its_wait() {
    let world = CloudWorld::of("six servers");
    let deleted = world.wait_for_web2();
    world.cloud.state().set_status("web2", "DELETED");
    deleted.end().expect(5).says("web2 (DFW): the server was deleted");
    let building = world.start("cloud wait plain --interval 3s");
    assert!(world.cloud.wait_for("GET /syd", 2, PATIENCE));
    world.cloud.state().server("plain").fault = Some("No valid host was found".to_owned());
    world.cloud.state().set_status("plain", "ERROR");
    let output = building.end();
    output.expect(4).says("plain (SYD): the server is in ERROR").says("No valid host was found");
}

/// During a rebuild the metadata is left over from before.
#[test]
fn a_rebuild_restarts_the_wait_for_a_server() {
    let world = CloudWorld::of("six servers");
    let running = world.wait_for_web2();
    {
        let mut state = world.cloud.state();
        state.set_status("web2", "REBUILD");
        state.set_automation("web2", "DEPLOYED");
    }
    let before = world.cloud.count("GET /dfw");
    assert!(world.cloud.wait_for("GET /dfw", before + 2, PATIENCE));
    {
        let mut state = world.cloud.state();
        state.set_automation("web2", "DEPLOYING");
        state.set_status("web2", "ACTIVE");
    }
    let before = world.cloud.count("GET /dfw");
    assert!(world.cloud.wait_for("GET /dfw", before + 2, PATIENCE));
    world.cloud.state().set_automation("web2", "DEPLOYED");
    running.end().expect(0).says("the server is in REBUILD").says("web2 (DFW): DEPLOYED after ");
}

#[test]
fn a_token_that_expires_meanwhile_is_replaced() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().token_lifetime = Duration::from_secs(1);
    let running = world.start("cloud wait web2 --interval 3s");
    until("a second token", || world.cloud.state().tokens.len() > 1);
    world.cloud.state().set_automation("web2", "DEPLOYED");
    let end = running.end();
    end.expect(0);
    assert!(!end.stderr.contains("401"), "{}", end.stderr);
}

#[test]
fn credentials_that_are_not_accepted_any_more_end_the_wait() {
    let world = CloudWorld::of("six servers");
    let running = world.wait_for_web2();
    {
        let mut state = world.cloud.state();
        state.users[0].api_key = "another-key".to_owned();
        state.revoke_all();
    }
    let end = running.end();
    end.expect(2).says("does not accept the credentials: Unable to authenticate user");
    assert!(end.stdout.is_empty() && !end.stderr.contains(KEY), "{end:?}");
}

/// Regression: all regions were waited for together, so one that did not answer delayed the others.
#[test]
fn a_region_that_hangs_delays_no_other() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().set_automation("db1", "DEPLOYING");
    let running = world.start("cloud wait web2 db1 --any --interval 3s");
    assert!(world.cloud.wait_for("GET /ord", 2, PATIENCE));
    world.cloud.fault("GET /ord", 1, FaultKind::Slow(10 * PATIENCE));
    assert!(world.cloud.wait_for("GET /ord", 3, PATIENCE));
    let before = world.cloud.count("GET /dfw");
    assert!(world.cloud.wait_for("GET /dfw", before + 2, PATIENCE));
    world.cloud.state().set_automation("web2", "DEPLOYED");
    running.end().expect(0).says("web2 (DFW): DEPLOYED after ");
}

/// `changes-since` uses the service's clock, not this machine's.
#[test]
fn a_clock_that_is_a_day_wrong_misses_no_change() {
    const DAY: Duration = Duration::from_secs(86_400);
    for (ahead, behind) in [(DAY, Duration::ZERO), (Duration::ZERO, DAY)] {
        let world = CloudWorld::new();
        {
            let mut state = world.cloud.state();
            (state.clock_ahead, state.clock_behind) = (ahead, behind);
            let now = state.now();
            state.servers = six_servers();
            state.servers.iter_mut().for_each(|server| server.updated = now);
        }
        let running = world.start("cloud wait web2 --interval 3s");
        assert!(world.cloud.wait_for("changes-since=", 1, PATIENCE));
        world.cloud.state().set_automation("web2", "DEPLOYED");
        running.end().expect(0);
        // A list of changes showed it, not a complete list.
        let last = world.cloud.state().log.last().cloned();
        assert!(last.is_some_and(|line| line.contains("changes-since=")));
    }
}

#[test]
fn the_wait_outlasts_a_revoked_token_the_rate_limit_and_an_identity_that_is_down() {
    let world = CloudWorld::of("six servers");
    world.identity_is_down(3);
    let running = world.wait_for_web2();
    world.cloud.state().revoke_all();
    let limit = Response::fault("overLimit", 413, "OverLimit Retry...").with("Retry-After", "4");
    world.cloud.fault("GET /dfw", 1, FaultKind::Answer(limit));
    until("a request after both", || world.cloud.state().tokens.len() == 2);
    world.cloud.state().set_automation("web2", "DEPLOYED");
    running.end().expect(0).says("OverLimit Retry...");
}

#[test]
fn the_deadline_passes_before_identity_answers() {
    let world = CloudWorld::of("six servers");
    world.identity_is_down(100);
    let end = world.run("cloud wait web1 --timeout 4s --interval 3s");
    end.expect(124).says("gave up before any server was found").says("HTTP 503");
}

/// Regression: the date of the first list was not kept, so the next list was a complete one as
/// well.
#[test]
fn the_second_list_was_a_complete_one_too() {
    let world = CloudWorld::of("six servers");
    let running = world.wait_for_web2();
    world.cloud.state().set_automation("web2", "DEPLOYED");
    running.end().expect(0);
    let log = world.cloud.state().log.clone();
    let lists: Vec<&String> = log.iter().filter(|line| line.starts_with("GET /dfw")).collect();
    assert!(!lists[0].contains("changes-since="), "{lists:?}");
    assert!(lists[1].contains("changes-since="), "{lists:?}");
}

/// A thousand servers cost as much as one: a list for each region and interval.
#[test]
fn a_thousand_servers_over_six_regions() {
    let world = CloudWorld::new();
    let server = |number: u32| {
        let region = simulated_cloud::REGIONS[number as usize % 6];
        Server::new(region, number, &format!("s{number}"), Some("DEPLOYING"))
    };
    world.cloud.state().servers = (1..=1_000).map(server).collect();
    let running = world.start("cloud wait --all --interval 3s -q");
    assert!(world.cloud.wait_for("changes-since=", 6, PATIENCE));
    let numbers: Vec<u32> = (1..=1_000).collect();
    for number in numbers {
        world.cloud.state().set_automation(&format!("s{number}"), "DEPLOYED");
    }
    let end = running.end();
    assert_eq!(end.expect(0).text().lines().count(), 1_000);
    // The first list, and a few of changes, for each of six regions; never one for each server.
    assert!(world.cloud.count("GET ") <= 6 * 8, "{}", world.cloud.count("GET "));
}

#[test]
fn the_worst_counts_and_with_any_the_first() {
    let world = CloudWorld::of("six servers");
    let all = world.run("cloud wait web1 db1 --interval 3s");
    assert_eq!(all.expect(4).text(), "DEPLOYED  web1  DFW\nFAILED    db1   ORD\n");
    world.run("cloud wait web1 web2 --any").expect(0);
    world.run("cloud wait --name ^web --timeout 1s").expect(124).says("web2 (DFW): gave up");
    world.run("cloud wait --name nothing").expect(3);
}

/// Only metadata changed, and the service does not count that as a change of the server.
#[test]
fn a_change_missing_from_the_lists_of_changes_is_seen_in_the_next_complete_list() {
    let world = CloudWorld::of("six servers");
    let running = world.start("cloud wait web2 --interval 3s");
    assert!(world.cloud.wait_for("changes-since=", 1, PATIENCE));
    {
        let mut state = world.cloud.state();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
        state.set_automation("web2", "DEPLOYED");
        state.server("web2").updated = long_ago;
    }
    running.end().expect(0);
}
