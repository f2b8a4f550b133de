//! From a change of the status to the end of a wait.

use std::thread;
use std::time::{Duration, Instant};

use simulated_xenstore::{Config, Simulator};

use super::cost::quantile;
use super::world::{Api, Processes, Waiter, World};
use super::{Extent, Result, Section};

/// The path of the status in xenstore.
const STATUS: &str = "vm-data/user-metadata/rackconnect_automation_status";

/// The number of waits that watch one xenstore: so few that they do not disturb each other.
const BATCH: usize = 10;

/// The waits start within this time, so that their phases are spread over an interval.
const SPREAD: Duration = Duration::from_secs(5);

/// Measures polling, a loop in bash, and xenstore.
pub fn measure(world: &World, extent: Extent) -> Result<Section> {
    let waits = extent.of(100, 4);
    let mut rows = vec![
        row("rackconnect wait, polling", by_polling(world, waits, Waiter::Agent)?),
        row("curl and sleep 5 in bash", by_polling(world, waits, Waiter::Shell)?),
    ];
    let mut told = Vec::new();
    for _ in 0..waits.div_ceil(BATCH) {
        told.extend(by_xenstore(world, waits.min(BATCH))?);
    }
    rows.push(row("rackconnect wait, by xenstore", told));
    let head = vec!["from a change to the end of the wait", "median", "95th percentile", "worst"];
    Ok(Section { title: "How late a wait ends", head, rows })
}

fn row(name: &str, mut late: Vec<Duration>) -> Vec<String> {
    let mut at = |part| {
        let time = quantile(&mut late, part).unwrap_or_default();
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    };
    vec![name.to_owned(), at(0.5), at(0.95), at(1.0)]
}

/// Waits that start one after the other, each with its own address, so that they share nothing.
/// Then the status changes for all of them at once.
fn by_polling(world: &World, count: usize, waiter: Waiter) -> Result<Vec<Duration>> {
    let api = Api::start("DEPLOYING", count)?;
    let mut waits = Processes::default();
    for endpoint in api.0.endpoints() {
        let state_dir = world.new_state_dir();
        waits.start(&mut world.waiter(waiter, &api, &endpoint, &state_dir)?)?;
        thread::sleep(SPREAD / u32::try_from(count)?);
    }
    api.wait_for_requests(2 * count as u64)?;
    let change = Instant::now();
    api.set_status("DEPLOYED");
    Ok(waits.wait_for_ends()?.into_iter().map(|end| end - change).collect())
}

fn by_xenstore(world: &World, count: usize) -> Result<Vec<Duration>> {
    let api = Api::start("DEPLOYING", count)?;
    let config = Config::default()
        .with("vm-data/provider_data/provider", "Rackspace")
        .with("vm-data/provider_data/roles", r#"["rack_connect"]"#)
        .with(STATUS, r#""DEPLOYING""#);
    let xenstore = Simulator::start(config)?;
    let mut waits = Processes::default();
    for endpoint in api.0.endpoints() {
        let mut command = world.agent(&api, &endpoint, &world.new_state_dir(), &["wait"]);
        waits.start(command.env("XENSTORED_PATH", xenstore.path()))?;
    }
    api.wait_for_requests(count as u64)?;
    xenstore.wait_until(Duration::from_secs(60), |store| store.watches() >= count);
    // Let the waits finish the work that the first response causes.
    thread::sleep(Duration::from_millis(500));
    api.set_status("DEPLOYED");
    let change = Instant::now();
    xenstore.set(STATUS, r#""DEPLOYED""#);
    Ok(waits.wait_for_ends()?.into_iter().map(|end| end - change).collect())
}
