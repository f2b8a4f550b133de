//! Six servers, two of which are deployed during the demo.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::{Cloud, Server};

/// The events: the time since the start, the server, its automation status.
const SCRIPT: [(Duration, &str, &str); 3] = [
    (Duration::from_secs(5), "plain", "DEPLOYING"),
    (Duration::from_secs(10), "web2", "DEPLOYED"),
    (Duration::from_secs(15), "plain", "DEPLOYED"),
];

/// Six servers, two of which have the same name.
pub fn six_servers() -> Vec<Server> {
    vec![
        Server::new("DFW", 1, "web1", Some("DEPLOYED")),
        Server::new("DFW", 2, "web2", Some("DEPLOYING")),
        Server::new("ORD", 3, "db1", Some("FAILED")),
        Server::new("ORD", 4, "db2", Some("DEPLOYED")),
        Server::new("SYD", 5, "db2", Some("UNPROCESSABLE")),
        Server::new("SYD", 6, "plain", None),
    ]
}

impl Cloud {
    /// A cloud with [`six_servers`]; within fifteen seconds `web2` and `plain` become DEPLOYED.
    ///
    /// # Errors
    /// There is no port.
    pub fn demo() -> io::Result<Arc<Cloud>> {
        let cloud = Arc::new(Cloud::start()?);
        cloud.state().servers = six_servers();
        let played = cloud.clone();
        thread::spawn(move || {
            let mut elapsed = Duration::ZERO;
            for (at, server, status) in SCRIPT {
                thread::sleep(at - elapsed);
                elapsed = at;
                played.state().set_automation(server, status);
            }
        });
        Ok(cloud)
    }
}
