//! `doctor`: what is wrong on this server, and what to do about it.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::options;
use crate::config::{Settings, unsupported_format};
use crate::doctor::{self, Colours, Detail, Request, Subject};
use crate::error::Result;
use crate::exit::Exit;
use crate::region::Detected;
use crate::ui::{self, output};

/// How much earlier than the whole command the collecting ends.
const MARGIN: Duration = Duration::from_millis(500);

/// Examines the server.
pub fn run(settings: &Settings) -> Result<Exit> {
    if settings.has(&options::LIST) {
        return doctor::list();
    }
    if let Some(id) = settings.flag(&options::EXPLAIN) {
        return doctor::explain(id);
    }
    let is_json = match settings.flag(&options::FORMAT) {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => return Err(unsupported_format(other, &["text", "json"])),
    };
    let detail = match (settings.has(&options::QUIET), settings.has(&options::VERBOSE)) {
        (true, _) => Detail::Failures,
        (false, true) => Detail::Evidence,
        (false, false) => Detail::Findings,
    };
    doctor::run(&Request {
        subject: subject(settings)?,
        only: settings.flags(&options::ONLY).flat_map(split_list).collect(),
        is_json,
        detail,
        colours: colours(),
        report: settings.flag(&options::REPORT).map(PathBuf::from),
    })
}

fn subject(settings: &Settings) -> Result<Subject> {
    let region = match settings.look_for_region()? {
        Detected::Known(region, source) => Ok((region, source)),
        Detected::NotYet(why) | Detected::Unknown(why) => Err(why),
    };
    let deadline = settings.doctor_deadline()?;
    Ok(Subject {
        started: settings.began(),
        deadline: settings.began() + deadline.saturating_sub(MARGIN),
        root: PathBuf::from(settings.flag(&options::ROOT).unwrap_or("/")),
        state_dir: settings.state_dir()?,
        region,
        is_told: settings.has_endpoint()?,
    })
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
