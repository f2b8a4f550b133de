//! A healthy server with its network and API, and ten servers that are each broken in one way.

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use simple_dns::RCODE;
use simulated_api::{Config, Script, Step};

use crate::nameserver::{self, Questions};
use crate::network::{API, API_PORT, GATEWAY, Network, PUBLIC, deployed};
use crate::support::{self, Ended, PreparedServer, binary, ended, write_program};

/// Two years.
const TWO_YEARS: i64 = 2 * 365 * 86_400;

/// The user id of another user.
const NOBODY: u32 = 65_534;

/// The server's address, by which the API knows it.
const SERVER: &str = "10.182.21.219";

/// A step without an end: DEPLOYED, with the gateway and a task.
pub fn step() -> Step {
    deployed().task("Cloud Server Created: Add \"rackconnect\" user", "DEPLOYED")
}

/// A server, the network around it and the API.
pub struct Scene {
    /// The network, with the API.
    pub network: Network,
    /// The server's files and its xenstore.
    pub server: PreparedServer,
    /// The API's URL.
    pub endpoint: String,
    /// The state directory.
    pub state_dir: PathBuf,
}

impl Scene {
    /// A healthy server: DEPLOYED, its gateway set.
    pub fn healthy() -> Scene {
        Scene::around(Network::with([step()], &[(GATEWAY, "eth1", 0)]))
    }

    /// The same with another configuration of the API.
    pub fn with_config(config: Config) -> Scene {
        Scene::around(Network::with_config([step()], config))
    }

    /// The same with a clock that is behind by `seconds`, and a certificate that is valid for 90
    /// days each way. The test cannot set its clock, so the API's clock and the certificate are
    /// ahead instead.
    pub fn with_clock_behind(seconds: i64) -> Scene {
        let (date_offset, certificate_days) = (Some(seconds), Some(90));
        Scene::with_config(Config { date_offset, certificate_days, ..support::config() })
    }

    fn around(network: Network) -> Scene {
        let endpoint = network.api.as_ref().expect("the API runs").endpoint();
        let state_dir = network.folder.path().join("state");
        fs::create_dir(&state_dir).expect("a directory");
        let scene =
            Scene { network, server: PreparedServer::healthy("DEPLOYED"), endpoint, state_dir };
        scene.network.server.up("eth0", false);
        scene.network.server.mount_etc(&scene.server.root().join("etc"));
        scene.add_commands();
        scene
    }

    /// The programs for the administrator's commands: the program itself, and replacements for
    /// tools that would change the machine of the test.
    fn add_commands(&self) {
        fs::create_dir(self.bin()).expect("a directory");
        symlink(binary(), self.bin().join("rackconnect")).expect("a link");
        let enforce = self.server.root().join("sys/fs/selinux/enforce");
        self.command("setenforce", &format!("echo \"$1\" > {}", enforce.display()));
        self.command("systemctl", "");
        self.command("sshd", "");
        self.command("date", &format!("echo \"$*\" > {}", self.set_clock().display()));
        self.command("sudo", "exec \"$@\"");
    }

    /// Where the arguments of date(1) are written, which would set the clock of the test's machine.
    pub fn set_clock(&self) -> PathBuf {
        self.network.folder.path().join("date")
    }

    fn bin(&self) -> PathBuf {
        self.network.folder.path().join("bin")
    }

    fn command(&self, name: &str, script: &str) {
        let path = self.bin().join(name);
        write_program(&path, &format!("#!/bin/sh\n{script}\n"), 0o755);
    }

    /// Changes the API's script to this step.
    pub fn play(&self, step: Step) {
        let api = self.network.api.as_ref().expect("the API runs");
        api.set_script(SERVER.parse().expect("an address"), Script::of([step]));
    }

    /// Gives the API a name, which a nameserver in the network knows.
    pub fn look_up_by(&mut self, questions: Questions) {
        let api: Ipv4Addr = API.parse().expect("an address");
        self.network.serve(move || nameserver::start(api, api, questions));
        self.server.write("etc/resolv.conf", &format!("nameserver {API}\n"));
        self.endpoint = format!("https://dfw.api.rackconnect.rackspace.com:{API_PORT}");
    }

    /// Runs `doctor` on the server.
    pub fn doctor(&self, arguments: &[&str]) -> Ended {
        let root = self.server.root().to_str().expect("UTF-8");
        let mut agent = self.network.agent(&[&["doctor", "--root", root], arguments].concat());
        self.place(&mut agent);
        ended(self.network.start(agent).wait_with_output().expect("the agent ends"))
    }

    /// Runs a line in a shell on the server.
    pub fn shell(&self, line: &str) -> Ended {
        let agent = self.network.agent(&[]);
        let mut shell = Command::new("sh");
        let path = std::env::var("PATH").expect("PATH");
        shell.args(["-c", line]).env_clear();
        shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", format!("{}:{path}", self.bin().display()));
        self.place(&mut shell);
        ended(self.network.start(shell).wait_with_output().expect("the shell ends"))
    }

    /// Gives a command the server's xenstore and settings.
    fn place(&self, command: &mut Command) {
        command
            .env("XENSTORED_PATH", self.server.xenstore.path())
            .env("RACKCONNECT_ENDPOINT", &self.endpoint)
            .env("RACKCONNECT_STATE_DIR", &self.state_dir);
    }

    /// Removes the routes to ServiceNet's networks.
    fn remove_servicenet_routes(&self) {
        for servicenet in ["10.176.0.0/12", "10.208.0.0/12"] {
            let route = self.network.server.route(servicenet, "10.182.0.1", "eth1", 0);
            assert!(self.network.server.remove(&route));
        }
    }

    /// The only default route becomes the public one, or none.
    fn replace_default_route(&self, gateway: Option<&str>) {
        let lost = self.network.server.defaults().remove(0);
        assert!(self.network.server.remove(&lost));
        if let Some(gateway) = gateway {
            self.network.server.up("eth0", true);
            let route = self.network.server.route("default", gateway, "eth0", 0);
            self.network.server.append(&route);
        }
    }
}

/// Whether the commands that `doctor` prints repair it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// By the printed commands.
    ByCommands,
    /// Not in a test: a decision is needed, or the command would change the machine.
    Elsewhere,
}

/// A server that is broken in one way.
pub struct BrokenServer {
    /// The fault, for messages.
    pub name: &'static str,
    /// The beginning of the first line on standard error.
    pub first_line: &'static str,
    /// How it is repaired.
    pub repair: Repair,
    /// Creates it.
    pub make: fn() -> Scene,
}

impl BrokenServer {
    const fn new(
        name: &'static str,
        first_line: &'static str,
        repair: Repair,
        make: fn() -> Scene,
    ) -> BrokenServer {
        BrokenServer { name, first_line, repair, make }
    }
}

/// The servers.
pub const BROKEN_SERVERS: [BrokenServer; 10] = [
    BrokenServer::new(
        "no ServiceNet route",
        "[FAIL] network.servicenet.route: there is no route to 10.176.0.0/12 and 10.208.0.0/12 \
         (ServiceNet, Rackspace's private network)",
        Repair::ByCommands,
        || {
            let scene = Scene::healthy();
            scene.remove_servicenet_routes();
            scene.replace_default_route(None);
            scene
        },
    ),
    BrokenServer::new(
        "the default route captures ServiceNet",
        "[FAIL] network.servicenet.route: there is no route to 10.176.0.0/12 and 10.208.0.0/12 \
         (ServiceNet, Rackspace's private network), so packets take the default route (via \
         198.51.100.1 dev eth0) and are lost",
        Repair::ByCommands,
        || {
            let scene = Scene::healthy();
            scene.remove_servicenet_routes();
            scene.replace_default_route(Some(PUBLIC));
            scene
        },
    ),
    BrokenServer::new(
        "DNS is dead",
        "[FAIL] network.name: the name lookup for dfw.api.rackconnect.rackspace.com timed out",
        Repair::Elsewhere,
        || {
            let mut scene = Scene::healthy();
            scene.look_up_by(Questions::Dropped);
            scene
        },
    ),
    // The API can still be used, so this is no failure.
    BrokenServer::new(
        "AAAA is broken",
        "[WARNING] network.name: nameserver 10.191.5.5 responded with SERVFAIL when asked for AAAA",
        Repair::Elsewhere,
        || {
            let mut scene = Scene::healthy();
            scene.look_up_by(Questions::AaaaRefused(RCODE::ServerFailure));
            scene
        },
    ),
    BrokenServer::new(
        "the clock is two years off",
        "[FAIL] network.clock: this server's clock is 730 days behind",
        Repair::Elsewhere,
        || Scene::with_clock_behind(TWO_YEARS),
    ),
    BrokenServer::new(
        "a curl loop uses the rate limit up",
        "[FAIL] network.other-clients: the API answers with HTTP 403 (too many requests); process \
         77 (sh, user root) probably uses up the 30 requests a minute: sh -c while :; do curl ",
        Repair::Elsewhere,
        || {
            let scene = Scene::healthy();
            scene.play(step().fault("http-403"));
            let command = "while :; do curl https://dfw.api.rackconnect.rackspace.com; done";
            scene.server.process(77, "sh", &["sh", "-c", command]);
            scene
        },
    ),
    BrokenServer::new(
        "nova-agent has overwritten the gateway",
        "[FAIL] rackconnect.gateway: packets for the internet go via 198.51.100.1 dev eth0",
        Repair::ByCommands,
        || {
            let scene = Scene::healthy();
            scene.replace_default_route(Some(PUBLIC));
            scene
        },
    ),
    BrokenServer::new(
        "sshd listens on port 2222",
        "[FAIL] automation.sshd.port: sshd listens on port 2222",
        Repair::ByCommands,
        || {
            let scene = Scene::healthy();
            scene.play(Step::new("DEPLOYING"));
            scene.server.write("etc/ssh/sshd_config", "Port 2222\nPermitRootLogin yes\n");
            scene
        },
    ),
    BrokenServer::new(
        "SELinux is enforcing",
        "[FAIL] automation.selinux: SELinux is enforcing",
        Repair::ByCommands,
        || {
            let scene = Scene::healthy();
            scene.play(Step::new("DEPLOYING"));
            scene.server.write("sys/fs/selinux/enforce", "1\n");
            scene.server.write("etc/selinux/config", "SELINUX=enforcing\n");
            scene
        },
    ),
    BrokenServer::new(
        "the state directory belongs to another user",
        "[FAIL] agent.state-directory: ",
        Repair::ByCommands,
        || {
            let scene = Scene::healthy();
            give_away(&scene.state_dir);
            scene
        },
    ),
];

/// Another user's directory or, if the test does not run as root, one that every user can write to.
fn give_away(directory: &Path) {
    if chown(directory, Some(NOBODY), Some(NOBODY)).is_err() {
        fs::set_permissions(directory, Permissions::from_mode(0o777)).expect("a mode");
    }
}
