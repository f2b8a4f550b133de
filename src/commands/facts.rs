//! `facts`: everything known about this server and RackConnect, as one JSON object, for Ansible, Facter and Ohai.
//!
//! Every fact is an object of its own: `value` and `source`, or `value` null and `reason`. It has to be there in time (a
//! run of Ansible gives its facts ten seconds), so whatever is slow or broken is a missing fact, never an error.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use super::once;
use crate::api::client::{Answer, Client, Failure, UNHEARD, no_place};
use crate::api::response;
use crate::cli::options;
use crate::clock::BootInstant;
use crate::coalesce;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::gateway::kernel;
use crate::model::{Format, Operation};
use crate::model::{NamedStatus, Tree};
use crate::ratelimit::{PERMITS, RateLimiter};
use crate::region::Detected;
use crate::ui::output;
use crate::xenstore::{Connection, Server, Value, XenstoreError, metadata};

/// The kernel's network interfaces, a folder each.
const INTERFACES: &str = "/sys/class/net";

/// What the sources are called.
const API: &str = "api";
const XENSTORE: &str = "xenstore";

/// A value and its source, or why there is none.
type Fact = Result<(Tree, String), String>;

/// Prints the object.
pub fn run(settings: &Settings) -> Result<Exit> {
    let deadline = settings.facts_deadline()?;
    // The connection is this function's own, and the region has one of its own: one after the other, as a device in a
    // test can have one reader only.
    let region = match settings.look_for_region()? {
        Detected::Known(region, source) => Ok((text(region.code()), source)),
        Detected::NotYet(why) | Detected::Unknown(why) => Err(why),
    };
    let mut store = Store { connection: Connection::open(), deadline };
    // A slow xenstore leaves the API half of the time.
    store.begin_look(settings.began() + deadline.since(settings.began()) / 2);
    let server = metadata::server(&store.value(metadata::PROVIDER), &store.value(metadata::ROLES));
    let mut api = Api::new(settings, deadline, region.is_ok() || settings.has_endpoint()?, &server);
    let status = api.status();
    let features = api.features();
    let gateway = api.gateway();
    store.begin_look(deadline);
    // Where the API answers, xenstore is not asked: it may hold what is left over from before a rebuild.
    let judged = api.answered;
    let facts = [
        ("agent_version", Ok((text(env!("CARGO_PKG_VERSION")), "rackconnect".to_owned()))),
        ("region", region),
        ("rackconnect_version", version(&server)),
        (
            "status",
            status
                .or_else(|why| if judged { Err(why) } else { store.word(metadata::STATUS, &why) }),
        ),
        ("unprocessable_reason", store.word(metadata::UNPROCESSABLE_REASON, "")),
        ("managed_operations", store.word(metadata::MANAGED, "")),
        ("features", features.or_else(|why| if judged { Err(why) } else { store.features(&why) })),
        ("gateway", gateway),
        ("servicenet_interface", store.servicenet()),
        ("default_route", default_route()),
        ("request_budget", request_budget(settings, deadline)),
    ];
    let entries = facts.into_iter().map(|(name, fact)| (name.to_owned(), as_tree(fact)));
    output::line(&Tree::Map(entries.collect()).to_json())?;
    Ok(Exit::Ok)
}

fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    Tree::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn as_tree(fact: Fact) -> Tree {
    match fact {
        Ok((value, source)) => map([("value", value), ("source", Tree::Text(source))]),
        Err(reason) => map([("value", Tree::Nothing), ("reason", Tree::Text(reason))]),
    }
}

/// Named statuses as an object.
fn statuses(named: Vec<NamedStatus>) -> Tree {
    Tree::Map(named.into_iter().map(|thing| (thing.name, Tree::Text(thing.status))).collect())
}

/// `v2`, `v3`, or `none` for a server without RackConnect.
fn version(server: &Server) -> Fact {
    let version = match server {
        Server::V2 => "v2",
        Server::V3 => "v3",
        Server::NoRole | Server::OtherProvider(_) => "none",
        Server::Unknown(why) => return Err(why.clone()),
    };
    Ok((text(version), XENSTORE.to_owned()))
}

/// How much of the request limit is left, after what was asked for these facts.
fn request_budget(settings: &Settings, deadline: BootInstant) -> Fact {
    let folder = settings.state_dir().map_err(|error| error.message)?;
    let source = folder.display().to_string();
    let free = RateLimiter::new(folder).free_permits(deadline)?;
    Ok((
        map([("free", Tree::Number(free as u64)), ("limit", Tree::Number(PERMITS as u64))]),
        source,
    ))
}

/// The API, asked for one thing after the other. If it could not be reached once, it is not asked again.
struct Api {
    client: Result<Client, String>,
    deadline: BootInstant,
    /// Whether it has answered anything at all.
    answered: bool,
}

impl Api {
    fn new(settings: &Settings, deadline: BootInstant, is_known: bool, server: &Server) -> Api {
        let client = match (settings.has(&options::NO_API), is_known) {
            (true, _) => Err("--no-api: the API was not asked".to_owned()),
            _ if server.is_certainly_another() => {
                Err("this is no RackConnect v2 server".to_owned())
            }
            (_, false) => Err("the region is not known, so neither is the API".to_owned()),
            _ => once::client(settings, 0).map_err(|error| error.message),
        };
        Api { client, deadline, answered: false }
    }

    fn ask<T>(
        &mut self,
        operation: Operation,
        format: Format,
        read: fn(&[u8]) -> Result<T>,
    ) -> Result<T, String> {
        let client = self.client.as_ref().map_err(String::clone)?;
        let deadline = |now| self.deadline.min(now + client.request_timeout());
        let heard = coalesce::ask_now(client, operation, format, 0, &deadline, self.deadline);
        let answer = client.judge(operation, format, heard.reply);
        self.answered |= answer.is_ok();
        let error = match answer {
            Ok(Answer::Body(bytes)) => return read(&bytes).map_err(|error| error.message),
            Ok(Answer::NotFound) => return Err("the API answers with HTTP 404".to_owned()),
            Err(Failure::LimitUsedUp { why, .. }) => Error::new(Kind::Unreachable, no_place(why)),
            Err(Failure::Unheard) => Error::new(Kind::Unreachable, UNHEARD),
            Err(Failure::Error(error)) => error,
        };
        if error.kind == Kind::Unreachable {
            self.client = Err(error.message.clone());
        }
        Err(error.message)
    }

    fn status(&mut self) -> Fact {
        let status = self
            .ask(Operation::Status, Format::Text, |bytes| response::status(bytes, Format::Text))?;
        Ok((text(status.word()), API.to_owned()))
    }

    fn features(&mut self) -> Fact {
        let features = self.ask(Operation::Features, Format::Json, response::features)?;
        Ok((statuses(features), API.to_owned()))
    }

    fn gateway(&mut self) -> Fact {
        let gateway: IpAddr = self.ask(Operation::Gateway, Format::Text, response::gateway)?;
        Ok((text(&gateway.to_string()), API.to_owned()))
    }
}

/// xenstore, or why there is none.
struct Store {
    connection: Result<Connection, XenstoreError>,
    deadline: BootInstant,
}

impl Store {
    fn begin_look(&mut self, deadline: BootInstant) {
        if let Ok(store) = &mut self.connection {
            store.begin_look(Some(deadline));
        }
    }

    fn value(&mut self, path: &str) -> Value {
        let value = self
            .connection
            .as_mut()
            .map_err(|trouble| trouble.clone())
            .and_then(|store| store.value(path));
        let value = value.unwrap_or_else(|trouble| {
            self.connection = Err(trouble.clone());
            Value::Unreadable(trouble.to_string())
        });
        self.stop_in_time();
        value
    }

    /// Answers that come, but slowly, end here.
    fn stop_in_time(&mut self) {
        if BootInstant::now() > self.deadline && self.connection.is_ok() {
            self.connection = Err(XenstoreError::Broken(
                "xenstore was not asked: no time was left (--deadline)".to_owned(),
            ));
        }
    }

    /// A word, as it is; `before` says why it was not found elsewhere.
    fn word(&mut self, path: &str, before: &str) -> Fact {
        let value = self.value(path);
        match metadata::text(&value).filter(|word| !word.is_empty()) {
            Some(word) => Ok((Tree::Text(word), XENSTORE.to_owned())),
            None => Err(both(before, &missing(&value, path))),
        }
    }

    fn children(&mut self, path: &str) -> Result<Vec<String>, String> {
        let store = self.connection.as_mut().map_err(|trouble| trouble.to_string())?;
        let children = store.directory(path);
        self.stop_in_time();
        children
            .map_err(|trouble| trouble.to_string())?
            .ok_or_else(|| missing(&Value::Absent, path))
    }

    fn features(&mut self, before: &str) -> Fact {
        let (folder, prefix) = metadata::FEATURES;
        let mut features = Vec::new();
        for child in self.children(folder).map_err(|why| both(before, &why))? {
            let Some(name) = child.strip_prefix(prefix) else { continue };
            if let Some(status) = metadata::text(&self.value(&format!("{folder}/{child}"))) {
                features.push(NamedStatus { name: name.to_owned(), status });
            }
        }
        match features.is_empty() {
            true => Err(both(before, "xenstore has no features")),
            false => Ok((statuses(features), XENSTORE.to_owned())),
        }
    }

    fn servicenet_mac(&mut self) -> Result<Option<String>, String> {
        for child in self.children(metadata::NETWORKING)? {
            if let Value::Text(json) = self.value(&format!("{}/{child}", metadata::NETWORKING))
                && let Some(mac) = metadata::servicenet_mac(&json)
            {
                return Ok(Some(mac));
            }
            // Broken, or out of time.
            self.connection.as_ref().map_err(|trouble| trouble.to_string())?;
        }
        Ok(None)
    }

    /// The interface whose MAC is that of the network with ServiceNet's label.
    fn servicenet(&mut self) -> Fact {
        let mac =
            self.servicenet_mac()?.ok_or("xenstore names no network with ServiceNet's label")?;
        match interface_of(&mac) {
            Some(name) => Ok((
                map([("name", Tree::Text(name)), ("mac", Tree::Text(mac))]),
                XENSTORE.to_owned(),
            )),
            None => Err(format!("xenstore names the MAC {mac}, which no interface has")),
        }
    }
}

fn missing(value: &Value, path: &str) -> String {
    match value {
        Value::Unreadable(why) => why.clone(),
        _ => format!("xenstore has no {path}"),
    }
}

fn both(first: &str, second: &str) -> String {
    match first.is_empty() {
        true => second.to_owned(),
        false => format!("{first}; {second}"),
    }
}

/// The interface with that MAC (lower case, with colons). Of several (a bridge or VLAN takes its member's) the one that
/// is a device.
fn interface_of(mac: &str) -> Option<String> {
    let interfaces = fs::read_dir(INTERFACES).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let has_mac = |path: &PathBuf| {
        fs::read_to_string(path.join("address")).is_ok_and(|address| address.trim() == mac)
    };
    let found = interfaces
        .filter(has_mac)
        .min_by_key(|path| (!path.join("device").exists(), path.clone()))?;
    Some(found.file_name()?.to_str()?.to_owned())
}

/// The default route of the main table that is in effect.
fn default_route() -> Fact {
    let read = |error: Error| error.message;
    let mut netlink = kernel::open().map_err(read)?;
    let defaults = kernel::defaults4(&mut netlink).map_err(read)?;
    let route = defaults.first().ok_or("the kernel has no default route for IPv4")?;
    let name = kernel::namer(&mut netlink);
    let interface = route.interface.and_then(name).map_or(Tree::Nothing, Tree::Text);
    let gateway = route.gateway.map_or(Tree::Nothing, |gateway| text(&gateway.to_string()));
    let value = map([
        ("gateway", gateway),
        ("interface", interface),
        ("metric", Tree::Number(route.metric.into())),
    ]);
    Ok((value, "kernel".to_owned()))
}

#[cfg(test)]
mod tests {
    use simulated_xenstore::{Config, Fault, Simulator};

    use super::*;

    /// Whatever xenstore has, and however many, is asked for one thing after the deadline at most.
    #[test]
    fn the_deadline_ends_every_row_of_questions() {
        let row: [fn(&mut Store) -> Fact; 2] = [Store::servicenet, |store| store.features("")];
        for facts in row {
            let config = (0..50).fold(Config::default(), |config, number| {
                let (folder, prefix) = metadata::FEATURES;
                let config = config.with(&format!("{}/{number}", metadata::NETWORKING), "{}");
                config.with(&format!("{folder}/{prefix}{number}"), "ENABLED")
            });
            let simulator = Simulator::start(config).unwrap();
            let connection = Connection::open_at(simulator.path());
            let mut store = Store { connection, deadline: BootInstant::default() };
            let why = facts(&mut store).unwrap_err();
            assert!(why.contains("no time was left") || why.contains("no features"), "{why}");
            assert_eq!(simulator.log().len(), 1);
            assert!(store.word(metadata::STATUS, "").is_err());
            assert_eq!(simulator.log().len(), 1);
        }
    }

    /// It overran by the two seconds that any other question may take.
    #[test]
    fn a_xenstore_that_says_nothing_does_not_overrun_the_deadline() {
        let simulator = Simulator::start(Config::default().fault(Fault::Stall)).unwrap();
        let connection = Connection::open_at(simulator.path())
            .map(|store| store.with_look(Some(BootInstant::default())));
        let mut store = Store { connection, deadline: BootInstant::default() };
        let Value::Unreadable(why) = store.value(metadata::STATUS) else {
            panic!("nothing was said")
        };
        assert!(why.ends_with("no answer within 0s"), "{why}");
    }

    #[test]
    fn a_fact_has_a_source_or_a_reason() {
        assert_eq!(
            as_tree(Ok((Tree::Number(7), "x".to_owned()))).to_json(),
            r#"{"value":7,"source":"x"}"#
        );
        assert_eq!(as_tree(Err("no".to_owned())).to_json(), r#"{"value":null,"reason":"no"}"#);
    }
}
