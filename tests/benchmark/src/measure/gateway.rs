//! The gateway commands with many routes, in a separate network namespace.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cost::{Call, quantile};
use super::world::{Api, World};
use super::{Extent, Result, Section};
use crate::page::thousands;

/// The RackConnect gateway.
pub const GATEWAY: &str = "10.182.127.198";
/// The gateway of the default route without RackConnect.
const PUBLIC: &str = "198.51.100.1";

/// The argument by which this program starts itself in a namespace.
pub const IN_NAMESPACE: &str = "--in-namespace";

/// Measures with 1, 1,000 and 100,000 routes. Without root there are no rows.
pub fn measure(world: &World, extent: Extent) -> Result<Section> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--"]).arg(std::env::current_exe()?).arg(IN_NAMESPACE);
    let counts = extent.of(&["1", "1000", "100000"][..], &["1", "100"][..]);
    let output = unshare.arg(&world.program).args(counts).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        eprintln!("no rows about routes: network namespaces need root and iproute2");
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let rows = lines.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    let head = vec![
        "routes",
        "gateway check",
        "system calls",
        "gateway set",
        "ip route show default",
        "system calls",
    ];
    Ok(Section { title: "Routes in the table", head, rows })
}

/// The part that runs in the namespace: prints a row for each number of routes.
///
/// # Errors
/// It does not run in a separate namespace, or a command fails.
pub fn main(program: PathBuf, counts: &[String]) -> Result<()> {
    let world = World::new(program)?;
    let network = Network::start()?;
    let api = Api::start("DEPLOYED", 1)?;
    let mut routes = 0;
    for count in counts {
        let count: u32 = count.parse()?;
        add_routes(routes, count)?;
        routes = count;
        println!("{}", row(&world, &api, count)?.join("\t"));
    }
    drop(network);
    Ok(())
}

fn row(world: &World, api: &Api, count: u32) -> Result<Vec<String>> {
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let calls = |calls: Option<u64>| calls.map_or("–".to_owned(), thousands);
    ip(&format!("route replace default via {GATEWAY} dev eth1"))?;
    let check = agent_call(world, api, &world.new_state_dir(), "check");
    let show = Call {
        name: "ip",
        words: ["ip", "route", "show", "default"].map(str::to_owned).to_vec(),
        input: None,
        environment: Vec::new(),
    };
    check.run()?;
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..5 {
        times.0.push(check.time()?.0);
        times.1.push(show.time()?.0);
    }
    let mut sets = Vec::new();
    for _ in 0..3 {
        ip(&format!("route replace default via {PUBLIC} dev eth0"))?;
        let set = agent_call(world, api, &world.new_state_dir(), "set");
        let start = Instant::now();
        set.run()?;
        sets.push(start.elapsed());
    }
    let median = |times: &mut Vec<Duration>| millis(quantile(times, 0.5).unwrap_or_default());
    Ok(vec![
        thousands(count.into()),
        median(&mut times.0),
        calls(check.system_calls()?),
        median(&mut sets),
        median(&mut times.1),
        calls(show.system_calls()?),
    ])
}

fn agent_call(world: &World, api: &Api, state_dir: &Path, command: &str) -> Call {
    let mut call = world.status(api, &api.0.endpoint(), state_dir);
    call.words.splice(1..2, ["gateway".to_owned(), command.to_owned()]);
    call.environment.push(("XENSTORED_PATH", PathBuf::from("/nonexistent")));
    call
}

/// A server with a public and a private interface, and the hosts at their other ends.
struct Network {
    other_end: Child,
}

impl Network {
    fn start() -> Result<Network> {
        ip("link set lo up")?;
        let mut unshare = Command::new("unshare");
        let other_end = unshare.args(["--net", "--", "sleep", "3600"]).spawn()?;
        let network = Network { other_end };
        network.wait_for_namespace()?;
        network.pair("eth0", "198.51.100.7/24", "p0", &[&format!("{PUBLIC}/24")])?;
        let service = [&*format!("{GATEWAY}/17"), "10.182.0.1/17"];
        network.pair("eth1", "10.182.21.219/17", "s1", &service)?;
        Ok(network)
    }

    fn wait_for_namespace(&self) -> Result<()> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let theirs = format!("/proc/{}/ns/net", self.other_end.id());
        while std::fs::read_link(&theirs)? == own {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn pair(&self, name: &str, address: &str, peer: &str, addresses: &[&str]) -> Result<()> {
        let pid = self.other_end.id().to_string();
        ip(&format!("link add {name} type veth peer name {peer} netns {pid}"))?;
        ip(&format!("address add {address} dev {name}"))?;
        ip(&format!("link set {name} up"))?;
        let there = |arguments: &str| {
            let mut nsenter = Command::new("nsenter");
            nsenter.args(["--target", &pid, "--net", "ip"]).args(arguments.split(' '));
            succeed(&mut nsenter)
        };
        for address in addresses {
            there(&format!("address add {address} dev {peer}"))?;
        }
        there(&format!("link set {peer} up"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.other_end.kill();
        let _ = self.other_end.wait();
    }
}

fn add_routes(from: u32, to: u32) -> Result<()> {
    let mut batch = String::new();
    for number in from..to {
        let [_, high, middle, low] = number.to_be_bytes();
        writeln!(batch, "route add 100.{}.{middle}.{low} via 10.182.0.1 dev eth1", 64 + high)?;
    }
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no pipe")?.write_all(batch.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err("routes could not be added".into()) }
}

/// Runs ip(8) in this namespace.
pub fn ip(arguments: &str) -> Result<()> {
    succeed(Command::new("ip").args(arguments.split(' ')))
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
