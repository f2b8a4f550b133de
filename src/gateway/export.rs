//! The gateway as configuration for a network manager, so that it survives a restart; and which
//! manager an interface has. The configuration is only printed, never installed.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::model::NetworkManager;
use crate::netlink::Link;
use crate::state::file::{self, Links};

/// systemd-networkd's state of each interface, by index (sd-network; not documented, but stable
/// since systemd 209).
const NETWORKD_LINKS: &str = "run/systemd/netif/links";

/// NetworkManager's state of each interface, by index.
const NETWORK_MANAGER_DEVICES: &str = "run/NetworkManager/devices";

/// ifupdown's configuration (interfaces(5)).
const INTERFACES: &str = "etc/network/interfaces";

/// The configuration of Red Hat's network scripts, a file for each interface.
const NETWORK_SCRIPTS: &str = "etc/sysconfig/network-scripts";

/// The part of a name by which netplan's files for networkd are recognised.
const NETPLAN_MARK: &str = "-netplan-";

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// The number of files in `interfaces.d` that are read.
const MAX_INCLUDED_FILES: usize = 100;

/// The input of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// The interface.
    pub interface: String,
    /// The gateway.
    pub gateway: Ipv4Addr,
    /// This server's address in the gateway's subnet, and its prefix length.
    pub address: (Ipv4Addr, u8),
    /// networkd's file for the interface.
    pub network_file: Option<String>,
    /// The other interfaces that have a default route now, or had one before the gateway was set.
    pub others: Vec<String>,
    /// The other gateways that a default route of this interface leads to, or led to before.
    pub replaced: Vec<Ipv4Addr>,
}

/// The network manager of an interface below `root`, and networkd's file for the interface.
pub fn manager(root: &Path, link: &Link) -> Option<(NetworkManager, Option<String>)> {
    if let Some((manager, file)) = networkd_or_netplan(root, link) {
        return Some((manager, Some(file)));
    }
    if has_network_script(root, link) {
        Some((NetworkManager::Sysconfig, None))
    } else if is_managed_by_network_manager(root, link) {
        Some((NetworkManager::Keyfile, None))
    } else if has_stanza(root, link) {
        Some((NetworkManager::Ifupdown, None))
    } else {
        None
    }
}

fn networkd_or_netplan(root: &Path, link: &Link) -> Option<(NetworkManager, String)> {
    let state = text(&root.join(NETWORKD_LINKS).join(link.index.to_string()))?;
    let file = value(&state, "NETWORK_FILE")?;
    if value(&state, "ADMIN_STATE") == Some("unmanaged") {
        return None;
    }
    let manager = if file.contains(NETPLAN_MARK) {
        NetworkManager::Netplan
    } else {
        NetworkManager::Networkd
    };
    Some((manager, file.to_owned()))
}

fn has_network_script(root: &Path, link: &Link) -> bool {
    !link.name.contains('/')
        && root.join(NETWORK_SCRIPTS).join(format!("ifcfg-{}", link.name)).is_file()
}

fn is_managed_by_network_manager(root: &Path, link: &Link) -> bool {
    let device = text(&root.join(NETWORK_MANAGER_DEVICES).join(link.index.to_string()));
    device.is_some_and(|device| value(&device, "managed") == Some("true"))
}

/// Whether ifupdown's configuration has a stanza of the interface.
fn has_stanza(root: &Path, link: &Link) -> bool {
    let is_stanza = |line: &str| {
        let mut words = line.split_whitespace();
        words.next() == Some("iface") && words.next() == Some(&link.name)
    };
    let included = root.join(format!("{INTERFACES}.d")).read_dir().into_iter().flatten().flatten();
    let included = included.take(MAX_INCLUDED_FILES).map(|entry| entry.path());
    let mut files = std::iter::once(root.join(INTERFACES)).chain(included);
    files.any(|file| text(&file).is_some_and(|text| text.lines().any(is_stanza)))
}

/// The value of a `KEY=VALUE` line.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.trim()))
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(file::read(path, MAX_FILE_BYTES, Links::Follow).ok()?).ok()
}

/// The warning after the gateway was set: how the route can be lost, and what prevents that.
pub fn warning(root: &Path, link: &Link) -> String {
    let Some((manager, _)) = manager(root, link) else {
        return "a restart of the network or of the server removes this route unless \"rackconnect \
                gateway keep\" runs"
            .to_owned();
    };
    let (name, word) = manager.names();
    let source = word.map_or(String::new(), |word| {
        format!(" (\"rackconnect gateway show --as {word}\" prints it)")
    });
    format!(
        "{name} manages {}: a restart of the network or of the server removes this route unless \
         \"rackconnect gateway keep\" runs or the route is in that configuration too{source}",
        link.name
    )
}

/// The configuration in the syntax of `manager`.
///
/// # Errors
/// A sentence that says why it cannot be written.
pub fn write(manager: NetworkManager, facts: &ExportFacts) -> Result<String, String> {
    for name in facts.others.iter().chain([&facts.interface]) {
        // Other characters may have a meaning in the file, depending on the program and its
        // version.
        if name.is_empty() || !is_plain(name) {
            return Err(format!(
                "the interface name {name:?} cannot be written safely to a configuration file"
            ));
        }
    }
    let mut text = match manager {
        NetworkManager::Networkd => networkd(facts)?,
        NetworkManager::Netplan => netplan(facts),
        NetworkManager::Ifupdown => ifupdown(facts),
        NetworkManager::Sysconfig => sysconfig(facts),
        NetworkManager::Keyfile => {
            return Err("NetworkManager's own configuration is not supported".to_owned());
        }
    };
    text.push_str(&conflicts(manager, facts));
    Ok(text)
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn networkd(facts: &ExportFacts) -> Result<String, String> {
    let ExportFacts { interface, gateway, network_file, .. } = facts;
    let file = network_file.as_deref().map(|path| path.rsplit('/').next().unwrap_or(path));
    let comment = match file {
        Some(file) if !is_plain(file) => {
            return Err(format!(
                "the name of networkd's file {file:?} has characters that are not supported"
            ));
        }
        Some(file) => format!(
            "# /etc/systemd/network/{file}.d/rackconnect.conf (adds to {file}, the file of \
             {interface})"
        ),
        None => format!(
            "# /etc/systemd/network/NAME.network.d/rackconnect.conf, where NAME.network is the \
             file of {interface} that \"networkctl status {interface}\" names"
        ),
    };
    Ok(format!("{comment}\n[Route]\nGateway={gateway}\n"))
}

fn netplan(facts: &ExportFacts) -> String {
    let ExportFacts { interface, gateway, .. } = facts;
    format!(
        "# /etc/netplan/90-rackconnect.yaml (netplan merges it with the other files)\n\
         network:\n  version: 2\n  ethernets:\n    {interface}:\n      routes:\n        \
         - to: 0.0.0.0/0\n          via: {gateway}\n"
    )
}

fn ifupdown(facts: &ExportFacts) -> String {
    let ExportFacts { interface, gateway, address: (address, prefix), .. } = facts;
    let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0));
    format!(
        "# /etc/network/interfaces: the stanza of {interface}; keep its other lines (static routes)\n\
         iface {interface} inet static\n    address {address}\n    netmask {mask}\n    gateway {gateway}\n"
    )
}

fn sysconfig(facts: &ExportFacts) -> String {
    let ExportFacts { interface, gateway, .. } = facts;
    format!(
        "# /etc/sysconfig/network-scripts/ifcfg-{interface}: add these lines\n\
         DEFROUTE=yes\nGATEWAY={gateway}\n\
         # /etc/sysconfig/network: add this line, and remove GATEWAY\nGATEWAYDEV={interface}\n"
    )
}

/// Comments on the other default routes, which the configuration must not bring back.
fn conflicts(manager: NetworkManager, facts: &ExportFacts) -> String {
    let removal = match manager {
        NetworkManager::Networkd => {
            "remove Gateway= from its configuration (with DHCP: [DHCPv4] UseRoutes=no)"
        }
        NetworkManager::Netplan => {
            "remove gateway4, and routes to 0.0.0.0/0 or default (with DHCP: dhcp4-overrides: \
             {use-routes: false})"
        }
        NetworkManager::Ifupdown => "remove the gateway line of its stanza",
        NetworkManager::Sysconfig | NetworkManager::Keyfile => {
            "set DEFROUTE=no in its ifcfg file, and remove GATEWAY"
        }
    };
    let mut text = String::new();
    for other in &facts.others {
        let _ = writeln!(
            text,
            "# {other} has or had a default route, which must not come back: {removal}"
        );
    }
    let interface = &facts.interface;
    for old in &facts.replaced {
        let _ = writeln!(
            text,
            "# {interface} has or had a default route via {old}: replace it in its configuration, \
             so that there is only one"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn facts() -> ExportFacts {
        ExportFacts {
            interface: "eth1".to_owned(),
            gateway: Ipv4Addr::new(10, 182, 127, 198),
            address: (Ipv4Addr::new(10, 182, 21, 219), 17),
            network_file: None,
            others: vec![],
            replaced: vec![],
        }
    }

    #[test]
    fn the_configuration_of_each_manager() {
        let of = |manager| write(manager, &facts()).unwrap();
        assert!(of(NetworkManager::Networkd).ends_with("\n[Route]\nGateway=10.182.127.198\n"));
        assert!(of(NetworkManager::Netplan).ends_with(
            "network:\n  version: 2\n  ethernets:\n    eth1:\n      routes:\n        - to: 0.0.0.0/0\n          via: \
             10.182.127.198\n"
        ));
        assert!(of(NetworkManager::Ifupdown).ends_with(
            "iface eth1 inet static\n    address 10.182.21.219\n    netmask 255.255.128.0\n    gateway 10.182.127.198\n"
        ));
        assert!(of(NetworkManager::Sysconfig).contains("\nDEFROUTE=yes\nGATEWAY=10.182.127.198\n"));
        assert!(of(NetworkManager::Sysconfig).ends_with("\nGATEWAYDEV=eth1\n"));
    }

    #[test]
    fn other_default_routes_are_named_and_odd_names_refused() {
        let two = ExportFacts { others: vec!["eth0".to_owned()], ..facts() };
        for manager in [
            NetworkManager::Networkd,
            NetworkManager::Netplan,
            NetworkManager::Ifupdown,
            NetworkManager::Sysconfig,
        ] {
            assert!(
                write(manager, &two)
                    .unwrap()
                    .lines()
                    .last()
                    .unwrap()
                    .starts_with("# eth0 has or had a default route, ")
            );
            for odd in ["eth*", "a b", "x\ny", "$(x)", "é"] {
                assert!(
                    write(manager, &ExportFacts { interface: odd.to_owned(), ..facts() }).is_err()
                );
            }
        }
        assert!(
            write(NetworkManager::Networkd, &facts())
                .unwrap()
                .contains("/NAME.network.d/rackconnect.conf, where")
        );
        let replaced = ExportFacts { replaced: vec![Ipv4Addr::new(10, 182, 0, 1)], ..facts() };
        assert!(
            write(NetworkManager::Sysconfig, &replaced)
                .unwrap()
                .contains("\n# eth1 has or had a default route via 10.182.0.1: ")
        );
        let file = Some("/etc/systemd/network/10-eth.network".to_owned());
        let drop_in =
            write(NetworkManager::Networkd, &ExportFacts { network_file: file, ..facts() })
                .unwrap();
        assert!(
            drop_in.starts_with("# /etc/systemd/network/10-eth.network.d/rackconnect.conf"),
            "{drop_in}"
        );
    }

    #[test]
    fn the_manager_of_an_interface() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let link = Link { index: 3, name: "eth1".to_owned(), ..Link::default() };
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(manager(root, &link), None);
        put("etc/network/interfaces.d/x", "auto eth1\niface eth10 inet dhcp\n");
        assert_eq!(manager(root, &link), None);
        put("etc/network/interfaces", "auto eth1\niface eth1 inet static\n");
        assert_eq!(manager(root, &link), Some((NetworkManager::Ifupdown, None)));
        put("run/NetworkManager/devices/3", "[device]\nmanaged=true\n");
        assert_eq!(manager(root, &link), Some((NetworkManager::Keyfile, None)));
        put("etc/sysconfig/network-scripts/ifcfg-eth1", "DEVICE=eth1\n");
        assert_eq!(manager(root, &link), Some((NetworkManager::Sysconfig, None)));
        put("run/systemd/netif/links/3", "ADMIN_STATE=unmanaged\nNETWORK_FILE=/x\n");
        assert_eq!(manager(root, &link), Some((NetworkManager::Sysconfig, None)));
        let file = "/run/systemd/network/10-netplan-eth1.network";
        put("run/systemd/netif/links/3", &format!("ADMIN_STATE=configured\nNETWORK_FILE={file}\n"));
        assert_eq!(manager(root, &link), Some((NetworkManager::Netplan, Some(file.to_owned()))));
        assert!(warning(root, &link).contains("netplan manages eth1: "));
    }
}
