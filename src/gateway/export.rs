//! Who else configures the network of this server, and how the gateway is told to them: the same as
//! what `gateway set` does, but for good, in their own words. Nothing is written here.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::model::NetworkManager;
use crate::netlink::Link;
use crate::state::file::{self, Links};

/// What systemd-networkd knows of an interface, by its number (sd-network; not documented, but
/// stable since systemd 209).
const NETWORKD_LINKS: &str = "run/systemd/netif/links";

/// What NetworkManager knows of an interface, by its number.
const NETWORK_MANAGER_DEVICES: &str = "run/NetworkManager/devices";

/// ifupdown's configuration (interfaces(5)).
const INTERFACES: &str = "etc/network/interfaces";

/// The configuration of Red Hat's network scripts, a file for each interface.
const NETWORK_SCRIPTS: &str = "etc/sysconfig/network-scripts";

/// What netplan calls the files that it writes for networkd.
const OF_NETPLAN: &str = "-netplan-";

/// The largest file that is read.
const LIMIT: u64 = 256 * 1024;

/// What a configuration is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// The interface.
    pub interface: String,
    /// The gateway.
    pub gateway: Ipv4Addr,
    /// Our address in the gateway's subnet, and its prefix.
    pub address: (Ipv4Addr, u8),
    /// The file of networkd's that configures the interface.
    pub network_file: Option<String>,
    /// The other interfaces that have a default route now, or had one before the gateway was set.
    pub others: Vec<String>,
    /// The other gateways that a default route of this interface leads to, or led to before.
    pub replaced: Vec<Ipv4Addr>,
}

/// Who manages an interface, below `root`; with networkd's file for it.
pub fn manager(root: &Path, link: &Link) -> Option<(NetworkManager, Option<String>)> {
    let read = |directory: &str, name: &str| text(&root.join(directory).join(name));
    let number = link.index.to_string();
    let value = |text: &str, key: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(key)?.strip_prefix('=').map(|value| value.trim().to_owned())
        })
    };
    if let Some(state) = read(NETWORKD_LINKS, &number)
        && let Some(file) = value(&state, "NETWORK_FILE")
        && value(&state, "ADMIN_STATE").is_none_or(|state| state != "unmanaged")
    {
        let manager = if file.contains(OF_NETPLAN) {
            NetworkManager::Netplan
        } else {
            NetworkManager::Networkd
        };
        return Some((manager, Some(file)));
    }
    let scripts = !link.name.contains('/')
        && root.join(NETWORK_SCRIPTS).join(format!("ifcfg-{}", link.name)).is_file();
    if scripts {
        return Some((NetworkManager::Sysconfig, None));
    }
    if read(NETWORK_MANAGER_DEVICES, &number)
        .is_some_and(|device| value(&device, "managed").as_deref() == Some("true"))
    {
        return Some((NetworkManager::Keyfile, None));
    }
    let has_stanza = |text: &str| {
        text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("iface") && words.next() == Some(&link.name)
        })
    };
    let directory = root.join(format!("{INTERFACES}.d"));
    let mut files = vec![root.join(INTERFACES)];
    files.extend(
        directory.read_dir().into_iter().flatten().flatten().take(100).map(|entry| entry.path()),
    );
    files
        .iter()
        .any(|file| text(file).is_some_and(|text| has_stanza(&text)))
        .then_some((NetworkManager::Ifupdown, None))
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(file::read(path, LIMIT, Links::Follow).ok()?).ok()
}

/// What a person is to know after the gateway was set.
pub fn warning(root: &Path, link: &Link) -> String {
    match manager(root, link) {
        Some((manager, _)) => {
            let (name, word) = manager.names();
            let how = word.map_or_else(
                || "its own configuration names the gateway, too".to_owned(),
                |word| format!("its configuration says so, too (\"rackconnect gateway show --as {word}\" prints it)"),
            );
            format!(
                "{name} manages {}: a restart of it, or of the server, loses this route unless \"rackconnect gateway keep\" \
                 runs or {how}",
                link.name
            )
        }
        None => format!(
            "a restart of whatever manages {}, or of the server, loses this route unless \"rackconnect gateway keep\" runs",
            link.name
        ),
    }
}

/// The configuration in the words of `manager`.
///
/// # Errors
/// A sentence that says why it cannot be written.
pub fn write(manager: NetworkManager, facts: &ExportFacts) -> Result<String, String> {
    for name in facts.others.iter().chain([&facts.interface]) {
        // What these files would make of anything else depends on the program and on its version.
        if name.is_empty() || !is_plain(name) {
            return Err(format!(
                "the interface name {name:?} cannot be written safely into a configuration file"
            ));
        }
    }
    let mut text = match manager {
        NetworkManager::Networkd => networkd(facts)?,
        NetworkManager::Netplan => netplan(facts),
        NetworkManager::Ifupdown => ifupdown(facts),
        NetworkManager::Sysconfig => sysconfig(facts),
        NetworkManager::Keyfile => {
            return Err("NetworkManager's own configuration is not written here".to_owned());
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
            return Err(format!("the name of networkd's file {file:?} is not plain"));
        }
        Some(file) => format!(
            "# /etc/systemd/network/{file}.d/rackconnect.conf (beside what {file} says of \
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
        "# /etc/netplan/90-rackconnect.yaml (merged with what the other files say of {interface})\n\
         network:\n  version: 2\n  ethernets:\n    {interface}:\n      routes:\n        \
         - to: 0.0.0.0/0\n          via: {gateway}\n"
    )
}

fn ifupdown(facts: &ExportFacts) -> String {
    let ExportFacts { interface, gateway, address: (address, prefix), .. } = facts;
    let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0));
    format!(
        "# /etc/network/interfaces: the stanza of {interface}, whose other lines (static routes) \
         stay\niface {interface} inet static\n    address {address}\n    netmask {mask}\n    \
         gateway {gateway}\n"
    )
}

fn sysconfig(facts: &ExportFacts) -> String {
    let ExportFacts { interface, gateway, .. } = facts;
    format!(
        "# /etc/sysconfig/network-scripts/ifcfg-{interface}: these lines, beside those that are \
         there\nDEFROUTE=yes\nGATEWAY={gateway}\n\
         # /etc/sysconfig/network: this line, and no GATEWAY there\nGATEWAYDEV={interface}\n"
    )
}

/// Comments on the other default routes, which the configuration must not make again.
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
            "DEFROUTE=no in its ifcfg file, and no GATEWAY"
        }
    };
    let mut text = String::new();
    for other in &facts.others {
        let _ = writeln!(
            text,
            "# {other} has or had a default route, which would be another one: {removal}"
        );
    }
    let interface = &facts.interface;
    for old in &facts.replaced {
        let _ = writeln!(
            text,
            "# {interface} has or had a default route via {old}: replace it in its configuration, \
             so that there is one alone"
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
    fn in_the_words_of_each() {
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
    fn the_others_are_named_and_odd_names_refused() {
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
    fn who_manages_what() {
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
