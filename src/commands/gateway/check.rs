//! `gateway check`: compares the kernel's default route with the API's gateway.

use super::journal_to_read;
use crate::config::{CheckSettings, PlainFormat, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::gateway::check::Comparison;
use crate::gateway::lookup::{GatewayLookup, Schedule};
use crate::region::OnBrokenXenstore;
use crate::session::Session;
use crate::ui::{escape_control, output};

/// Compares, and changes nothing.
pub fn run(sources: &Sources) -> Result<Exit> {
    let CheckSettings { one_shot, interface, format } = CheckSettings::resolve(sources)?;
    journal_to_read(&one_shot.api.state_dir.value);
    let end = one_shot.end();
    let (started, deadline) = (one_shot.api.started, one_shot.deadline.value);
    let session = Session::new(one_shot.api, OnBrokenXenstore::GiveUp);
    let answer = GatewayLookup::new(session, started, deadline, Schedule::Once).gateway();
    let interface = interface.map(|interface| interface.value);
    let comparison = Comparison::new(answer.as_ref().ok().copied(), interface, end)?;
    let printed = match format {
        PlainFormat::Json => output::line(&comparison.to_json()),
        PlainFormat::Text => {
            comparison.lines().iter().try_for_each(|line| output::line(&escape_control(line)))
        }
    };
    // The kernel's routes are shown even if the API does not respond.
    let outcome = answer.map(|gateway| {
        if comparison.matches() {
            return Exit::Ok;
        }
        log::error!("{}", escape_control(&comparison.mismatch(gateway)));
        Exit::NotTheGateway
    });
    output::outcome(printed, outcome)
}
