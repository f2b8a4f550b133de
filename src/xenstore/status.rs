//! The automation status in xenstore, for a command that reads it once.

use super::{Connection, Server, Value, XenstoreError, metadata};
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::model::Status;

/// The status in xenstore, or why there is none to wait for.
#[derive(Debug)]
pub enum StatusInXenstore {
    /// The status. It may be left over from before a rebuild.
    Status(Status),
    /// This is not a RackConnect v2 server, and why.
    OtherServer(String),
}

/// Reads the automation status, by `deadline`.
///
/// # Errors
/// xenstore does not work, has no status yet, or its value is not a status.
pub fn status_in_xenstore(deadline: BootInstant) -> Result<StatusInXenstore> {
    let failed = |err: XenstoreError| Error::new(Kind::Other, err.to_string());
    let mut store = Connection::open().map_err(failed)?.with_deadline(Some(deadline));
    let value = store.value(metadata::STATUS).map_err(failed)?;
    let path = metadata::STATUS;
    match (metadata::text(&value), value) {
        (Some(text), _) => {
            Status::from_text(&text).map(StatusInXenstore::Status).ok_or_else(|| {
                let message = format!("{path} in xenstore is not a status: {text:?}");
                Error::new(Kind::NotUnderstood, message)
            })
        }
        (None, Value::Unreadable(reason)) => Err(Error::new(Kind::Other, reason)),
        (None, _) => {
            let mut value = |path| store.value(path).map_err(failed);
            match metadata::server(&value(metadata::PROVIDER)?, &value(metadata::ROLES)?) {
                Server::OtherProvider(name) => Ok(StatusInXenstore::OtherServer(format!(
                    "xenstore names the provider {name:?}"
                ))),
                Server::V3 => Ok(StatusInXenstore::OtherServer(
                    "xenstore names a role of RackConnect v3".to_owned(),
                )),
                _ => Err(Error::new(Kind::NotYet, format!("xenstore has no {path} yet"))),
            }
        }
    }
}
