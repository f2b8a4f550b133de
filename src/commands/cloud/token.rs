//! `cloud login`, `cloud logout` and `cloud token`.

use crate::cloud::Account;
use crate::config::{CloudSettings, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::ui::{escape_control, output};

/// Authenticates and caches the token.
pub fn log_in(sources: &Sources) -> Result<Exit> {
    let account = Account::new(CloudSettings::resolve(sources)?)?;
    let access = account.log_in()?;
    let expires = humantime::format_rfc3339_seconds(access.expires);
    let line = format!(
        "logged in as {}, account {}; the token is valid until {expires}",
        access.user, access.tenant
    );
    output::line(&escape_control(&line)).map(|()| Exit::Ok)
}

/// Revokes the token.
pub fn log_out(sources: &Sources) -> Result<Exit> {
    let account = Account::new(CloudSettings::resolve(sources)?)?;
    let line = if account.log_out()? { "logged out" } else { "nothing to do: no token is cached" };
    output::line(line).map(|()| Exit::Ok)
}

/// Prints a valid token.
pub fn print(sources: &Sources) -> Result<Exit> {
    let account = Account::new(CloudSettings::resolve(sources)?)?;
    let access = account.access(None, account.settings().end)?;
    output::line(access.token.expose()).map(|()| Exit::Ok)
}
