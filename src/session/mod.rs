//! One command's use of the API: one client, and so one connection, for all its requests.
//!
//! A session detects the region when it is needed, waits for one that may still become known up
//! to the caller's deadline, shares requests with other processes, retries, and records results
//! in `status.json`.

mod attempts;

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::api::client::{Client, ClientConfig};
use crate::api::endpoint::Endpoint;
use crate::api::reach::Target;
use crate::api::request::{Answer, BeforeSend, Failure, Reply, Request};
use crate::api::response;
use crate::api::tls::{self, Roots};
use crate::clock::BootInstant;
use crate::coalesce::{OneShot, RequestSender, Response, one_shot};
use crate::config::{ApiSettings, RegionSettings};
use crate::error::{Error, Kind, Result};
use crate::model::{Format, Operation, REGION_CODES, Region};
use crate::ratelimit::LimitCause;
use crate::region::{self, Detected, OnBrokenXenstore};
use crate::state::kept_dir::KeptStateDir;
use crate::state::status_file;
use crate::state::user::effective_uid;
use attempts::Attempts;

/// How often the detection of a region that may still become known is repeated.
pub const REGION_RETRY: Duration = Duration::from_secs(1);

/// How long a command that does not need the region may spend on detecting it.
pub const DETECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The region of a command: given, or detected once.
pub struct RegionLookup {
    settings: RegionSettings,
    on_broken: OnBrokenXenstore,
    /// The result of the detection, unless it may still change.
    detected: OnceLock<Detected>,
    /// Set when the region was not known yet. From then on xenstore is tried until the deadline,
    /// even if the deadline cuts the last attempt short.
    may_appear: OnceLock<()>,
}

impl RegionLookup {
    /// The region of a command with these settings.
    pub fn new(settings: RegionSettings, on_broken: OnBrokenXenstore) -> RegionLookup {
        RegionLookup { settings, on_broken, detected: OnceLock::new(), may_appear: OnceLock::new() }
    }

    /// The region that is given, or detected now in xenstore (by `deadline`) or in cloud-init's
    /// instance data.
    pub fn detect(&self, deadline: BootInstant) -> Detected {
        if let Some(given) = &self.settings.given {
            return Detected::Known(given.value, given.origin.to_string());
        }
        if let Some(detected) = self.detected.get() {
            return detected.clone();
        }
        let on_broken = self.may_appear.get().map_or(self.on_broken, |()| OnBrokenXenstore::Retry);
        let detected = region::detect(Some(deadline), on_broken);
        let _ = match detected {
            Detected::NotYet(_) => self.may_appear.set(()).is_ok(),
            _ => self.detected.set(detected.clone()).is_ok(),
        };
        detected
    }

    /// The region, if it is known already. Does no I/O.
    pub fn known(&self) -> Option<Region> {
        match (&self.settings.given, self.detected.get()) {
            (Some(given), _) => Some(given.value),
            (None, Some(Detected::Known(region, _))) => Some(*region),
            _ => None,
        }
    }

    /// The region and its source, for a command that needs the region.
    ///
    /// # Errors
    /// [`Kind::NotYet`] if it may still become known, [`Kind::Other`] if xenstore does not work,
    /// else a usage error.
    pub fn require(&self, deadline: BootInstant) -> Result<(Region, String)> {
        match self.detect(deadline) {
            Detected::Known(region, source) => Ok((region, source)),
            Detected::NotYet(reason) => {
                Err(Error::new(Kind::NotYet, format!("the region is not known yet: {reason}")))
            }
            Detected::Broken(reason) => Err(Error::new(Kind::Other, self.unknown_region(&reason))),
            Detected::Unknown(reason) => Err(Error::usage(self.unknown_region(&reason))),
        }
    }

    fn unknown_region(&self, reason: &str) -> String {
        format!(
            "the region of this server is not known ({reason}; cloud-init's instance data has no \
             region either): set one of {} with --region, RACKCONNECT_REGION or region = \"…\" \
             in {}",
            REGION_CODES.join(", "),
            self.settings.config_file.display(),
        )
    }
}

/// The API as one command uses it.
pub struct Session {
    settings: ApiSettings,
    state_dir: KeptStateDir,
    region: RegionLookup,
    roots: OnceLock<Roots>,
    client: OnceLock<Client>,
}

impl Session {
    /// A session that has sent nothing yet. A command has one until the process ends, so it is never
    /// freed, which would only take time.
    pub fn new(settings: ApiSettings, on_broken: OnBrokenXenstore) -> &'static Session {
        let region = RegionLookup::new(settings.region.clone(), on_broken);
        let state_dir = settings.state_dir.value.clone().into();
        let (roots, client) = (OnceLock::new(), OnceLock::new());
        Box::leak(Box::new(Session { settings, state_dir, region, roots, client }))
    }

    /// The settings.
    pub fn settings(&self) -> &ApiSettings {
        &self.settings
    }

    /// The state directory.
    pub fn state_dir(&self) -> &KeptStateDir {
        &self.state_dir
    }

    /// The region of this server.
    pub fn region(&self) -> &RegionLookup {
        &self.region
    }

    /// The region, for a command that only passes it on.
    pub fn optional_region(&self, deadline: Option<BootInstant>) -> Option<Region> {
        let soon = BootInstant::now() + DETECT_TIMEOUT;
        match self.region.detect(deadline.map_or(soon, |deadline| deadline.min(soon))) {
            Detected::Known(region, _) => Some(region),
            Detected::NotYet(_) | Detected::Broken(_) | Detected::Unknown(_) => None,
        }
    }

    /// Checks at the start that the CA file can be used.
    ///
    /// # Errors
    /// It cannot be read, or holds no certificate.
    pub fn check_ca_file(&self) -> Result<()> {
        self.roots().map(drop)
    }

    /// Checks settings at the start that a command without a deadline would use only later.
    ///
    /// # Errors
    /// A setting is wrong. A region that is not known yet is not an error.
    pub fn check(&self) -> Result<()> {
        self.check_ca_file()?;
        match self.endpoint(BootInstant::now() + DETECT_TIMEOUT) {
            Err(err) if err.kind == Kind::NotYet => Ok(()),
            known => known.map(drop),
        }
    }

    /// The endpoint, if it is known now. The region is detected by `deadline`.
    ///
    /// # Errors
    /// As for [`RegionLookup::require`].
    pub fn endpoint(&self, deadline: BootInstant) -> Result<Endpoint> {
        if let Some(given) = &self.settings.endpoint {
            return Ok(given.value.clone());
        }
        let or_endpoint = |err: Error| match err.kind {
            Kind::NotYet => err,
            kind => Error::new(kind, format!("{err}, or the whole URL with --endpoint")),
        };
        let (region, source) = self.region.require(deadline).map_err(or_endpoint)?;
        log::debug!("region {} ({source})", region.code());
        Endpoint::parse(&region.endpoint()).map_err(Error::usage)
    }

    /// The client, once the endpoint is known.
    ///
    /// # Errors
    /// As for [`Session::endpoint`]; or the CA file cannot be used.
    pub fn client(&self, deadline: BootInstant) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new(ClientConfig {
            endpoint: self.endpoint(deadline)?,
            roots: self.roots()?.clone(),
            connect_timeout: self.settings.connect_timeout.value,
            request_timeout: self.settings.request_timeout.value,
            state_dir: self.state_dir.clone(),
        });
        Ok(self.client.get_or_init(|| client))
    }

    /// The client; a region that may still become known is waited for until `deadline`.
    fn wait_for_client(&self, deadline: BootInstant) -> Result<&Client> {
        let mut has_logged = false;
        loop {
            match self.client(deadline) {
                Err(err)
                    if err.kind == Kind::NotYet && BootInstant::now() + REGION_RETRY < deadline =>
                {
                    if !has_logged {
                        log::info!("{err}: waiting for it");
                        has_logged = true;
                    }
                    thread::sleep(REGION_RETRY);
                }
                client => return client,
            }
        }
    }

    fn roots(&self) -> Result<&Roots> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots);
        }
        let ca_file = self.settings.ca_file.as_ref();
        let origin = ca_file.map(|given| given.origin.to_string()).unwrap_or_default();
        let roots = tls::roots(ca_file.map(|given| (given.value.as_path(), origin.as_str())))?;
        Ok(self.roots.get_or_init(|| roots))
    }

    /// Sends a request, at most twice within one request timeout, and waits for the rate limit
    /// until `deadline`. Leaves `reserved` permits to others.
    ///
    /// # Errors
    /// A setting is wrong, there is no answer, or no permit before the deadline.
    pub fn ask(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
        reserved: usize,
    ) -> Result<Answer> {
        self.wait_for_client(deadline)?;
        let mut attempts = Attempts::new(self.request_timeout(), deadline);
        loop {
            let began = BootInstant::now();
            let response = one_shot(
                self,
                &OneShot {
                    operation,
                    format,
                    reserved,
                    request_deadline: &|now| attempts.deadline_of(now),
                    end: deadline,
                },
            );
            // Another process may have begun earlier.
            let asked = response.asked.max(began);
            match self.interpret(&response) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    let again = attempts.after(&failure, asked, BootInstant::now())?;
                    if matches!(failure, Failure::RateLimited { cause: LimitCause::Locked, .. }) {
                        self.client(deadline)?.record_locked();
                    }
                    thread::sleep(again.since(BootInstant::now()));
                }
            }
        }
    }

    /// Sends a request once, by `deadline`.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask_once(
        &self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
    ) -> Result<Answer, Failure> {
        self.client(deadline).map_err(Failure::Error)?;
        let request_timeout = self.request_timeout();
        let request_deadline = |now: BootInstant| deadline.min(now + request_timeout);
        let ask = OneShot {
            operation,
            format,
            reserved: 0,
            request_deadline: &request_deadline,
            end: deadline,
        };
        self.interpret(&one_shot(self, &ask))
    }

    /// What a response says.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn interpret(&self, response: &Response) -> Result<Answer, Failure> {
        match self.client.get() {
            Some(client) => {
                client.interpret(response.operation, response.format, response.reply.clone())
            }
            None => Err(no_client()),
        }
    }

    /// The API as a destination of connections without a request.
    ///
    /// # Errors
    /// As for [`Session::client`].
    pub fn target(&self, deadline: BootInstant) -> Result<Target> {
        let endpoint = self.endpoint(deadline)?;
        Ok(Target::new(&endpoint, self.roots()?.config.clone()))
    }
}

/// The failure of a request before the endpoint is known.
fn no_client() -> Failure {
    Failure::Error(Error::new(Kind::NotYet, "the endpoint of the API is not known yet"))
}

impl RequestSender for Session {
    fn topic(&self, operation: Operation, format: Format) -> u64 {
        self.client.get().map_or(0, |client| client.topic(operation, format))
    }

    fn request_timeout(&self) -> Duration {
        match self.client.get() {
            Some(client) => client.request_timeout(),
            None => self.settings.request_timeout.value,
        }
    }

    fn request(&self, request: Request, before_send: Option<BeforeSend>) -> Reply {
        match self.client.get() {
            Some(client) => client.request(request, before_send),
            None => Err(no_client()),
        }
    }

    /// Records the result in `status.json`, as root.
    fn record(&self, response: &Response, deadline: BootInstant) {
        let Ok((status_code, body)) = &response.reply else { return };
        if !effective_uid().is_root() {
            return;
        }
        // Only a region that is known already: detecting it would delay the result.
        let region = self.region.known().map(Region::code);
        let (operation, format) = (response.operation, response.format);
        if let Some(learned) = response::learned(operation, format, *status_code, body)
            && let Err(err) = status_file::learn(&self.state_dir, &learned, region, Some(deadline))
        {
            log::debug!("{err}");
        }
    }
}
