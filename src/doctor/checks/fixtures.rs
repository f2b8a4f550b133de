//! For tests: the evidence of a healthy server. A test changes one part of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::libc;

use super::all;
use crate::api::dns::NameserverAnswer;
use crate::api::inspect::Validity;
use crate::doctor::check::{Finding, Severity};
use crate::doctor::evidence::{
    AccountEvidence, AgentEvidence, ApiEvidence, ConnectionEvidence, Evidence, FirewallEvidence,
    KernelEvidence, LimitEvidence, PathEvidence, RouteSample, ServerEvidence, SshdEvidence,
    StateCondition, StateDirectory, SystemEvidence, TlsEvidence, UnitState, UserAccount,
    XenstoreEvidence,
};
use crate::doctor::sshd::SshdConfig;
use crate::model::{NamedStatus, Region, Status};
use crate::netlink::{Address, Link, NextHop, Route, RouteType};
use crate::xenstore::{Server, Snapshot};

/// A server on which every check passes, and which is DEPLOYED.
pub(in crate::doctor) fn healthy() -> Evidence {
    let mut evidence = Evidence::awaited(Duration::from_secs(9));
    evidence.is_root = true;
    evidence.region = Ok((Region::from_code("dfw").unwrap(), "xenstore".to_owned()));
    evidence.server = Ok(ServerEvidence {
        is_xen: true,
        xenstore: Ok(XenstoreEvidence {
            snapshot: Snapshot {
                server: Server::V2,
                managed_account: Some(false),
                status: Some(Status::Deployed),
                status_absent: false,
                managed: None,
                managed_absent: true,
                watched: false,
            },
            provider: Some("Rackspace".to_owned()),
            unprocessable_reason: None,
            features: Vec::new(),
            servicenet_mac: Some(vec![0, 0, 0, 0, 0, 3]),
        }),
    });
    evidence.kernel = Ok(kernel());
    evidence.sshd = Ok(SshdEvidence {
        config: sshd("Port 22\nPermitRootLogin yes\n"),
        source: "sshd -T".to_owned(),
        changed_since_start: Vec::new(),
    });
    evidence.accounts = Ok(AccountEvidence {
        user: Some(UserAccount {
            home: "/home/rackconnect".to_owned(),
            shell: "/bin/bash".to_owned(),
        }),
        sudo_rules: Ok(vec!["rackconnect ALL=(ALL) NOPASSWD: ALL".to_owned()]),
    });
    evidence.system = Ok(system());
    evidence.firewall = Ok(FirewallEvidence {
        saved: Vec::new(),
        in_force: Ok(Vec::new()),
        keeps_custom_rules: false,
    });
    evidence.path = Ok(path());
    evidence.api = Ok(api());
    evidence.processes = Ok(Vec::new());
    evidence.agent = Ok(agent());
    evidence
}

/// Its system files.
pub(in crate::doctor) fn system() -> SystemEvidence {
    SystemEvidence {
        selinux: None,
        selinux_configured: None,
        missing_tools: Vec::new(),
        bridges: Vec::new(),
        nfs_mounts: Vec::new(),
        resolv_conf: Ok("nameserver 10.191.5.6\n".to_owned()),
        proxies: Vec::new(),
        uptime: Some(Duration::from_secs(600)),
    }
}

/// The same server while the automation runs.
pub(in crate::doctor) fn deploying() -> Evidence {
    let mut evidence = healthy();
    evidence.api.as_mut().unwrap().status = Ok(Some(Status::Deploying));
    let xenstore = evidence.server.as_mut().unwrap().xenstore.as_mut().unwrap();
    xenstore.snapshot.status = Some(Status::Deploying);
    evidence
}

/// A configuration of sshd.
pub(in crate::doctor) fn sshd(text: &str) -> SshdConfig {
    SshdConfig::parse(text, &mut |_| Vec::new())
}

/// The answers of the only nameserver.
pub(in crate::doctor) fn nameserver(
    record_type: &'static str,
    outcome: Result<Vec<IpAddr>, String>,
) -> NameserverAnswer {
    let server = [10, 191, 5, 6].into();
    NameserverAnswer { server, record_type, time: Duration::from_millis(3), outcome }
}

fn path() -> PathEvidence {
    const NOW: u64 = 1_700_000_000;
    let address = SocketAddr::from(([10, 191, 5, 5], 443));
    let validity = Validity { not_before: NOW - 86_400, not_after: NOW + 90 * 86_400 };
    PathEvidence {
        host: "dfw.api.rackconnect.rackspace.com".to_owned(),
        lookup: Ok(vec![address.ip()]),
        lookup_time: Duration::ZERO,
        nameservers: vec![nameserver("A", Ok(vec![address.ip()])), nameserver("AAAA", Ok(vec![]))],
        hop: Some(via([10, 182, 0, 1].into())),
        connection: Ok(ConnectionEvidence { address, time: Duration::from_millis(2) }),
        tls: Ok(Some(TlsEvidence {
            roots: "the built-in roots".to_owned(),
            verdict: Ok(()),
            issuer: Some("DigiCert TLS CA".to_owned()),
            validity: Some(validity),
            now: NOW,
            server_now: None,
        })),
    }
}

fn api() -> ApiEvidence {
    let named =
        |name: &str, status: &str| NamedStatus { name: name.to_owned(), status: status.to_owned() };
    ApiEvidence {
        endpoint: "https://dfw.api.rackconnect.rackspace.com".to_owned(),
        status: Ok(Some(Status::Deployed)),
        tasks: Ok(Some(vec![named("Cloud Server Created: Add \"rackconnect\" user", "DEPLOYED")])),
        features: Ok(Some(vec![named("configure_network_stack", "ENABLED")])),
        gateway: Ok(Some([10, 182, 127, 198].into())),
        clock_offset: Some(1),
        limit: Ok(LimitEvidence { free: 26, consecutive_403s: None }),
    }
}

/// A route into ServiceNet.
fn servicenet_route(network: [u8; 4]) -> Route {
    let mut route = Route::default_via([10, 182, 0, 1].into(), 3, 0);
    route.destination = Some(network.into());
    route.prefix = 12;
    route
}

/// eth0 down, eth1 on ServiceNet.
fn kernel() -> KernelEvidence {
    let link = |index: u32, name: &str, flags: libc::c_int| Link {
        index,
        name: name.to_owned(),
        flags: flags as u32,
        mac: vec![0, 0, 0, 0, 0, index as u8],
    };
    let address = |interface, local: [u8; 4], prefix| Address {
        interface,
        local: local.into(),
        network: local.into(),
        prefix,
    };
    let gateway = [10, 182, 127, 198].into();
    let default = Route::default_via(gateway, 3, 0);
    KernelEvidence {
        links: vec![
            link(1, "lo", libc::IFF_UP | libc::IFF_LOOPBACK),
            link(2, "eth0", 0),
            link(3, "eth1", libc::IFF_UP | libc::IFF_RUNNING),
        ],
        addresses: vec![address(1, [127, 0, 0, 1], 8), address(3, [10, 182, 21, 219], 17)],
        defaults: vec![default],
        routes: vec![servicenet_route([10, 176, 0, 0]), servicenet_route([10, 208, 0, 0])],
        internet: Some(via(gateway)),
        is_split: false,
        samples: [[10, 176, 0, 0], [10, 208, 0, 0]]
            .map(|network| RouteSample {
                network: network.into(),
                hop: Some(via([10, 182, 0, 1].into())),
            })
            .to_vec(),
    }
}

/// Through a gateway on eth1.
pub(in crate::doctor) fn via(gateway: Ipv4Addr) -> NextHop {
    NextHop { gateway: Some(gateway.into()), interface: Some(3), kind: RouteType::Unicast }
}

fn agent() -> AgentEvidence {
    AgentEvidence {
        program: PathBuf::from("/usr/bin/rackconnect"),
        earlier_in_path: Vec::new(),
        units: Ok(vec![UnitState {
            name: "rackconnect-wait.service".to_owned(),
            enabled: "enabled".to_owned(),
            active: "active".to_owned(),
            result: "success".to_owned(),
            exit_code: "0".to_owned(),
        }]),
        off_switches: Vec::new(),
        state_dir: StateDirectory {
            path: PathBuf::from("/run/rackconnect-agent"),
            condition: StateCondition::Usable,
        },
        unfinished_change: None,
    }
}

/// Runs one check and asserts its finding.
#[track_caller]
pub(in crate::doctor) fn assert_found(
    evidence: &Evidence,
    id: &str,
    severity: Severity,
    cause: &str,
) -> Finding {
    let check = all().find(|check| check.id == id).expect("a check of that id");
    let finding = check.run(evidence);
    assert_eq!(finding.severity, severity, "{id}: {finding:?}");
    assert!(finding.cause.contains(cause), "{id}: {finding:?}");
    let needs_remedy = matches!(severity, Severity::Warning | Severity::Fail);
    assert_eq!(!finding.remedy.is_empty(), needs_remedy, "{id}: {finding:?}");
    if needs_remedy {
        assert_remedy(&finding.remedy);
    }
    finding
}

/// The commands that remedies begin with.
const COMMANDS: [&str; 25] = [
    "apt-get",
    "chown",
    "echo",
    "env",
    "ip",
    "journalctl",
    "kill",
    "ls",
    "modprobe",
    "netplan",
    "ps",
    "rackconnect",
    "rm",
    "sed",
    "setenforce",
    "sshd",
    "sudo",
    "systemctl",
    "tail",
    "timedatectl",
    "touch",
    "traceroute",
    "umount",
    "usermod",
    "vi",
];

/// What a reader would have to fill in before the command can be pasted.
const PLACEHOLDERS: [&str; 7] =
    ["ADDRESS", "CODE", "COMMAND", "DIRECTORY", "FILE", "ROUTER", "YYYY"];

/// A remedy is a whole sentence, or a command that works as it is.
#[track_caller]
fn assert_remedy(remedy: &str) {
    assert!(!remedy.contains('\n'), "{remedy}");
    if remedy.starts_with(char::is_uppercase) {
        assert!(remedy.ends_with('.'), "no sentence: {remedy}");
        return;
    }
    let (command, _) = remedy.split_once("  # ").unwrap_or((remedy, ""));
    let first = command.split(' ').next().unwrap_or_default();
    assert!(COMMANDS.contains(&first), "no command: {remedy}");
    let mut words = command.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    assert!(!words.any(|word| PLACEHOLDERS.contains(&word)), "not to be pasted: {remedy}");
    let parsed = Command::new("sh").args(["-n", "-c", remedy]).status();
    assert!(parsed.is_ok_and(|status| status.success()), "sh does not parse: {remedy}");
}
