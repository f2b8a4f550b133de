//! `facts`: every value with its source or, if it is not known, with the reason.

use std::process::Command;

use crate::support::documents::pages;
use crate::support::{Ended, World, bare_agent, ended};
use serde_json::{Value, json};
use simulated_api::Step;
use simulated_xenstore::{Config as Store, Fault, Simulator as Xenstore, faults};

const METADATA: &str = "vm-data/user-metadata";

fn store() -> Store {
    Store::default()
        .with("vm-data/provider_data/provider", "Rackspace")
        .with("vm-data/provider_data/region", "DFW")
        .with("vm-data/provider_data/roles", r#"["rack_connect", "rax_managed"]"#)
        .with(&format!("{METADATA}/rackconnect_automation_status"), "\"DEPLOYED\"")
        .with(
            &format!("{METADATA}/rackconnect_automation_feature_configure_network_stack"),
            "\"ENABLED\"",
        )
        .with(
            &format!("{METADATA}/rackconnect_automation_feature_provison_public_ip"),
            "\"DISABLED\"",
        )
        .with(&format!("{METADATA}/rax_service_level_automation"), "\"Complete\"")
}

fn run(mut agent: Command, store: Option<&Xenstore>) -> Ended {
    if let Some(store) = store {
        agent.env("XENSTORED_PATH", store.path());
    }
    ended(agent.output().expect("the agent starts"))
}

fn facts(ended: &Ended) -> Value {
    ended.expect(0);
    serde_json::from_str(ended.text()).expect("one JSON object")
}

#[test]
fn everything_is_known() {
    let api = [Step::new("DEPLOYING")
        .gateway("10.182.127.198")
        .feature("configure_network_stack", "ENABLED")];
    let world = World::of(api);
    let store = Xenstore::start(store()).unwrap();
    let found = facts(&run(world.agent("facts --deadline 60s"), Some(&store)));
    let expect = |name: &str, value: Value, source: &str| {
        assert_eq!(found[name], json!({ "value": value, "source": source }), "{name}");
    };
    expect("agent_version", json!(env!("CARGO_PKG_VERSION")), "rackconnect");
    expect("region", json!("dfw"), "xenstore, vm-data/provider_data/region");
    expect("rackconnect_version", json!("v2"), "xenstore");
    expect("status", json!("DEPLOYING"), "api");
    expect("features", json!({ "configure_network_stack": "ENABLED" }), "api");
    expect("gateway", json!("10.182.127.198"), "api");
    expect("managed_operations", json!("Complete"), "xenstore");
    assert_eq!(found["request_budget"]["value"], json!({ "free": 27, "limit": 30 }));
    assert_eq!(world.requests().len(), 3);
}

#[test]
fn without_the_api_xenstore_is_taken() {
    let world = World::of([Step::new("DEPLOYING")]);
    let store = Xenstore::start(store()).unwrap();
    let found = facts(&run(world.agent("facts --no-api --deadline 60s"), Some(&store)));
    assert_eq!(found["status"], json!({ "value": "DEPLOYED", "source": "xenstore" }));
    let features =
        json!({ "configure_network_stack": "ENABLED", "provison_public_ip": "DISABLED" });
    assert_eq!(found["features"], json!({ "value": features, "source": "xenstore" }));
    assert_eq!(
        found["gateway"],
        json!({ "value": null, "reason": "--no-api: the API was not asked" })
    );
    assert!(world.requests().is_empty());
}

/// Values in xenstore may be from before a rebuild, so the 404 of the API counts more.
#[test]
fn an_api_that_answers_404_is_not_overruled_by_xenstore() {
    let world = World::of([Step::default()]);
    let store = Xenstore::start(store()).unwrap();
    let found = facts(&run(world.agent("facts --deadline 60s"), Some(&store)));
    assert_eq!(
        found["status"],
        json!({ "value": null, "reason": "the API answers with HTTP 404" })
    );
}

#[test]
fn missing_facts_are_null_with_a_reason() {
    let found = facts(&run(bare_agent(&["facts"]), None));
    for (name, fact) in found.as_object().unwrap() {
        assert!(fact["source"].is_string() != fact["reason"].is_string(), "{name}: {fact}");
        assert_eq!(fact["value"].is_null(), fact["reason"].is_string(), "{name}: {fact}");
        assert!(
            pages().iter().any(|(_, text)| text.contains(&format!("`{name}`"))),
            "no page names {name}"
        );
    }
    assert!(found["region"]["reason"].as_str().unwrap().contains("no xenstore"));
    assert!(found["status"]["value"].is_null());
}

#[test]
fn nothing_that_goes_wrong_is_an_error() {
    for fault in ["reset", "stall", "http-403", "http-500", "garbage", "html", "huge"] {
        let world = World::of([Step::new("DEPLOYED").fault(fault)]);
        let store = Xenstore::start(store()).unwrap();
        let found = facts(&run(world.agent(&["facts", "--deadline", "1s"]), Some(&store)));
        assert!(found["gateway"]["reason"].is_string(), "{fault}: {found}");
        assert!(world.requests().len() <= 3);
    }
    // Regression: looking for the region took two seconds longer than the deadline.
    let silent = Xenstore::start(store().fault(Fault::Stall)).unwrap();
    let found =
        facts(&run(bare_agent(&["facts", "--no-api", "--deadline", "900ms"]), Some(&silent)));
    assert!(found["region"]["reason"].as_str().unwrap().contains("no answer within 0."), "{found}");
    for fault in faults() {
        let store = Xenstore::start(store().fault(fault)).unwrap();
        let found = facts(&run(bare_agent("facts --no-api --deadline 60s"), Some(&store)));
        assert!(found["default_route"].is_object(), "{fault}");
    }
}

#[test]
fn another_provider_s_server_is_not_asked_about() {
    let world = World::of([Step::new("DEPLOYED")]);
    let store = Xenstore::start(store().with("vm-data/provider_data/provider", "Amazon")).unwrap();
    let found = facts(&run(world.agent("facts --deadline 60s"), Some(&store)));
    assert_eq!(found["rackconnect_version"], json!({ "value": "none", "source": "xenstore" }));
    assert!(world.requests().is_empty());
}

/// ServiceNet is recognized by its label and its MAC address: the test uses an interface of its
/// machine.
#[test]
fn servicenet_is_found_by_its_label_and_its_mac() {
    let real = std::fs::read_dir("/sys/class/net").unwrap().find_map(|entry| {
        let mac =
            std::fs::read_to_string(entry.ok()?.path().join("address")).ok()?.trim().to_owned();
        (mac.len() == 17 && mac != "00:00:00:00:00:00").then_some(mac)
    });
    let network = |label: &str, mac: &str| {
        json!({ "label": label, "mac": mac.to_uppercase(), "gateway": null }).to_string()
    };
    let servicenet = |mac: &str| {
        let store = store()
            .with("vm-data/networking/BC764E000001", &network("public", "bc:76:4e:00:00:01"))
            .with("vm-data/networking/BC764E000002", &network("private", mac));
        let store = Xenstore::start(store).unwrap();
        // A busy machine may need more than the two seconds that reading xenstore may take.
        loop {
            let found = facts(&run(bare_agent("facts --no-api --deadline 60s"), Some(&store)));
            let servicenet = &found["servicenet_interface"];
            if !servicenet.to_string().contains("no answer within") {
                break servicenet.clone();
            }
        }
    };
    if let Some(mac) = real {
        let found = servicenet(&mac);
        assert_eq!(found["value"]["mac"], json!(mac), "{found}");
        assert!(found["value"]["name"].is_string(), "{found}");
    }
    let unknown = servicenet("bc:76:4e:00:00:02");
    assert!(unknown["reason"].as_str().unwrap().contains("bc:76:4e:00:00:02"), "{unknown}");
}

#[test]
fn the_region_comes_from_xenstore_and_says_so() {
    let region = |arguments: &[&str], store: Store| {
        run(bare_agent(arguments), Some(&Xenstore::start(store).unwrap()))
    };
    let known = region(&["region", "-v"], store());
    assert_eq!(known.expect(0).says("from xenstore, vm-data/provider_data/region").text(), "dfw\n");
    let told = region(&["region", "--region", "syd"], store());
    assert_eq!(told.expect(0).text(), "syd\n");
    region(&["region"], Store::default()).expect(3).says("not known yet");
    region(&["region"], store().with("vm-data/provider_data/region", "NYC")).expect(2).says("NYC");
    let amazon = Store::default().with("vm-data/provider_data/provider", "Amazon");
    region(&["region"], amazon).expect(2).says("Amazon");
    run(bare_agent(&["region"]), None).expect(2).says("no xenstore");
}

#[test]
fn region_advised_an_endpoint_that_does_not_help_it() {
    let mut command = bare_agent(&["region"]);
    command.env("RACKCONNECT_ENDPOINT", "http://127.0.0.1:9");
    let ended = run(command, None);
    ended.expect(2).says("with --region, RACKCONNECT_REGION or region = ");
    assert!(!ended.stderr.contains("--endpoint"), "{}", ended.stderr);
    run(bare_agent(&["status"]), None).expect(2).says("or the whole URL with --endpoint");
}

#[test]
fn the_status_can_be_read_from_xenstore() {
    let status = |word: Option<&str>, more: &[&str]| {
        let path = format!("{METADATA}/rackconnect_automation_status");
        let store = Xenstore::start(
            word.map_or_else(Store::default, |word| Store::default().with(&path, word)),
        )
        .unwrap();
        run(bare_agent(&[&["status", "--source", "xenstore"], more].concat()), Some(&store))
    };
    for (word, shown, code) in [
        ("\"DEPLOYED\"", "DEPLOYED\n", 0),
        ("deploying", "DEPLOYING\n", 3),
        ("\"FAILED\"", "FAILED\n", 4),
        ("\"UNPROCESSABLE\"", "UNPROCESSABLE\n", 5),
        ("\"PAUSED\"", "PAUSED\n", 3),
    ] {
        assert_eq!(status(Some(word), &[]).expect(0).text(), shown);
        assert_eq!(status(Some(word), &["--check"]).expect(code).text(), shown);
    }
    assert_eq!(status(None, &[]).expect(3).says("no vm-data").text(), "");
    assert_eq!(status(Some("\x1b[31m two words"), &[]).expect(8).text(), "");
    status(Some("DEPLOYED"), &["--format", "json"]).expect(2);
    run(bare_agent(&["status", "--source", "xenstore"]), None)
        .expect(1)
        .says("at /nonexistent, which XENSTORED_PATH names");
    let another =
        Xenstore::start(Store::default().with("vm-data/provider_data/provider", "Amazon")).unwrap();
    let none = run(bare_agent(&["status", "--source", "xenstore"]), Some(&another));
    assert_eq!(
        none.expect(5)
            .says("not a RackConnect v2 server: xenstore names the provider \"Amazon\"")
            .text(),
        ""
    );
    run(bare_agent(&["status", "--source", "heat"]), None).expect(2).says("api, xenstore");
}
