use nix::libc;

use crate::doctor::check::Severity::{Fail, Info, Pass, Skipped, Warning};
use crate::doctor::checks::all;
use crate::doctor::checks::fixtures::{assert_found, deploying, healthy, sshd, system};
use crate::doctor::evidence::{
    Evidence, NfsMount, ProcessInfo, RuleSet, SelinuxMode, SystemEvidence, Unread,
};
use crate::model::NamedStatus;
use crate::netlink::Address;

fn with_sshd(text: &str) -> Evidence {
    let mut evidence = deploying();
    evidence.sshd.as_mut().unwrap().config = sshd(text);
    evidence
}

fn with_system(system: SystemEvidence) -> Evidence {
    Evidence { system: Ok(system), ..deploying() }
}

fn with_process(name: &str, arguments: &[&str]) -> Evidence {
    let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
    let process = ProcessInfo { pid: 77, name: name.to_owned(), arguments, ..Default::default() };
    Evidence { processes: Ok(vec![process]), ..deploying() }
}

#[test]
fn nothing_obstructs_the_automation_of_a_healthy_server() {
    for check in all().filter(|check| check.section() == "automation") {
        for evidence in [healthy(), deploying()] {
            assert_eq!(check.run(&evidence).severity, Pass, "{}", check.id);
        }
    }
}

/// Before DEPLOYED it is a failure or a warning, after that information.
#[test]
fn faults_do_not_matter_after_deployed() {
    let mut evidence = with_sshd("Port 2222\nPermitRootLogin no\n");
    evidence.api.as_mut().unwrap().status = Ok(Some(crate::model::Status::Deployed));
    assert_found(&evidence, "automation.sshd.port", Info, "2222");
    assert_found(&evidence, "automation.sshd.root-login", Info, "PermitRootLogin no");
}

#[test]
fn ssh() {
    let port = assert_found(&with_sshd("Port 2222"), "automation.sshd.port", Fail, "port 2222");
    let restart = "/etc/ssh/sshd_config && sshd -t && systemctl restart sshd";
    let remedy = format!(
        "sed -i '1i Port 22' {restart}  # open sessions stay, and sshd also keeps listening on \
         port 2222; to undo it when the server is DEPLOYED: sed -i '1{{/^Port 22$/d;}}' {restart}"
    );
    assert_eq!(port.remedy, remedy);
    assert_found(&with_sshd("Port 2222\nPort 22"), "automation.sshd.port", Pass, "");
    let login = |text| with_sshd(&format!("PermitRootLogin {text}"));
    assert_found(&login("no"), "automation.sshd.root-login", Fail, "may not log in");
    let matched = with_sshd("PermitRootLogin yes\nMatch User root\nPermitRootLogin no");
    let matched = assert_found(&matched, "automation.sshd.root-login", Fail, "may not log in");
    assert!(matched.remedy.contains("into the Match block"), "{}", matched.remedy);
    let by_address = with_sshd("ListenAddress 0.0.0.0:2222");
    let by_address = assert_found(&by_address, "automation.sshd.port", Fail, "port 2222");
    assert!(by_address.remedy.contains("ListenAddress"), "{}", by_address.remedy);
    let by_key = login("without-password");
    assert_found(&by_key, "automation.sshd.root-login", Fail, "with its password");
    let mut unset = with_sshd("");
    assert_found(&unset, "automation.sshd.root-login", Skipped, "depends on the version");
    unset.is_root = false;
    assert_found(
        &unset,
        "automation.sshd.root-login",
        Skipped,
        "only root can read sshd's default",
    );
    let password = "automation.sshd.password";
    assert_found(&with_sshd("PasswordAuthentication no"), password, Fail, "no passwords");
    let two = with_sshd("AuthenticationMethods publickey,password");
    assert_found(&two, password, Fail, "not enough");
    assert_found(&with_sshd("AuthenticationMethods any"), password, Pass, "");
}

#[test]
fn ssh_lists_and_conditions() {
    let lists = "automation.sshd.lists";
    assert_found(&with_sshd("AllowUsers rackconnect deploy"), lists, Fail, "not let root log in");
    // Regression: the remedy was to add root to the list.
    let denied = assert_found(&with_sshd("DenyUsers root"), lists, Fail, "not let root log in");
    assert!(denied.remedy.contains("so that root and rackconnect may log in"), "{denied:?}");
    assert_found(&with_sshd("AllowUsers root rackconnect"), lists, Pass, "");
    assert_found(&with_sshd("AllowGroups wheel"), lists, Warning, "AllowGroups wheel");
    let conditional = with_sshd("Match Address 10.0.0.0/8\nPasswordAuthentication no");
    assert_found(&conditional, "automation.sshd.match", Warning, "Address 10.0.0.0/8");
    assert_found(&conditional, "automation.sshd.password", Pass, "");
    let mut evidence = deploying();
    let sshd = evidence.sshd.as_mut().unwrap();
    sshd.config.unreadable.push("/etc/ssh/sshd_config.d/x.conf".to_owned());
    sshd.changed_since_start.push("/etc/ssh/sshd_config".to_owned());
    assert_found(&evidence, "automation.sshd.match", Skipped, "only root");
    assert_found(&evidence, "automation.sshd.reload", Warning, "/etc/ssh/sshd_config");
    evidence.sshd = Err(Unread::Absent("there is no sshd".to_owned()));
    assert_found(&evidence, "automation.sshd.port", Fail, "no sshd");
    assert_found(&evidence, "automation.sshd.lists", Skipped, "no sshd");
}

#[test]
fn the_user_and_sudo() {
    let mut evidence = deploying();
    let accounts = evidence.accounts.as_mut().unwrap();
    accounts.sudo_rules = Ok(Vec::new());
    accounts.user.as_mut().unwrap().shell = "/sbin/nologin".to_owned();
    assert_found(&evidence, "automation.user", Fail, "/sbin/nologin");
    assert_found(&evidence, "automation.sudo", Warning, "no sudo rule");
    let accounts = evidence.accounts.as_mut().unwrap();
    accounts.sudo_rules = Err(Unread::NeedsRoot("/etc/sudoers".to_owned()));
    assert_found(&evidence, "automation.sudo", Skipped, "only root");
    evidence.accounts.as_mut().unwrap().user = None;
    assert_found(&evidence, "automation.user", Pass, "");
    let mut evidence = healthy();
    evidence.accounts.as_mut().unwrap().user = None;
    assert_found(&evidence, "automation.user", Warning, "gone");
}

#[test]
fn selinux_tools_and_bridges() {
    let mode = |selinux, configured: Option<&str>| {
        with_system(SystemEvidence {
            selinux,
            selinux_configured: configured.map(str::to_owned),
            ..system()
        })
    };
    let selinux = "automation.selinux";
    let found = assert_found(&mode(Some(SelinuxMode::Enforcing), None), selinux, Fail, "enforcing");
    let remedy = "setenforce 0  # to undo it when the server is DEPLOYED: setenforce 1";
    assert_eq!(found.remedy, remedy);
    let both = mode(Some(SelinuxMode::Enforcing), Some("enforcing"));
    let found = assert_found(&both, selinux, Fail, "enforcing");
    assert!(found.remedy.starts_with("setenforce 0 && sed -i "), "{}", found.remedy);
    assert!(found.remedy.ends_with("/etc/selinux/config && setenforce 1"), "{}", found.remedy);
    let permissive = Some(SelinuxMode::Permissive);
    assert_found(&mode(permissive, Some("enforcing")), selinux, Warning, "next boot");
    assert_found(&mode(permissive, Some("permissive")), selinux, Pass, "");
    let system = SystemEvidence {
        missing_tools: vec!["awk", "ip"],
        bridges: vec!["br0".to_owned()],
        ..system()
    };
    let evidence = with_system(system);
    let tools = assert_found(&evidence, "automation.tools", Fail, "awk and ip");
    assert!(tools.remedy.contains("gawk"));
    assert_found(&evidence, "automation.bridges", Warning, "br0");
}

#[test]
fn mounts() {
    let system = SystemEvidence {
        nfs_mounts: vec![NfsMount {
            source: "192.168.10.5:/export".to_owned(),
            target: "/mnt".to_owned(),
            file: "/etc/fstab",
        }],
        ..system()
    };
    let mounted = assert_found(&with_system(system), "automation.nfs", Warning, "192.168.10.5");
    assert!(mounted.remedy.starts_with("vi /etc/fstab"), "{}", mounted.remedy);
}

#[test]
fn firewall_rules() {
    let rules = |source: &str, rackconnect_chains: &[&str]| RuleSet {
        source: source.to_owned(),
        rules: 7,
        rackconnect_chains: rackconnect_chains.iter().map(|name| (*name).to_owned()).collect(),
    };
    let mut evidence = deploying();
    let firewall = evidence.firewall.as_mut().unwrap();
    firewall.saved = vec![rules("/etc/sysconfig/iptables", &[])];
    assert_found(&evidence, "automation.firewall", Pass, "");
    evidence.api.as_mut().unwrap().features = Ok(Some(vec![NamedStatus {
        name: "manage_software_firewall".to_owned(),
        status: "ENABLED".to_owned(),
    }]));
    assert_found(&evidence, "automation.firewall", Warning, "/etc/sysconfig/iptables");
    let firewall = evidence.firewall.as_mut().unwrap();
    firewall.keeps_custom_rules = true;
    assert_found(&evidence, "automation.firewall", Pass, "");
    let firewall = evidence.firewall.as_mut().unwrap();
    firewall.in_force = Ok(vec![rules("iptables-save", &["RS-RackConnect-INBOUND"])]);
    assert_found(&evidence, "automation.firewall", Pass, "RS-RackConnect-INBOUND");
    let firewall = evidence.firewall.as_mut().unwrap();
    firewall.in_force = Err(Unread::NeedsRoot("the firewall rules in force".to_owned()));
    assert_found(&evidence, "automation.firewall", Skipped, "only root");
    let firewall = evidence.firewall.as_mut().unwrap();
    firewall.keeps_custom_rules = false;
    firewall.saved.clear();
    firewall.in_force = Ok(vec![rules("nft list ruleset", &[])]);
    assert_found(&evidence, "automation.firewall", Warning, "nft list ruleset");
}

#[test]
fn package_managers() {
    let manager = "automation.package-manager";
    assert_found(&with_process("apt-get", &["apt-get", "upgrade"]), manager, Warning, "apt-get");
    let yum = with_process("python", &["/usr/bin/python", "/usr/bin/yum", "install", "x"]);
    assert_found(&yum, manager, Warning, "77");
    assert_found(&with_process("less", &["less", "/var/log/apt"]), manager, Pass, "");
}

#[test]
fn the_public_interface() {
    let check = "automation.public-interface";
    let mut evidence = deploying();
    evidence.kernel.as_mut().unwrap().internet = None;
    assert_found(&evidence, check, Warning, "eth0 is down");
    let mut evidence = healthy();
    let kernel = evidence.kernel.as_mut().unwrap();
    kernel.links[1].flags = libc::IFF_UP as u32;
    let public = [198, 51, 100, 7].into();
    kernel.addresses.push(Address { interface: 2, local: public, network: public, prefix: 24 });
    assert_found(&evidence, check, Info, "eth0 is up");
}

/// NFS servers and users of bridges choose these names.
#[test]
fn a_remedy_ran_the_name_of_a_mount_or_of_a_bridge() {
    let named = |name: &str| {
        let mount = NfsMount {
            source: "10.1.2.3:/x".to_owned(),
            target: name.to_owned(),
            file: "/proc/mounts",
        };
        with_system(SystemEvidence {
            nfs_mounts: vec![mount],
            bridges: vec![name.to_owned()],
            ..system()
        })
    };
    let found = assert_found(&named("/mnt/$(id)"), "automation.nfs", Warning, "/mnt/$(id)");
    assert!(found.remedy.starts_with("umount '/mnt/$(id)'  #"), "{}", found.remedy);
    let found = assert_found(&named("br0;id"), "automation.bridges", Warning, "br0;id");
    assert!(found.remedy.starts_with("ip link delete 'br0;id'  #"), "{}", found.remedy);
}
