//! `cloud servers`, `cloud status` and `cloud facts`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;
use simulated_cloud::{FaultKind, Response, Server};

use super::world::six_servers;
use super::{CloudWorld, KEY};
use crate::support::{binary, ended, with_environment_of};

fn json(stdout: &[u8]) -> Value {
    serde_json::from_slice(stdout).unwrap()
}

#[test]
fn servers_of_all_regions_and_of_one() {
    let world = CloudWorld::of("six servers");
    let table = world.run("cloud servers");
    let lines: Vec<&str> = table.expect(0).text().lines().collect();
    assert_eq!(lines.len(), 6);
    let first: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(first[0], "web1");
    assert_eq!(first[2..], ["DFW", "ACTIVE", "DEPLOYED", "10.180.0.2", "203.0.113.2"]);
    assert!(lines[5].contains("plain") && lines[5].contains(" none "), "{}", lines[5]);
    // Six regions, one token.
    assert_eq!(world.cloud.count("GET "), 6);
    assert_eq!(world.authentications(), 1);
    assert_eq!(
        world.run("cloud servers --region ord --format names").expect(0).text(),
        "db1\ndb2\n"
    );
    assert_eq!(world.cloud.count("GET "), 7);
    let mut command = world.agent("cloud servers --format names");
    let of_variable = ended(command.env("RAX_REGION", "DFW").output().unwrap());
    assert_eq!(of_variable.expect(0).text(), "web1\nweb2\n");
    world.run("cloud servers --region nyc").expect(2);
}

#[test]
fn filters_by_name_and_by_status() {
    let world = CloudWorld::of("six servers");
    let names = |arguments: &str| {
        world
            .run(&format!("cloud servers --format names {arguments}")[..])
            .expect(0)
            .text()
            .to_owned()
    };
    assert_eq!(names("--name ^db"), "db1\ndb2\ndb2\n");
    assert_eq!(names("--name ^db --rackconnect failed"), "db1\n");
    assert_eq!(names("--rackconnect none"), "plain\n");
    assert_eq!(names("--rackconnect DEPLOYING"), "web2\n");
    assert_eq!(names("--name nothing"), "");
    world.run("cloud servers --name (").expect(2).says("is not a regular expression");
    // It found no server, with exit code 0.
    world.run("cloud servers --rackconnect deploed").expect(2).says(
        "--rackconnect: \"deploed\" is not an automation status (deploying, deployed, failed, \
         unprocessable, none)",
    );
}

#[test]
fn a_thousand_servers_in_pages() {
    let world = CloudWorld::new();
    let server = |number: u32| {
        let region = simulated_cloud::REGIONS[number as usize % 6];
        Server::new(region, number, &format!("s{number}"), Some("DEPLOYED"))
    };
    world.cloud.state().servers = (1..=1_000).map(server).collect();
    world.cloud.state().page_size = 50;
    let names = world.run("cloud servers --format names");
    assert_eq!(names.expect(0).text().lines().count(), 1_000);
    // 167 or 166 servers per region: four pages each.
    assert_eq!(world.cloud.count("GET "), 24);
}

#[test]
fn a_token_that_was_revoked_is_replaced_once() {
    let world = CloudWorld::of("six servers");
    world.run("cloud login").expect(0);
    world.cloud.state().revoke_all();
    world.run("cloud servers").expect(0);
    assert_eq!(world.authentications(), 2);
    let refused = Response::fault("unauthorized", 401, "No valid token provided.");
    world.cloud.fault("GET ", 100, FaultKind::Answer(refused));
    world.run("cloud servers").expect(2).says("HTTP 401").says("No valid token provided");
    assert!(world.authentications() <= 8, "{}", world.authentications());
}

/// A list without the servers of one region would look complete.
#[test]
fn a_region_that_cannot_be_listed_fails_the_command() {
    let world = CloudWorld::of("six servers");
    world.cloud.fault("GET /ord", 99, FaultKind::Answer(Response::html(503, "Down")));
    for arguments in ["cloud servers", "cloud servers --format ansible", "cloud status web1"] {
        let output = world.run(arguments);
        assert_eq!(output.expect(7).says("/ord/v2/110011/servers/detail").text(), "");
    }
    world.run("cloud servers --region dfw").expect(0);
}

#[test]
fn faults_of_every_shape() {
    let world = CloudWorld::of("six servers");
    world.run("cloud login").expect(0);
    let fault = |times, response| world.cloud.fault("GET /dfw", times, FaultKind::Answer(response));
    let run = || world.run("cloud servers --region dfw --deadline 20s");
    fault(1, Response::fault("overLimit", 413, "OverLimit Retry...").with("Retry-After", "1"));
    run().expect(0);
    fault(1, Response::html(429, "Too Many Requests").with("Retry-After", "900"));
    run().expect(6).says("HTTP 429");
    fault(2, Response::fault("serviceUnavailable", 503, "Busy"));
    run().expect(7).says("HTTP 503").says("Busy");
    fault(1, Response::fault("forbidden", 403, "Not yours"));
    run().expect(2).says("Not yours");
    fault(1, Response::html(200, "Hello"));
    run().expect(8).says("is not a list of servers");
    fault(1, Response::untyped(404, "gone"));
    run().expect(3).says("HTTP 404");
}

#[test]
fn an_inventory_for_ansible() {
    let world = CloudWorld::of("six servers");
    let list = json(&world.run("cloud servers --format ansible --list").expect(0).stdout);
    assert_eq!(list["region_dfw"]["hosts"], serde_json::json!(["web1", "web2"]));
    assert_eq!(list["rackconnect_deployed"]["hosts"].as_array().unwrap().len(), 2);
    assert_eq!(list["_meta"]["hostvars"]["web1"]["ansible_host"], "203.0.113.2");
    // Under its other name the program is the inventory.
    let mut command = Command::new(binary());
    command.arg0("/usr/local/bin/rackconnect-inventory").args(["--host", "web2"]);
    let host = ended(with_environment_of(&world.agent(""), &mut command).output().unwrap());
    assert_eq!(json(&host.expect(0).stdout)["rackconnect"]["status"], "DEPLOYING");
    world.run("cloud servers --list --host x").expect(2);
    world.run("cloud servers --format json --list").expect(2);
}

#[test]
fn the_status_by_name_and_by_id() {
    let world = CloudWorld::of("six servers");
    assert_eq!(world.run("cloud status web1").expect(0).text(), "DEPLOYED\n");
    let id = six_servers()[2].id.clone();
    assert_eq!(world.run(&format!("cloud status {id}")[..]).expect(0).text(), "FAILED\n");
    let two = world.run("cloud status web2 db1");
    assert_eq!(two.expect(0).text(), "DEPLOYING  web2  DFW\nFAILED     db1   ORD\n");
    world.run("cloud status plain").expect(3).says("or the account has no RackConnect");
    world.run("cloud status web3").expect(3).says("there is no server \"web3\"");
    let ambiguous = world.run("cloud status db2");
    ambiguous.expect(2).says("2 servers are named \"db2\"").says("(SYD, ACTIVE)");
    assert_eq!(world.run("cloud status db2 --region syd").expect(0).text(), "UNPROCESSABLE\n");
    world.run("cloud status").expect(2).says("name a SERVER");
}

#[test]
fn facts_are_one_json_object() {
    let world = CloudWorld::of("six servers");
    let facts = json(&world.run("cloud facts web1").expect(0).stdout);
    assert_eq!((&facts["status"], &facts["region"]), (&"DEPLOYED".into(), &"DFW".into()));
    assert!(!facts.to_string().contains(KEY));
}
