//! `doctor`: what is wrong on this server, and what to do about it.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Arguments, options};
use crate::clock::BootInstant;
use crate::config::{DoctorSettings, PlainFormat, Setting, Sources};
use crate::doctor::{self, ApiAccess, ApiPath, Colours, Detail, DoctorRequest, Subject, Unread};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::region::{Detected, OnBrokenXenstore};
use crate::session::{DETECT_TIMEOUT, Session};
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
    if sources.has(&options::LIST) {
        return doctor::list();
    }
    if let Some(id) = sources.flag(&options::EXPLAIN) {
        return doctor::explain(id);
    }
    let DoctorSettings { api, end, format } = DoctorSettings::resolve(sources)?;
    let detail = match (sources.has(&options::QUIET), sources.has(&options::VERBOSE)) {
        (true, _) => Detail::Failures,
        (false, true) => Detail::Evidence,
        (false, false) => Detail::Findings,
    };
    let session = Session::new(api, OnBrokenXenstore::GiveUp);
    let root = sources.flag(&options::ROOT).unwrap_or("/");
    doctor::run(DoctorRequest {
        subject: Subject {
            settings: sources.in_force().into_iter().map(describe).collect(),
            broken_settings: broken,
            ..subject(&session, end, Path::new(root))
        },
        api: api_access(session),
        only: sources.flags(&options::ONLY).flat_map(split_list).collect(),
        is_json: format == PlainFormat::Json,
        detail,
        colours: colours(),
        report: sources.flag(&options::REPORT).map(PathBuf::from),
    })
}

/// The API, if its endpoint is known.
fn api_access(session: Session) -> Result<ApiAccess, Unread> {
    let settings = session.settings();
    if settings.endpoint.is_none() && session.region().known().is_none() {
        let why = "the region is not known, so neither is the API".to_owned();
        return Err(Unread::NotTried(why));
    }
    let soon = BootInstant::now() + DETECT_TIMEOUT;
    let failed = |err: Error| Unread::Failed(err.message);
    let endpoint = session.endpoint(soon).map_err(failed)?;
    session.client(soon).map_err(failed)?;
    let ca_file = settings.ca_file.as_ref();
    let path = ApiPath {
        target: session.target().map_err(failed)?,
        trusted: ca_file.map(|file| format!("{} alone ({})", file.value.display(), file.origin)),
        connect_timeout: settings.connect_timeout.value,
        endpoint,
    };
    Ok(ApiAccess { session, path })
}

fn subject(session: &Session, end: BootInstant, root: &Path) -> Subject {
    let api = session.settings();
    let region = match session.region().detect(api.started + DETECT_TIMEOUT) {
        Detected::Known(region, source) => Ok((region, source)),
        Detected::NotYet(reason) | Detected::Unknown(reason) => Err(reason),
    };
    Subject {
        started: api.started,
        deadline: (end - MARGIN).max(api.started),
        root: root.to_owned(),
        state_dir: api.state_dir.value.clone(),
        region,
        is_configured: api.endpoint.is_some(),
        settings: Vec::new(),
        broken_settings: None,
    }
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
