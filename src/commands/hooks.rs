//! `hooks`: runs the programs in a directory in order, once per deployment.

use std::path::PathBuf;

use crate::clock::BootInstant;
use crate::config::{HooksSettings, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::hooks::{self, HooksRequest, Repeat, RunMode};
use crate::region::{Detected, OnBrokenXenstore};
use crate::session::{DETECT_TIMEOUT, RegionLookup};

/// Runs the hooks of `directory`.
pub fn run(sources: &Sources, directory: Option<&str>) -> Result<Exit> {
    let settings = HooksSettings::resolve(sources)?;
    let mode = if settings.dry_run { RunMode::DryRun } else { RunMode::Run };
    let repeat = if settings.again { Repeat::Always } else { Repeat::OncePerDeployment };
    let lookup = RegionLookup::new(settings.region, OnBrokenXenstore::GiveUp);
    let region = match lookup.detect(BootInstant::now() + DETECT_TIMEOUT) {
        Detected::Known(region, _) => Some(region),
        Detected::NotYet(_) | Detected::Broken(_) | Detected::Unknown(_) => None,
    };
    hooks::run(&HooksRequest {
        directory: directory.map(PathBuf::from),
        stamp_dir: settings.stamp_dir.value,
        state_dir: settings.state_dir.value,
        limit: settings.limit.value,
        mode,
        repeat,
        region,
    })
}
