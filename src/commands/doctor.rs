//! `doctor`: what is wrong on this server, and what to do about it.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Arguments, options};
use crate::config::{DoctorSettings, PlainFormat, Setting, Sources};
use crate::doctor::{self, ApiAccess, Colours, Detail, DoctorRequest, Subject};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::ui::{self, output};

/// How much earlier than the whole command the collecting ends.
const MARGIN: Duration = Duration::from_millis(500);

/// Examines the server.
pub fn run(arguments: &Arguments) -> Result<Exit> {
    match Sources::load(arguments) {
        Ok(sources) => run_with(&sources, None),
        // A broken configuration file is one of the things to find.
        Err(err) => {
            let sources = Sources::load_leniently(arguments);
            match DoctorSettings::resolve(&sources) {
                Ok(_) => run_with(&sources, Some(err.message)),
                Err(_) => Err(err),
            }
        }
    }
}

/// `broken`: what is wrong with the configuration file.
fn run_with(sources: &Sources, broken: Option<String>) -> Result<Exit> {
    match (sources.has(&options::LIST), sources.flag(&options::EXPLAIN)) {
        (true, Some(_)) => return Err(Error::usage("--list cannot be combined with --explain")),
        (true, None) => return doctor::list(),
        (false, Some(id)) => return doctor::explain(id),
        (false, None) => {}
    }
    let DoctorSettings { api, end, output_end, format } = DoctorSettings::resolve(sources)?;
    if let Some(end) = output_end {
        ui::limit_output(end);
    }
    let detail = match (sources.has(&options::QUIET), sources.has(&options::VERBOSE)) {
        (true, _) => Detail::Failures,
        (false, true) => Detail::Evidence,
        (false, false) => Detail::Findings,
    };
    let session = Session::new(api, OnBrokenXenstore::GiveUp);
    let root = Path::new(sources.flag(&options::ROOT).unwrap_or("/"));
    doctor::run(DoctorRequest {
        subject: Subject {
            settings: sources.in_force().into_iter().map(describe).collect(),
            broken_settings: broken,
            ..Subject::new(session, root, end - MARGIN)
        },
        api: ApiAccess::new(session),
        only: sources.flags(&options::ONLY).flat_map(split_list).collect(),
        is_json: format == PlainFormat::Json,
        detail,
        colours: colours(),
        report: sources.flag(&options::REPORT).map(PathBuf::from),
    })
}

/// A value in force with its origin.
fn describe((name, Setting { value, origin }): (&str, Setting<String>)) -> String {
    format!("{name} = {value} ({origin})")
}

fn split_list(list: &str) -> impl Iterator<Item = String> {
    list.split(',').map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Colours are for terminals, unless NO_COLOR (no-color.org) forbids them.
fn colours() -> Colours {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    if is_set("NO_COLOR") || is_dumb {
        return Colours::NONE;
    }
    Colours { stdout: output::is_terminal(), stderr: ui::is_watched() }
}
