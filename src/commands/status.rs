//! `status`: the automation status, one word.

use super::once;
use crate::api::client::Answer;
use crate::api::response;
use crate::cli::{options, values};
use crate::config::{Settings, api_format};
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::Status;
use crate::model::{Format, Operation};
use crate::ui::output;
use crate::xenstore::{Connection, Server, Value, XenstoreError, metadata};

/// Asks for the status and prints it.
pub fn run(settings: &Settings) -> Result<Exit> {
    match settings.flag(&options::SOURCE) {
        None | Some("api") => {}
        Some("xenstore") => return by_xenstore(settings),
        Some(other) => {
            let sources = values::SOURCES.join(", ");
            return Err(Error::usage(format!("--source: {other:?} is not supported ({sources})")));
        }
    }
    let format = api_format(settings, Operation::Status)?;
    let Answer::Body(bytes) =
        once::ask(settings, Operation::Status, format.unwrap_or(Format::Text))?
    else {
        return Err(response::unknown_server());
    };
    if format.is_some() {
        output::body(&bytes)?;
    }
    let status = response::status(&bytes, format.unwrap_or(Format::Text))?;
    if format.is_none() {
        output::line(status.word())?;
    }
    Ok(exit(settings, &status))
}

/// What xenstore says, whoever said it when.
fn by_xenstore(settings: &Settings) -> Result<Exit> {
    if settings.flag(&options::FORMAT).is_some() {
        return Err(Error::usage("--format cannot be combined with --source xenstore"));
    }
    let failed = |err: XenstoreError| Error::new(Kind::Other, err.to_string());
    let deadline = settings.began() + settings.deadline()?;
    let mut store = Connection::open().map_err(failed)?.with_look(Some(deadline));
    let value = store.value(metadata::STATUS).map_err(failed)?;
    let unclear = |why: String| Err(Error::new(Kind::NotUnderstood, why));
    let text = match (metadata::text(&value), value) {
        (Some(text), _) => text,
        (None, Value::Unreadable(why)) => return unclear(why),
        (None, _) => {
            let mut value = |path| store.value(path).map_err(failed);
            let nothing_to_wait_for = |whose: &str| {
                log::error!("this is no RackConnect v2 server: xenstore names {whose}");
                Ok(Exit::NothingToWaitFor)
            };
            return match metadata::server(&value(metadata::PROVIDER)?, &value(metadata::ROLES)?) {
                Server::OtherProvider(name) => {
                    nothing_to_wait_for(&format!("the provider {name:?}"))
                }
                Server::V3 => nothing_to_wait_for("a role of RackConnect v3"),
                _ => Err(Error::new(
                    Kind::NotYet,
                    format!("there is no {} in xenstore (yet)", metadata::STATUS),
                )),
            };
        }
    };
    let Some(status) = Status::from_text(&text) else {
        return unclear(format!(
            "{} in xenstore is {text:?}, which is no status",
            metadata::STATUS
        ));
    };
    output::line(status.word())?;
    Ok(exit(settings, &status))
}

fn exit(settings: &Settings, status: &Status) -> Exit {
    match settings.has(&options::CHECK) {
        true => checked(status),
        false => Exit::Ok,
    }
}

/// The exit code under `--check`.
fn checked(status: &Status) -> Exit {
    match status {
        Status::Deployed => Exit::Ok,
        Status::Deploying | Status::Unknown(_) => Exit::NotYet,
        Status::Failed => Exit::Failed,
        Status::Unprocessable => Exit::NothingToWaitFor,
    }
}
