use proptest::prelude::*;

use super::*;

fn named(list: &[(&str, &str)]) -> Vec<NamedStatus> {
    list.iter()
        .map(|(name, status)| NamedStatus {
            name: (*name).to_owned(),
            status: (*status).to_owned(),
        })
        .collect()
}

#[test]
fn a_status_in_every_plausible_form() {
    for body in [
        "DEPLOYED",
        "DEPLOYED\n",
        "\"DEPLOYED\"",
        " deployed\r\n",
        "\u{feff}Deployed",
        r#"{"automation_status": "DEPLOYED"}"#,
        "\u{feff}{\"automation_status\":\"deployed\",\"tasks\":[{\"name\":\"a\",\"status\":\"FAILED\"}]}",
        r#"{"automationStatus": " \"DEPLOYED\" "}"#,
        "<automation_status>DEPLOYED</automation_status>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<automation_status>\n  DEPLOYED\n</automation_status>\n",
        "<a:automation-status xmlns:a=\"urn:x\">DEPLOYED</a:automation-status>",
        "<automation_status xmlns=\"urn:x\"><![CDATA[DEPLOYED]]></automation_status>",
        "<automation_status id=\"7\">DEPLOYED</automation_status>",
        "<automation automation_status='DEPLOYED'/>",
        "<automation_status status='DEPLOYED'><task name='x' status='FAILED'/></automation_status>",
        "<automation_status><status>DEPLOYED</status></automation_status>",
        "<automation><!-- c --><automationStatus>DEPLO&#89;ED</automationStatus></automation>",
    ] {
        assert_eq!(status(body.as_bytes(), Format::Text), Ok(Status::Deployed), "{body}");
    }
    assert_eq!(status(b"REBUILDING", Format::Text), Ok(Status::Unknown("REBUILDING".to_owned())));
}

#[test]
fn a_bare_status_counts_only_in_requested_xml_without_an_error_report() {
    for (body, is_one) in [
        ("<automation status='DEPLOYED'><task name='x' status='FAILED'/></automation>", true),
        ("<status>DEPLOYED</status>", true),
        ("<details><status>DEPLOYED</status></details>", true),
        ("<status>ERROR</status>", false),
        // A foreign error envelope ended a wait as FAILED.
        (
            "<response><status>failed</status><message>upstream timed out</message></response>",
            false,
        ),
        ("<error><status>FAILED</status></error>", false),
    ] {
        assert_eq!(status(body.as_bytes(), Format::Xml).is_ok(), is_one, "{body}");
        assert!(status(body.as_bytes(), Format::Text).is_err(), "{body}");
    }
}

#[test]
fn an_error_report_is_not_searched_by_shape() {
    for body in [
        r#"{"status":"error","message":"no such server"}"#,
        r#"{"error":{"reason":"Over limit","id":"17"}}"#,
        r#"{"error":"no gateway","gateway_host":"10.9.9.9"}"#,
        "<error><code>17</code><gateway>10.1.2.3</gateway></error>",
        r#"{"fault":{"gateway_ip":"10.1.2.3"}}"#,
    ] {
        assert!(details(body.as_bytes()).is_err(), "{body}");
        assert!(features(body.as_bytes()).is_err(), "{body}");
        assert!(gateway(body.as_bytes()).is_err(), "{body}");
    }
    let tasks =
        br#"{"automation_status":"FAILED","tasks":[{"name":"a","status":"FAILED","message":"b"}]}"#;
    assert_eq!(details(tasks), Ok((Some(Status::Failed), named(&[("a", "FAILED")]))));
}

#[test]
fn rejected_statuses() {
    for body in [
        "",
        " \n",
        "null",
        "true",
        "17",
        "Over Limit",
        "DEPLOYED FAILED",
        "\"\"DEPLOYED\"\"",
        "DEPLOYED\0",
        "\u{1b}[31mDEPLOYED",
        "<html><body>DEPLOYED</body></html>",
        "<!DOCTYPE html><html><body>DEPLOYED</body></html>",
        "<!DOCTYPE a [<!ENTITY x \"DEPLOYED\">]><automation_status>&x;</automation_status>",
        "<automation_status>&x;</automation_status>",
        "<automation_status>DEPLOYED",
        "<automation_status>DEPLOYED</automation_status><automation_status>FAILED</automation_status>",
        "<a><automation_status>DEPLOYED</automation_status><automation_status>FAILED</automation_status></a>",
        "<a><b><c><automation_status>DEPLOYED</automation_status></c></b></a>",
        "<a automation_status='DEPLOYED' automation_status='DEPLOYED'/>",
        "<automation_status>DEPLOYED</automation_status>FAILED",
        r#"{"automation_status": null}"#,
        r#"{"automation_status": ["DEPLOYED"]}"#,
        r#"{"automation_status": "DEPLOYED", "automation_status": "FAILED"}"#,
        r#"{"status": "DEPLOYED"}"#,
        r#"{"a": {"automation_status": "DEPLOYED"}}"#,
        "<error><status>ERROR</status></error>",
        "<a><status>DEPLOYED</status><status>FAILED</status></a>",
        r#"{"automation_status": "DEPLOYED""#,
        r#"["DEPLOYED"]"#,
        "{}",
        "[]",
    ] {
        assert_eq!(
            status(body.as_bytes(), Format::Text).map_err(|error| error.kind),
            Err(Kind::NotUnderstood),
            "{body}"
        );
    }
    assert!(status(b"DEPLOYED\xff", Format::Text).is_err());
    assert!(status(&[b'A'; 65], Format::Text).is_err());
    let deep = "<a>".repeat(100_000);
    assert!(status(deep.as_bytes(), Format::Text).is_err());
    let deep = "[".repeat(100_000);
    assert!(status(deep.as_bytes(), Format::Text).is_err());
}

#[test]
fn an_error_shows_the_beginning_of_the_body_safely() {
    let error = status(b"\x1b]0;evil\x07<b>\xff", Format::Text).unwrap_err();
    assert!(!error.message.chars().any(char::is_control), "{}", error.message);
    assert!(error.message.contains("\\u{1b}]0;evil"), "{}", error.message);
    let error = status("é ".repeat(500).as_bytes(), Format::Text).unwrap_err();
    assert!(error.message.len() < 400 && error.message.ends_with('…'), "{}", error.message);
}

#[test]
fn tasks_in_every_plausible_form() {
    let tasks =
        named(&[("Add \"rackconnect\" user: all", "DEPLOYED"), ("Update access", "DEPLOYING")]);
    let name = r#"Add \"rackconnect\" user: all"#;
    let attribute = "Add &quot;rackconnect&quot; user: all";
    for body in [
        format!(
            r#"{{"automation_status":"DEPLOYING","tasks":[{{"name":"{name}","status":"DEPLOYED"}},
                {{"name":"Update access","status":"DEPLOYING"}}]}}"#
        ),
        format!(
            r#"{{"automation_status":"DEPLOYING","x":{{"y":[{{"id":1,"task_name":"{name}","task_status":"DEPLOYED"}},
                {{"id":2,"task_name":"Update access","task_status":"DEPLOYING"}}]}}}}"#
        ),
        format!(
            r#"{{"automation_status":"DEPLOYING","t":[{{"task":"{name}","state":"DEPLOYED"}},
                {{"task":"Update access","state":"DEPLOYING"}}]}}"#
        ),
        format!(
            r#"{{"automation_status":"DEPLOYING","tasks":{{"{name}":"DEPLOYED","Update access":"DEPLOYING"}}}}"#
        ),
        format!(
            r#"{{"automation_status":"DEPLOYING","tasks":[{{"{name}":"DEPLOYED"}},{{"Update access":"DEPLOYING"}}]}}"#
        ),
        format!(
            "<?xml version='1.0'?><d><automation_status>DEPLOYING</automation_status><tasks>\
             <task name=\"{attribute}\" status='DEPLOYED'/><task name='Update access' status='DEPLOYING'/></tasks></d>"
        ),
        format!(
            "<d xmlns='urn:x' automation_status='DEPLOYING'><task><name>{attribute}</name><status>DEPLOYED</status></task>\
             <task><name><![CDATA[Update access]]></name><status>DEPLOYING</status></task></d>"
        ),
        format!(
            "<d automation_status='DEPLOYING'><task status='DEPLOYED'>{attribute}</task>\
             <task status='DEPLOYING'>Update access</task></d>"
        ),
    ] {
        assert_eq!(
            details(body.as_bytes()),
            Ok((Some(Status::Deploying), tasks.clone())),
            "{body}"
        );
    }
}

#[test]
fn details_without_tasks_and_rejected_details() {
    assert_eq!(
        details(br#"{"automation_status":"DEPLOYED"}"#),
        Ok((Some(Status::Deployed), vec![]))
    );
    assert_eq!(
        details(br#"{"automation_status":"DEPLOYED","tasks":[]}"#),
        Ok((Some(Status::Deployed), vec![]))
    );
    for body in
        ["DEPLOYED", "", "{}", r#"{"error":"x"}"#, r#"{"code":500,"message":"x"}"#, "<a/>", "[1,2]"]
    {
        assert!(details(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn features_in_every_plausible_form() {
    let expected =
        named(&[("configure_network_stack", "ENABLED"), ("manage_software_firewall", "DISABLED")]);
    for body in [
        r#"{"automation_features":[{"name":"configure_network_stack","status":"ENABLED"},
            {"name":"manage_software_firewall","status":"DISABLED"}]}"#,
        r#"{"automation_features":{"configure_network_stack":"ENABLED","manage_software_firewall":"DISABLED"}}"#,
        r#"{"configure_network_stack":"ENABLED","manage_software_firewall":"DISABLED"}"#,
        r#"[{"feature":"configure_network_stack","status":"ENABLED"},
            {"feature":"manage_software_firewall","status":"DISABLED"}]"#,
        "<f><feature name='configure_network_stack' status='ENABLED'/>\
         <feature name='manage_software_firewall' status='DISABLED'/></f>",
        "<f><configure_network_stack>ENABLED</configure_network_stack>\
         <manage_software_firewall>DISABLED</manage_software_firewall></f>",
    ] {
        assert_eq!(features(body.as_bytes()), Ok(expected.clone()), "{body}");
    }
    for body in ["{}", "[]", r#"{"automation_features":[]}"#, "<automation_features/>"] {
        assert_eq!(features(body.as_bytes()), Ok(vec![]), "{body}");
    }
    for body in
        ["", "ENABLED", r#"{"error":"no such server"}"#, r#"["a"]"#, "<html><a>b</a></html>"]
    {
        assert!(features(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_gateway_in_every_plausible_form() {
    for body in [
        "10.182.127.198",
        "10.182.127.198\n",
        "\"10.182.127.198\"",
        "\u{feff}10.182.127.198",
        r#"{"gateway_ip":"10.182.127.198"}"#,
        r#"{"gateway":{"ip":"10.182.127.198","server":"x"},"server_ip":"10.182.1.1"}"#,
        r#"{"ip":"10.182.127.198"}"#,
        "<gateway_ip>10.182.127.198</gateway_ip>",
        "<g gateway_ip='10.182.127.198'/>",
        "<r:gateway xmlns:r='urn:x'><r:ip><![CDATA[10.182.127.198]]></r:ip></r:gateway>",
    ] {
        assert_eq!(gateway(body.as_bytes()), Ok("10.182.127.198".parse().unwrap()), "{body}");
    }
    assert_eq!(gateway(b"10.182.31.255"), Ok("10.182.31.255".parse().unwrap()));
    assert_eq!(gateway(b"fe80::1"), Ok("fe80::1".parse().unwrap()));
}

#[test]
fn rejected_gateways() {
    for body in [
        "",
        "null",
        "none",
        "10.182.127",
        "010.1.1.1",
        "10.182.127.198/17",
        "10.182.127.198 10.182.127.199",
        "10.182.127.198:80",
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::",
        "::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
        "<html><body>10.182.127.198</body></html>",
        "<!DOCTYPE html><p>10.182.127.198</p>",
        r#"{"gateway_ip":null}"#,
        r#"{"gateway_ip":["10.1.1.1","10.1.1.2"]}"#,
        r#"{"gateway_a":"10.1.1.1","gateway_b":"10.1.1.2"}"#,
        r#"{"error":"unknown server","ip":"10.1.1.2"}"#,
        r#"{"error":"no gateway for 10.1.1.1"}"#,
    ] {
        assert_eq!(
            gateway(body.as_bytes()).map_err(|error| error.kind),
            Err(Kind::NotUnderstood),
            "{body}"
        );
    }
}

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = (status(&body, Format::Xml), details(&body), features(&body), gateway(&body));
    }

    #[test]
    fn no_body_of_markup_panics(body in "[<>{}\\[\\]\"':,=/&;!a-z \\-?0-9.]{0,200}") {
        let body = body.as_bytes();
        let _ = (status(body, Format::Xml), details(body), features(body), gateway(body));
    }

    /// Only the four words themselves are ever read as one of the four.
    #[test]
    fn a_known_status_is_never_made_up(body in "[ \"\\n]{0,2}[A-Za-z_]{0,14}[ \"\\n]{0,2}") {
        if let Ok(found) = status(body.as_bytes(), Format::Text) && !matches!(found, Status::Unknown(_)) {
            prop_assert_eq!(body.trim().trim_matches('"').trim().to_uppercase(), found.word());
        }
    }

    #[test]
    fn json_round_trips(text in "\\PC*") {
        let tree = Tree::Map(vec![(text.clone(), Tree::List(vec![Tree::Text(text), Tree::Nothing]))]);
        prop_assert_eq!(Tree::from_json(tree.to_json().as_bytes()), Ok(tree));
    }
}
