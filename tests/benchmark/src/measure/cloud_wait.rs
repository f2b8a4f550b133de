//! `cloud wait` for all servers of an account.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use simulated_cloud::{Cloud, REGIONS, Server};

use super::hour::{peak_resident, read_counters};
use super::world::{Processes, World};
use super::{Extent, Result, Section};
use crate::page::{in_checkout, thousands};

/// Where `packaging/build.sh` leaves the package with the cloud commands.
const PACKAGES: &str = "target/packages";

/// How long the first lists are waited for on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures a wait for one server and for a thousand. Without the package there are no rows.
pub fn measure(world: &World, extent: Extent) -> Result<Section> {
    let mut rows = Vec::new();
    if let Some(program) = program(world)? {
        for &servers in extent.of(&[1, 1_000][..], &[1, 10][..]) {
            rows.push(row(world, &program, servers, Duration::from_secs(extent.of(60, 12)))?);
        }
    }
    let head = vec![
        "servers in six regions",
        "requests to begin",
        "requests a minute",
        "all known after",
        "processor a minute",
        "resident, KiB",
    ];
    Ok(Section { title: "cloud wait --all, every 10 seconds", head, rows })
}

/// The program with the cloud commands, unpacked.
fn program(world: &World) -> Result<Option<PathBuf>> {
    let Ok(packages) = fs::read_dir(in_checkout(PACKAGES)) else { return Ok(None) };
    let is_package = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("rackconnect-cloud-") && name.ends_with(".tar.gz")
    };
    let found = packages.flatten().map(|entry| entry.path()).find(is_package);
    let Some(package) = found else { return Ok(None) };
    let folder = world.new_state_dir();
    fs::create_dir(&folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(package).args(["--strip-components=1", "-C"]).arg(&folder);
    if !tar.status()?.success() {
        return Err("the package with the cloud commands cannot be unpacked".into());
    }
    Ok(Some(folder.join("bin/rackconnect")))
}

fn row(world: &World, program: &Path, servers: u32, window: Duration) -> Result<Vec<String>> {
    let cloud = Cloud::start()?;
    let server = |number: u32| {
        let region = REGIONS[number as usize % REGIONS.len()];
        Server::new(region, number, &format!("s{number}"), Some("DEPLOYING"))
    };
    cloud.state().servers = (1..=servers).map(server).collect();
    let mut waits = Processes::default();
    waits.start(&mut wait(world, program, &cloud))?;
    let pid = waits.0[0].id();
    if !cloud.wait_for("changes-since=", 1, PATIENCE) {
        return Err("cloud wait has not asked for changes".into());
    }
    let first =
        cloud.state().log.iter().take_while(|line| !line.contains("changes-since=")).count();
    let (asked, before, start) = (cloud.count(""), read_counters(pid)?, Instant::now());
    thread::sleep(window);
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let (asked, after) = (cloud.count("") - asked, read_counters(pid)?);
    let resident_kib = peak_resident(pid)?;
    let change = Instant::now();
    for number in 1..=servers {
        cloud.state().set_automation(&format!("s{number}"), "DEPLOYED");
    }
    let end = waits.wait_for_ends()?.into_iter().max().ok_or("the wait has not ended")?;
    let processor = (after.processor - before.processor).div_f64(minutes);
    Ok(vec![
        thousands(servers.into()),
        first.to_string(),
        format!("{:.0}", asked as f64 / minutes),
        format!("{:.1} s", (end - change).as_secs_f64()),
        format!("{:.0} ms", processor.as_secs_f64() * 1e3),
        resident_kib.map_or("–".to_owned(), thousands),
    ])
}

fn wait(world: &World, program: &Path, cloud: &Cloud) -> Command {
    let mut command = Command::new(program);
    command
        .args(["cloud", "wait", "--all"])
        .env("HOME", world.new_state_dir())
        .env("RAX_IDENTITY_URL", cloud.identity_url())
        .env("RAX_USERNAME", "jsmith")
        .env("RAX_API_KEY", "k3y-of-jsmith")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
