use std::time::Duration;

use crate::doctor::check::Severity::{Fail, Info, Pass, Skipped, Warning};
use crate::doctor::checks::fixtures::{assert_found, deploying, healthy, via};
use crate::doctor::evidence::{ApiFailure, Evidence, Unread};
use crate::model::{NamedStatus, Status};
use crate::netlink::Route;

fn with_status(status: Status) -> Evidence {
    let mut evidence = healthy();
    evidence.api.as_mut().unwrap().status = Ok(Some(status));
    evidence
}

#[test]
fn the_status() {
    let id = "rackconnect.status";
    assert_found(&healthy(), id, Pass, "DEPLOYED");
    let mut failed = with_status(Status::Failed);
    let task = "Cloud Server Created: Update access on dedicated network devices";
    failed.api.as_mut().unwrap().tasks =
        Ok(Some(vec![NamedStatus { name: task.to_owned(), status: "FAILED".to_owned() }]));
    assert_found(&failed, id, Fail, &format!("FAILED; not done: {task} (FAILED)"));
    let mut unprocessable = with_status(Status::Unprocessable);
    let xenstore = unprocessable.server.as_mut().unwrap().xenstore.as_mut().unwrap();
    xenstore.unprocessable_reason = Some("wrong region".to_owned());
    assert_found(&unprocessable, id, Fail, "UNPROCESSABLE: wrong region");
    assert_found(&with_status(Status::Unknown("PAUSED".to_owned())), id, Info, "PAUSED");
    assert_found(&deploying(), id, Info, "DEPLOYING");
    let mut slow = deploying();
    slow.system.as_mut().unwrap().uptime = Some(Duration::from_secs(7_500));
    assert_found(&slow, id, Warning, "still DEPLOYING 2h05m after the boot");
}

/// The API takes precedence; xenstore counts only without a response of the API.
#[test]
fn the_status_without_the_api() {
    let id = "rackconnect.status";
    let mut evidence = healthy();
    evidence.api.as_mut().unwrap().status = Ok(None);
    assert_found(&evidence, id, Info, "HTTP 404");
    evidence.api.as_mut().unwrap().status = Err(ApiFailure::Unreachable("no route".to_owned()));
    assert_found(&evidence, id, Pass, "DEPLOYED (from xenstore; not confirmed by the API)");
    evidence.server.as_mut().unwrap().xenstore = Err(Unread::NeedsRoot("xenstore".to_owned()));
    assert_found(&evidence, id, Skipped, "no route");
    assert_found(&evidence, "rackconnect.next", Skipped, "no route");
    assert_found(&evidence, "rackconnect.managed", Skipped, "only root");
}

#[test]
fn the_features() {
    let id = "rackconnect.features";
    assert_found(&healthy(), id, Pass, "configure_network_stack ENABLED (the API)");
    let mut evidence = healthy();
    evidence.api.as_mut().unwrap().features = Err(ApiFailure::NotSent);
    assert_found(&evidence, id, Skipped, "the API was not asked");
    evidence.api.as_mut().unwrap().features = Ok(Some(vec![NamedStatus {
        name: "configure_network_stack".to_owned(),
        status: "DISABLED".to_owned(),
    }]));
    assert_found(&evidence, id, Info, "RackConnect does not set the gateway of this server");
    evidence.api.as_mut().unwrap().features = Ok(None);
    assert_found(&evidence, id, Pass, "");
}

/// nova-agent had rewritten the configuration of the interfaces, and the gateway was lost.
#[test]
fn the_gateway() {
    let id = "rackconnect.gateway";
    assert_found(
        &healthy(),
        id,
        Pass,
        "packets for the internet go via 10.182.127.198 dev eth1, RackConnect's gateway",
    );
    let lost = |mut evidence: Evidence| {
        evidence.kernel.as_mut().unwrap().internet = Some(via([198, 51, 100, 1].into()));
        evidence
    };
    let found = assert_found(&lost(healthy()), id, Fail, "RackConnect's gateway is 10.182.127.198");
    assert!(found.remedy.starts_with("rackconnect gateway set  # add --dry-run to see the plan"));
    let mut unrouted = healthy();
    unrouted.kernel.as_mut().unwrap().internet = None;
    assert_found(&unrouted, id, Fail, "this server has no route to the internet; RackConnect's");
    assert_found(&lost(deploying()), id, Info, "the automation may be setting it");
    let mut split = healthy();
    split.kernel.as_mut().unwrap().is_split = true;
    assert_found(&split, id, Fail, "not every packet");
    let mut none = healthy();
    none.api.as_mut().unwrap().gateway = Ok(None);
    assert_found(&none, id, Info, "no gateway");
}

#[test]
fn other_default_routes() {
    let id = "rackconnect.default-routes";
    assert_found(&healthy(), id, Pass, "");
    let mut evidence = healthy();
    let kernel = evidence.kernel.as_mut().unwrap();
    kernel.defaults.push(Route::default_via([198, 51, 100, 1].into(), 2, 100));
    assert_found(&evidence, id, Info, "default via 198.51.100.1 dev eth0");
    evidence.kernel.as_mut().unwrap().is_split = true;
    let found = assert_found(&evidence, id, Warning, "same metric");
    assert_eq!(found.remedy, "Repair rackconnect.gateway first.");
    evidence.api.as_mut().unwrap().gateway = Err(ApiFailure::NotSent);
    let found = assert_found(&evidence, id, Warning, "same metric");
    assert!(found.remedy.starts_with("ip route del default via 198.51.100.1 dev eth0 "));
}

#[test]
fn managed_operations() {
    let id = "rackconnect.managed";
    assert_found(&healthy(), id, Pass, "");
    let with = |state: Option<&str>| {
        let mut evidence = healthy();
        let xenstore = evidence.server.as_mut().unwrap().xenstore.as_mut().unwrap();
        xenstore.snapshot.managed_account = Some(true);
        xenstore.snapshot.managed = state.map(str::to_owned);
        evidence
    };
    assert_found(&with(None), id, Info, "not started here yet");
    assert_found(&with(Some("Complete")), id, Pass, "Complete");
    assert_found(&with(Some("In Progress")), id, Info, "In Progress");
    assert_found(&with(Some("Build Error")), id, Fail, "Build Error");
}

#[test]
fn what_wait_and_gateway_set_would_do() {
    let id = "rackconnect.next";
    assert_found(
        &healthy(),
        id,
        Pass,
        "rackconnect wait would end at once: DEPLOYED; gateway set would have nothing to do",
    );
    let mut evidence = deploying();
    evidence.kernel.as_mut().unwrap().internet = None;
    let refused = "wait would wait: DEPLOYING; gateway set would refuse: RackConnect configures";
    assert_found(&evidence, id, Info, refused);
    let mut silent = healthy();
    silent.api.as_mut().unwrap().gateway = Err(ApiFailure::NotSent);
    assert_found(&silent, id, Info, "gateway set would fail: the API gives no gateway");
    let mut evidence = with_status(Status::Failed);
    evidence.api.as_mut().unwrap().gateway = Ok(None);
    assert_found(&evidence, id, Info, "exit code 4: FAILED; gateway set would fail: no gateway");
}
