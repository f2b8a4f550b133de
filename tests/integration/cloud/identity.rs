//! Tokens: requested, cached, renewed, revoked.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;
use simulated_api::Step;
use simulated_cloud::{FaultKind, Response};

use super::{CloudWorld, KEY, PASSWORD};
use crate::support::{Ended, PATIENCE, World, binary, ended, until, with_environment_of};

fn token(world: &CloudWorld) -> String {
    world.run("cloud token").expect(0).text().trim().to_owned()
}

#[test]
fn every_kind_of_credentials_from_the_environment() {
    let world = CloudWorld::new();
    let run = |variables: &[(&str, &str)]| {
        let mut command = world.anonymous("cloud login");
        command.envs(variables.iter().copied());
        ended(command.output().unwrap())
    };
    let output = run(&[("RAX_USERNAME", "jsmith"), ("RAX_API_KEY", KEY)]);
    let line = "logged in as jsmith, account 110011; the token is valid until ";
    assert!(output.expect(0).text().starts_with(line), "{:?}", output.text());
    run(&[("RAX_USERNAME", "jsmith"), ("RAX_PASSWORD", PASSWORD)]).expect(0);
    run(&[("OS_USERNAME", "jsmith"), ("OS_PASSWORD", PASSWORD), ("OS_TENANT_ID", "110011")])
        .expect(0);
    let token = token(&world);
    run(&[("OS_TOKEN", &token), ("OS_PROJECT_ID", "110011")]).expect(0);
    let by_name = [("OS_USERNAME", "jsmith"), ("OS_PASSWORD", PASSWORD)];
    run(&[by_name[0], by_name[1], ("OS_PROJECT_NAME", "110011")]).expect(0);
    run(&[by_name[0], by_name[1], ("OS_TENANT_NAME", "7")]).expect(2);
    run(&[("OS_TOKEN", &token)]).expect(2).says("RAX_TENANT_ID");
    run(&[("RAX_API_KEY", KEY)]).expect(2).says("RAX_USERNAME");
    let wrong = run(&[("RAX_USERNAME", "jsmith"), ("RAX_API_KEY", "wr0ng-key")]);
    wrong.expect(2).says("does not accept the credentials: Unable to authenticate user");
    assert_eq!(wrong.stderr.lines().count(), 1);
    run(&[("RAX_USERNAME", "jsmith"), ("RAX_PASSWORD", PASSWORD), ("RAX_TENANT_ID", "7")])
        .expect(2);
}

/// The key was sent to the Identity of another cloud, whose variables were set as well.
#[test]
fn the_variables_of_another_cloud_got_the_key() {
    let (world, other) = (CloudWorld::of("six servers"), CloudWorld::new());
    let identity_url = world.cloud.identity_url();
    world.write_credentials(
        &format!(
            "[mine]\nusername = 'jsmith'\napi_key = '{KEY}'\nidentity_url = '{identity_url}'\n\
             [bare]\nusername = 'jsmith'\napi_key = '{KEY}'\n"
        ),
        0o600,
    );
    let run = |arguments: &str, variables: &[(&str, &str)]| {
        let mut command = world.anonymous(arguments);
        command.env_remove("RAX_IDENTITY_URL").env("OS_AUTH_URL", other.cloud.identity_url());
        command.env("OS_USERNAME", "jsmith").env("OS_PASSWORD", PASSWORD);
        command.env("OS_REGION_NAME", "RegionOne").env("OS_PROJECT_NAME", "110011");
        // Nothing leaves this machine.
        command.env("HTTPS_PROXY", "http://127.0.0.1:1").envs(variables.iter().copied());
        ended(command.output().unwrap())
    };
    let key = [("RAX_USERNAME", "jsmith"), ("RAX_API_KEY", KEY)];
    let default = "https://identity.api.rackspacecloud.com/v2.0";
    run("cloud login --deadline 1s", &key).expect(7).says(default);
    run("cloud login --deadline 1s --profile bare", &[]).expect(7).says(default);
    run("cloud servers", &[key[0], key[1], ("RAX_IDENTITY_URL", &identity_url)]).expect(0);
    run("cloud servers --profile mine", &[]).expect(0);
    assert_eq!(other.authentications(), 0);
    run("cloud login", &[]).expect(0);
    assert_eq!(other.authentications(), 1);
    run("cloud login", &[("OS_AUTH_URL", "http://192.0.2.1/v3")]).expect(2).says("OS_AUTH_URL: ");
}

#[test]
fn profiles_of_a_private_file() {
    let world = CloudWorld::new();
    let text = format!(
        "[default]\nusername = 'jsmith'\napi_key = 'wr0ng-key'\n\
         [good]\nusername = 'jsmith'\npassword = '{PASSWORD}'\ntenant_id = 110011\n\
         [token]\ntoken = 'n0-token'\ntenant_id = 110011\n"
    );
    let path = world.write_credentials(&text, 0o600);
    let run = |arguments: &str| ended(world.anonymous(arguments).output().unwrap());
    run("cloud login").expect(2).says("does not accept the credentials");
    run("cloud login --profile good").expect(0);
    // A profile that is named wins over the environment.
    let mut command = world.anonymous("cloud login --profile good");
    command.env("RAX_USERNAME", "jsmith").env("RAX_API_KEY", "wr0ng-key");
    ended(command.output().unwrap()).expect(0);
    run("cloud login --profile token").expect(2).says("does not accept the credentials");
    run("cloud login --profile bad").expect(2).says("has no profile [bad]");
    let valid = run("cloud token --profile good");
    let with_token = text.replace("n0-token", valid.expect(0).text().trim());
    world.write_credentials(&with_token, 0o600);
    run("cloud login --profile token").expect(0);
    world.write_credentials(&text, 0o640);
    let refused = run("cloud login --profile good");
    refused.expect(2).says("can be read by other users (mode 0640): chmod 600 it");
    std::fs::remove_file(path).unwrap();
    run("cloud login --profile good").expect(2).says("No such file");
    run("cloud login").expect(2).says("no credentials: set RAX_USERNAME and RAX_API_KEY");
    assert_eq!(world.authentications(), 5);
}

#[test]
fn the_identity_of_a_profile() {
    let world = CloudWorld::new();
    let profile = |name: &str, url: &str| {
        format!("[{name}]\nusername = 'jsmith'\napi_key = '{KEY}'\nidentity_url = '{url}'\n")
    };
    let nobody = "http://127.0.0.1:1/v2.0";
    let text = profile("default", nobody) + &profile("other", nobody);
    world.write_credentials(&text, 0o600);
    let run = |arguments: &str| ended(world.anonymous(arguments).output().unwrap());
    // The environment has the right one, which a profile that is named takes precedence over.
    run("cloud login").expect(0);
    run("cloud login --profile other --deadline 1s").expect(7).says("127.0.0.1:1");
    let url = world.cloud.identity_url();
    run(&format!("cloud login --profile other --identity-url {url}")).expect(0);
    let mut command = world.anonymous("cloud login --deadline 1s");
    command.env_remove("RAX_IDENTITY_URL");
    ended(command.output().unwrap()).expect(7).says("127.0.0.1:1");
}

/// It was reported without the file's name, and with the password that was in it.
#[test]
fn the_wrong_identity_url_of_a_profile_was_reported_without_its_file() {
    let world = CloudWorld::new();
    let url = format!("https://jsmith:{PASSWORD}@identity.example/v2.0");
    let text = format!("[other]\nusername = 'jsmith'\napi_key = '{KEY}'\nidentity_url = '{url}'\n");
    let path = world.write_credentials(&text, 0o600);
    let output = world.run("cloud login --profile other");
    output.expect(2).says(&format!("the credentials file {} has an identity_url", path.display()));
    assert!(!output.stderr.contains(PASSWORD), "{}", output.stderr);
}

#[test]
fn a_token_is_cached_until_it_is_revoked() {
    let world = CloudWorld::new();
    let first = token(&world);
    assert_eq!(token(&world), first);
    assert_eq!(world.authentications(), 1);
    let [file] = &world.cached()[..] else { panic!("{:?}", world.cached()) };
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(file.parent().unwrap().metadata().unwrap().mode() & 0o022, 0);
    assert_eq!(world.run("cloud logout").expect(0).text(), "logged out\n");
    assert!(world.cached().is_empty());
    assert!(world.cloud.state().tokens[&first].is_revoked);
    world.run("cloud logout").expect(0);
    assert_ne!(token(&world), first);
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let world = CloudWorld::new();
    world.cloud.state().token_lifetime = Duration::from_secs(61);
    let first = token(&world);
    world.cloud.state().revoke_all();
    world.cloud.state().token_lifetime = Duration::from_secs(86_400);
    until("its last minute", || token(&world) != first);
    assert_eq!(world.authentications(), 2);
}

/// Regression: Identity returns the same token until it expires, so every request of its last
/// minute authenticated.
#[test]
fn the_last_minute_of_a_token_costs_one_authentication() {
    let world = CloudWorld::new();
    world.cloud.state().token_lifetime = Duration::from_secs(59);
    let first = token(&world);
    for _ in 0..3 {
        assert_eq!(token(&world), first);
    }
    assert_eq!(world.authentications(), 1);
}

#[test]
fn an_expired_token_is_not_used() {
    let world = CloudWorld::new();
    world.cloud.state().token_lifetime = Duration::from_secs(1);
    world.run("cloud login").expect(0);
    world.cloud.state().token_lifetime = Duration::from_secs(86_400);
    // The lifetime of the token starts at the date of a response, which has whole seconds.
    let rounding = Duration::from_secs(1);
    until("its end", || {
        let state = world.cloud.state();
        state.tokens.values().all(|token| token.expires + rounding < state.now())
    });
    // It was not sent to a service, so none has refused it.
    let output = world.run("cloud servers --region dfw -vv");
    assert!(!output.expect(0).stderr.contains("debug: 401"), "{}", output.stderr);
    assert_eq!(world.authentications(), 2);
}

/// Regression: with a clock that was a day behind, tokens were kept for too long; with one that was
/// a day ahead, not at all.
#[test]
fn the_clock_of_this_machine_does_not_matter() {
    const DAY: Duration = Duration::from_secs(86_400);
    for (ahead, behind) in [(DAY, Duration::ZERO), (2 * DAY, Duration::ZERO), (Duration::ZERO, DAY)]
    {
        let world = CloudWorld::new();
        {
            let mut state = world.cloud.state();
            (state.clock_ahead, state.clock_behind) = (ahead, behind);
            state.token_lifetime = Duration::from_secs(600);
        }
        world.run("cloud login").expect(0);
        token(&world);
        assert_eq!(world.authentications(), 1);
        let text = std::fs::read_to_string(&world.cached()[0]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let used_until = Duration::from_secs(value["used_until"].as_u64().unwrap());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        // The date of a response has whole seconds.
        assert!(used_until > now && used_until - now <= Duration::from_secs(545));
    }
}

#[test]
fn processes_that_need_a_token_at_once_authenticate_once() {
    let world = CloudWorld::new();
    world.cloud.state().authentication_time = Duration::from_millis(500);
    let running: Vec<_> = (0..5).map(|_| world.start("cloud token")).collect();
    let tokens: Vec<Vec<u8>> =
        running.into_iter().map(|it| it.end().expect(0).stdout.clone()).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(world.authentications(), 1);
}

#[test]
fn multi_factor_authentication_by_a_descriptor() {
    let world = CloudWorld::new();
    world.cloud.state().users[0].passcode = Some("1411594".to_owned());
    let run = |passcode: &str| {
        let mut command = world.agent("cloud login --passcode-fd 0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(passcode.as_bytes()).unwrap();
        ended(child.wait_with_output().unwrap())
    };
    run("1411594\n").expect(0);
    run("0000000\n").expect(2).says("does not accept the credentials");
    world.run("cloud login --passcode-fd 77").expect(2).says("descriptor 77 cannot be read");
    // An empty one was sent.
    let before = world.authentications();
    run("\n").expect(2).says("descriptor 0 has no passcode to read");
    assert_eq!(world.authentications(), before + 1);
}

#[test]
fn identity_is_down_at_first_or_limits_requests() {
    let world = CloudWorld::new();
    world.identity_is_down(1);
    world.run("cloud login").expect(0);
    world.cloud.fault("POST /v2.0/tokens", 1, FaultKind::Close);
    world.run("cloud login").expect(0);
    let limit = Response::fault("overLimit", 413, "OverLimit Retry...").with("Retry-After", "1");
    world.cloud.fault("POST /v2.0/tokens", 2, FaultKind::Answer(limit));
    world.run("cloud login").expect(0);
    let long = Response::fault("overLimit", 429, "OverLimit Retry...").with("Retry-After", "999");
    world.cloud.fault("POST /v2.0/tokens", 1, FaultKind::Answer(long));
    world.run("cloud login").expect(6).says("HTTP 429").says("OverLimit Retry...");
    world.identity_is_down(2);
    world.run("cloud login").expect(7).says("HTTP 503");
    world.cloud.fault("POST /v2.0/tokens", 1, FaultKind::Slow(PATIENCE));
    world.run("cloud login --request-timeout 1s --deadline 2s").expect(7).says("no response");
    let moved = Response::empty(302).with("Location", "http://192.0.2.1/");
    world.cloud.fault("POST /v2.0/tokens", 1, FaultKind::Answer(moved));
    world.run("cloud login").expect(8).says("HTTP 302");
    world.cloud.fault("POST /v2.0/tokens", 1, FaultKind::Answer(Response::html(200, "Hello")));
    world.run("cloud login").expect(8).says("is not JSON");
}

#[test]
fn a_cache_that_cannot_be_written_costs_authentications_only() {
    let world = CloudWorld::new();
    std::fs::write(world.home.path().join(".cache"), "not a directory").unwrap();
    let output = world.run("cloud token");
    output.expect(0).says("the token is not cached");
    world.run("cloud token").expect(0);
    assert_eq!(world.authentications(), 2);
}

/// A script that runs as root in its own mount namespace; `$0` is the program. None without root.
fn script(world: &CloudWorld, script: &str) -> Option<Ended> {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: it needs root");
        return None;
    }
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-ec", script]).arg(binary());
    Some(ended(with_environment_of(&world.agent(""), &mut shell).output().unwrap()))
}

#[test]
fn a_full_disk_costs_authentications_only() {
    let world = CloudWorld::new();
    let Some(output) = script(
        &world,
        r#"
        mount -t tmpfs -o mode=0700,size=64k tmpfs "$HOME"
        mkdir -p "$HOME/.cache/rackconnect"
        head -c 1M /dev/zero >"$HOME/full" 2>/dev/null || true
        "$0" cloud token
        "$0" cloud token
        rm "$HOME/full"
        "$0" cloud token
        head -c 1M /dev/zero >"$HOME/full" 2>/dev/null || true
        # What is there already is used, and not lost.
        "$0" cloud token
        "#,
    ) else {
        return;
    };
    output.expect(0).says("cannot be written: No space left on device; the token is not cached");
    assert_eq!(output.stderr.lines().count(), 2, "{}", output.stderr);
    let tokens: Vec<&str> = output.text().lines().collect();
    assert!(tokens.len() == 4 && tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    assert_eq!(world.authentications(), 3);
}

#[test]
fn a_read_only_home_costs_authentications_only() {
    let world = CloudWorld::new();
    let Some(output) = script(
        &world,
        r#"
        mount -t tmpfs -o mode=0700 tmpfs "$HOME"
        mkdir -p "$HOME/.cache/rackconnect"
        mount -o remount,ro "$HOME"
        "$0" cloud token
        umount "$HOME"
        mount -t tmpfs -o ro,mode=0700 tmpfs "$HOME"
        "$0" cloud catalog
        "#,
    ) else {
        return;
    };
    output.expect(0).says("cannot be written: Read-only file system");
    output.says("cannot be created: Read-only file system");
    assert_eq!(output.stderr.lines().count(), 2, "{}", output.stderr);
    assert_eq!(world.authentications(), 2);
}

/// Regression: a `cloud login` that was waiting at its prompt blocked every other process until its
/// deadline, which a wait may not even have.
#[test]
fn a_process_that_keeps_the_lock_of_the_cache_is_waited_for_seconds_only() {
    let world = CloudWorld::new();
    world.run("cloud login").expect(0);
    world.cloud.state().revoke_all();
    let [cache] = &world.cached()[..] else { panic!("one file in the cache") };
    let lock = std::fs::File::open(cache.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    world.cloud.state().servers = super::world::six_servers();
    let running = world.start("cloud wait web1 --timeout 0");
    running.end().expect(0);
    drop(lock);
    assert_eq!(world.authentications(), 2);
}

#[test]
fn the_catalog_as_a_table_and_as_json() {
    let world = CloudWorld::new();
    let table = world.run("cloud catalog");
    let table = table.expect(0).text();
    assert_eq!(table.lines().count(), 13, "{table}");
    let row = |cells: [&str; 3]| {
        let cells = [cells[0], cells[1], cells[2], "http://127.0.0.1:"].map(str::to_owned);
        table.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[..3] == cells[..3] && words[3].starts_with(&cells[3])
        })
    };
    assert!(row(["cloudServersOpenStack", "compute", "DFW"]), "{table}");
    assert!(row(["cloudDNS", "rax:dns", "-"]), "{table}");
    let json = world.run("cloud catalog --format json");
    let list: serde_json::Value = serde_json::from_slice(&json.expect(0).stdout).unwrap();
    assert_eq!(list[1]["region"], "HKG");
    world.run("cloud catalog --format xml").expect(2).says("(table, json)");
}

/// The connection is TLS with the same roots as the agent's.
#[test]
fn identity_over_tls() {
    let api = World::of([]);
    let world = CloudWorld::new();
    let run = |ca_file: Option<&std::path::Path>| {
        let mut command = world.agent("cloud login");
        command.env("RAX_IDENTITY_URL", api.api.endpoint());
        if let Some(file) = ca_file {
            command.env("RACKCONNECT_CA_FILE", file);
        }
        ended(command.output().unwrap())
    };
    let answered = run(Some(api.api.ca_file()));
    assert!(answered.stderr.contains("HTTP 4"), "{}", answered.stderr);
    run(None).expect(7).says("is not trusted: if it should be trusted, give its certificate");
}

/// It said "UnknownIssuer", and not whose certificates are trusted.
#[test]
fn the_file_without_the_issuer_was_not_named() {
    let api = World::of([Step::new("DEPLOYED").fault("cert-unknown-issuer")]);
    let world = CloudWorld::new();
    let mut command = world.agent("cloud login");
    command.env("RAX_IDENTITY_URL", api.api.endpoint()).env("SSL_CERT_FILE", api.api.ca_file());
    let says = format!("is not in {} (SSL_CERT_FILE)", api.api.ca_file().display());
    ended(command.output().unwrap()).expect(7).says(&says);
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    let world = CloudWorld::new();
    let output = world.run("cloud login --identity-url http://192.0.2.1/v2.0");
    output.expect(2).says("plain http");
    assert_eq!(world.authentications(), 0);
}
