//! An hour's wait. A few polls are measured and extrapolated, because all polls are alike.

use std::fs;
use std::time::Duration;

use super::cost::{Call, processor_time};
use super::world::{Api, Processes, World};
use super::{Extent, Result, Section};
use crate::page::thousands;

/// The number of polls in an hour: every 5 seconds, with a mean jitter of a twentieth.
const POLLS: f64 = 3_600.0 / 5.25;

/// The shortest interval, to keep the measurement short. The cost of a poll does not depend on the
/// interval.
const INTERVAL: &str = "3s";

/// The kernel's counters of a process.
pub struct Counters {
    /// How often it has waited for something and was woken up.
    wakeups: u64,
    /// The processor time that it has used.
    pub processor: Duration,
}

/// Reads the counters of a running process.
pub fn read_counters(pid: u32) -> Result<Counters> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let switches = field(&status, "voluntary_ctxt_switches:").ok_or("no context switches")?;
    let schedule = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanos = schedule.split_whitespace().next().and_then(|field| field.parse().ok());
    let processor = Duration::from_nanos(nanos.ok_or("no time of the processor")?);
    Ok(Counters { wakeups: switches, processor })
}

/// The peak resident memory of a process, in KiB.
pub fn peak_resident(pid: u32) -> Result<Option<u64>> {
    Ok(field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Measures a wait, and a loop of curl in bash.
pub fn measure(world: &World, extent: Extent) -> Result<Section> {
    let polls = extent.of(10, 2);
    let mut rows = vec![agent(world, polls)?];
    rows.extend(shell(world, extent.of(20, 2))?);
    let head = vec!["an hour's wait", "processor", "wake-ups", "resident, KiB"];
    Ok(Section { title: "An hour's wait, every 5 seconds", head, rows })
}

fn agent(world: &World, polls: u32) -> Result<Vec<String>> {
    let api = Api::start("DEPLOYING", 1)?;
    let mut waits = Processes::default();
    let arguments = ["wait", "--interval", INTERVAL, "--timeout", "0"];
    waits.start(&mut world.agent(&api, &api.0.endpoint(), &world.new_state_dir(), &arguments))?;
    let pid = waits.0[0].id();
    // The first poll includes the start of the program and the handshake.
    api.wait_for_requests(2)?;
    let (before, first) = (read_counters(pid)?, api.requests());
    api.wait_for_requests(first + u64::from(polls))?;
    let (after, last) = (read_counters(pid)?, api.requests());
    let hour = POLLS / (last - first) as f64;
    let processor = (after.processor - before.processor).mul_f64(hour);
    Ok(vec![
        "rackconnect wait".to_owned(),
        format!("{:.2} s", processor.as_secs_f64()),
        thousands(((after.wakeups - before.wakeups) as f64 * hour) as u64),
        peak_resident(pid)?.map_or("–".to_owned(), thousands),
    ])
}

/// A loop that sends the same request without a pause. Its cost is that of the processes that it
/// starts.
fn shell(world: &World, polls: u32) -> Result<Option<Vec<String>>> {
    let api = Api::start("DEPLOYING", 1)?;
    let peers = world.peers(&api, &api.0.endpoint())?;
    let Some(curl) = peers.into_iter().find(|call| call.name == "curl") else { return Ok(None) };
    let script = format!(
        "for ((i = 0; i < {polls}; i++)); do [ \"$({})\" = DEPLOYED ]; sleep 0.01; done; true",
        curl.words.join(" ")
    );
    let words = vec!["bash".to_owned(), "-c".to_owned(), script];
    let call = Call { name: "loop", words, ..curl };
    let before = processor_time()?;
    call.run()?;
    let processor = (processor_time()? - before).mul_f64(POLLS / f64::from(polls));
    Ok(Some(vec![
        "curl and sleep in bash".to_owned(),
        format!("{:.2} s", processor.as_secs_f64()),
        "–".to_owned(),
        call.resident()?.map_or("–".to_owned(), thousands),
    ]))
}
