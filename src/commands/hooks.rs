//! `hooks`: runs the programs of a directory in order, once per deployment.

use std::path::PathBuf;

use crate::cli::options;
use crate::config::Settings;
use crate::error::Result;
use crate::exit::Exit;
use crate::hooks::{self, HooksRequest, Repeat, RunMode};

/// Runs the hooks of `directory`.
pub fn run(settings: &Settings, directory: Option<&str>) -> Result<Exit> {
    let mode = match settings.has(&options::DRY_RUN) {
        true => RunMode::DryRun,
        false => RunMode::Run,
    };
    let repeat = match settings.has(&options::AGAIN) {
        true => Repeat::Always,
        false => Repeat::OncePerDeployment,
    };
    hooks::run(&HooksRequest {
        directory: directory.map(PathBuf::from),
        stamp_dir: settings.stamp_dir()?,
        state_dir: settings.state_dir()?,
        limit: settings.hook_limit()?,
        mode,
        repeat,
        region: settings.region()?.map(|(region, _)| region),
    })
}
