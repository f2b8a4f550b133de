//! One status, from the start of the program to the answer.

use std::time::Duration;

use super::cost::{Call, quantile};
use super::proxy::Proxy;
use super::world::{Api, World};
use super::{Extent, Result, Section};
use crate::page::thousands;

/// The number of calls that share a state directory: the rate limit allows 30 a minute.
const CALLS_OF_A_STATE_DIR: usize = 20;

/// The cost of one program.
struct Cost {
    name: &'static str,
    loaded_bytes: Option<u64>,
    wall: Duration,
    /// The 95th percentile.
    slow_wall: Duration,
    processor: Duration,
    resident_kib: Option<u64>,
    instructions: Option<u64>,
    system_calls: Option<u64>,
    wire_bytes: u64,
    round_trips: u32,
}

/// The cost of all of them, the program first.
pub struct Calls(Vec<Cost>);

/// Measures the program and its peers.
pub fn measure(world: &World, extent: Extent) -> Result<Calls> {
    let api = Api::start("DEPLOYED", 1)?;
    let endpoint = api.0.endpoint();
    let proxy = Proxy::start(api.0.addresses()[0])?;
    let mut calls = vec![agent(world, &api, &endpoint)?];
    calls.extend(world.peers(&api, &endpoint)?);
    let mut times = vec![Vec::new(); calls.len()];
    for round in 0..extent.of(100, 2) {
        if round % CALLS_OF_A_STATE_DIR == 0 {
            calls[0] = agent(world, &api, &endpoint)?;
        }
        // Alternate between them, because the speed of the machine drifts.
        for (call, times) in calls.iter().zip(&mut times) {
            times.push(call.time()?);
        }
    }
    calls[0] = agent(world, &api, &endpoint)?;
    let mut delayed = vec![world.status(&api, &proxy.endpoint(), &world.new_state_dir())];
    delayed.extend(world.peers(&api, &proxy.endpoint())?);
    let mut costs = Vec::new();
    for ((call, delayed), times) in calls.iter().zip(&delayed).zip(times) {
        costs.push(cost(call, delayed, &proxy, times)?);
    }
    Ok(Calls(costs))
}

/// The program, with a state directory that it has created.
fn agent(world: &World, api: &Api, endpoint: &str) -> Result<Call> {
    let call = world.status(api, endpoint, &world.new_state_dir());
    call.run()?;
    Ok(call)
}

fn cost(
    call: &Call,
    delayed: &Call,
    proxy: &Proxy,
    times: Vec<(Duration, Duration)>,
) -> Result<Cost> {
    let (mut walls, mut processors): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    proxy.take();
    delayed.run()?;
    let passed = proxy.take();
    Ok(Cost {
        name: call.name,
        loaded_bytes: call.loaded_bytes()?,
        wall: quantile(&mut walls, 0.5).unwrap_or_default(),
        slow_wall: quantile(&mut walls, 0.95).unwrap_or_default(),
        processor: quantile(&mut processors, 0.5).unwrap_or_default(),
        resident_kib: call.resident()?,
        instructions: call.instructions()?,
        system_calls: call.system_calls()?,
        wire_bytes: passed.bytes,
        round_trips: passed.round_trips,
    })
}

impl Calls {
    /// How long a call takes.
    pub fn times(&self) -> Section {
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let rows = self.0.iter().map(|cost| {
            let relative = cost.wall.as_secs_f64() / self.0[0].wall.as_secs_f64();
            vec![
                cost.name.to_owned(),
                millis(cost.wall),
                format!("{relative:.1}"),
                millis(cost.slow_wall),
                millis(cost.processor),
                cost.round_trips.to_string(),
            ]
        });
        Section {
            title: "One status, from start to answer: time",
            head: vec!["program", "wall", "ratio", "95th percentile", "processor", "round trips"],
            rows: rows.collect(),
        }
    }

    /// What else a call uses.
    pub fn resources(&self) -> Section {
        let whole = |value: Option<u64>| value.map_or("–".to_owned(), thousands);
        let millions = |value: Option<u64>, unit: &str| {
            value.map_or("–".to_owned(), |value| format!("{:.1} {unit}", value as f64 / 1e6))
        };
        let rows = self.0.iter().map(|cost| {
            vec![
                cost.name.to_owned(),
                millions(cost.loaded_bytes, "MB"),
                whole(cost.resident_kib),
                millions(cost.instructions, "M"),
                whole(cost.system_calls),
                thousands(cost.wire_bytes),
            ]
        });
        Section {
            title: "One status, from start to answer: resources",
            head: vec![
                "program",
                "loaded",
                "resident, KiB",
                "instructions",
                "system calls",
                "bytes on the wire",
            ],
            rows: rows.collect(),
        }
    }

    /// For each figure, the ratio of each peer to the program.
    pub fn ratios(&self) -> Vec<(String, Vec<(String, f64)>)> {
        type Figure = fn(&Cost) -> Option<f64>;
        let figures: [(&str, Figure); 5] = [
            ("loaded bytes", |cost| cost.loaded_bytes.map(|bytes| bytes as f64)),
            ("wall", |cost| Some(cost.wall.as_secs_f64())),
            ("resident memory", |cost| cost.resident_kib.map(|kib| kib as f64)),
            ("instructions", |cost| cost.instructions.map(|count| count as f64)),
            ("system calls", |cost| cost.system_calls.map(|count| count as f64)),
        ];
        let group = |(name, figure): (&str, Figure)| {
            let own = figure(&self.0[0])?;
            let ratio = |cost: &Cost| Some((cost.name.to_owned(), figure(cost)? / own));
            Some((name.to_owned(), self.0[1..].iter().filter_map(ratio).collect()))
        };
        figures.into_iter().filter_map(group).collect()
    }
}
