//! Section 2: the certificate and the clocks.

use std::time::{Duration, SystemTime};

use crate::doctor::check::{Check, Finding, Judgement, Need, shell_word};
use crate::doctor::evidence::{ApiFailure, Evidence, TlsEvidence, Unread, known};
use crate::duration::human;

/// The checks of the certificate and the clocks.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "network.clock", title: "clock", needs: &[Need::Network], judge: clock },
    Check { id: "network.tls", title: "TLS", needs: &[Need::Network], judge: tls },
];

/// How far apart the clocks may be.
const MAX_OFFSET: u64 = 300;

const SECONDS_PER_DAY: u64 = 86_400;

/// A span of this many days or more is not given in days.
const MAX_DAYS: u64 = 800;

/// The command that starts and enables the time service, and the beginning of its explanation.
const START_TIME_SERVICE: &str =
    "timedatectl set-ntp true  # starts the time service, also after each reboot";

/// A time for people, in UTC.
fn date(seconds: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(YEAR_10000 - 1));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

/// A duration for people: in days from two days on.
fn span(seconds: u64) -> String {
    match seconds / SECONDS_PER_DAY {
        0 | 1 => human(Duration::from_secs(seconds)),
        days @ 2..MAX_DAYS => format!("{days} days"),
        days => format!("{} years", days / 365),
    }
}

/// The remaining validity of a certificate, as the end of a sentence.
fn remaining(not_after: u64, now: u64) -> String {
    match not_after.saturating_sub(now) {
        left if left / SECONDS_PER_DAY < MAX_DAYS => format!(", {} left", span(left)),
        _ => format!(", valid until {}", date(not_after).split(' ').next().unwrap_or_default()),
    }
}

fn tls_evidence(evidence: &Evidence) -> Result<&TlsEvidence, Unread> {
    known(&known(&evidence.path)?.tls)?
        .as_ref()
        .ok_or_else(|| Unread::NotTried("the endpoint is plain http".to_owned()))
}

/// The problem with this server's clock, if there is one.
fn clock_fault(tls: &TlsEvidence) -> Option<String> {
    if let Some(server) = tls.server_now {
        let offset = tls.now.abs_diff(server);
        if offset <= MAX_OFFSET {
            return None;
        }
        let direction = if tls.now < server { "behind" } else { "ahead" };
        return Some(format!(
            "this server's clock is {} {direction}: it shows {} UTC, and the API's shows {} UTC",
            span(offset),
            date(tls.now),
            date(server)
        ));
    }
    let not_before = tls.validity?.not_before;
    if tls.now >= not_before {
        return None;
    }
    Some(format!(
        "this server's clock is at least {} behind: it shows {} UTC, and the API's certificate is \
         only valid from {} UTC",
        span(not_before - tls.now),
        date(tls.now),
        date(not_before)
    ))
}

/// How to set the clock. A printed time would be out of date when the command is pasted, so the
/// command requests it.
fn set_clock(evidence: &Evidence) -> String {
    let url = match (&evidence.api, &evidence.path) {
        (Ok(api), _) => api.endpoint.clone(),
        (_, Ok(path)) => format!("https://{}", path.host),
        (Err(_), Err(_)) => return START_TIME_SERVICE.to_owned(),
    };
    // -k: with a wrong clock the certificate is not valid.
    let get = format!("curl -skI {} | sed -n 's/^[Dd]ate: //p' | tr -d '\\r'", shell_word(&url));
    format!(
        "{START_TIME_SERVICE}; if the clock is still wrong a minute later, set it from the \
         API's clock: date -u -s \"$({get})\""
    )
}

fn clock(evidence: &Evidence) -> Judgement {
    let tls = tls_evidence(evidence)?;
    if let Some(cause) = clock_fault(tls) {
        return Ok(Finding::fail(cause, set_clock(evidence)));
    }
    Ok(match evidence.api.as_ref().ok().and_then(|api| api.clock_offset) {
        Some(ahead) if ahead.unsigned_abs() > MAX_OFFSET => {
            let direction = if ahead < 0 { "behind" } else { "ahead of" };
            let cause = format!(
                "this server's clock is {} {direction} the API's",
                span(ahead.unsigned_abs())
            );
            Finding::warning(cause, set_clock(evidence))
        }
        Some(ahead) => Finding::unremarkable()
            .with([format!("{} UTC, {ahead} s ahead of the API's", date(tls.now))]),
        None => Finding::unremarkable().with([format!("{} UTC", date(tls.now))]),
    })
}

fn tls(evidence: &Evidence) -> Judgement {
    if let Err(Unread::Failed(reason)) = &known(&evidence.path)?.tls {
        let cause = format!("no TLS handshake with the API: {reason}");
        let remedy = "rackconnect status -vv  # shows the address; either the API is overloaded, \
                      or something else answers there";
        return Ok(Finding::fail(cause, remedy));
    }
    let tls = tls_evidence(evidence)?;
    let issuer = tls.issuer.as_deref().unwrap_or("an issuer without a name");
    let lines = [format!("issued by {issuer}"), format!("trusted: {}", tls.roots)];
    let Err(reason) = &tls.verdict else {
        let left = tls
            .validity
            .map_or_else(String::new, |validity| remaining(validity.not_after, tls.now));
        return Ok(Finding::pass(format!("issued by {issuer}, trusted by {}{left}", tls.roots)));
    };
    if clock_fault(tls).is_some() {
        return Err(Unread::NotTried("the clock is wrong".to_owned()));
    }
    if let Some(validity) = tls.validity.filter(|validity| validity.not_after < tls.now) {
        let cause = match tls.server_now {
            Some(_) => format!("the API's certificate expired on {}", date(validity.not_after)),
            None => format!(
                "the API's certificate expired on {}, or this server's clock ({}) is ahead",
                date(validity.not_after),
                date(tls.now)
            ),
        };
        let remedy = "If the clock is right (date -u), only Rackspace can renew the certificate: \
                      tell Rackspace support.";
        return Ok(Finding::fail(cause, remedy).with(lines));
    }
    // The client's message, if there is one.
    let cause = match evidence.api.as_ref().map(|api| &api.status) {
        Ok(Err(ApiFailure::Unreachable(message))) => message,
        _ => reason,
    };
    let cause = format!("{cause}; it was issued by {issuer}; trusted: {}", tls.roots);
    let remedy = "env -u SSL_CERT_FILE -u RACKCONNECT_CA_FILE rackconnect status  # if that works, the \
                  CA file is wrong; if not, something between here and the API answers in its \
                  place";
    Ok(Finding::fail(cause, remedy).with(lines))
}

#[cfg(test)]
mod tests;
