//! Whether a new gateway really works, before the old one is given up: at most [`LIMIT`] in all.
//!
//! Checks are chosen by what worked before the change: what did not work then is not asked for afterwards.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use nix::libc;

use super::kernel;
use crate::api::reach::Target;
use crate::clock::BootInstant;
use crate::netlink::{Link, Netlink, family_of};

/// How long verifying may take in all.
pub const LIMIT: Duration = Duration::from_secs(8);

/// How long the connections of a check may take, so that its end is heard before [`LIMIT`].
const CONNECTIONS: Duration = Duration::from_millis(7_500);

/// The same before the change, where nothing is at stake but patience.
const BEFORE: Duration = Duration::from_secs(5);

/// How often the state of the gateway at the link layer is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long the gateway may take to answer at the link layer: a dead one is given up by the kernel after three questions,
/// a second apart.
const NEIGHBOUR: Duration = Duration::from_millis(5_000);

/// The port of a probe that names none.
pub const PROBE_PORT: u16 = 443;

/// Something that is asked for with `--probe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// As it was given.
    pub name: String,
    /// The host.
    pub host: String,
    /// The port, if one was given.
    pub port: Option<u16>,
    /// Its addresses, once looked up.
    pub addresses: Vec<SocketAddr>,
}

impl Probe {
    /// Reads `HOST[:PORT]`; an IPv6 address with a port stands in brackets.
    ///
    /// # Errors
    /// The end of a sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Probe, String> {
        let wrong = || format!("{text:?} is not HOST or HOST:PORT");
        let (host, port) = match (text.parse::<IpAddr>(), text.rsplit_once(':')) {
            (Ok(_), _) | (_, None) => (text, None),
            (_, Some((host, port))) => (host, Some(port.parse::<u16>().map_err(|_| wrong())?)),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty()
            || port == Some(0)
            || !(host.parse::<IpAddr>().is_ok() || host.chars().all(is_name))
        {
            return Err(wrong());
        }
        Ok(Probe { name: text.to_owned(), host: host.to_owned(), port, addresses: Vec::new() })
    }

    /// Whether the host answers: with a connection; where no port was named, a refusal is an answer of the host, too.
    fn works(&self, deadline: BootInstant) -> bool {
        self.addresses.iter().any(|address| {
            let left = deadline.since(BootInstant::now()).max(Duration::from_millis(1));
            match TcpStream::connect_timeout(address, left) {
                Ok(_) => true,
                Err(why) => self.port.is_none() && why.kind() == ErrorKind::ConnectionRefused,
            }
        })
    }
}

/// What must still work after the change.
#[derive(Clone, Default)]
pub struct Checks {
    api: Option<Target>,
    probes: Vec<Probe>,
}

impl Checks {
    /// Tries everything once, and remembers what works.
    pub fn choose(api: Option<Target>, probes: Vec<Probe>) -> Checks {
        let deadline = BootInstant::now() + BEFORE;
        let api = api.and_then(|mut target| match target.reach(deadline) {
            Ok(()) => Some(target),
            Err(why) => {
                log::warn!(
                    "the API cannot be reached now ({why}), so it is not asked for after the change"
                );
                None
            }
        });
        let mut chosen = Vec::new();
        for mut probe in probes.into_iter() {
            let deadline = BootInstant::now() + BEFORE;
            let port = probe.port.unwrap_or(PROBE_PORT);
            probe.addresses =
                crate::api::reach::addresses(&probe.host, port, deadline).unwrap_or_default();
            match probe.works(deadline) {
                true => chosen.push(probe),
                false => log::warn!(
                    "{} does not answer now, so it is not asked for after the change",
                    probe.name
                ),
            }
        }
        Checks { api, probes: chosen }
    }

    /// Verifies the change. `interrupted`: whether somebody wants the program to end.
    ///
    /// # Errors
    /// A sentence that says what does not work.
    pub fn verify(
        &self,
        netlink: &mut Netlink,
        gateway: IpAddr,
        link: &Link,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), String> {
        let start = BootInstant::now();
        is_used(netlink, gateway, link)?;
        log::debug!("the kernel would send a packet for the internet through {gateway}");
        let (sender, results) = channel();
        let mut open = 0;
        let deadline = start + CONNECTIONS;
        if let Some(mut target) = self.api.clone() {
            open += 1;
            let name = "the API".to_owned();
            spawn(&sender, name, move || target.reach(deadline));
        }
        for probe in self.probes.iter().cloned() {
            open += 1;
            let name = probe.name.clone();
            spawn(&sender, name, move || match probe.works(deadline) {
                true => Ok(()),
                false => Err("it does not answer any more".to_owned()),
            });
        }
        let mut neighbour = NeighbourCheck::start(netlink, gateway, link);
        loop {
            if neighbour.is_open() {
                neighbour.look(netlink, start)?;
            }
            while let Ok((name, result)) = results.try_recv() {
                open -= 1;
                match result {
                    Ok(()) => log::debug!("{name} still answers"),
                    Err(why) => {
                        return Err(format!("{name} worked before, and does not any more: {why}"));
                    }
                }
            }
            if open == 0 && !neighbour.is_open() {
                return is_used(netlink, gateway, link);
            }
            if interrupted() {
                return Err("the program was told to end".to_owned());
            }
            if BootInstant::now().since(start) >= LIMIT {
                return Err("not everything answered in time".to_owned());
            }
            thread::sleep(TICK);
        }
    }
}

fn is_used(netlink: &mut Netlink, gateway: IpAddr, link: &Link) -> Result<(), String> {
    match kernel::is_used(netlink, gateway, Some(link.index)) {
        Ok(true) => Ok(()),
        Ok(false) if kernel::is_split(netlink, family_of(gateway)).unwrap_or(false) => {
            Err(format!(
                "not every packet for the internet would go through {gateway}: there is another default route of the same metric"
            ))
        }
        Ok(false) => {
            let hop = kernel::internet(netlink, family_of(gateway)).ok().flatten();
            let name = kernel::namer(netlink);
            let instead =
                kernel::describe(hop, |index| name(index).unwrap_or_else(|| format!("#{index}")));
            Err(format!(
                "the kernel would not send a packet for the internet through {gateway} on {}, but {instead} (something goes \
                 before the default routes of the main table: \"ip rule\" and \"ip route\" show it)",
                link.name
            ))
        }
        Err(why) => Err(why.to_string()),
    }
}

/// A check that outlasts the verification is left to itself: it ends with its own deadline.
fn spawn(
    sender: &Sender<(String, Result<(), String>)>,
    name: String,
    check: impl FnOnce() -> Result<(), String> + Send + 'static,
) {
    let sender_there = sender.clone();
    let name_there = name.clone();
    let started =
        thread::Builder::new().name("check".to_owned()).stack_size(256 * 1024).spawn(move || {
            let _ = sender_there.send((name_there, check()));
        });
    if let Err(why) = started {
        let _ = sender.send((name, Err(format!("it cannot be checked: {why}"))));
    }
}

/// Whether the gateway answers at the link layer, asked anew: that an old entry says so proves nothing.
enum NeighbourCheck {
    /// It answers, or need not.
    Done,
    /// It was asked.
    Asked(IpAddr, Link),
    /// It could not be asked.
    Failed(String),
}

impl NeighbourCheck {
    fn start(netlink: &mut Netlink, gateway: IpAddr, link: &Link) -> NeighbourCheck {
        if !link.has_arp() {
            log::debug!("{} has no ARP: the gateway is not looked for there", link.name);
            return NeighbourCheck::Done;
        }
        let known = netlink.neighbour(link.index, gateway);
        if let Ok(Some(state)) = known
            && state & (libc::NUD_PERMANENT | libc::NUD_NOARP) != 0
        {
            log::debug!("the entry of {gateway} is an administrator's: it is not asked for");
            return NeighbourCheck::Done;
        }
        match known.and_then(|_| netlink.probe_neighbour(link.index, gateway)) {
            Ok(()) => NeighbourCheck::Asked(gateway, link.clone()),
            Err(why) => NeighbourCheck::Failed(format!(
                "{gateway} cannot be looked for on {}: {why}",
                link.name
            )),
        }
    }

    fn is_open(&self) -> bool {
        !matches!(self, NeighbourCheck::Done)
    }

    fn look(&mut self, netlink: &mut Netlink, start: BootInstant) -> Result<(), String> {
        let (gateway, link) = match self {
            NeighbourCheck::Done => return Ok(()),
            NeighbourCheck::Failed(why) => return Err(why.clone()),
            NeighbourCheck::Asked(gateway, link) => (*gateway, link),
        };
        let silent = || format!("{gateway} does not answer on {} (ARP)", link.name);
        match netlink.neighbour(link.index, gateway) {
            Ok(Some(state)) if state & libc::NUD_REACHABLE != 0 => {
                log::debug!("{gateway} answers on {}", link.name);
                *self = NeighbourCheck::Done;
                Ok(())
            }
            Ok(Some(state)) if state & libc::NUD_FAILED != 0 => Err(silent()),
            Ok(_) if BootInstant::now().since(start) >= NEIGHBOUR => Err(silent()),
            Ok(_) => Ok(()),
            Err(why) => Err(format!("the neighbours cannot be read: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_as_people_write_them() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:22", "example.com", Some(22)),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:8080", "192.0.2.1", Some(8080)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:53", "2001:db8::1", Some(53)),
        ] {
            let probe = Probe::parse(text).unwrap();
            assert_eq!((probe.host.as_str(), probe.port), (host, port), "{text}");
        }
        for text in
            ["", ":80", "host:", "host:0", "host:99999", "ho st", "http://host/", "host:80:90"]
        {
            assert!(Probe::parse(text).is_err(), "{text}");
        }
    }
}
