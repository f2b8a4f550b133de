//! A RackConnect server and what is around it, in four namespaces:
//!
//! ```text
//! server  eth0 198.51.100.7/24  ---  public   198.51.100.1   (203.0.113.10, 203.0.113.20)
//!         eth1 10.182.21.219/17 ---  router   10.182.0.1, 10.182.127.198  ---  beyond  10.191.5.5 the API, 203.0.113.10
//! ```

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;

use rackconnect_agent::netlink::Route;
use simulated_api::{Config, Script, Simulator, Step};
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::support::{self, Ended, bare_agent, ended};

/// The RackConnect gateway.
pub const GATEWAY: &str = "10.182.127.198";
/// The gateway of the server's default route without RackConnect.
pub const PUBLIC: &str = "198.51.100.1";
/// A host on the internet that both gateways lead to.
pub const HOST: &str = "203.0.113.10";
/// A host on the internet that only the public gateway leads to.
pub const PUBLIC_HOST: &str = "203.0.113.20";
/// The API.
pub const API: &str = "10.191.5.5";
/// Its port.
pub const API_PORT: u16 = 8443;

/// The server, its surroundings and the API in them.
pub struct Network {
    /// The server.
    pub server: Namespace,
    /// ServiceNet's router and the RackConnect gateway.
    pub router: Namespace,
    /// The API.
    pub api: Option<Simulator>,
    /// The state directory.
    pub folder: TempDir,
    /// The host behind the public interface.
    pub public: Namespace,
    beyond: Namespace,
}

impl Network {
    /// A server without any default route.
    pub fn bare(steps: impl IntoIterator<Item = Step>) -> Network {
        Network::named(steps, "eth1", 17)
    }

    /// The same, with another ServiceNet interface.
    pub fn named(steps: impl IntoIterator<Item = Step>, service_net: &str, prefix: u8) -> Network {
        Network::build(steps, service_net, prefix, support::config())
    }

    /// The usual server, with an API that has no rate limit.
    pub fn unlimited(defaults: &[(&str, &str, u32)]) -> Network {
        let network = Network::build(
            [deployed()],
            "eth1",
            17,
            Config { limit: u32::MAX, ..support::config() },
        );
        network.add(defaults);
        network
    }

    fn add(&self, defaults: &[(&str, &str, u32)]) {
        for (gateway, interface, metric) in defaults {
            self.server.append(&self.server.route("default", gateway, interface, *metric));
        }
    }

    fn build(
        steps: impl IntoIterator<Item = Step>,
        service_net: &str,
        prefix: u8,
        config: Config,
    ) -> Network {
        let [server, public, router, beyond] =
            [Namespace::new(), Namespace::new(), Namespace::new(), Namespace::new()];
        router.forward();
        public.forward();
        server.pair("eth0", &public, "p0");
        server.pair(service_net, &router, "s1");
        router.pair("b0", &beyond, "r0");
        server.address("eth0", "198.51.100.7", 24);
        server.address(service_net, "10.182.21.219", prefix);
        public.address("p0", PUBLIC, 24);
        public.address("lo", HOST, 32);
        public.address("lo", PUBLIC_HOST, 32);
        router.address("s1", "10.182.0.1", 17);
        router.address("s1", GATEWAY, 17);
        router.address("b0", "192.0.2.1", 24);
        beyond.address("r0", "192.0.2.2", 24);
        beyond.address("lo", API, 32);
        beyond.address("lo", HOST, 32);
        beyond.append(&beyond.route("default", "192.0.2.1", "r0", 0));
        router.append(&router.route("10.191.5.5/32", "192.0.2.2", "b0", 0));
        router.append(&router.route("203.0.113.10/32", "192.0.2.2", "b0", 0));
        for servicenet in ["10.176.0.0/12", "10.208.0.0/12"] {
            // On a /19 the ServiceNet router is not on-link, unless the flag says so.
            let gateway = if prefix == 17 { "10.182.0.1" } else { GATEWAY_OF_19 };
            if prefix != 17 && servicenet == "10.176.0.0/12" {
                router.address("s1", GATEWAY_OF_19, 19);
            }
            server.append(&server.route(servicenet, gateway, service_net, 0));
        }
        for namespace in [&public, &beyond] {
            namespace.run(|| {
                for port in [443, 80] {
                    let listener = TcpListener::bind(("0.0.0.0", port)).expect("a listener");
                    thread::spawn(move || listener.incoming().for_each(drop));
                }
            });
        }
        let config = Config {
            script: Script::of(steps),
            listen: vec![SocketAddr::new(API.parse().unwrap(), API_PORT)],
            ..config
        };
        let api = beyond.run(move || Simulator::start(config).expect("the simulated API starts"));
        let folder = tempfile::tempdir().expect("a folder");
        Network { server, router, api: Some(api), folder, public, beyond }
    }

    /// A server with those default routes, as (gateway, interface, metric).
    pub fn with(steps: impl IntoIterator<Item = Step>, defaults: &[(&str, &str, u32)]) -> Network {
        let network = Network::bare(steps);
        network.add(defaults);
        network
    }

    /// A server whose gateway is set, with another configuration of the API.
    pub fn with_config(steps: impl IntoIterator<Item = Step>, config: Config) -> Network {
        let network = Network::build(steps, "eth1", 17, config);
        network.add(&[(GATEWAY, "eth1", 0)]);
        network
    }

    /// The usual server: DEPLOYED, its gateway assigned, its default route public.
    pub fn usual() -> Network {
        Network::with([deployed()], &[(PUBLIC, "eth0", 0)])
    }

    /// The agent.
    pub fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = bare_agent(arguments);
        let api = self.api.as_ref().expect("the API runs");
        command
            .env("RACKCONNECT_ENDPOINT", api.endpoint())
            .env("RACKCONNECT_CA_FILE", api.ca_file())
            .env("RACKCONNECT_STATE_DIR", self.folder.path());
        command
    }

    /// Starts the agent on the server.
    pub fn start(&self, mut command: Command) -> Child {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn(command)
    }

    /// Starts a command on the server, without other settings.
    pub fn spawn(&self, mut command: Command) -> Child {
        self.server.run(move || command.spawn().expect("the agent starts"))
    }

    /// The agent with a state directory of its own, so that its requests do not count for other
    /// runs.
    pub fn agent_of_run(&self, run: usize, arguments: &[&str]) -> Command {
        let mut command = self.agent(arguments);
        command.env("RACKCONNECT_STATE_DIR", self.folder.path().join(run.to_string()));
        command
    }

    /// Runs it.
    pub fn run_of_run(&self, run: usize, arguments: &[&str]) -> Ended {
        let child = self.start(self.agent_of_run(run, arguments));
        ended(child.wait_with_output().expect("the agent ends"))
    }

    /// Runs the agent on the server.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.start(self.agent(arguments)).wait_with_output().expect("the agent ends"))
    }

    /// The default routes as (gateway, metric).
    pub fn defaults(&self) -> Vec<(String, u32)> {
        let gateway =
            |route: &Route| route.gateway.map_or(String::new(), |gateway| gateway.to_string());
        self.server.defaults().iter().map(|route| (gateway(route), route.metric)).collect()
    }

    /// Checks the default routes.
    #[track_caller]
    pub fn expect(&self, defaults: &[(&str, u32)]) {
        let expected: Vec<_> =
            defaults.iter().map(|(gateway, metric)| ((*gateway).to_owned(), *metric)).collect();
        assert_eq!(self.defaults(), expected);
    }

    /// The paths that the API was asked for.
    pub fn requests(&self) -> Vec<String> {
        let api = self.api.as_ref().expect("the API runs");
        api.log().iter().map(|request| request.path.clone()).collect()
    }

    /// Starts another server at the API's address.
    pub fn serve(&self, job: impl FnOnce() + Send + 'static) {
        self.beyond.run(job);
    }

    /// Takes the API down.
    pub fn stop_api(&mut self) {
        let api = self.api.take();
        self.beyond.run(move || drop(api));
    }

    /// Replaces the API by another server at its port.
    pub fn replace_api(&mut self, with: impl FnOnce(u16) + Send + 'static) {
        self.stop_api();
        self.serve(move || with(API_PORT));
    }
}

/// A gateway on the server's /19, ending in .255.
pub const GATEWAY_OF_19: &str = "10.182.4.255";

/// A step without an end: DEPLOYED, with the gateway.
pub fn deployed() -> Step {
    Step::new("DEPLOYED").gateway(GATEWAY)
}
