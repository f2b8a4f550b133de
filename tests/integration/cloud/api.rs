//! `cloud api`: the requests, the output and the exit codes.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use simulated_cloud::{FAULTS, FaultKind, Image, Limits, Response, Server};

use super::{CloudWorld, KEY};
use crate::support::{Ended, PATIENCE, ended};

const LIST: &str = "cloud api servers /servers/detail --region dfw";

#[test]
fn wrong_usage_sends_nothing() {
    let world = CloudWorld::new();
    for (arguments, says) in [
        ("cloud api", "expected: rackconnect cloud api [METHOD] SERVICE PATH"),
        ("cloud api servers", "[METHOD] SERVICE PATH"),
        ("cloud api GET servers / /", "[METHOD] SERVICE PATH"),
        ("cloud api FETCH servers /", "\"FETCH\" is not a method (GET, HEAD"),
        ("cloud api servers https://example.com/", "is not a path below the service's URL"),
        ("cloud api servers http://example.com/", "is not a path below the service's URL"),
        ("cloud api servers / --data x --upload y", "--data cannot be combined with --upload"),
        ("cloud api GET servers / --data x", "GET takes neither --data nor --upload"),
        ("cloud api DELETE servers / --upload x", "DELETE takes neither"),
        ("cloud api servers / --data x --paginate", "--paginate is for GET, not for POST"),
        ("cloud api servers / --data @", "has no FILE after the @"),
        ("cloud api servers / --data @none", "none cannot be read: No such file"),
        ("cloud api PUT servers / --upload .", ". is not a regular file"),
        ("cloud api servers / --header Accept", "is not a header (Name: value)"),
        ("cloud api servers / --header A:\u{7f}", "is not a header"),
        (
            "cloud api servers / --header X-Auth-Token:x",
            "x-auth-token is set by the program itself",
        ),
        ("cloud api servers / --header Host:example.com", "host is set by the program itself"),
    ] {
        world.run(arguments).expect(2).says(says);
    }
    assert!(world.cloud.state().log.is_empty());
    // These need the catalog.
    for (arguments, says) in [
        (LIST.trim_end_matches(" --region dfw"), "give --region (DFW, HKG, IAD, LON, ORD, SYD)"),
        ("cloud api files / --region syd", "this account has no files in SYD, only in DFW, ORD"),
        (
            "cloud api queues /",
            "no service \"queues\" (identity, cloudServersOpenStack, cloudFiles",
        ),
    ] {
        world.run(arguments).expect(2).says(says);
    }
    assert_eq!(world.cloud.state().log, ["POST /v2.0/tokens"]);
}

#[test]
fn the_region_of_the_environment_and_a_service_without_one() {
    let world = CloudWorld::new();
    let mut command = world.agent("cloud api compute /servers/detail");
    ended(command.env("RAX_REGION", "ORD").output().unwrap()).expect(0);
    assert_eq!(world.cloud.count("GET /ord/v2/110011/servers/detail"), 1);
    for arguments in ["cloud api dns /domains", "cloud api rax:dns domains --region dfw"] {
        world.run(arguments).expect(3);
    }
    assert_eq!(world.cloud.count("GET /dns/v1.0/110011/domains"), 2);
}

#[test]
fn headers_and_bodies_are_sent_as_they_are() {
    let world = CloudWorld::new();
    let last = || world.cloud.state().last.clone().unwrap();
    world.run(LIST).expect(0);
    let request = last();
    let token = world.cloud.state().tokens.keys().next().cloned();
    assert_eq!(request.header("x-auth-token"), token.as_deref());
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!((request.header("content-type"), request.header("content-length")), (None, None));
    assert!(request.header("user-agent").unwrap().starts_with("rackconnect-agent/"));

    world.run("cloud api PUT files /new --region dfw").expect(0);
    let request = last();
    assert_eq!(request.header("content-length"), Some("0"));
    assert_eq!(request.header("content-type"), None);

    let body = b"{ \"a\":\r\n\"\xff\" }\n";
    let path = world.home.path().join("body");
    std::fs::write(&path, body).unwrap();
    let file = format!("@{}", path.display());
    world
        .run(&[
            "cloud",
            "api",
            "put",
            "files",
            "/new/a b#c?x=[1]",
            "--region",
            "dfw",
            "--data",
            &file,
            "--header",
            "X-Object-Meta-A:  b c ",
            "--header",
            "accept: text/plain",
            "--header",
            "Content-Type: text/x-test",
        ])
        .expect(0);
    let request = last();
    assert_eq!(request.path, "/files/dfw/v1/MossoCloudFS_110011/new/a%20b%23c?x=%5B1%5D");
    assert_eq!(request.body.as_deref(), Some(&body[..]));
    assert_eq!(request.header("content-type"), Some("text/x-test"));
    assert_eq!(request.header("x-object-meta-a"), Some("b c"));
    let accept: Vec<_> = request.headers.iter().filter(|(name, _)| name == "accept").collect();
    assert_eq!(accept, [&("accept".to_owned(), "text/plain".to_owned())]);

    let mut command = world.agent("cloud api servers /servers --region dfw --data @-");
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(body).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(8));
    assert_eq!(last().body.as_deref(), Some(&body[..]));
}

#[test]
fn a_body_is_unchanged_in_a_pipe_and_indented_on_a_terminal() {
    let world = CloudWorld::new();
    let odd = b"{ \"b\" : 1.10,\r\n\t\"a\": [] }\x00\xff";
    let answer = |bytes: &[u8]| {
        let response = Response::bytes(200, "application/json", bytes);
        world.cloud.fault("/servers/detail", 1, FaultKind::Answer(response));
    };
    answer(odd);
    assert_eq!(world.run(LIST).expect(0).stdout, odd);
    answer(b"{\"b\":1.10,\"a\":[\"\\u001b[31m\",\"\xc2\x9b31m\"]}");
    let shown = "{\n  \"b\": 1.10,\n  \"a\": [\n    \"\\u001b[31m\",\n    \"\\u009b31m\"\n  ]\n}\n";
    assert_eq!(world.on_terminal(LIST), shown);
    answer(b"no JSON \x1b[31m\n");
    assert_eq!(world.on_terminal(LIST), "no JSON \\u{1b}[31m\n");
    answer(b"{}");
    let head = world.on_terminal(&*format!("{LIST} --include"));
    assert!(head.starts_with("HTTP/1.1 200 OK\n") && head.ends_with("\n\n{}\n"), "{head}");
}

/// The exit code for a status code.
fn exit_code(status_code: u16) -> i32 {
    match status_code {
        401 | 403 => 2,
        404 => 3,
        413 | 429 => 6,
        500.. => 7,
        _ => 8,
    }
}

#[test]
fn every_fault_has_its_exit_code_and_its_body() {
    let world = CloudWorld::new();
    let other = [("redirect", 302), ("versions", 300), ("conflict", 429), ("badGateway", 502)];
    for (kind, code) in FAULTS.into_iter().chain(other) {
        let fault = Response::fault(kind, code, "Something \u{1b}[31m happened");
        for response in [fault, Response::html(code, "Something happened"), Response::empty(code)] {
            let body = response.body.clone();
            let response = response.with("Location", "http://192.0.2.1/").with("Retry-After", "99");
            world.cloud.fault("/servers/detail", 2, FaultKind::Answer(response));
            let arguments = format!("{LIST} --deadline 20s");
            let ended = world.run(arguments.as_str());
            ended.expect(exit_code(code)).says(&format!("HTTP {code} from http://127.0.0.1:"));
            assert_eq!(ended.stdout, body, "{kind}");
            assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
            if body.starts_with(b"{") {
                ended.says("/servers/detail: Something \\u{1b}[31m happened");
            }
            world.cloud.state().faults.clear();
        }
    }
}

#[test]
fn only_safe_requests_are_sent_again() {
    let world = CloudWorld::new();
    let unavailable = || FaultKind::Answer(Response::html(503, "Service Unavailable"));
    for kind in [unavailable as fn() -> FaultKind, || FaultKind::Close] {
        let before = world.cloud.count("GET /dfw");
        world.cloud.fault("/dfw/", 1, kind());
        world.run(LIST).expect(0);
        assert_eq!(world.cloud.count("GET /dfw"), before + 2);
        let create = ["cloud", "api", "servers", "/servers", "--region", "dfw", "--data", "{}"];
        let before = world.cloud.count("POST /dfw");
        world.cloud.fault("/dfw/", 1, kind());
        world.run(&create).expect(7);
        assert_eq!(world.cloud.count("POST /dfw"), before + 1);
        let before = world.cloud.count("DELETE /dfw");
        world.cloud.fault("/dfw/", 1, kind());
        world.run("cloud api DELETE servers /servers/1 --region dfw").expect(7);
        assert_eq!(world.cloud.count("DELETE /dfw"), before + 1);
    }
}

#[test]
fn the_rate_limit_is_waited_for() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().limits = Some(Limits::new(1, 1, Duration::from_secs(1)));
    for _ in 0..3 {
        world.run(LIST).expect(0);
    }
    world.cloud.state().limits = Some(Limits::new(0, 0, Duration::from_secs(3_600)));
    let create = ["cloud", "api", "servers", "/servers", "--region", "dfw", "--data", "{}"];
    let ended = world.run(&create);
    ended.expect(6).says("HTTP 413").says("OverLimit Retry...");
    assert!(ended.text().contains("\"retryAfter\":"), "{}", ended.text());
}

#[test]
fn a_revoked_token_is_replaced_once() {
    let world = CloudWorld::of("six servers");
    world.run(LIST).expect(0);
    world.cloud.state().revoke_all();
    let url = "/servers/00000001-0000-4000-8000-000000000000/metadata";
    let data = "{\"metadata\": {\"a\": \"b\"}}";
    world.run(&["cloud", "api", "servers", url, "--region", "dfw", "--data", data]).expect(0);
    assert_eq!(world.authentications(), 2);
    assert_eq!(world.cloud.state().server("web1").metadata["a"], "b");
    let unauthorized = Response::fault("unauthorized", 401, "Authentication required");
    world.cloud.fault("/dfw/", 2, FaultKind::Answer(unauthorized));
    let ended = world.run(LIST);
    ended.expect(2).says("HTTP 401").says("Authentication required");
    assert_eq!(world.authentications(), 3);
}

#[test]
fn an_invalid_or_late_answer_is_ignored() {
    let page = || Response::json(200, &serde_json::json!({"servers": []}));
    for (kind, code) in [
        (FaultKind::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), 8),
        (FaultKind::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}".to_vec()), 8),
        (FaultKind::Cut(page(), 5), 7),
        (FaultKind::Close, 7),
        (FaultKind::Slow(PATIENCE), 7),
        (FaultKind::Pieces(page(), 5, PATIENCE), 7),
    ] {
        // Each case in its own world, because an abandoned request may still arrive later.
        let world = CloudWorld::new();
        world.cloud.fault("/servers/detail", 2, kind.clone());
        let arguments = format!("{LIST} --request-timeout 2s");
        let ended = world.run(arguments.as_str());
        assert_eq!(ended.code, Some(code), "{kind:?}: {}", ended.stderr);
        assert_eq!(ended.text(), "");
    }
}

fn names(ended: &Ended) -> Vec<String> {
    let pages = serde_json::Deserializer::from_slice(&ended.stdout).into_iter();
    pages
        .flat_map(|page: Result<serde_json::Value, _>| {
            let page = page.unwrap();
            let list = page.get("servers").or(page.get("images")).unwrap_or(&page).clone();
            list.as_array().unwrap().clone()
        })
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn all_pages_by_links_and_by_markers() {
    let world = CloudWorld::of("an account");
    {
        let mut state = world.cloud.state();
        state.page_size = 2;
        for number in 7..10 {
            let name = format!("web{number}");
            state.servers.push(Server::new("DFW", number, &name, None));
            state.images.push(Image::new("DFW", number as usize, &name));
            let objects = &mut state.containers.get_mut("DFW").unwrap();
            let backups = &mut objects.get_mut("backups").unwrap().objects;
            let object = backups["db.sql"].clone();
            backups.insert(format!("x {number}&ä"), object);
        }
    }
    let ended = world.run(&*format!("{LIST} --paginate"));
    assert_eq!(names(ended.expect(0)), ["web1", "web2", "web7", "web8", "web9"]);
    assert_eq!(world.cloud.count("GET /dfw"), 3);
    assert_eq!(ended.text().lines().count(), 3);
    let first = world.run(LIST);
    assert_eq!(names(first.expect(0)), ["web1", "web2"]);
    let ended = world.run("cloud api images /images --region dfw --paginate");
    assert_eq!(names(ended.expect(0)), ["golden", "web7", "web8", "web9"]);
    assert_eq!(world.cloud.count("GET /images"), 2);
    let objects = ["db.sql", "golden.vhd", "x 7&ä", "x 8&ä", "x 9&ä"];
    let ended = world.run("cloud api files /backups?format=json --region dfw --paginate");
    assert_eq!(names(ended.expect(0)), objects);
    assert_eq!(world.cloud.count("GET /files"), 4);
    let list = "cloud api files /backups --region dfw --header Accept:text/plain --paginate";
    let ended = world.run(list);
    assert_eq!(ended.expect(0).text(), objects.map(|name| format!("{name}\n")).concat());
    let output = world.home.path().join("names");
    let ended = world.run(&*format!("{list} --output {}", output.display()));
    assert_eq!(ended.expect(0).text(), "");
    assert_eq!(std::fs::read_to_string(output).unwrap().lines().count(), 5);
}

#[test]
fn a_next_link_to_another_host_gets_no_token() {
    let world = CloudWorld::of("six servers");
    let page = |href: &str| {
        let links = serde_json::json!([{"rel": "next", "href": href}]);
        Response::json(200, &serde_json::json!({"servers": [], "servers_links": links}))
    };
    let first = page("https://192.0.2.1/elsewhere?marker=7#x&limit=1");
    world.cloud.fault("/servers/detail", 1, FaultKind::Answer(first));
    let marker = "limit=5&marker=00000001-0000-4000-8000-000000000000";
    let second = page(&format!("http://192.0.2.1/elsewhere?{marker}"));
    world.cloud.fault("marker=7", 1, FaultKind::Answer(second));
    world.run(&*format!("{LIST} --paginate").replace("detail", "detail?name=w")).expect(0);
    let path = "GET /dfw/v2/110011/servers/detail?name=w";
    assert_eq!(
        world.cloud.state().log[1..],
        [path, &format!("{path}&marker=7%23x&limit=1"), &format!("{path}&{marker}")]
    );
}

#[test]
fn endless_lists_and_invalid_pages() {
    let world = CloudWorld::new();
    let paginate = format!("{LIST} --paginate");
    let answer = |times: u32, response: Response| {
        world.cloud.state().faults.clear();
        world.cloud.fault("/servers/detail", times, FaultKind::Answer(response));
        world.run(paginate.as_str())
    };
    let links = serde_json::json!([{"rel": "next", "href": "?marker=1"}]);
    let page = serde_json::json!({"servers_links": links});
    answer(9, Response::json(200, &page)).expect(8).says("has no end");
    let page = serde_json::json!({"next": "/v2/images/2"});
    answer(9, Response::json(200, &page)).expect(8).says("that has no query");
    answer(9, Response::html(200, "Hello")).expect(8).says("is neither JSON nor plain text");
    answer(9, Response::json(200, &serde_json::json!([1]))).expect(8).says("a list without names");
    // A service without markers returns the same page again, which is printed once.
    let all = Response::json(200, &serde_json::json!([{"name": "a"}]));
    assert_eq!(answer(9, all).expect(0).text(), "[{\"name\":\"a\"}]\n");
    // The second page is refused.
    let page = serde_json::json!({"next": "?marker=1"});
    let ended = answer(1, Response::json(200, &page));
    ended.expect(8).says("HTTP 400").says("marker not found");
    assert!(ended.text().starts_with("{\"next\":\"?marker=1\"}\n{\"badRequest\""));
}

#[test]
fn no_more_pages_are_requested_without_a_reader() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().page_size = 1;
    // Unlike a pipe, a socket can be closed before the program starts, even if a process that
    // another test is starting has a copy of the descriptor.
    let (reader, writer) = UnixStream::pair().unwrap();
    reader.shutdown(Shutdown::Both).unwrap();
    let mut command = world.agent(&*format!("{LIST} --paginate"));
    let status = command.stdout(OwnedFd::from(writer)).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(world.cloud.count("GET /dfw"), 1);
}

#[test]
fn standard_output_that_cannot_be_written_does_not_hide_a_refusal() {
    let world = CloudWorld::of("six servers");
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let none = LIST.replace("detail", "none");
    for (arguments, code) in [(LIST, 1), (&*none, 3), (&*format!("{none} --include"), 3)] {
        let mut command = world.agent(arguments);
        let ended = ended(command.stdout(full()).stderr(Stdio::piped()).output().unwrap());
        ended.expect(code).says("cannot write to standard output: No space left on device");
    }
}

#[test]
fn the_log_at_its_highest_level_has_no_secret() {
    let world = CloudWorld::of("six servers");
    for level in ["-vv", "-v"] {
        let ended = world.run(&*format!("{LIST} --include {level}"));
        let text = format!("{}{}", ended.text(), ended.stderr);
        assert!(ended.stderr.contains("debug: GET http://127.0.0.1:"), "{text}");
        assert!(!text.contains("AAB0000") && !text.contains(KEY), "{text}");
    }
}
