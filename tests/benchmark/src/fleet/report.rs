//! The scenarios of docs/fleet.md, as tables and plots.

use super::client::Behaviour;
use super::simulate::{Outcome, Scenario, simulate};
use crate::page::{table, thousands};
use crate::plot::{self, Line, Picture, Plot};

/// The seed of all runs.
const SEED: u64 = 20_140_701;

/// The size of the fleet in the tables that compare behaviours, and in the plot over time.
const FLEET: usize = 10_000;

/// The size of the fleet with long deployments, whose waits send many requests.
const SLOW_FLEET: usize = 1_000;

/// How long the API is down after all servers were rebooted.
const OUTAGE: f64 = 120.0;

/// The size of the largest fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// A hundred thousand servers.
    Full,
    /// A thousand, for a test.
    Small,
}

impl Scale {
    fn fleets(self) -> &'static [usize] {
        match self {
            Scale::Full => &[1, 10, 100, 1_000, 10_000, 100_000],
            Scale::Small => &[1, 10, 100, 1_000],
        }
    }
}

/// New servers: their boots end within a minute, and they are deployed 1 to 3 minutes later.
fn new_servers(servers: usize, behaviour: Behaviour) -> Scenario {
    Scenario {
        servers,
        behaviour,
        starts_within: 60.0,
        deployed_after: (60.0, 120.0),
        down_until: 0.0,
        capacity: u64::MAX,
    }
}

/// Deployed servers that are rebooted at once. The API comes back later and answers a twentieth of
/// the fleet in each second.
fn rebooted(servers: usize, behaviour: Behaviour) -> Scenario {
    Scenario {
        servers,
        behaviour,
        starts_within: 2.0,
        deployed_after: (0.0, 0.0),
        down_until: OUTAGE,
        capacity: (servers as u64 / 20).max(1),
    }
}

/// Deployed servers that are rebooted at once, and an API that answers all of them.
fn rebooted_with_api(servers: usize, behaviour: Behaviour) -> Scenario {
    Scenario { down_until: 0.0, capacity: u64::MAX, ..rebooted(servers, behaviour) }
}

/// Deployments that take long: 5 to 60 minutes.
fn slow_deployments(servers: usize, behaviour: Behaviour) -> Scenario {
    Scenario { deployed_after: (300.0, 3_300.0), ..new_servers(servers, behaviour) }
}

fn run(scenario: &Scenario) -> Outcome {
    simulate(scenario, SEED)
}

fn per_second(count: u32) -> String {
    thousands(count.into())
}

fn seconds(time: f64) -> String {
    format!("{time:.1} s")
}

/// A fleet of new servers, for each client.
struct NewFleet {
    servers: usize,
    shell: Outcome,
    agent: Outcome,
    xenstore: Outcome,
}

/// The tables and plots.
pub struct Report {
    scale: Scale,
    new_fleets: Vec<NewFleet>,
}

impl Report {
    /// Runs the scenarios that both tables and plots need.
    pub fn new(scale: Scale) -> Report {
        let fleet = |&servers: &usize| {
            let outcome = |behaviour| run(&new_servers(servers, behaviour));
            NewFleet {
                servers,
                shell: outcome(Behaviour::Shell),
                agent: outcome(Behaviour::Agent),
                xenstore: outcome(Behaviour::WithXenstore),
            }
        };
        Report { scale, new_fleets: scale.fleets().iter().map(fleet).collect() }
    }

    /// The tables, in Markdown.
    pub fn markdown(&self) -> String {
        let parts = [
            by_size_of_new_fleet(&self.new_fleets),
            by_size_of_rebooted_fleet(self.scale),
            by_jitter(),
            by_interval(),
        ];
        parts.join("\n")
    }

    /// The plots: an outage over time, and the size of the fleet.
    pub fn plots(&self) -> Vec<Picture> {
        vec![Picture::Plot(outage_over_time()), Picture::Plot(peak_by_size(&self.new_fleets))]
    }
}

fn by_size_of_new_fleet(fleets: &[NewFleet]) -> String {
    let rows = fleets.iter().map(|NewFleet { servers, shell, agent, xenstore }| {
        vec![
            thousands(*servers as u64),
            per_second(shell.peak_second(60)),
            per_second(agent.peak_second(60)),
            per_second(xenstore.peak_second(60)),
            seconds(shell.lateness_of(0.5)),
            seconds(agent.lateness_of(0.5)),
            seconds(xenstore.lateness_of(0.5)),
        ]
    });
    let head = [
        "new servers",
        "peak a second: loop",
        "agent",
        "with xenstore",
        "median lateness: loop",
        "agent",
        "with xenstore",
    ];
    format!("**A burst of new servers**\n\n{}", table(&head, &rows.collect::<Vec<_>>()))
}

fn by_size_of_rebooted_fleet(scale: Scale) -> String {
    let up = OUTAGE as usize;
    let rows = scale.fleets().iter().map(|&servers| {
        let outcome = |behaviour| run(&rebooted(servers, behaviour));
        let (shell, agent) = (outcome(Behaviour::Shell), outcome(Behaviour::Agent));
        vec![
            thousands(servers as u64),
            per_second(shell.peak_tenth(up)),
            per_second(agent.peak_tenth(up)),
            thousands(shell.requests()),
            thousands(agent.requests()),
            seconds(shell.lateness_of(1.0)),
            seconds(agent.lateness_of(1.0)),
        ]
    });
    let head = [
        "rebooted servers",
        "peak in 0.1 s: loop",
        "agent",
        "requests: loop",
        "agent",
        "all have their status after: loop",
        "agent",
    ];
    format!("**A reboot of all, and an outage**\n\n{}", table(&head, &rows.collect::<Vec<_>>()))
}

fn by_jitter() -> String {
    let behaviours = [
        ("no jitter", Behaviour::WithoutJitter),
        ("jitter of the interval (the agent)", Behaviour::Agent),
        ("a start up to 1 s late, too", Behaviour::StartingLate { most: 1.0 }),
        ("a start up to 5 s late, too", Behaviour::StartingLate { most: 5.0 }),
        ("a first pause of 3 to 5.5 s", Behaviour::FirstPause { least: 3.0, most: 5.5 }),
    ];
    let rows = behaviours.map(|(name, behaviour)| {
        let outage = run(&rebooted(FLEET, behaviour));
        let up = run(&rebooted_with_api(FLEET, behaviour));
        vec![
            name.to_owned(),
            per_second(up.peak_tenth(0)),
            seconds(up.lateness_of(0.5)),
            per_second(outage.peak_tenth(OUTAGE as usize)),
            seconds(outage.lateness_of(1.0)),
        ]
    });
    let head = [
        "10,000 servers, rebooted",
        "API up: peak in 0.1 s",
        "median delay of a boot",
        "outage: peak in 0.1 s",
        "all have their status after",
    ];
    format!("**Where jitter belongs**\n\n{}", table(&head, &rows))
}

fn by_interval() -> String {
    let slower = |interval| Behaviour::SlowingDown { after: 600.0, interval };
    let behaviours = [
        ("every 5 s (the agent)", Behaviour::Agent),
        ("every 15 s after 10 min", slower(15.0)),
        ("every 30 s after 10 min", slower(30.0)),
        ("by xenstore (the agent)", Behaviour::WithXenstore),
    ];
    let rows = behaviours.map(|(name, behaviour)| {
        let outcome = run(&slow_deployments(SLOW_FLEET, behaviour));
        vec![
            name.to_owned(),
            thousands(outcome.requests() / SLOW_FLEET as u64),
            per_second(outcome.peak_second(60)),
            per_second(outcome.peak_second(700)),
            seconds(outcome.lateness_of(0.5)),
            seconds(outcome.lateness_of(0.95)),
        ]
    });
    let head = [
        "interval",
        "requests each",
        "peak a second",
        "after 700 s",
        "median lateness",
        "95th percentile",
    ];
    format!(
        "**Asking less often: 1,000 servers, deployed after 5 to 60 minutes**\n\n{}",
        table(&head, &rows)
    )
}

fn outage_over_time() -> Plot {
    let line = |name: &str, behaviour| {
        let tenths = run(&rebooted(FLEET, behaviour)).tenths;
        let points = tenths
            .iter()
            .enumerate()
            .map(|(tenth, count)| (tenth as f64 / 10.0, f64::from(*count)));
        Line { name: name.to_owned(), points: points.take(2_400).collect() }
    };
    Plot {
        title: "10,000 servers rebooted at once; the API is down for two minutes".to_owned(),
        x: "seconds after the reboot".to_owned(),
        y: "requests in a tenth of a second".to_owned(),
        scale: plot::Scale::Linear,
        lines: vec![
            line("loop in the shell", Behaviour::Shell),
            line("rackconnect wait", Behaviour::Agent),
        ],
    }
}

fn peak_by_size(fleets: &[NewFleet]) -> Plot {
    let line = |name: &str, outcome: fn(&NewFleet) -> &Outcome| {
        let points = fleets
            .iter()
            .map(|fleet| (fleet.servers as f64, f64::from(outcome(fleet).peak_second(60))));
        Line { name: name.to_owned(), points: points.collect() }
    };
    Plot {
        title: "New servers, deployed after 1 to 3 minutes".to_owned(),
        x: "servers".to_owned(),
        y: "most requests in a second".to_owned(),
        scale: plot::Scale::Logarithmic,
        lines: vec![
            line("loop in the shell", |fleet| &fleet.shell),
            line("rackconnect wait", |fleet| &fleet.agent),
            line("rackconnect wait, told by xenstore", |fleet| &fleet.xenstore),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conclusions of docs/fleet.md.
    #[test]
    fn the_conclusions_hold() {
        let servers = 500;
        let start = Behaviour::StartingLate { most: 5.0 };
        let first_pause = Behaviour::FirstPause { least: 3.0, most: 5.5 };
        let outage = |behaviour| run(&rebooted(servers, behaviour)).lateness_of(1.0);
        // The jitter of the interval helps after an outage, and a wider first step helps more.
        assert!(outage(Behaviour::WithoutJitter) > 1.2 * outage(Behaviour::Agent));
        assert!(outage(Behaviour::Agent) > 1.1 * outage(first_pause));
        assert!(outage(Behaviour::Agent) > 1.2 * outage(start));
        // A late start delays every boot.
        let boot = |behaviour| run(&rebooted_with_api(servers, behaviour)).lateness_of(0.5);
        assert!(boot(start) > boot(Behaviour::Agent) + 1.0);
        assert!(boot(first_pause) < boot(Behaviour::Agent) + 0.1);
        // A longer interval saves requests but ends waits later; xenstore saves both.
        let slow = |behaviour| run(&slow_deployments(servers, behaviour));
        let (agent, told) = (slow(Behaviour::Agent), slow(Behaviour::WithXenstore));
        let slower = slow(Behaviour::SlowingDown { after: 600.0, interval: 30.0 });
        assert!(slower.requests() * 2 < agent.requests());
        assert!(slower.lateness_of(0.5) > 3.0 * agent.lateness_of(0.5));
        assert!(told.requests() * 4 < agent.requests());
        assert!(told.lateness_of(0.95) < 0.1);
    }

    /// The rows of small fleets in docs/fleet.md are those of this run.
    #[test]
    fn the_page_has_these_tables() {
        let page = std::fs::read_to_string(crate::page::in_checkout("docs/fleet.md")).unwrap();
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let page: Vec<String> = page.lines().map(squeezed).collect();
        let fleets = Report::new(Scale::Small).new_fleets;
        let tables = by_size_of_new_fleet(&fleets) + &by_size_of_rebooted_fleet(Scale::Small);
        let is_rule = |line: &&str| line.starts_with("|--");
        for line in tables.lines().filter(|line| !is_rule(line)) {
            assert!(page.contains(&squeezed(line)), "docs/fleet.md is out of date: {line}");
        }
    }
}
