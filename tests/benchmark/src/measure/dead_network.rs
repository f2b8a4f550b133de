//! `doctor` on networks where nothing answers.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::world::World;
use super::{Result, Section};

/// A network, and the ip(8) commands that create it in a new namespace.
const NETWORKS: [(&str, &str); 3] = [
    ("no interface is up", "true"),
    ("there is no default route", "ip link set lo up"),
    (
        "every packet vanishes",
        "ip link set lo up && ip link add eth0 type veth peer name nowhere \
         && ip link set nowhere up && ip link set eth0 up \
         && ip address add 198.51.100.7/24 dev eth0 \
         && ip neighbor add 198.51.100.1 lladdr 02:00:00:00:00:01 dev eth0 \
         && ip route add default via 198.51.100.1",
    ),
];

/// Measures how long `doctor` takes on each of them. Without root there are no rows.
pub fn measure(world: &World) -> Result<Section> {
    let mut rows = Vec::new();
    for (name, network) in NETWORKS {
        let script = format!("{network} && exec \"$0\" doctor --region dfw");
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", &script]).arg(&world.program);
        command.env("RACKCONNECT_STATE_DIR", world.new_state_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        // Doctor found a failure.
        if command.status()?.code() == Some(1) {
            rows.push(vec![name.to_owned(), format!("{:.1} s", start.elapsed().as_secs_f64())]);
        }
    }
    Ok(Section { title: "doctor on dead networks", head: vec!["network", "wall"], rows })
}
