//! `cloud api`: sends an authenticated request, and prints the response.

use crate::clock::BootInstant;
use crate::cloud::{Account, Call, CloudResponse, Download, Reader, fault_of, tidy_up_transfer};
use crate::config::{BodyTarget, CloudApiSettings, PageRange, Sources};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::signals;
use crate::ui::{self, output};

/// Sends the request, or one for each page.
pub fn run(sources: &Sources, operands: &[String]) -> Result<Exit> {
    let settings = CloudApiSettings::resolve(sources, operands)?;
    let account = Account::new(settings.cloud.clone())?;
    let mut call = Call::new(&account, &settings)?;
    if settings.is_transfer() {
        signals::on_signal(tidy_up_transfer)?;
    }
    let mut download = match &settings.target {
        // No further page is requested once standard output is closed.
        BodyTarget::BufferedStdout
            if settings.pages == PageRange::All && !output::is_terminal() =>
        {
            Some(Download::to_stdout(ui::output_deadline().unwrap_or(BootInstant::NEVER))?)
        }
        BodyTarget::BufferedStdout => None,
        BodyTarget::StreamedStdout => Some(Download::to_stdout(settings.end)?),
        BodyTarget::File(path) => Some(Download::to_file(path, settings.end)?),
    };
    while let Some(mut response) = call.next()? {
        let head = if settings.shows_head { response.head() } else { String::new() };
        let printed = output::body(head.as_bytes());
        if !response.is_success() {
            return Err(refusal(printed, &response));
        }
        printed?;
        let reader = match &mut download {
            Some(download) => download.receive(&mut response)?,
            None => output::json(&response.body).map(|()| Reader::Open)?,
        };
        if reader == Reader::Gone {
            return Ok(Exit::Ok);
        }
    }
    download.map_or(Ok(()), Download::finish).map(|()| Exit::Ok)
}

/// Writes the body of an error response to standard output, because it explains the error; a file
/// is not changed. The message goes to standard error.
fn refusal(printed: Result<()>, response: &CloudResponse) -> Error {
    // The exit code is still that of the error response.
    if let Err(err) = printed.and_then(|()| output::json(&response.body)) {
        log::error!("{err}");
    }
    fault_of(response)
}
