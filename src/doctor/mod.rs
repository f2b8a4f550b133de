//! `doctor`: what is wrong on this server, and what to do about it.
//!
//! `collect` gathers the evidence, side by side and by one deadline; the checks in `checks` judge
//! it, each a pure function; `render` and `report` show the findings. Nothing on the server is
//! changed. To add a check, add it to the table of its section and to docs/doctor.md.

mod check;
mod checks;
mod collect;
mod evidence;
mod explain;
mod redact;
mod render;
mod report;
mod resolv_conf;
mod servicenet;
mod sshd;

use std::path::PathBuf;

pub(crate) use collect::{ApiAccess, Subject};
pub(crate) use evidence::Unread;
pub(crate) use render::{Colours, Detail};

use crate::cli::similar;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::ui::{self, output};
use check::{Check, Severity};
use render::{Judged, Stream};
use report::ReportFile;

/// The checks that make sense on a server that RackConnect v2 does not automate.
const CHECKS_OF_ANY_SERVER: [&str; 4] =
    ["server.provider", "server.rackconnect", "server.region", "server.agent"];

/// The request to `doctor`.
pub(crate) struct DoctorRequest {
    /// The subject of the examination.
    pub(crate) subject: Subject,
    /// The API, or why no request can be sent.
    pub(crate) api: Result<ApiAccess, Unread>,
    /// The ids of the checks, or beginnings of them; empty for all.
    pub(crate) only: Vec<String>,
    /// Whether the findings are printed as JSON.
    pub(crate) is_json: bool,
    /// The amount of output.
    pub(crate) detail: Detail,
    /// The streams with colours.
    pub(crate) colours: Colours,
    /// The file for the report.
    pub(crate) report: Option<PathBuf>,
}

/// Examines the server and prints what was found.
///
/// # Errors
/// There is no check with a given id; the report or standard output cannot be written.
pub(crate) fn run(request: DoctorRequest) -> Result<Exit> {
    let selected = select(&request.only)?;
    let report = request.report.as_deref().map(ReportFile::create).transpose()?;
    if ui::is_watched() {
        ui::live("examining this server ...");
    }
    let api = if selected.iter().any(|check| asks_the_api(check)) {
        request.api
    } else {
        Err(Unread::NotTried("the checks do not need it".to_owned()))
    };
    let evidence = collect::collect(&request.subject, api);
    ui::end_live();
    let is_another = checks::is_another_server(&evidence);
    let judged: Vec<Judged> = selected
        .into_iter()
        .filter(|check| !is_another || CHECKS_OF_ANY_SERVER.contains(&check.id))
        .map(|check| Judged { check, finding: check.run(&evidence) })
        .collect();
    if request.is_json {
        output::line(&render::json(&judged))?;
    } else {
        let mut lines = render::text(&judged, request.detail, request.colours);
        // A server that RackConnect v2 does not automate has only a few checks.
        if !is_another {
            lines.extend(render::closing(&judged, request.detail));
        }
        for line in lines {
            match line.stream {
                Stream::Stdout => output::line(&line.text)?,
                Stream::Stderr => ui::write_to_stderr(&format!("{}\n", line.text)),
            }
        }
    }
    if let Some(report) = report {
        report.write(&judged, &evidence.raw)?;
    }
    Ok(match render::count(&judged, Severity::Fail) {
        0 => Exit::Ok,
        _ => Exit::Other,
    })
}

/// Whether a check judges an answer of the API, or depends on the status.
fn asks_the_api(check: &Check) -> bool {
    !matches!(check.section(), "server" | "agent")
}

/// The ids of all checks.
pub(crate) fn check_ids() -> Vec<&'static str> {
    checks::all().map(|check| check.id).collect()
}

/// Prints the checks.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn list() -> Result<Exit> {
    render::list(checks::all()).iter().try_for_each(|line| output::line(line))?;
    Ok(Exit::Ok)
}

/// Prints what a check means and how to repair what it finds.
///
/// # Errors
/// There is no such check, or standard output cannot be written.
pub(crate) fn explain(id: &str) -> Result<Exit> {
    let text = explain::paragraph(id).ok_or_else(|| unknown(id))?;
    output::line(&text)?;
    Ok(Exit::Ok)
}

/// The selected checks, or all.
fn select(only: &[String]) -> Result<Vec<&'static Check>> {
    for name in only {
        if !checks::all().any(|check| check.is_named(name)) {
            return Err(unknown(name));
        }
    }
    let is_selected =
        |check: &&Check| only.is_empty() || only.iter().any(|name| check.is_named(name));
    Ok(checks::all().filter(is_selected).collect())
}

fn unknown(id: &str) -> Error {
    const LIST: &str = "rackconnect doctor --list shows all checks";
    let hint = match similar(id, checks::all().map(|check| check.id)) {
        Some(known) => format!("did you mean {known}? ({LIST})"),
        None => LIST.to_owned(),
    };
    Error::usage(format!("there is no check {id:?}; {hint}"))
}

/// The parsers, for fuzzers.
#[cfg(any(test, fuzzing))]
pub(crate) mod parsers {
    use super::sshd::SshdConfig;
    use super::{redact, resolv_conf};

    /// A configuration of sshd, which includes itself.
    pub(crate) fn sshd_config(text: &str) {
        let mut read = |path: &str| vec![(path.to_owned(), Some(text.to_owned()))];
        let config = SshdConfig::parse(text, &mut read);
        let _ = (config.ports(), config.lists(), config.admits("rackconnect"));
    }

    /// The redaction of a report, and the checks of resolv.conf.
    pub(crate) fn report(text: &str) {
        let _ = redact::redact(text);
        let _ = (resolv_conf::nameservers(text), resolv_conf::oddities(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_by_id_and_by_section() {
        let ids = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            select(&only).unwrap().iter().map(|check| check.id).collect()
        };
        assert_eq!(ids(&["agent.path", "server.region"]), ["server.region", "agent.path"]);
        assert!(ids(&["automation.sshd"]).len() > 3);
        assert_eq!(ids(&[]).len(), checks::all().count());
        let err = select(&["server.regio".to_owned()]).unwrap_err();
        assert!(err.message.contains("did you mean server.region?"), "{err}");
        assert!(select(&["serve".to_owned()]).is_err());
    }

    #[test]
    fn ids_are_unique_and_belong_to_a_section() {
        let ids: Vec<&str> = checks::all().map(|check| check.id).collect();
        for (index, id) in ids.iter().enumerate() {
            assert!(!ids[..index].contains(id), "{id}");
            let section = id.split('.').next().unwrap();
            assert!(checks::SECTIONS.iter().any(|(name, _)| *name == section), "{id}");
        }
    }
}
