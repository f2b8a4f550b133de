//! `cloud api`: a request written by the user, sent with a valid token, page by page.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;

use ureq::http::Method;
use zeroize::Zeroizing;

use super::account::{Account, OnFault};
use super::http::{CloudRequest, RequestBody, ResponseBody};
use super::page::{MAX_PAGES, NextPage, next_page};
use super::response::CloudResponse;
use super::service::service_url;
use super::timed_file::TimedFile;
use super::upload::Upload;
use super::url::{check_url, join, with_parameters};
use crate::clock::BootInstant;
use crate::config::{BodySource, BodyTarget, CloudApiSettings, PageRange, takes_body};
use crate::error::{Error, Kind, Result, plain};
use crate::model::DataSource;

/// The longest body that is read into memory before it is sent.
const MAX_DATA_BYTES: u64 = 32 << 20;

/// A request, and the position of its next page.
pub struct Call<'a> {
    account: &'a Account,
    settings: &'a CloudApiSettings,
    body: CallBody,
    /// The URL of the page to request; none after the last.
    url: Option<String>,
    /// How the page before led to that one; [`NextPage::None`] for the first page.
    reached_by: NextPage,
    /// The URLs of all pages up to that one.
    urls: BTreeSet<String>,
}

enum CallBody {
    None,
    Data(Zeroizing<Vec<u8>>),
    Upload(Upload),
}

impl<'a> Call<'a> {
    /// Reads the body and finds the service's URL.
    ///
    /// # Errors
    /// There is no token, no such service, or no such file.
    pub fn new(account: &'a Account, settings: &'a CloudApiSettings) -> Result<Call<'a>> {
        let body = match &settings.body {
            BodySource::None => CallBody::None,
            BodySource::Data(source) => CallBody::Data(read_data(source, settings.end)?),
            BodySource::Upload(path) => CallBody::Upload(Upload::open(path)?),
        };
        let catalog = account.access(None, settings.cloud.end)?.catalog;
        let (identity, region) = (&settings.cloud.identity_url, settings.cloud.region.as_deref());
        let base = service_url(&catalog, identity, &settings.service, region)?;
        let url = join(&base, &settings.path);
        check_url(&url).map_err(|err| Error::usage(format!("{url} {err}")))?;
        let urls = BTreeSet::from([url.clone()]);
        Ok(Call { account, settings, body, url: Some(url), reached_by: NextPage::None, urls })
    }

    /// Sends the request for the next page; the first call, for the first page. None after the
    /// last.
    ///
    /// # Errors
    /// There is no response, or its next page cannot be determined.
    pub fn next(&mut self) -> Result<Option<CloudResponse>> {
        let Some(url) = self.url.take() else { return Ok(None) };
        let mut response = self.send(&url)?;
        if self.settings.pages == PageRange::First || !response.is_success() {
            return Ok(Some(response));
        }
        let content_type = response.header("content-type").unwrap_or_default();
        let next = next_page(&response.body, content_type)
            .map_err(|err| Error::new(Kind::NotUnderstood, format!("the page at {url} {err}")))?;
        if self.has_nothing_new(&next) {
            return Ok(None);
        }
        self.url = self.url_after(&url, &next)?;
        self.reached_by = next;
        // Each page begins on a new line.
        if !response.body.is_empty() && !response.body.ends_with(b"\n") {
            response.body.push(b'\n');
        }
        Ok(Some(response))
    }

    /// Whether the requested page, which leads to `next`, is past the end of the list. After a
    /// marker it can have no names or, if the service ignores markers, the names of the page before.
    fn has_nothing_new(&self, next: &NextPage) -> bool {
        let is_after_marker = matches!(self.reached_by, NextPage::AfterMarker(_));
        is_after_marker && (*next == NextPage::None || *next == self.reached_by)
    }

    /// The URL of the page after the one at `url`.
    ///
    /// # Errors
    /// The list has no end: it leads back to an earlier page, or there are too many.
    fn url_after(&mut self, url: &str, next: &NextPage) -> Result<Option<String>> {
        let (NextPage::Linked(query) | NextPage::AfterMarker(query)) = next else {
            return Ok(None);
        };
        let next_url = with_parameters(url, query);
        let is_new = self.urls.insert(next_url.clone());
        if !is_new || self.urls.len() > MAX_PAGES {
            return Err(Error::new(Kind::NotUnderstood, format!("the list at {url} has no end")));
        }
        Ok(Some(next_url))
    }

    fn send(&self, url: &str) -> Result<CloudResponse> {
        let settings = self.settings;
        let body = match &self.body {
            // Some services refuse a request without `Content-Length: 0`.
            CallBody::None if takes_body(&settings.method) => RequestBody::Empty,
            CallBody::None => RequestBody::None,
            CallBody::Data(bytes) => RequestBody::Bytes(bytes, "application/json"),
            CallBody::Upload(upload) => RequestBody::File(upload),
        };
        // The position of the next page is in the body.
        let is_streamed =
            settings.target != BodyTarget::BufferedStdout && settings.pages == PageRange::First;
        let request = CloudRequest {
            method: &settings.method,
            url,
            secrets: &[],
            headers: &settings.headers,
            body,
            response_body: if is_streamed { ResponseBody::Streamed } else { ResponseBody::Read },
            deadline: settings.end,
        };
        let is_safe = [Method::GET, Method::HEAD].contains(&settings.method);
        let on_fault = if is_safe { OnFault::Retry } else { OnFault::WaitForLimit };
        self.account.request(&request, on_fault)
    }
}

/// Reads a body that is sent from memory. A pipe is read until `end`.
fn read_data(source: &DataSource, end: BootInstant) -> Result<Zeroizing<Vec<u8>>> {
    let (name, file) = match source {
        DataSource::Text(text) => return Ok(Zeroizing::new(text.clone().into_bytes())),
        DataSource::Stdin => {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            ("standard input".to_owned(), stdin.map(|stdin| TimedFile::new(stdin.into(), end)))
        }
        DataSource::File(path) => {
            (path.display().to_string(), TimedFile::open_for_reading(path, end))
        }
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.and_then(|file| file.take(MAX_DATA_BYTES + 1).read_to_end(&mut bytes)).map_err(|err| {
        let kind = if err.kind() == ErrorKind::TimedOut { Kind::Other } else { Kind::Usage };
        Error::new(kind, format!("--data: {name} cannot be read: {}", plain(&err)))
    })?;
    if bytes.len() as u64 > MAX_DATA_BYTES {
        let limit = MAX_DATA_BYTES >> 20;
        let message = format!("--data: {name} is longer than {limit} MiB; use --upload");
        return Err(Error::usage(message));
    }
    Ok(bytes)
}
