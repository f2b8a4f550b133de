//! `cloud api`: a request written by the user, sent with a valid token, page by page.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use ureq::http::Method;
use zeroize::Zeroizing;

use super::account::{Account, OnFault};
use super::http::{CloudRequest, RequestBody, ResponseBody};
use super::page::{MAX_PAGES, NextPage, next_page};
use super::response::CloudResponse;
use super::service::service_url;
use super::upload::Upload;
use super::url::{check_url, join, with_parameters};
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
    url: Option<String>,
    /// How the page before led to the next one to request; none before the second page.
    link: Option<NextPage>,
    /// The URLs of the pages so far.
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
            BodySource::Data(source) => CallBody::Data(read_data(source)?),
            BodySource::Upload(path) => CallBody::Upload(Upload::open(path)?),
        };
        let catalog = account.access(None, settings.cloud.end)?.catalog;
        let (identity, region) = (&settings.cloud.identity_url, settings.cloud.region.as_deref());
        let base = service_url(&catalog, identity, &settings.service, region)?;
        let url = join(&base, &settings.path);
        check_url(&url).map_err(|err| Error::usage(format!("{url} {err}")))?;
        Ok(Call { account, settings, body, url: Some(url), link: None, urls: BTreeSet::new() })
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
        if self.is_past_the_end(&next) {
            return Ok(None);
        }
        self.url = match &next {
            NextPage::None => None,
            NextPage::Linked(query) | NextPage::AfterMarker(query) => {
                Some(with_parameters(&url, query))
            }
        };
        self.urls.insert(url.clone());
        // A list that leads back to an earlier page has no end.
        let is_repeated = self.url.as_ref().is_some_and(|url| self.urls.contains(url));
        if is_repeated || self.urls.len() >= MAX_PAGES {
            return Err(Error::new(Kind::NotUnderstood, format!("the list at {url} has no end")));
        }
        self.link = Some(next);
        if !response.body.is_empty() && !response.body.ends_with(b"\n") {
            // Each page begins on a new line.
            response.body.push(b'\n');
        }
        Ok(Some(response))
    }

    /// Whether a page requested by a marker has nothing new: no names or, if the service ignores
    /// markers, the names of the previous page.
    fn is_past_the_end(&self, next: &NextPage) -> bool {
        let link = self.link.as_ref();
        let is_by_marker = matches!(link, Some(NextPage::AfterMarker(_)));
        is_by_marker && (*next == NextPage::None || link == Some(next))
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

/// Reads a body that is sent from memory.
fn read_data(source: &DataSource) -> Result<Zeroizing<Vec<u8>>> {
    let read_all = |input: &mut dyn Read| {
        let mut bytes = Zeroizing::new(Vec::new());
        input.take(MAX_DATA_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
    };
    let (name, bytes) = match source {
        DataSource::Text(text) => return Ok(Zeroizing::new(text.clone().into_bytes())),
        DataSource::Stdin => ("standard input".to_owned(), read_all(&mut io::stdin())),
        DataSource::File(path) => {
            let bytes = File::open(path).and_then(|mut file| read_all(&mut file));
            (path.display().to_string(), bytes)
        }
    };
    let bytes = bytes
        .map_err(|err| Error::usage(format!("--data: {name} cannot be read: {}", plain(&err))))?;
    if bytes.len() as u64 > MAX_DATA_BYTES {
        let limit = MAX_DATA_BYTES >> 20;
        let message = format!("--data: {name} is longer than {limit} MiB; use --upload");
        return Err(Error::usage(message));
    }
    Ok(bytes)
}
