//! Section 2: the certificate and the clocks.

use std::time::{Duration, SystemTime};

use crate::doctor::check::{Check, Finding, Judgement, Need};
use crate::doctor::evidence::{ApiFailure, Evidence, TlsEvidence, Unread, known};
use crate::duration::human;

/// The checks of the certificate and the clocks.
pub(super) const CHECKS: &[Check] = &[
    Check { id: "network.clock", title: "clock", needs: &[Need::Network], judge: clock },
    Check { id: "network.tls", title: "TLS", needs: &[Need::Network], judge: tls },
];

/// How far the clocks may be apart.
const MAX_OFFSET: u64 = 300;

const SECONDS_PER_DAY: u64 = 86_400;

/// A time as people read it, in UTC.
fn date(seconds: u64) -> String {
    const YEAR_10000: u64 = 253_402_300_800;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(YEAR_10000 - 1));
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

/// A span as people say it: days from two days on.
fn span(seconds: u64) -> String {
    match seconds / SECONDS_PER_DAY {
        0 | 1 => human(Duration::from_secs(seconds)),
        days @ 2..800 => format!("{days} days"),
        days => format!("{} years", days / 365),
    }
}

fn evidence_of(evidence: &Evidence) -> Result<&TlsEvidence, Unread> {
    known(&known(&evidence.path)?.tls)?
        .as_ref()
        .ok_or_else(|| Unread::NotTried("the endpoint is plain http".to_owned()))
}

/// What is wrong with this server's clock, if anything is.
fn clock_fault(tls: &TlsEvidence) -> Option<(String, String)> {
    if let Some(server) = tls.server_now {
        let offset = tls.now.abs_diff(server);
        if offset <= MAX_OFFSET {
            return None;
        }
        let direction = if tls.now < server { "behind" } else { "ahead" };
        let cause = format!(
            "this server's clock is {} {direction}: it says {} UTC, and the API's says {}",
            span(offset),
            date(tls.now),
            date(server)
        );
        return Some((cause, set_clock(server)));
    }
    let not_before = tls.validity?.not_before;
    if tls.now >= not_before {
        return None;
    }
    let cause = format!(
        "this server's clock is {} behind at least: it says {} UTC, and the API's certificate is valid \
         from {} on",
        span(not_before - tls.now),
        date(tls.now),
        date(not_before)
    );
    Some((cause, "chronyc makestep || date -u -s \"YYYY-MM-DD HH:MM:SS\"".to_owned()))
}

/// How to set the clock.
fn set_clock(now: u64) -> String {
    format!("date -u -s \"{}\"  # and let chrony or ntpd keep it", date(now))
}

fn clock(evidence: &Evidence) -> Judgement {
    let tls = evidence_of(evidence)?;
    if let Some((cause, remedy)) = clock_fault(tls) {
        return Ok(Finding::fail(cause, remedy));
    }
    let ahead = evidence.api.as_ref().ok().and_then(|api| api.clock_offset);
    let server = ahead.and_then(|ahead| tls.now.checked_add_signed(ahead.checked_neg()?));
    Ok(match (ahead, server) {
        (Some(ahead), Some(server)) if ahead.unsigned_abs() > MAX_OFFSET => {
            let direction = if ahead < 0 { "behind" } else { "ahead of" };
            let cause = format!(
                "this server's clock is {} {direction} the API's",
                span(ahead.unsigned_abs())
            );
            Finding::warning(cause, set_clock(server))
        }
        (Some(ahead), _) => Finding::unremarkable()
            .with([format!("{} UTC, {ahead} s ahead of the API's", date(tls.now))]),
        (None, _) => Finding::unremarkable().with([format!("{} UTC", date(tls.now))]),
    })
}

fn tls(evidence: &Evidence) -> Judgement {
    if let Err(Unread::Failed(why)) = &known(&evidence.path)?.tls {
        let cause = format!("no TLS handshake with the API: {why}");
        let remedy = "rackconnect status -vv  # shows the address; what answers there is not the API, \
                      or it is overloaded";
        return Ok(Finding::fail(cause, remedy));
    }
    let tls = evidence_of(evidence)?;
    let issuer = tls.issuer.as_deref().unwrap_or("an issuer without a name");
    let lines = [format!("issued by {issuer}"), format!("trusted: {}", tls.roots)];
    let Err(why) = &tls.verdict else {
        let left = tls.validity.map_or_else(String::new, |validity| {
            format!(", {} left", span(validity.not_after.saturating_sub(tls.now)))
        });
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
        let remedy = "if the clock is right (date -u), only Rackspace can renew it: tell support";
        return Ok(Finding::fail(cause, remedy).with(lines));
    }
    // The client's words, if it has any.
    let cause = match evidence.api.as_ref().map(|api| &api.status) {
        Ok(Err(ApiFailure::Unreachable(message))) => message,
        _ => why,
    };
    let cause = format!("{cause}; its issuer is {issuer}, and trusted is {}", tls.roots);
    let remedy = "env -u SSL_CERT_FILE -u RACKCONNECT_CA_FILE rackconnect status  # if that works, the \
                  file of roots is wrong; if not, something on the way answers for the API";
    Ok(Finding::fail(cause, remedy).with(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::inspect::Validity;
    use crate::doctor::check::Severity::{Fail, Pass, Skipped, Warning};
    use crate::doctor::checks::prepared::{assert_found, healthy};

    const NOW: u64 = 1_700_000_000;

    fn with(change: impl FnOnce(&mut TlsEvidence)) -> Evidence {
        let mut evidence = healthy();
        change(evidence.path.as_mut().unwrap().tls.as_mut().unwrap().as_mut().unwrap());
        evidence
    }

    #[test]
    fn a_clock_two_years_off() {
        assert_found(&healthy(), "network.clock", Pass, "");
        let behind = with(|tls| {
            tls.verdict = Err("not valid yet".to_owned());
            tls.validity = Some(Validity { not_before: NOW + 100, not_after: NOW + 200 });
            tls.server_now = Some(NOW + 2 * 366 * SECONDS_PER_DAY);
        });
        let found = assert_found(&behind, "network.clock", Fail, "clock is 732 days behind: ");
        assert!(found.remedy.starts_with("date -u -s \"2025-11-15 22:13:20\""), "{}", found.remedy);
        assert_found(&behind, "network.tls", Skipped, "clock is wrong");
        let unsaid = with(|tls| {
            tls.verdict = Err("not valid yet".to_owned());
            tls.validity = Some(Validity { not_before: NOW + 7_200, not_after: NOW + 9_000 });
        });
        assert_found(&unsaid, "network.clock", Fail, "is 2h behind at least");
    }

    /// Too little for a certificate to be invalid, and still wrong.
    #[test]
    fn a_clock_an_hour_off() {
        let mut evidence = healthy();
        evidence.api.as_mut().unwrap().clock_offset = Some(-3_600);
        let found = assert_found(&evidence, "network.clock", Warning, "1h behind the API's");
        assert!(found.remedy.starts_with("date -u -s \"2023-11-14 23:13:20\""), "{}", found.remedy);
    }

    #[test]
    fn an_expired_certificate_is_not_the_clock() {
        let expired = |server_now| {
            with(|tls| {
                tls.verdict = Err("expired".to_owned());
                tls.validity = Some(Validity { not_before: 5, not_after: NOW - 100 });
                tls.server_now = server_now;
            })
        };
        let found =
            assert_found(&expired(Some(NOW + 3)), "network.tls", Fail, "expired on 2023-11-14");
        assert!(!found.cause.contains("clock"), "{}", found.cause);
        assert_found(&expired(Some(NOW + 3)), "network.clock", Pass, "");
        assert_found(&expired(None), "network.tls", Fail, "or this server's clock");
    }

    #[test]
    fn the_certificate() {
        assert_found(
            &healthy(),
            "network.tls",
            Pass,
            "issued by DigiCert TLS CA, trusted by the built-in roots, 90 days left",
        );
        let unknown = with(|tls| tls.verdict = Err("UnknownIssuer".to_owned()));
        assert_found(&unknown, "network.tls", Fail, "UnknownIssuer; its issuer is DigiCert");
        let mut silent = healthy();
        silent.path.as_mut().unwrap().tls = Err(Unread::Failed("timed out".to_owned()));
        assert_found(&silent, "network.tls", Fail, "no TLS handshake with the API: timed out");
        assert_found(&silent, "network.clock", Skipped, "timed out");
    }
}
