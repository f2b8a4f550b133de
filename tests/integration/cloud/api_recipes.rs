//! Every documented request of the services, sent by `cloud api`, one after the other for one
//! account.

use std::process::Command;

use super::CloudWorld;
use crate::support::binary;
use crate::support::documents::{Block, blocks, is_continuation};

const WEB1: &str = "00000001-0000-4000-8000-000000000000";
const GOLDEN: &str = "00000001-1111-4000-8000-000000000000";

/// A request and the expected result. `{web1}`, `{new}` and `{golden}` stand for ids.
struct Recipe {
    /// The arguments after `cloud api`.
    arguments: &'static str,
    /// The value of `--data`, if there is one.
    data: &'static str,
    /// The request that the service receives.
    request: &'static str,
    code: i32,
    /// A text in standard output.
    shows: &'static [&'static str],
}

const fn ok(
    arguments: &'static str,
    data: &'static str,
    request: &'static str,
    shows: &'static [&'static str],
) -> Recipe {
    Recipe { arguments, data, request, code: 0, shows }
}

const fn refused(
    arguments: &'static str,
    data: &'static str,
    request: &'static str,
    code: i32,
    shows: &'static [&'static str],
) -> Recipe {
    Recipe { arguments, data, request, code, shows }
}

/// An action of web1 whose response has no body.
const fn action(data: &'static str) -> Recipe {
    let request = "POST /dfw/v2/110011/servers/{web1}/action";
    ok("servers /servers/{web1}/action --region dfw", data, request, &[])
}

const fn web1_shows(shows: &'static [&'static str]) -> Recipe {
    let request = "GET /dfw/v2/110011/servers/{web1}";
    ok("servers /servers/{web1} --region dfw", "", request, shows)
}

const SERVERS: &[Recipe] = &[
    ok(
        "servers /servers/detail?limit=1000&status=ACTIVE --region dfw",
        "",
        "GET /dfw/v2/110011/servers/detail?limit=1000&status=ACTIVE",
        &["\"name\":\"web1\"", "\"name\":\"web2\""],
    ),
    ok(
        "servers /servers/detail?name=^web1$&changes-since=2012-01-01T00:00:00Z --region dfw",
        "",
        "GET /dfw/v2/110011/servers/detail?name=%5Eweb1$&changes-since=2012-01-01T00:00:00Z",
        &["\"name\":\"web1\""],
    ),
    web1_shows(&["{\"server\":{", "\"status\":\"ACTIVE\""]),
    ok(
        "servers /servers/{web1}/metadata --region dfw",
        "",
        "GET /dfw/v2/110011/servers/{web1}/metadata",
        &["{\"metadata\":{\"rackconnect_automation_status\":\"DEPLOYED\"}}"],
    ),
    ok(
        "servers /servers/{web1}/metadata/rackconnect_automation_status --region dfw",
        "",
        "GET /dfw/v2/110011/servers/{web1}/metadata/rackconnect_automation_status",
        &["{\"meta\":{\"rackconnect_automation_status\":\"DEPLOYED\"}}"],
    ),
    ok(
        "PUT servers /servers/{web1}/metadata/role --region dfw",
        r#"{"meta": {"role": "web"}}"#,
        "PUT /dfw/v2/110011/servers/{web1}/metadata/role",
        &["{\"meta\":{\"role\":\"web\"}}"],
    ),
    ok(
        "servers /servers/{web1}/metadata --region dfw",
        r#"{"metadata": {"role": "db", "owner": "jsmith"}}"#,
        "POST /dfw/v2/110011/servers/{web1}/metadata",
        &["\"owner\":\"jsmith\"", "\"role\":\"db\"", "rackconnect_automation_status"],
    ),
    action(r#"{"reboot": {"type": "SOFT"}}"#),
    web1_shows(&["\"status\":\"REBOOT\""]),
    action(r#"{"reboot": {"type": "HARD"}}"#),
    web1_shows(&["\"status\":\"HARD_REBOOT\""]),
    action(r#"{"resize": {"flavorRef": "3"}}"#),
    refused(
        "servers /servers/{web1}/action --region dfw",
        r#"{"confirmResize": null}"#,
        "POST /dfw/v2/110011/servers/{web1}/action",
        8,
        &["{\"conflictingRequest\":{", "\"code\":409"],
    ),
    web1_shows(&["\"status\":\"RESIZE\"", "\"flavor\":{\"id\":\"3\"}"]),
    action(r#"{"confirmResize": null}"#),
    action(r#"{"resize": {"flavorRef": "4"}}"#),
    web1_shows(&["\"status\":\"RESIZE\""]),
    action(r#"{"revertResize": null}"#),
    web1_shows(&["\"status\":\"REVERT_RESIZE\""]),
    ok(
        "servers /servers/{web1}/action --region dfw --include",
        r#"{"createImage": {"name": "web1-today"}}"#,
        "POST /dfw/v2/110011/servers/{web1}/action",
        &["HTTP/1.1 202 Accepted\n", "location: http://127.0.0.1:", "/images/"],
    ),
    ok(
        "servers /servers/{web1}/action --region dfw",
        r#"{"rebuild": {"imageRef": "{golden}"}}"#,
        "POST /dfw/v2/110011/servers/{web1}/action",
        &["\"status\":\"REBUILD\"", "\"adminPass\":", "\"image\":{\"id\":\"{golden}\"}"],
    ),
    ok(
        "servers /servers/{web1}/os-instance-actions --region dfw",
        "",
        "GET /dfw/v2/110011/servers/{web1}/os-instance-actions",
        &["{\"instanceActions\":[{", "\"action\":\"resize\"", "\"action\":\"rebuild\""],
    ),
    ok(
        "servers /servers --region dfw",
        r#"{"server": {"name": "web3", "imageRef": "{golden}", "flavorRef": "2"}}"#,
        "POST /dfw/v2/110011/servers",
        &["{\"server\":{\"adminPass\":", "\"id\":\"{new}\"", "\"links\":["],
    ),
    refused(
        "servers /servers/{new}/action --region dfw",
        r#"{"reboot": {"type": "SOFT"}}"#,
        "POST /dfw/v2/110011/servers/{new}/action",
        8,
        &["{\"buildInProgress\":{"],
    ),
    ok(
        "DELETE servers /servers/{new} --region dfw",
        "",
        "DELETE /dfw/v2/110011/servers/{new}",
        &[],
    ),
    refused(
        "servers /servers/{new} --region dfw",
        "",
        "GET /dfw/v2/110011/servers/{new}",
        3,
        &["{\"itemNotFound\":{\"code\":404,\"message\":\"Instance could not be found\"}}"],
    ),
];

const FILES: &[Recipe] = &[
    ok("PUT files /logs --region dfw", "", "PUT /files/dfw/v1/MossoCloudFS_110011/logs", &[]),
    ok(
        "PUT files /logs --region dfw --include",
        "",
        "PUT /files/dfw/v1/MossoCloudFS_110011/logs",
        &["HTTP/1.1 202 Accepted\n"],
    ),
    ok(
        "files /logs/{upload} --region dfw --upload {upload} --include",
        "",
        "PUT /files/dfw/v1/MossoCloudFS_110011/logs/{upload}",
        // printf 'of today' | md5sum
        &["HTTP/1.1 201 Created\n", "etag: d71bbfd0396ae352a1c3761034b0db85\n"],
    ),
    ok(
        "HEAD files /logs --region dfw",
        "",
        "HEAD /files/dfw/v1/MossoCloudFS_110011/logs",
        &["HTTP/1.1 204 No Content\n", "x-container-object-count: 1\n"],
    ),
    ok(
        "files /logs/{upload} --region dfw",
        "",
        "GET /files/dfw/v1/MossoCloudFS_110011/logs/{upload}",
        &["of today"],
    ),
    ok(
        "files /backups?limit=10000&marker=db.sql&format=json --region dfw",
        "",
        "GET /files/dfw/v1/MossoCloudFS_110011/backups?limit=10000&marker=db.sql&format=json",
        &["[{", "\"name\":\"golden.vhd\""],
    ),
    ok(
        "files / --region dfw --header Accept:text/plain",
        "",
        "GET /files/dfw/v1/MossoCloudFS_110011/",
        &["backups\nlogs\nsite\n"],
    ),
    refused(
        "files /backups/none --region dfw",
        "",
        "GET /files/dfw/v1/MossoCloudFS_110011/backups/none",
        3,
        &["<h1>Not Found</h1>"],
    ),
    ok(
        "cdn /?format=json --region dfw",
        "",
        "GET /cdn/dfw/v1/MossoCloudFS_110011/?format=json",
        &["[{", "\"name\":\"site\"", "\"cdn_enabled\":true", "\"cdn_ssl_uri\":"],
    ),
];

const IMAGES: &[Recipe] = &[
    ok("images /images --region dfw", "", "GET /images/dfw/v2/images", &["\"name\":\"golden\""]),
    ok(
        "images /tasks --region dfw",
        r#"{"type": "export",
            "input": {"image_uuid": "{golden}", "receiving_swift_container": "backups"}}"#,
        "POST /images/dfw/v2/tasks",
        &["\"status\":\"pending\"", "\"type\":\"export\""],
    ),
    ok(
        "images /tasks/00000001-2222-4000-8000-000000000000 --region dfw",
        "",
        "GET /images/dfw/v2/tasks/00000001-2222-4000-8000-000000000000",
        &["\"status\":\"pending\""],
    ),
    ok(
        "images /tasks/00000001-2222-4000-8000-000000000000 --region dfw",
        "",
        "GET /images/dfw/v2/tasks/00000001-2222-4000-8000-000000000000",
        &["\"status\":\"processing\""],
    ),
    ok(
        "images /tasks/00000001-2222-4000-8000-000000000000 --region dfw",
        "",
        "GET /images/dfw/v2/tasks/00000001-2222-4000-8000-000000000000",
        &["\"status\":\"success\""],
    ),
    ok(
        "images /tasks --region dfw",
        r#"{"type": "import", "input": {"image_properties": {"name": "imported"},
            "import_from": "backups/{golden}.vhd"}}"#,
        "POST /images/dfw/v2/tasks",
        &["\"status\":\"pending\"", "\"type\":\"import\""],
    ),
    ok(
        "images /tasks --region dfw",
        r#"{"type": "import", "input": {"image_properties": {"name": "never"},
            "import_from": "backups/none.vhd"}}"#,
        "POST /images/dfw/v2/tasks",
        &["\"status\":\"pending\""],
    ),
    ok(
        "PUT images /images/{golden}/tags/gold --region dfw",
        "",
        "PUT /images/dfw/v2/images/{golden}/tags/gold",
        &[],
    ),
    ok(
        "images /images/{golden}/members --region dfw",
        r#"{"member": "110012"}"#,
        "POST /images/dfw/v2/images/{golden}/members",
        &["\"member_id\":\"110012\"", "\"status\":\"pending\""],
    ),
    ok(
        "PUT images /images/{golden}/members/110012 --region dfw",
        r#"{"status": "accepted"}"#,
        "PUT /images/dfw/v2/images/{golden}/members/110012",
        &["\"status\":\"accepted\""],
    ),
    ok(
        "images /images/{golden}/members --region dfw",
        "",
        "GET /images/dfw/v2/images/{golden}/members",
        &["{\"members\":[{"],
    ),
    ok(
        "PATCH images /images/{golden} --region dfw \
         --header Content-Type:application/openstack-images-v2.1-json-patch",
        r#"[{"op": "replace", "path": "/name", "value": "gilded"}]"#,
        "PATCH /images/dfw/v2/images/{golden}",
        &["\"name\":\"gilded\"", "\"tags\":[\"gold\"]"],
    ),
    refused(
        "PATCH images /images/{golden} --region dfw",
        r#"[{"op": "replace", "path": "/name", "value": "gilded"}]"#,
        "PATCH /images/dfw/v2/images/{golden}",
        8,
        &["Unsupported Media Type"],
    ),
    ok(
        "DELETE images /images/{golden}/tags/gold --region dfw",
        "",
        "DELETE /images/dfw/v2/images/{golden}/tags/gold",
        &[],
    ),
    ok(
        "DELETE images /images/{golden}/members/110012 --region dfw",
        "",
        "DELETE /images/dfw/v2/images/{golden}/members/110012",
        &[],
    ),
];

const IDENTITY: &[Recipe] = &[
    ok("identity /tenants", "", "GET /v2.0/tenants", &["{\"tenants\":[{", "\"id\":\"110011\""]),
    ok(
        "identity /users",
        "",
        "GET /v2.0/users",
        &["{\"users\":[{", "\"RAX-AUTH:defaultRegion\":\"ORD\"", "\"username\":\"jsmith\""],
    ),
    ok("DELETE identity /tokens", "", "DELETE /v2.0/tokens", &[]),
    // The token is revoked, and the next command authenticates again.
    ok("identity /tenants", "", "GET /v2.0/tenants", &["\"id\":\"110011\""]),
];

fn run(recipes: &[Recipe]) -> CloudWorld {
    let world = CloudWorld::of("an account");
    let upload = world.home.path().join("today.log");
    std::fs::write(&upload, "of today").unwrap();
    for (number, recipe) in recipes.iter().enumerate() {
        let fill = |text: &str| {
            text.replace("--upload {upload}", &format!("--upload {}", upload.display()))
                .replace("{upload}", "today.log")
                .replace("{web1}", WEB1)
                .replace("{new}", "00000007-0000-4000-8000-000000000000")
                .replace("{golden}", GOLDEN)
        };
        let (line, data) = (fill(recipe.arguments), fill(recipe.data));
        let mut arguments = vec!["cloud", "api"];
        arguments.extend(line.split_whitespace());
        if !data.is_empty() {
            arguments.extend(["--data", &data]);
        }
        let ended = world.run(&arguments);
        eprintln!("recipe {number}: {arguments:?}");
        ended.expect(recipe.code);
        let request = fill(recipe.request);
        let last = world.cloud.state().log.last().cloned();
        assert_eq!(last, Some(request));
        for part in recipe.shows {
            assert!(ended.text().contains(&fill(part)), "{part} is not in {}", ended.text());
        }
        if recipe.shows.is_empty() {
            assert_eq!(ended.text(), "");
        }
        let lines = if recipe.code == 0 { 0 } else { 1 };
        assert_eq!(ended.stderr.lines().count(), lines, "{}", ended.stderr);
    }
    world
}

#[test]
fn every_request_of_cloud_servers() {
    let world = run(SERVERS);
    let mut state = world.cloud.state();
    assert_eq!(state.server("web3").status, "DELETED");
    assert_eq!(state.server("web1").image, GOLDEN);
    let actions: Vec<&str> =
        state.server("web1").actions.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "create",
            "reboot",
            "reboot",
            "resize",
            "confirmResize",
            "resize",
            "revertResize",
            "createImage",
            "rebuild"
        ]
    );
}

#[test]
fn every_request_of_cloud_files_and_its_cdn() {
    let world = run(FILES);
    let state = world.cloud.state();
    let object = &state.containers["DFW"]["logs"].objects["today.log"];
    assert_eq!(object.content, b"of today");
    assert_eq!(object.content_type, "application/octet-stream");
}

#[test]
fn every_request_of_cloud_images() {
    let world = run(IMAGES);
    let task = |number: u32| format!("images /tasks/0000000{number}-2222-4000-8000-000000000000");
    let status = |number: u32| {
        let mut last = String::new();
        for _ in 0..3 {
            let arguments = format!("cloud api {} --region dfw", task(number));
            last = world.run(arguments.as_str()).expect(0).text().to_owned();
        }
        last
    };
    assert!(status(2).contains("\"status\":\"success\""));
    assert!(status(3).contains("\"status\":\"failure\""));
    let list = world.run("cloud api images /images --region dfw");
    let text = list.expect(0).text();
    assert!(text.contains("\"name\":\"imported\"") && !text.contains("never"), "{text}");
}

#[test]
fn every_request_of_identity() {
    let world = run(IDENTITY);
    assert_eq!(world.authentications(), 2);
}

/// Runs a script for an account, and returns the requests that the services received.
fn requests_of(script: &str) -> Vec<String> {
    let world = CloudWorld::of("an account");
    let home = world.home.path();
    std::fs::write(home.join("today.log"), "a line\n").unwrap();
    std::os::unix::fs::symlink(binary(), home.join("rackconnect")).unwrap();
    let token = world.run("cloud token").expect(0).text().trim().to_owned();
    let identity = world.cloud.identity_url();
    let base = identity.trim_end_matches("/v2.0");
    let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap());
    let ended = Command::new("bash")
        .args(["-c", script])
        .current_dir(home)
        .envs(world.variables())
        .env("PATH", path)
        .env("TOKEN", token)
        .env("SERVERS", format!("{base}/dfw/v2/110011"))
        .env("FILES", format!("{base}/files/dfw/v1/MossoCloudFS_110011"))
        .env("CDN", format!("{base}/cdn/dfw/v1/MossoCloudFS_110011"))
        .env("IMAGES", format!("{base}/images/dfw/v2"))
        .env("IDENTITY", &identity)
        .output()
        .unwrap();
    eprintln!("{script}\n{}", String::from_utf8_lossy(&ended.stderr));
    let mut log = world.cloud.state().log.clone();
    log.retain(|line| line != "POST /v2.0/tokens");
    log
}

/// The commands of a `console` block.
fn commands(block: &Block) -> String {
    let mut script = String::new();
    let mut is_command = false;
    for line in &block.lines {
        is_command = line.starts_with("$ ") || (is_command && is_continuation(line));
        if is_command {
            script += &format!("{}\n", line.trim_start_matches("$ "));
        }
    }
    script
}

#[test]
fn the_recipes_of_the_page_send_what_their_curl_lines_send() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("NOT RUN: it needs curl");
        return;
    }
    let blocks: Vec<Block> =
        blocks().into_iter().filter(|block| block.place.starts_with("docs/cloud.md")).collect();
    let mut count = 0;
    for pair in blocks.windows(2) {
        let [curl, console] = pair else { continue };
        if curl.language == "sh" && console.comment == "cloud: an account" {
            let sent = requests_of(&curl.lines.join("\n"));
            assert!(sent.len() > 1, "{}", curl.place);
            assert_eq!(sent, requests_of(&commands(console)), "{}", console.place);
            count += 1;
        }
    }
    assert_eq!(count, 4);
}

/// The metadata of a new server appears late.
#[test]
fn a_wait_for_a_new_server() {
    let world = CloudWorld::of("an account");
    let data = r#"{"server": {"name": "web3", "imageRef": "i", "flavorRef": "2"}}"#;
    let create = ["cloud", "api", "servers", "/servers", "--region", "dfw", "--data", data];
    world.run(&create).expect(0);
    let waited = world.run("cloud wait web3 --interval 3s");
    waited.expect(0).says("web3 (DFW): no status yet").says("web3 (DFW): DEPLOYED after ");
    assert_eq!(waited.text(), "DEPLOYED\n");
}
