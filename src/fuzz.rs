//! One function for each parser of untrusted bytes: for the fuzz targets in `fuzz/`, and for the
//! replay of their corpora in `cargo test`. Not a part of the program.
//!
//! A function panics if it finds a fault. Where a parsed value can be encoded again, it has to be
//! parsed to the same value.

use std::time::Duration;

use crate::api::dns::parsers;
use crate::api::endpoint::{ConnectTarget, Endpoint};
use crate::api::{certificate, inspect, response, tls};
use crate::cli;
use crate::clock::BootInstant;
#[cfg(feature = "cloud")]
use crate::cloud::page::NextPage;
#[cfg(feature = "cloud")]
use crate::cloud::{CloudServer, fault, identity, page, url};
use crate::coalesce::{Demand, Response};
use crate::config;
use crate::doctor;
use crate::duration;
use crate::gateway::record::ChangeRecord;
use crate::hooks;
use crate::model::{Format, Probe, Status, Tree};
use crate::netlink::{Address, Attributes, Link, Messages, Neighbour, Route};
use crate::ratelimit::MIN_INTERVAL;
use crate::ratelimit::codec::{self, BootId};
use crate::region;
#[cfg(feature = "cloud")]
use crate::ui::pretty_json;
use crate::ui::{escape_control, is_terminal_safe};
use crate::xenstore::{codec as xenstore_codec, metadata};

/// The name of a corpus and of its fuzz target, and the function that is fuzzed.
pub type Target = (&'static str, fn(&[u8]));

/// Every parser.
pub const TARGETS: &[Target] = &[
    ("ca_bundle", ca_bundle),
    ("certificate", certificate),
    #[cfg(feature = "cloud")]
    ("cloud_identity", cloud_identity),
    #[cfg(feature = "cloud")]
    ("cloud_page", cloud_page),
    #[cfg(feature = "cloud")]
    ("cloud_server_list", cloud_server_list),
    #[cfg(feature = "cloud")]
    ("cloud_servers", cloud_servers),
    #[cfg(feature = "cloud")]
    ("cloud_timestamp", cloud_timestamp),
    ("coalesce", coalesce),
    ("command_line", command_line),
    ("config", config),
    #[cfg(feature = "cloud")]
    ("credentials", credentials),
    ("details", details),
    ("dns_response", dns_response),
    ("duration", duration),
    ("endpoint", endpoint),
    ("escape", escape),
    ("features", features),
    ("gateway", gateway),
    ("hosts", hosts),
    ("instance_data", instance_data),
    ("json", json),
    #[cfg(feature = "cloud")]
    ("json_layout", json_layout),
    ("netlink", netlink),
    ("probe", probe),
    ("rate_limit_file", rate_limit_file),
    ("report", report),
    ("resolv_conf", resolv_conf),
    ("response_head", response_head),
    ("sshd_config", sshd_config),
    ("stamp", stamp),
    ("status", status),
    ("status_file", status_file),
    #[cfg(feature = "cloud")]
    ("token_cache", token_cache),
    ("undo_journal", undo_journal),
    ("xenstore_metadata", xenstore_metadata),
    ("xenstore_stream", xenstore_stream),
    ("xml", xml),
];

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The body of `automation_status`, in each format.
pub fn status(bytes: &[u8]) {
    for format in [Format::Text, Format::Json, Format::Xml] {
        if let Ok(status) = response::status(bytes, format) {
            let word = status.word();
            assert!(!word.is_empty() && word.trim() == word, "{word:?}");
            assert_eq!(Status::from_text(word).as_ref(), Some(&status));
        }
    }
}

/// The body of `automation_status/details`.
pub fn details(bytes: &[u8]) {
    let _ = response::details(bytes);
}

/// The body of `automation_features`.
pub fn features(bytes: &[u8]) {
    let _ = response::features(bytes);
}

/// The body of `gateway_ip`.
pub fn gateway(bytes: &[u8]) {
    if let Ok(address) = response::gateway(bytes) {
        assert_eq!(response::gateway(address.to_string().as_bytes()).ok(), Some(address));
    }
}

/// JSON from any source.
pub fn json(bytes: &[u8]) {
    if let Ok(tree) = Tree::from_json(bytes) {
        assert_eq!(Tree::from_json(tree.to_json().as_bytes()), Ok(tree));
    }
}

/// JSON that is laid out for a terminal.
#[cfg(feature = "cloud")]
pub fn json_layout(bytes: &[u8]) {
    let Some(pretty) = pretty_json(bytes) else { return };
    let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).ok();
    assert_eq!(value(pretty.as_bytes()), value(bytes));
    assert!(pretty.lines().flat_map(str::chars).all(is_terminal_safe));
    assert_eq!(pretty_json(pretty.as_bytes()), Some(pretty));
}

/// What Identity answers, a fault included.
#[cfg(feature = "cloud")]
pub fn cloud_identity(bytes: &[u8]) {
    if let Ok(access) = identity::access(bytes) {
        assert!(access.token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let _ = identity::session_of(&text(bytes));
    let _ = fault::message(bytes);
    let _ = fault::is_over_limit(bytes);
}

/// A page of a list, which says where the next one is: never at another place.
#[cfg(feature = "cloud")]
pub fn cloud_page(bytes: &[u8]) {
    for content_type in ["application/json", "text/plain"] {
        let next = page::next_page(bytes, content_type);
        if let Ok(NextPage::Linked(query) | NextPage::AfterMarker(query)) = next {
            let url = url::with_parameters("https://h.example/v2/servers?limit=1", &query);
            assert!(url.starts_with("https://h.example/v2/servers?"), "{url}");
            // No URL is longer.
            assert!(url.len() > 65_000 || url::check_url(&url).is_ok(), "{url}");
        }
    }
}

/// A server as Cloud Servers describes it.
#[cfg(feature = "cloud")]
pub fn cloud_servers(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes)
        && let Some(server) = CloudServer::parse("DFW", &value)
    {
        let _ = server.status();
        assert_eq!(server.to_json()["id"], server.id.as_str());
    }
}

/// XML from the API.
pub fn xml(bytes: &[u8]) {
    let _ = Tree::from_xml(&text(bytes));
}

/// The configuration file.
pub fn config(bytes: &[u8]) {
    let _ = config::file::entries("config.toml", &text(bytes));
    let _ = config::file::entries_by_line("config.toml", &text(bytes));
}

/// The arguments, one per line.
pub fn command_line(bytes: &[u8]) {
    let _ = cli::parse(text(bytes).lines().map(std::ffi::OsString::from));
}

/// A nameserver's response.
pub fn dns_response(bytes: &[u8]) {
    parsers::response(bytes);
}

/// /etc/hosts
pub fn hosts(bytes: &[u8]) {
    parsers::hosts(&text(bytes));
}

/// /etc/resolv.conf
pub fn resolv_conf(bytes: &[u8]) {
    parsers::resolv_conf(&text(bytes));
}

/// A duration in a flag, a variable or the configuration file.
pub fn duration(bytes: &[u8]) {
    if let Ok(duration) = duration::parse(&text(bytes)) {
        let _ = duration::human(duration);
    }
}

/// The URL of the API.
pub fn endpoint(bytes: &[u8]) {
    if let Ok(endpoint) = Endpoint::parse(&text(bytes)) {
        let ConnectTarget { host, is_tls, .. } = endpoint.connect_target();
        assert!(!host.is_empty());
        let url = endpoint.url("/v1/automation_status").to_ascii_lowercase();
        assert!(url.starts_with(if is_tls { "https://" } else { "http://" }), "{url}");
    }
}

/// A probe: a host, perhaps with a port.
pub fn probe(bytes: &[u8]) {
    let _ = Probe::parse(&text(bytes));
}

/// Text for a terminal.
pub fn escape(bytes: &[u8]) {
    let escaped = escape_control(&text(bytes));
    assert!(escaped.chars().all(is_terminal_safe), "{escaped:?}");
}

/// The trusted roots.
pub fn ca_bundle(bytes: &[u8]) {
    let _ = tls::parse_bundle(bytes);
}

/// A server's certificate, whose issuer is shown.
pub fn certificate(bytes: &[u8]) {
    let _ = certificate::issuer(bytes);
    inspect::parsers::certificate(bytes);
}

/// The head of a response, as `doctor` reads it.
pub fn response_head(bytes: &[u8]) {
    inspect::parsers::head(&text(bytes));
}

/// A configuration of sshd.
pub fn sshd_config(bytes: &[u8]) {
    doctor::parsers::sshd_config(&text(bytes));
}

/// What `doctor --report` collects.
pub fn report(bytes: &[u8]) {
    doctor::parsers::report(&text(bytes));
}

/// The stamp of a hook.
pub fn stamp(bytes: &[u8]) {
    hooks::read_stamp_for_fuzzing(&text(bytes));
}

/// status.json
pub fn status_file(bytes: &[u8]) {
    crate::state::status_file::merge_for_fuzzing(bytes);
}

/// A page of the list of servers.
#[cfg(feature = "cloud")]
pub fn cloud_server_list(bytes: &[u8]) {
    crate::cloud::parsers::server_list(bytes);
}

/// A date of Identity or Cloud Servers.
#[cfg(feature = "cloud")]
pub fn cloud_timestamp(bytes: &[u8]) {
    crate::cloud::parsers::timestamp(&text(bytes));
}

/// The credentials file.
#[cfg(feature = "cloud")]
pub fn credentials(bytes: &[u8]) {
    config::credentials::parse_for_fuzzing(&text(bytes));
}

/// The file of a cached token.
#[cfg(feature = "cloud")]
pub fn token_cache(bytes: &[u8]) {
    crate::cloud::parsers::token_cache(bytes);
}

/// cloud-init's instance data.
pub fn instance_data(bytes: &[u8]) {
    let _ = region::of_instance_data(bytes);
}

/// The journal of a change of the default route.
pub fn undo_journal(bytes: &[u8]) {
    if let Some(record) = ChangeRecord::from_json(bytes) {
        let again = ChangeRecord::from_json(record.to_json().as_bytes());
        assert_eq!(again.map(|record| record.to_json()), Some(record.to_json()));
    }
}

/// xenstore's messages, read as a whole and byte by byte.
pub fn xenstore_stream(bytes: &[u8]) {
    let read = |size: usize| {
        let mut decoder = xenstore_codec::Decoder::default();
        let mut messages = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.feed(piece);
            loop {
                match decoder.take() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(_) => return messages,
                }
            }
        }
        messages
    };
    let messages = read(bytes.len().max(1));
    assert_eq!(messages, read(1));
    for message in messages {
        let _ = (xenstore_codec::text(&message.payload), xenstore_codec::names(&message.payload));
        let again = xenstore_codec::encode(message.kind, message.id, &message.payload);
        assert!(again.ends_with(&message.payload));
    }
}

/// The values in xenstore.
pub fn xenstore_metadata(bytes: &[u8]) {
    let value = || metadata::Value::Text(text(bytes).into_owned());
    let _ = metadata::text(&value());
    let _ = metadata::server(&value(), &value());
    let _ = metadata::servicenet_mac(&text(bytes));
}

/// The packets between leaders and followers.
pub fn coalesce(bytes: &[u8]) {
    let now = BootInstant(Duration::from_secs(1_000_000));
    if let Some(demand) = Demand::decode(bytes, MIN_INTERVAL) {
        assert_eq!(Demand::decode(&demand.encode(), MIN_INTERVAL), Some(demand));
    }
    if let Some(response) = Response::decode(bytes, now) {
        let again = Response::decode(&response.encode(), now);
        assert_eq!(again.map(|response| response.asked), Some(response.asked));
    }
}

/// The shared file of the rate limit, as it is and with its checksum corrected.
pub fn rate_limit_file(bytes: &[u8]) {
    const BOOT: BootId = [7; 16];
    let now = BootInstant(Duration::from_secs(1_000_000));
    let read = |record: &[u8]| {
        if let Ok(Some(window)) = codec::decode(record, &BOOT, now) {
            let written = codec::encode(&window, &BOOT);
            let again = codec::decode(&written, &BOOT, now).ok().flatten();
            assert_eq!(again.map(|window| codec::encode(&window, &BOOT)), Some(written));
        }
    };
    read(bytes);
    if let Ok(mut record) = <[u8; codec::RECORD_BYTES]>::try_from(bytes) {
        codec::seal(&mut record);
        read(&record);
    }
}

/// The kernel's messages about links, addresses, neighbours and routes.
pub fn netlink(bytes: &[u8]) {
    for message in Messages(bytes).flatten() {
        let _ = Attributes(message.body).count();
        let _ = Link::read(message.body);
        let _ = Address::read(message.body);
        let _ = Neighbour::read(message.body);
        if let Ok(route) = Route::read(message.body) {
            assert_eq!(Route::read(&route.to_bytes()).as_ref(), Ok(&route));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::TARGETS;

    #[test]
    fn every_corpus_is_read_without_a_panic() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for (name, read) in TARGETS {
            let mut count = 0;
            for entry in fs::read_dir(root.join("corpus").join(name)).expect("a corpus") {
                let path = entry.expect("an entry").path();
                let bytes = fs::read(&path).expect("a readable input");
                println!("{}", path.display());
                read(&bytes);
                // And each of its beginnings.
                for end in 0..bytes.len().min(512) {
                    read(&bytes[..end]);
                }
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }

    #[cfg(feature = "cloud")]
    fn names_in(directory: &Path) -> std::collections::BTreeSet<String> {
        let entries = fs::read_dir(directory).expect("a directory of the repository");
        entries
            .map(|entry| {
                let path = entry.expect("an entry").path();
                path.file_stem().expect("a name").to_string_lossy().into_owned()
            })
            .collect()
    }

    #[cfg(feature = "cloud")]
    #[test]
    fn every_parser_has_its_fuzz_target_and_its_corpus() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let targets = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        for directory in ["corpus", "fuzz_targets"] {
            assert_eq!(names_in(&root.join(directory)), targets);
        }
    }
}
