//! Many waits at once on one server: they share their requests.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::world::{Api, Processes, Waiter, World};
use super::{Extent, Result, Section};
use crate::page::thousands;
use crate::plot::{Line, Plot, Scale};

/// The cost of this many waits together.
struct Cost {
    waiter: Waiter,
    waits: usize,
    requests_a_minute: f64,
    end: Duration,
    private_kib: f64,
}

/// All of them.
pub struct Many(Vec<Cost>);

/// The most loops: more of them would need more than two processors.
const MAX_LOOPS: usize = 100;

/// Measures 1 to 1,000 waits, and up to a hundred loops of curl in bash.
pub fn measure(world: &World, extent: Extent) -> Result<Many> {
    let counts = extent.of(&[1, 10, 100, 1_000][..], &[1, 3][..]);
    let window = Duration::from_secs(extent.of(30, 5));
    let loops = counts.iter().filter(|&&count| count <= MAX_LOOPS);
    let all = counts.iter().map(|&count| (Waiter::Agent, count));
    let all = all.chain(loops.map(|&count| (Waiter::Shell, count)));
    all.map(|(waiter, count)| cost(world, waiter, count, window)).collect::<Result<_>>().map(Many)
}

fn cost(world: &World, waiter: Waiter, count: usize, window: Duration) -> Result<Cost> {
    let api = Api::start("DEPLOYING", 1)?;
    let state_dir = world.new_state_dir();
    let mut waits = Processes::default();
    for _ in 0..count {
        waits.start(&mut world.waiter(waiter, &api, &api.0.endpoint(), &state_dir)?)?;
    }
    // Each new wait causes an early request; after two more, all of them have a response.
    let enough = match waiter {
        Waiter::Agent => api.requests() + 2,
        Waiter::Shell => count as u64,
    };
    api.wait_for_requests(enough)?;
    let (before, start) = (api.requests(), Instant::now());
    thread::sleep(window);
    let requests = (api.requests() - before) as f64;
    let requests_a_minute = requests * 60.0 / start.elapsed().as_secs_f64();
    let private: Result<Vec<u64>> = waits.0.iter().map(|child| private_kib(child.id())).collect();
    let private_kib = private?.iter().sum::<u64>() as f64 / count as f64;
    let change = Instant::now();
    api.set_status("DEPLOYED");
    let last = waits.wait_for_ends()?.into_iter().max().ok_or("no wait has ended")?;
    Ok(Cost { waiter, waits: count, requests_a_minute, end: last - change, private_kib })
}

/// The memory that a process does not share with others.
fn private_kib(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let private = text.lines().filter(|line| line.starts_with("Private_"));
    let kib = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kib.sum())
}

impl Many {
    /// The table.
    pub fn section(&self) -> Section {
        let rows = self.0.iter().map(|cost| {
            vec![
                cost.waiter.name().to_owned(),
                thousands(cost.waits as u64),
                thousands(cost.requests_a_minute.round() as u64),
                format!("{:.1} s", cost.end.as_secs_f64()),
                thousands(cost.private_kib.round() as u64),
            ]
        });
        let head = vec![
            "what waits",
            "at once",
            "requests a minute",
            "all have ended after",
            "private memory each, KiB",
        ];
        Section { title: "Many waits on one server", head, rows: rows.collect() }
    }

    /// Requests over the number of waits.
    pub fn plot(&self) -> Plot {
        let line = |waiter: Waiter| {
            let costs = self.0.iter().filter(|cost| cost.waiter == waiter);
            let points = costs.map(|cost| (cost.waits as f64, cost.requests_a_minute)).collect();
            Line { name: waiter.name().to_owned(), points }
        };
        Plot {
            title: "Waits at once on one server".to_owned(),
            x: "waits".to_owned(),
            y: "requests a minute".to_owned(),
            scale: Scale::Logarithmic,
            lines: vec![line(Waiter::Shell), line(Waiter::Agent)],
        }
    }
}
