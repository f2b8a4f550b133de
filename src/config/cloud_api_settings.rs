//! The settings of `cloud api`.

use std::path::PathBuf;

use ureq::http::{HeaderName, HeaderValue, Method};

use super::cloud_settings::{CloudSettings, NO_DEADLINE};
use super::sources::Sources;
use crate::cli::options;
use crate::clock::BootInstant;
use crate::error::{Error, Result};
use crate::model::DataSource;
use crate::ui::output;

/// Where the body of the request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodySource {
    /// No body.
    None,
    /// A text or a short file.
    Data(DataSource),
    /// A file of any length.
    Upload(PathBuf),
}

/// Where the body of the response goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyTarget {
    /// To standard output, once it is complete.
    BufferedStdout,
    /// To standard output, while it is received.
    StreamedStdout,
    /// To a file, while it is received.
    File(PathBuf),
}

/// Which pages of a list are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageRange {
    /// The first.
    First,
    /// All.
    All,
}

/// The settings of `cloud api`.
#[derive(Debug)]
pub struct CloudApiSettings {
    /// The account.
    pub cloud: CloudSettings,
    /// The method.
    pub method: Method,
    /// The service: a name, a short name or a type of the catalog.
    pub service: String,
    /// The path below the service's URL.
    pub path: String,
    /// Headers in addition to the default ones, or instead of them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of the request.
    pub body: BodySource,
    /// Where the body of the response goes.
    pub target: BodyTarget,
    /// Which pages of a list are requested.
    pub pages: PageRange,
    /// Whether the status line and the headers are printed as well.
    pub shows_head: bool,
    /// The deadline. A command that transfers files has none, unless `--deadline` is given.
    pub end: BootInstant,
}

impl CloudApiSettings {
    /// Resolves them.
    ///
    /// # Errors
    /// A value is invalid, or two exclude each other.
    pub fn resolve(sources: &Sources, operands: &[String]) -> Result<CloudApiSettings> {
        let (method, service, path) = match operands {
            [service, path] => (None, service, path),
            [method, service, path] => (Some(parse_method(method)?), service, path),
            _ => return Err(Error::usage("expected: rackconnect cloud api [METHOD] SERVICE PATH")),
        };
        if ["http://", "https://"].iter().any(|scheme| path.starts_with(scheme)) {
            return Err(Error::usage(format!("{path:?} is not a path below the service's URL")));
        }
        let body = body(sources)?;
        let method = method.unwrap_or(match body {
            BodySource::None => Method::GET,
            BodySource::Data(_) => Method::POST,
            BodySource::Upload(_) => Method::PUT,
        });
        if body != BodySource::None && !takes_body(&method) {
            return Err(Error::usage(format!("{method} takes neither --data nor --upload")));
        }
        let pages = if sources.has(&options::PAGINATE) { PageRange::All } else { PageRange::First };
        if pages == PageRange::All && method != Method::GET {
            return Err(Error::usage(format!("--paginate is for GET, not for {method}")));
        }
        let target = match sources.flag(&options::OUTPUT) {
            None => BodyTarget::BufferedStdout,
            // JSON has to be complete to be indented.
            Some("-") if output::is_terminal() => BodyTarget::BufferedStdout,
            Some("-") => BodyTarget::StreamedStdout,
            Some(path) => BodyTarget::File(PathBuf::from(path)),
        };
        let cloud = CloudSettings::resolve(sources)?;
        let deadline = sources.given(&options::DEADLINE)?;
        let mut settings = CloudApiSettings {
            end: cloud.end,
            headers: sources.all(&options::HEADER)?,
            // The response has no body.
            shows_head: sources.has(&options::INCLUDE) || method == Method::HEAD,
            service: service.clone(),
            path: path.clone(),
            cloud,
            method,
            body,
            target,
            pages,
        };
        if settings.is_transfer() && deadline.is_none() {
            settings.end = settings.cloud.started + NO_DEADLINE;
        }
        Ok(settings)
    }

    /// Whether bodies of any length are sent or received.
    pub fn is_transfer(&self) -> bool {
        matches!(self.body, BodySource::Upload(_)) || self.target != BodyTarget::BufferedStdout
    }
}

/// Whether requests with this method have a body.
pub fn takes_body(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

fn body(sources: &Sources) -> Result<BodySource> {
    let data = sources.given(&options::DATA)?;
    match (data, sources.given(&options::UPLOAD)?) {
        (None, None) => Ok(BodySource::None),
        (Some(data), None) => Ok(BodySource::Data(data.value)),
        (None, Some(path)) => Ok(BodySource::Upload(path.value)),
        (Some(_), Some(_)) => Err(Error::usage("--data cannot be combined with --upload")),
    }
}

fn parse_method(text: &str) -> Result<Method> {
    const METHODS: [Method; 6] =
        [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let found = METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        Error::usage(format!("{text:?} is not a method (GET, HEAD, POST, PUT, PATCH, DELETE)"))
    })
}
