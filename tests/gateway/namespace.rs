//! Network namespaces for tests, created without root and without `ip`: a thread in each namespace,
//! the interfaces between two of them, addresses and routes, by netlink.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};
use rackconnect_agent::netlink::{Netlink, Route, Writer};

/// VETH_INFO_PEER (`linux/veth.h`).
const VETH_INFO_PEER: u16 = 1;

/// Enters new user and network namespaces, as root or not. To be called before any thread starts.
pub fn enter() -> Result<(), String> {
    let (uid, gid) = (getuid(), getgid());
    if uid.is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return lo_up();
    }
    let error = |what: &str, why: String| format!("{what}: {why}");
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|why| error("unshare", why.to_string()))?;
    let write = |path: &str, text: String| {
        fs::write(path, text).map_err(|why| error(path, why.to_string()))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    lo_up()
}

/// `lo` is interface 1 of every namespace.
fn lo_up() -> Result<(), String> {
    let up = (libc::IFF_UP as u32).to_ne_bytes();
    let fixed = [[0; 4], 1u32.to_ne_bytes(), up, up].concat();
    let request = Writer::new(libc::RTM_NEWLINK, flags(0), &fixed);
    Netlink::open()
        .and_then(|mut netlink| netlink.request(&request, |_| Ok(())))
        .map_err(|why| format!("lo: {why}"))
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own.
pub struct Namespace {
    jobs: Sender<Job>,
    handle: File,
}

impl Namespace {
    /// A new namespace, with `lo` up.
    pub fn new() -> Namespace {
        let (jobs, inbox) = channel::<Job>();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            sender
                .send(File::open("/proc/thread-self/ns/net").expect("a handle"))
                .expect("somebody waits");
            for job in inbox {
                job();
            }
        });
        let handle = receiver.recv().expect("a namespace");
        let namespace = Namespace { jobs, handle };
        namespace.up("lo", true);
        namespace
    }

    /// Runs a function in the namespace.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        let job = move || {
            let _ = sender.send(job());
        };
        self.jobs.send(Box::new(job)).expect("the thread lives");
        receiver.recv().expect("the job ends well")
    }

    fn netlink<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Netlink) -> T + Send + 'static,
    ) -> T {
        self.run(move || job(&mut Netlink::open().expect("netlink")))
    }

    /// A pair of interfaces, one here and one in `other`, both up.
    pub fn pair(&self, name: &str, other: &Namespace, other_name: &str) {
        let mut peer = vec![0; 16];
        attribute(&mut peer, libc::IFLA_IFNAME, &text(other_name));
        attribute(&mut peer, libc::IFLA_NET_NS_FD, &other.handle.as_raw_fd().to_ne_bytes());
        let mut data = Vec::new();
        attribute(&mut data, VETH_INFO_PEER, &peer);
        let mut info = Vec::new();
        attribute(&mut info, libc::IFLA_INFO_KIND, b"veth");
        attribute(&mut info, libc::IFLA_INFO_DATA, &data);
        let request =
            Writer::new(libc::RTM_NEWLINK, flags(libc::NLM_F_CREATE | libc::NLM_F_EXCL), &[0; 16])
                .attribute(libc::IFLA_IFNAME, &text(name))
                .attribute(libc::IFLA_LINKINFO, &info);
        self.netlink(move |netlink| {
            netlink.request(&request, |_| Ok(())).expect("a pair of interfaces")
        });
        self.up(name, true);
        other.up(other_name, true);
    }

    /// The index of an interface.
    pub fn index(&self, name: &str) -> u32 {
        let name = name.to_owned();
        self.netlink(move |netlink| {
            let links = netlink.links().expect("the interfaces");
            links.iter().find(|link| link.name == name).expect("the interface").index
        })
    }

    /// Deletes an interface, and the other one of its pair.
    pub fn delete(&self, name: &str) {
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&self.index(name).to_ne_bytes());
        let request = Writer::new(libc::RTM_DELLINK, flags(0), &fixed);
        self.netlink(move |netlink| {
            netlink.request(&request, |_| Ok(())).expect("an interface that can be deleted")
        });
    }

    /// Takes an interface up or down.
    pub fn up(&self, name: &str, up: bool) {
        self.flag(name, libc::IFF_UP, up);
    }

    /// Sets or clears a flag of an interface.
    pub fn flag(&self, name: &str, flag: libc::c_int, on: bool) {
        let flag = flag as u32;
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&self.index(name).to_ne_bytes());
        fixed[8..12].copy_from_slice(&(if on { flag } else { 0 }).to_ne_bytes());
        fixed[12..16].copy_from_slice(&flag.to_ne_bytes());
        let request = Writer::new(libc::RTM_NEWLINK, flags(0), &fixed);
        self.netlink(move |netlink| netlink.request(&request, |_| Ok(())).expect("a flag"));
    }

    /// The link-layer address of an interface.
    pub fn mac(&self, name: &str) -> Vec<u8> {
        let name = name.to_owned();
        self.netlink(move |netlink| {
            let links = netlink.links().expect("the interfaces");
            links.into_iter().find(|link| link.name == name).expect("the interface").mac
        })
    }

    /// Gives an interface an address.
    pub fn address(&self, name: &str, address: &str, prefix: u8) {
        let address: Ipv4Addr = address.parse().unwrap();
        let mut fixed = [0; 8];
        fixed[..2].copy_from_slice(&[libc::AF_INET as u8, prefix]);
        fixed[4..8].copy_from_slice(&self.index(name).to_ne_bytes());
        let request =
            Writer::new(libc::RTM_NEWADDR, flags(libc::NLM_F_CREATE | libc::NLM_F_EXCL), &fixed)
                .attribute(libc::IFA_LOCAL, &address.octets())
                .attribute(libc::IFA_ADDRESS, &address.octets());
        self.netlink(move |netlink| netlink.request(&request, |_| Ok(())).expect("an address"));
    }

    /// A route of the main table.
    pub fn route(&self, destination: &str, gateway: &str, interface: &str, metric: u32) -> Route {
        self.route_with(destination, gateway, interface, metric, &[])
    }

    /// The same with more attributes.
    pub fn route_with(
        &self,
        destination: &str,
        gateway: &str,
        interface: &str,
        metric: u32,
        more: &[(u16, &[u8])],
    ) -> Route {
        let (address, prefix) = match destination {
            "default" => (None, 0),
            other => {
                let (address, prefix) = other.split_once('/').expect("a prefix");
                (Some(address.parse::<Ipv4Addr>().unwrap()), prefix.parse().unwrap())
            }
        };
        let scope = if gateway.is_empty() { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
        let fixed = [
            libc::AF_INET as u8,
            prefix,
            0,
            0,
            libc::RT_TABLE_MAIN,
            libc::RTPROT_BOOT,
            scope,
            libc::RTN_UNICAST,
        ];
        let mut bytes = fixed.to_vec();
        bytes.extend([0; 4]);
        if let Some(address) = address {
            attribute(&mut bytes, libc::RTA_DST, &address.octets());
        }
        if !gateway.is_empty() {
            attribute(
                &mut bytes,
                libc::RTA_GATEWAY,
                &gateway.parse::<Ipv4Addr>().unwrap().octets(),
            );
        }
        if !interface.is_empty() {
            attribute(&mut bytes, libc::RTA_OIF, &self.index(interface).to_ne_bytes());
        }
        if metric != 0 {
            attribute(&mut bytes, libc::RTA_PRIORITY, &metric.to_ne_bytes());
        }
        for (kind, value) in more {
            attribute(&mut bytes, *kind, value);
        }
        Route::read(&bytes).unwrap()
    }

    /// Adds a route behind others of the same destination and metric.
    pub fn append(&self, route: &Route) {
        self.append_many([route.clone()]);
    }

    /// Adds many routes.
    pub fn append_many(&self, routes: impl IntoIterator<Item = Route>) {
        let create = flags(libc::NLM_F_CREATE | libc::NLM_F_APPEND);
        let request = |route: Route| {
            let bytes = route.to_bytes();
            rackconnect_agent::netlink::Attributes(&bytes[12..])
                .map(|attribute| attribute.unwrap())
                .fold(
                    Writer::new(libc::RTM_NEWROUTE, create, &bytes[..12]),
                    |writer, (kind, value)| writer.attribute(kind, value),
                )
        };
        let requests: Vec<_> = routes.into_iter().map(request).collect();
        self.netlink(move |netlink| {
            for request in &requests {
                netlink.request(request, |_| Ok(())).expect("a route");
            }
        });
    }

    /// Removes a route.
    pub fn remove(&self, route: &Route) -> bool {
        let route = route.clone();
        self.netlink(move |netlink| netlink.remove(&route).expect("a route"))
    }

    /// Adds a route in front of others of the same destination and metric.
    pub fn prepend(&self, route: &Route) {
        let route = route.clone();
        self.netlink(move |netlink| {
            netlink.add(&route, rackconnect_agent::netlink::Position::First).expect("a route")
        });
    }

    /// All routes of the main table.
    pub fn routes(&self) -> Vec<Route> {
        self.netlink(|netlink| netlink.routes(libc::AF_INET as u8, |_| true).expect("the routes"))
    }

    /// The default routes.
    pub fn defaults(&self) -> Vec<Route> {
        self.netlink(|netlink| netlink.defaults(libc::AF_INET as u8).expect("the routes"))
    }

    /// From now on processes that are started here have this directory as their `/etc`.
    pub fn mount_etc(&self, directory: &Path) {
        let directory = directory.to_owned();
        self.run(move || {
            let none = None::<&str>;
            unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                .expect("mounts that nobody else sees");
            mount(Some(&directory), "/etc", none, MsFlags::MS_BIND, none).expect("a mount");
        });
    }

    /// Enables forwarding.
    pub fn forward(&self) {
        self.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("forwarding can be switched on")
        });
    }
}

fn flags(more: libc::c_int) -> u16 {
    (libc::NLM_F_REQUEST | libc::NLM_F_ACK | more) as u16
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Appends an attribute.
pub fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}
