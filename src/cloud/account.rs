//! An account: credentials, with a token that is valid.
//!
//! The token comes from the cache or from Identity. It is renewed a minute before it expires, and
//! once after a 401. Threads share an account and its token.

use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use ureq::http::Method;
use zeroize::Zeroizing;

use super::fault::{self, CloudError};
use super::http::{CloudRequest, HttpClient, RequestBody, ResponseBody};
use super::identity::{self, Access};
use super::response::CloudResponse;
use super::token_cache::{CachedAccess, TokenCache};
use crate::api::tls;
use crate::clock::BootInstant;
use crate::config::CloudSettings;
use crate::config::credentials::{Proof, Tenant};
use crate::error::{Error, Kind, Result};
use crate::model::Secret;
use crate::ui::prompt::{self, Echo};

/// How long before its expiry a token is renewed. Identity may return the same token again, which
/// is then used until it expires.
const RENEWAL_MARGIN: Duration = Duration::from_secs(60);

/// The pause before a request is sent again after a 5xx or no response.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The longest passcode that is read from a file descriptor.
const MAX_PASSCODE_BYTES: usize = 256;

/// What to do if a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    /// Wait for the rate limit until the deadline, and retry once after any other failure.
    Retry,
    /// Wait for the rate limit. Do not retry after another failure, because the service may have
    /// carried out the request without sending a response.
    WaitForLimit,
    /// Nothing: the caller sends the request again anyway.
    Return,
}

/// An account.
pub struct Account {
    settings: CloudSettings,
    http: HttpClient,
    cache: Option<TokenCache>,
    current: Mutex<Option<CachedAccess>>,
}

impl Account {
    /// An account that has sent no request yet.
    ///
    /// # Errors
    /// The file of trusted certificates cannot be read.
    pub fn new(settings: CloudSettings) -> Result<Account> {
        let origin = settings.ca_file.as_ref().map(|file| file.origin.to_string());
        let file = settings.ca_file.as_ref().map(|file| file.value.as_path());
        let roots = tls::roots(file.zip(origin.as_deref()))?;
        let http = HttpClient::new(roots, settings.connect_timeout, settings.request_timeout);
        let tenant = match &settings.credentials.tenant {
            Some(Tenant::Id(text) | Tenant::Name(text)) => text.as_str(),
            None => "",
        };
        let user = settings.credentials.username.as_deref().unwrap_or_default();
        let identity = (&settings.identity_url, user, tenant);
        let cache = settings.cache_dir.as_ref().and_then(|dir| TokenCache::open(dir, &identity));
        Ok(Account { http, cache, current: Mutex::new(None), settings })
    }

    /// The settings.
    pub fn settings(&self) -> &CloudSettings {
        &self.settings
    }

    /// A valid token and the catalog. `refused`: a token that a service no longer accepts.
    ///
    /// # Errors
    /// Identity returns none.
    pub fn access(&self, refused: Option<&Secret>, deadline: BootInstant) -> Result<Access> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |cached: &CachedAccess| is_valid(cached, refused);
        if let Some(cached) = current.as_ref().filter(|cached| is_good(cached)) {
            return Ok(cached.access.clone());
        }
        let cached = || self.cache.as_ref().and_then(TokenCache::read).filter(is_good);
        let found = match cached() {
            Some(found) => found,
            None => {
                let _lock = self.cache.as_ref().and_then(|cache| cache.lock(deadline));
                // Another process may have renewed it in the meantime.
                match cached() {
                    Some(found) => found,
                    None => self.authenticate(deadline)?,
                }
            }
        };
        *current = Some(found.clone());
        Ok(found.access)
    }

    /// Authenticates, without using the cached token.
    ///
    /// # Errors
    /// Identity returns no token.
    pub fn log_in(&self) -> Result<Access> {
        let deadline = self.settings.end;
        let _lock = self.cache.as_ref().and_then(|cache| cache.lock(deadline));
        self.authenticate(deadline).map(|cached| cached.access)
    }

    /// Revokes the cached token and forgets it. False if there is none.
    ///
    /// # Errors
    /// Identity does not revoke it.
    pub fn log_out(&self) -> Result<bool> {
        let Some(cache) = &self.cache else { return Ok(false) };
        let _lock = cache.lock(self.settings.end);
        let Some(cached) = cache.read() else { return Ok(false) };
        cache.clear();
        let url = self.tokens_url();
        let secrets = [("X-Auth-Token", &cached.access.token)];
        let request = CloudRequest {
            method: &Method::DELETE,
            url: &url,
            secrets: &secrets,
            headers: &[],
            body: RequestBody::None,
            response_body: ResponseBody::Read,
            deadline: self.settings.end,
        };
        let response = self.http.send(&request)?;
        match response.status_code {
            // It had already expired.
            200..=299 | 401 | 404 => Ok(true),
            _ => Err(fault::fault_of(&response)),
        }
    }

    fn tokens_url(&self) -> String {
        format!("{}/tokens", self.settings.identity_url)
    }

    /// Requests a token from Identity and caches it. The caller holds the lock of the cache.
    fn authenticate(&self, deadline: BootInstant) -> Result<CachedAccess> {
        let credentials = &self.settings.credentials;
        let (username, password) = match credentials.proof {
            Proof::Ask => self.ask()?,
            _ => (credentials.username.clone().unwrap_or_default(), None),
        };
        let body = identity::authentication(&username, credentials, password.as_ref());
        let first = self.post(&body, &[], deadline)?;
        let session = match (first.status_code, &first.challenge) {
            (401, Some(challenge)) => identity::session_of(challenge.expose()),
            _ => None,
        };
        let response = match session {
            Some(session) => {
                let passcode = self.passcode()?;
                let body = identity::second_factor(&passcode);
                self.post(&body, &[("X-SessionId", &session)], deadline)?
            }
            None => first,
        };
        let cached = self.read_access(&response)?;
        if let Some(cache) = &self.cache {
            cache.write(&cached);
        }
        Ok(cached)
    }

    fn post(
        &self,
        body: &[u8],
        secrets: &[(&'static str, &Secret)],
        deadline: BootInstant,
    ) -> Result<CloudResponse> {
        let url = self.tokens_url();
        let request = CloudRequest {
            method: &Method::POST,
            url: &url,
            secrets,
            headers: &[],
            body: RequestBody::Bytes(body, "application/json"),
            response_body: ResponseBody::Read,
            deadline,
        };
        self.send(&request, OnFault::Retry)
    }

    /// Sends a GET request to a service, as [`Account::request`] does. Any response but 200 and 203
    /// is an error.
    ///
    /// # Errors
    /// There is no response, or one that is an error; see [`CloudError`].
    pub fn get(
        &self,
        url: &str,
        deadline: BootInstant,
        on_fault: OnFault,
    ) -> Result<CloudResponse, CloudError> {
        let request = CloudRequest {
            method: &Method::GET,
            url,
            secrets: &[],
            headers: &[],
            body: RequestBody::None,
            response_body: ResponseBody::Read,
            deadline,
        };
        let response = self.request(&request, on_fault)?;
        match response.status_code {
            200 | 203 => Ok(response),
            _ => Err(fault::cloud_error(&response)),
        }
    }

    /// Sends a request with a valid token. A 401 means that the request was not carried out: the
    /// token is renewed, once, and the request is sent again.
    ///
    /// # Errors
    /// There is no token or no response.
    pub fn request(&self, request: &CloudRequest, on_fault: OnFault) -> Result<CloudResponse> {
        let mut refused: Option<Secret> = None;
        loop {
            let token = self.access(refused.as_ref(), request.deadline)?.token;
            let secrets = [("X-Auth-Token", &token)];
            let response = self.send(&CloudRequest { secrets: &secrets, ..*request }, on_fault)?;
            if response.status_code != 401 || refused.is_some() {
                return Ok(response);
            }
            refused = Some(token);
        }
    }

    /// Reads Identity's response to a request for a token.
    fn read_access(&self, response: &CloudResponse) -> Result<CachedAccess> {
        let url = response.url();
        match response.status_code {
            200 | 203 => {}
            401 => {
                let reason = fault::message(&response.body)
                    .map_or(String::new(), |message| format!(": {message}"));
                return Err(Error::usage(format!("{url} does not accept the credentials{reason}")));
            }
            _ => return Err(fault::fault_of(response)),
        }
        let access = identity::access(&response.body).map_err(|err| {
            Error::new(Kind::NotUnderstood, format!("the response from {url} {err}"))
        })?;
        // The remaining time does not depend on this machine's clock.
        let now = SystemTime::now();
        let valid = access.expires.duration_since(response.date.unwrap_or(now));
        let valid = valid.unwrap_or_default();
        let used_until = now + valid.checked_sub(RENEWAL_MARGIN).unwrap_or(valid);
        Ok(CachedAccess { access, used_until })
    }

    /// The user's name and password, from the terminal.
    fn ask(&self) -> Result<(String, Option<Secret>)> {
        let missing = || {
            Error::usage(
                "no credentials: set RAX_USERNAME and RAX_API_KEY, or write them to \
                 ~/.config/rackconnect/credentials.toml, or run this on a terminal",
            )
        };
        let username = match &self.settings.credentials.username {
            Some(username) => username.clone(),
            None => {
                let answer = prompt::ask("Username", Echo::Shown)?.ok_or_else(missing)?;
                answer.expose().to_owned()
            }
        };
        let question = format!("Password of {username}");
        let password = prompt::ask(&question, Echo::Hidden)?.ok_or_else(missing)?;
        Ok((username, Some(password)))
    }

    fn passcode(&self) -> Result<Secret> {
        let Some(fd) = self.settings.passcode_fd else {
            return prompt::ask("Passcode", Echo::Hidden)?.ok_or_else(|| {
                Error::usage(
                    "a passcode is needed (multi-factor authentication): run this on a terminal, \
                     or give --passcode-fd",
                )
            });
        };
        let failed = |err: std::io::Error| {
            let err = crate::error::plain(&err);
            Error::usage(format!("--passcode-fd: descriptor {fd} cannot be read: {err}"))
        };
        let file = File::open(format!("/proc/self/fd/{fd}")).map_err(failed)?;
        // The string never grows, since that would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_PASSCODE_BYTES + 1));
        file.take(MAX_PASSCODE_BYTES as u64).read_to_string(&mut text).map_err(failed)?;
        let passcode = text.trim();
        if passcode.is_empty() {
            // A wrong passcode could lock the account.
            let message = format!("--passcode-fd: descriptor {fd} has no passcode to read");
            return Err(Error::usage(message));
        }
        Ok(Secret::new(passcode.to_owned()))
    }

    /// Sends a request until it succeeds, or until `on_fault` gives up.
    fn send(&self, request: &CloudRequest, on_fault: OnFault) -> Result<CloudResponse> {
        // A transfer may take longer, but is not started again after the deadline.
        let deadline = request.deadline.min(self.settings.end);
        let mut retries = 0;
        loop {
            let result = self.http.send(request);
            let pause = match &result {
                _ if on_fault == OnFault::Return => return result,
                Ok(response) if is_rate_limited(request, response) => {
                    response.retry_after.unwrap_or(fault::DEFAULT_RETRY_AFTER)
                }
                Ok(response) if response.status_code < 500 => return result,
                Err(err) if err.kind != Kind::Unreachable => return result,
                _ if retries > 0 || on_fault == OnFault::WaitForLimit => return result,
                _ => {
                    retries += 1;
                    RETRY_PAUSE
                }
            };
            if BootInstant::now() + pause >= deadline {
                return result;
            }
            log::debug!("sending it again in {pause:?}");
            thread::sleep(pause);
        }
    }
}

/// Whether the same request may succeed later. For the upload of a file, a plain 413 means that the
/// file is too large.
fn is_rate_limited(request: &CloudRequest, response: &CloudResponse) -> bool {
    match response.status_code {
        429 => true,
        413 if matches!(request.body, RequestBody::File(_)) => {
            response.retry_after.is_some() || fault::is_over_limit(&response.body)
        }
        code => code == 413,
    }
}

fn is_valid(cached: &CachedAccess, refused: Option<&Secret>) -> bool {
    let is_refused = refused.is_some_and(|refused| *refused == cached.access.token);
    !is_refused && cached.used_until > SystemTime::now()
}
