use super::*;
use crate::api::inspect::Validity;
use crate::doctor::check::Severity::{Fail, Pass, Skipped, Warning};
use crate::doctor::checks::fixtures::{assert_found, healthy};

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
    assert!(found.remedy.starts_with("timedatectl set-ntp true  # "), "{}", found.remedy);
    let by_the_api = "set it from the API's clock: date -u -s \"$(curl -skI \
                      https://dfw.api.rackconnect.rackspace.com | sed -n 's/^[Dd]ate: //p' | tr -d \
                      '\\r')\"";
    assert!(found.remedy.ends_with(by_the_api), "{}", found.remedy);
    assert_found(&behind, "network.tls", Skipped, "clock is wrong");
    let unsaid = with(|tls| {
        tls.verdict = Err("not valid yet".to_owned());
        tls.validity = Some(Validity { not_before: NOW + 7_200, not_after: NOW + 9_000 });
    });
    assert_found(&unsaid, "network.clock", Fail, "is at least 2h behind");
}

/// Too little for a certificate to be invalid, and still wrong.
#[test]
fn a_clock_an_hour_off() {
    let mut evidence = healthy();
    evidence.api.as_mut().unwrap().clock_offset = Some(-3_600);
    assert_found(&evidence, "network.clock", Warning, "1h behind the API's");
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
    let found = assert_found(&expired(Some(NOW + 3)), "network.tls", Fail, "expired on 2023-11-14");
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
    let long = with(|tls| {
        tls.validity = Some(Validity { not_before: NOW, not_after: 67_090_550_400 });
    });
    assert_found(&long, "network.tls", Pass, "roots, valid until 4096-01-06");
    let unknown = with(|tls| tls.verdict = Err("UnknownIssuer".to_owned()));
    assert_found(
        &unknown,
        "network.tls",
        Fail,
        "UnknownIssuer; it was issued by DigiCert TLS CA; trusted: the built-in",
    );
    let mut silent = healthy();
    silent.path.as_mut().unwrap().tls = Err(Unread::Failed("timed out".to_owned()));
    assert_found(&silent, "network.tls", Fail, "no TLS handshake with the API: timed out");
    assert_found(&silent, "network.clock", Skipped, "timed out");
}
