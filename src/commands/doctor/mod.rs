//! `doctor`: what is wrong on this server, and what to do about it.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use super::once;
use crate::api::client::{Answer, Client, Failure, UNHEARD, no_place};
use crate::cli::options;
use crate::clock::BootInstant;
use crate::coalesce;
use crate::config::{Settings, unsupported_format};
use crate::doctor::{self, ApiClient, ApiFailure, Colours, Detail, Request, Subject};
use crate::error::{Kind, Result};
use crate::exit::Exit;
use crate::model::{Format, Operation};
use crate::ratelimit::LimitCause;
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
    doctor::run(Request {
        subject: subject(settings)?,
        api: api(settings),
        only: settings.flags(&options::ONLY).flat_map(split_list).collect(),
        is_json,
        detail,
        colours: colours(),
        report: settings.flag(&options::REPORT).map(PathBuf::from),
    })
}

/// The API, through the client that all commands use.
struct DoctorApi {
    client: Client,
    endpoint: String,
}

impl ApiClient for DoctorApi {
    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn ask(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
    ) -> Result<Answer, ApiFailure> {
        let heard = coalesce::ask_now(&self.client, operation, format, 0, &|_| deadline, deadline);
        self.client.judge(operation, format, heard.reply).map_err(|failure| match failure {
            Failure::LimitUsedUp { why: why @ LimitCause::Forbidden(_), .. } => {
                ApiFailure::Forbidden(no_place(why))
            }
            Failure::LimitUsedUp { why, .. } => ApiFailure::LimitUsedUp(no_place(why)),
            Failure::Unheard => ApiFailure::Unreachable(UNHEARD.to_owned()),
            Failure::Error(err) if err.kind == Kind::NotUnderstood => {
                ApiFailure::NotUnderstood(err.message)
            }
            Failure::Error(err) => ApiFailure::Unreachable(err.message),
        })
    }
}

/// The API, if it is known where it is.
fn api(settings: &Settings) -> Result<Box<dyn ApiClient>, String> {
    let is_known = settings.has_endpoint().map_err(|err| err.message)?;
    if !is_known && !matches!(settings.look_for_region(), Ok(Detected::Known(..))) {
        return Err("the region is not known, so neither is the API".to_owned());
    }
    let client = once::client(settings, 0).map_err(|err| err.message)?;
    let endpoint = settings.endpoint().map_err(|err| err.message)?.to_string();
    Ok(Box::new(DoctorApi { client, endpoint }))
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
