//! `doctor` on prepared servers: their files are below a directory, their xenstore is simulated.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::unistd::geteuid;
use serde_json::Value;
use simulated_api::Step;

use crate::support::{Ended, NO_THREADS, PreparedServer, Terminal, World, bare_agent, ended};

fn doctor(world: &World, server: &PreparedServer, arguments: &[&str]) -> Ended {
    let root = server.root().to_str().expect("UTF-8");
    let mut agent = world.agent(&[&["doctor", "--root", root], arguments].concat());
    agent.env("XENSTORED_PATH", server.xenstore.path());
    ended(agent.output().expect("the agent starts"))
}

/// A healthy server with this status in the API and in xenstore.
fn healthy(status: &str) -> (World, PreparedServer) {
    let step = Step::new(status).gateway("10.182.127.198");
    (World::of([step]), PreparedServer::healthy(status))
}

/// The sections whose checks need no network namespaces.
const OWN: &str = "server,automation,agent";

fn first_failure(ended: &Ended) -> &str {
    ended.stderr.lines().find(|line| line.starts_with("[FAIL]")).unwrap_or_default()
}

#[test]
fn a_healthy_server() {
    let (world, server) = healthy("DEPLOYED");
    let before = server.contents();
    let found = doctor(&world, &server, &["--only", OWN]);
    found.expect(0).says("0 failed, 0 warnings, ");
    assert_eq!(found.stderr.lines().count(), 1, "{}", found.stderr);
    let text = found.text();
    assert!(text.contains("[PASS] server.region: dfw (xenstore"), "{text}");
    assert!(text.contains("[PASS] automation: no problems"), "{text}");
    assert!(text.lines().count() <= 30, "{text}");
    assert_eq!(server.contents(), before);
    assert_eq!(server.written_in_xenstore(), [""; 0]);
}

#[test]
fn the_first_finding_names_the_fault_of_each_broken_server() {
    type Break = fn(&PreparedServer);
    let cases: [(&str, Break); 8] = [
        ("automation.sshd.port", |it| it.write("etc/ssh/sshd_config", "Port 2222\n")),
        ("automation.sshd.root-login", |it| {
            it.write("etc/ssh/sshd_config", "PermitRootLogin no\n");
        }),
        ("automation.sshd.password", |it| {
            it.write(
                "etc/ssh/sshd_config",
                "Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin yes\n",
            );
            it.write("etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication no\n");
        }),
        ("automation.sshd.root-login", |it| {
            it.program("usr/sbin/sshd", "echo port 22; echo permitrootlogin without-password");
        }),
        ("automation.selinux", |it| it.write("sys/fs/selinux/enforce", "1")),
        ("automation.tools", |it| it.remove("sbin/ip")),
        ("automation.user", |it| {
            it.write("etc/passwd", "rackconnect:x:1:1::/:/sbin/nologin\n");
        }),
        ("agent.units", |it| {
            it.program(
                "usr/bin/systemctl",
                "printf 'Id=rackconnect-wait.service\\nUnitFileState=enabled\\n\
                 ActiveState=failed\\nResult=exit-code\\nExecMainStatus=124\\n'",
            );
        }),
    ];
    for (id, break_it) in cases {
        let (world, server) = healthy("DEPLOYING");
        break_it(&server);
        let found = doctor(&world, &server, &["--only", OWN]);
        found.expect(1);
        let first = first_failure(&found);
        assert!(first.starts_with(&format!("[FAIL] {id}: ")), "{id}: {}", found.stderr);
        assert!(found.stderr.contains("\n       -> "), "{}", found.stderr);
        let quiet = doctor(&world, &server, &["-q", "--only", id]);
        assert_eq!(quiet.expect(1).text(), "");
    }
}

#[test]
fn warnings_do_not_make_it_fail() {
    let (world, server) = healthy("DEPLOYING");
    server.process(77, "apt-get", &["apt-get", "dist-upgrade"]);
    server.write("sys/class/net/docker0/bridge/bridge_id", "8000");
    server.write("etc/rackconnect-agent/disabled", "");
    server.write("etc/fstab", "192.168.10.5:/export /mnt nfs defaults 0 0\n");
    let found = doctor(&world, &server, &["--only", OWN]);
    found.expect(0);
    for id in
        ["automation.package-manager", "automation.bridges", "automation.nfs", "agent.switches"]
    {
        found.says(&format!("[WARNING] {id}: "));
    }
    assert_eq!(doctor(&world, &server, &["-q", "--only", OWN]).expect(0).stderr, "");
}

/// Where the limit of processes is reached, it panicked.
#[test]
fn a_server_on_which_no_thread_can_be_started() {
    let (world, server) = healthy("DEPLOYED");
    let root = server.root().to_str().expect("UTF-8");
    let mut agent = world.agent(&["doctor", "--root", root]);
    agent.env("XENSTORED_PATH", server.xenstore.path()).env("RUST_MIN_STACK", NO_THREADS);
    let found = ended(agent.output().expect("the agent starts"));
    assert!([Some(0), Some(1)].contains(&found.code), "{found:?}");
    let lines = [found.text(), &found.stderr].concat();
    for section in ["server", "network", "rackconnect", "automation", "agent"] {
        assert!(lines.contains(&format!("] {section}")), "{lines}");
    }
}

/// Regression: each process counted its own requests, and did not say so.
#[test]
fn a_state_directory_that_others_can_write() {
    let (world, server) = healthy("DEPLOYED");
    let world = world.with_new_state_dir();
    fs::create_dir(&world.state_dir).unwrap();
    fs::set_permissions(&world.state_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let found = doctor(&world, &server, &["--only", "agent"]);
    assert!(first_failure(found.expect(1)).contains("agent.state-directory"), "{}", found.stderr);
}

/// Regression: a broken configuration file ended `doctor`, too, which could have said how to repair
/// it.
#[test]
fn a_broken_configuration_file_is_a_finding() {
    let (world, server) = healthy("DEPLOYED");
    server.write("config.toml", "region = 7\nwait_timeout = \"5m\"\n");
    let file = server.root().join("config.toml");
    let found = doctor(&world, &server, &["--only", OWN, "--config", file.to_str().unwrap()]);
    assert!(first_failure(found.expect(1)).contains("config.toml:1: region"), "{}", found.stderr);
    server.write("config.toml", "wait_timeout = \"5m\"\n");
    let found = doctor(&world, &server, &["--only", OWN, "--config", file.to_str().unwrap()]);
    let text = found.expect(0).text();
    assert!(text.contains("wait-timeout = 5m (") || text.contains("timeout = 5m ("), "{text}");
    doctor(&world, &server, &["--deadline", "soon"]).expect(2).says("--deadline");
}

/// It prints three lines instead of twenty failures.
#[test]
fn a_machine_that_is_not_a_rackspace_server() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let found = ended(bare_agent(&["doctor", "--root", root]).output().unwrap());
    found.expect(0).says("[WARNING] server.provider: this is not a Xen guest");
    assert_eq!(found.stderr.lines().count() + found.text().lines().count(), 3);
}

#[test]
fn the_json_object_has_every_check() {
    let (world, server) = healthy("DEPLOYING");
    server.write("sys/fs/selinux/enforce", "1");
    let found = doctor(&world, &server, &["--format", "json", "--only", OWN]);
    assert_eq!(found.expect(1).stderr, "");
    let json: Value = serde_json::from_str(found.text()).unwrap();
    assert_eq!((json["failures"].as_str(), json["failures"].as_u64()), (None, Some(1)));
    let checks = json["checks"].as_array().unwrap();
    let selinux = checks.iter().find(|check| check["id"] == "automation.selinux").unwrap();
    assert_eq!(selinux["severity"], "fail");
    assert!(selinux["remedy"].as_str().unwrap().contains("setenforce 0"));
    let listed = ended(bare_agent("doctor --list").output().unwrap());
    let ids = listed.expect(0).text().lines().filter_map(|line| line.split(' ').next());
    for id in ids.filter(|id| OWN.contains(id.split('.').next().unwrap())) {
        assert!(checks.iter().any(|check| check["id"] == id), "{id}");
    }
}

#[test]
fn explain_and_unknown_ids() {
    let explain = |id: &str| ended(bare_agent(&["doctor", "--explain", id]).output().unwrap());
    assert!(explain("automation.sshd.port").expect(0).text().contains("port 22"));
    explain("automation.sshd.prot").expect(2).says("did you mean automation.sshd.port?");
    let (world, server) = healthy("DEPLOYED");
    doctor(&world, &server, &["--only", "nothing"]).expect(2).says("--list");
    doctor(&world, &server, &["--format", "xml"]).expect(2).says("text, json");
}

#[test]
fn a_report_has_the_evidence_and_no_secrets() {
    let (world, server) = healthy("DEPLOYED");
    server.write(
        "etc/ssh/sshd_config",
        "PermitRootLogin yes\n# password: hunter2\nListenAddress 10.182.21.219:22\n\
         -----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n",
    );
    server.write("etc/fstab", "//10.1.2.3/x /x cifs username=a,password=hunter2 0 0\n");
    server.process(77, "curl", &["curl", "-u", "me:hunter2", "https://dfw.example/v1"]);
    server.process(78, "mysql", &["mysql", "--password=hunter2", "-h", "10.182.1.1"]);
    server.process(79, "sh", &["sh", "-c", "API_KEY=hunter2 run"]);
    let report = world.folder.path().join("report");
    let path = report.to_str().unwrap();
    doctor(&world, &server, &["--only", OWN, "--report", path]).expect(0);
    let text = fs::read_to_string(&report).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    for kept in ["10.182.21.219:22", "10.182.1.1", "=== /etc/ssh/sshd_config", "rack_connect"] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
    assert_eq!(fs::metadata(&report).unwrap().permissions().mode() & 0o7777, 0o600);
    doctor(&world, &server, &["--report", path]).expect(1).says("File exists");
    assert_eq!(fs::read_to_string(&report).unwrap(), text);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    for (variables, is_coloured) in [
        (&[("TERM", "xterm")][..], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "xterm"), ("NO_COLOR", "")], true),
        (&[("TERM", "dumb")], false),
        (&[], false),
    ] {
        let (world, server) = healthy("DEPLOYED");
        let root = server.root().to_str().expect("UTF-8");
        let mut agent = world.agent(&["doctor", "--root", root, "--only", OWN]);
        agent.env("XENSTORED_PATH", server.xenstore.path()).envs(variables.iter().copied());
        let mut terminal = Terminal::open(50, 200);
        let status = terminal.of(&mut agent).status().expect("the agent starts");
        drop(agent);
        let written = terminal.close();
        assert!(status.success(), "{written}");
        assert!(written.contains("[PASS]"), "{variables:?}: {written}");
        assert_eq!(written.contains("\x1b[32m[PASS]\x1b[0m"), is_coloured, "{variables:?}");
    }
}

/// The programs that show the rules can load the kernel's module, which would be a change.
#[test]
fn firewall_rules_are_only_shown_where_there_are_any() {
    if !geteuid().is_root() {
        eprintln!("NOT RUN: only root can see the firewall rules in force");
        return;
    }
    let (world, server) = healthy("DEPLOYED");
    let rules = "echo ':RS-RackConnect-INBOUND - [0:0]'; echo '-A INPUT -j RS-RackConnect-INBOUND'";
    let started = server.root().join("started");
    server.program("usr/sbin/iptables-save", &format!("touch {}; {rules}", started.display()));
    let found = doctor(&world, &server, &["-v", "--only", "automation.firewall"]);
    assert!(
        found.expect(0).text().contains("[PASS] automation.firewall: no problem"),
        "{}",
        found.text()
    );
    assert!(!started.exists());
    server.write("proc/net/ip_tables_names", "filter\n");
    let found = doctor(&world, &server, &["--only", "automation.firewall"]);
    let says =
        "[PASS] automation.firewall: RackConnect's chains are in force: RS-RackConnect-INBOUND";
    assert!(found.expect(0).text().contains(says), "{}", found.text());
    server.program("usr/sbin/iptables-save", "exec sleep 60");
    let found = doctor(&world, &server, &["-v", "--only", "automation.firewall"]);
    let says = "[SKIP] automation.firewall: iptables-save does not show the rules in force";
    assert!(found.expect(0).text().contains(says), "{}", found.text());
}
