//! The programs that configure the network of a server.

/// A program that configures an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkManager {
    /// systemd-networkd.
    Networkd,
    /// netplan, which writes networkd's configuration.
    Netplan,
    /// ifupdown: `/etc/network/interfaces`.
    Ifupdown,
    /// Red Hat's network scripts: `/etc/sysconfig`.
    Sysconfig,
    /// NetworkManager with its keyfiles.
    Keyfile,
}

impl NetworkManager {
    /// The network manager that `--as` calls by this name.
    pub fn named(name: &str) -> Option<NetworkManager> {
        match name {
            "networkd" => Some(NetworkManager::Networkd),
            "netplan" => Some(NetworkManager::Netplan),
            "ifupdown" => Some(NetworkManager::Ifupdown),
            "sysconfig" => Some(NetworkManager::Sysconfig),
            _ => None,
        }
    }

    /// Its usual name, and its name in `--as` if it has one.
    pub fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            NetworkManager::Networkd => ("systemd-networkd", Some("networkd")),
            NetworkManager::Netplan => ("netplan", Some("netplan")),
            NetworkManager::Ifupdown => ("ifupdown", Some("ifupdown")),
            NetworkManager::Sysconfig => ("/etc/sysconfig", Some("sysconfig")),
            NetworkManager::Keyfile => ("NetworkManager", None),
        }
    }
}
