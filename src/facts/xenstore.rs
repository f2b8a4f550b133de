//! The facts that xenstore knows.

use std::fs;
use std::path::PathBuf;

use super::fact::{Fact, XENSTORE, map, statuses};
use crate::clock::BootInstant;
use crate::model::{NamedStatus, Tree};
use crate::xenstore::{Connection, Value, XenstoreError, metadata};

/// The kernel's network interfaces, a directory each.
const INTERFACES: &str = "/sys/class/net";

/// xenstore, or the reason why there is no connection.
pub(super) struct XenstoreFacts {
    connection: Result<Connection, XenstoreError>,
    deadline: BootInstant,
}

impl XenstoreFacts {
    /// Connects to xenstore. No value is read after `deadline`.
    pub(super) fn open(deadline: BootInstant) -> XenstoreFacts {
        XenstoreFacts { connection: Connection::open(), deadline }
    }

    /// Sets the deadline of all further reads.
    pub(super) fn set_deadline(&mut self, deadline: BootInstant) {
        if let Ok(store) = &mut self.connection {
            store.set_deadline(Some(deadline));
        }
    }

    pub(super) fn value(&mut self, path: &str) -> Value {
        let value =
            self.connection.as_mut().map_err(|err| err.clone()).and_then(|store| store.value(path));
        let value = value.unwrap_or_else(|err| {
            self.connection = Err(err.clone());
            Value::Unreadable(err.to_string())
        });
        self.stop_in_time();
        value
    }

    /// Closes the connection after the deadline, also if every single response is in time.
    fn stop_in_time(&mut self) {
        if BootInstant::now() > self.deadline && self.connection.is_ok() {
            self.connection = Err(XenstoreError::Broken(
                "xenstore was not asked: no time was left (--deadline)".to_owned(),
            ));
        }
    }

    /// The value at `path`, unchanged.
    pub(super) fn word(&mut self, path: &str) -> Fact {
        let value = self.value(path);
        match metadata::text(&value).filter(|word| !word.is_empty()) {
            Some(word) => Ok((Tree::Text(word), XENSTORE.to_owned())),
            None => Err(missing(&value, path)),
        }
    }

    fn children(&mut self, path: &str) -> Result<Vec<String>, String> {
        let store = self.connection.as_mut().map_err(|err| err.to_string())?;
        let children = store.directory(path);
        self.stop_in_time();
        children.map_err(|err| err.to_string())?.ok_or_else(|| missing(&Value::Absent, path))
    }

    pub(super) fn features(&mut self) -> Fact {
        let (directory, prefix) = metadata::FEATURES;
        let mut features = Vec::new();
        for child in self.children(directory)? {
            let Some(name) = child.strip_prefix(prefix) else { continue };
            if let Some(status) = metadata::text(&self.value(&format!("{directory}/{child}"))) {
                features.push(NamedStatus { name: name.to_owned(), status });
            }
        }
        if features.is_empty() {
            Err("xenstore has no features".to_owned())
        } else {
            Ok((statuses(features), XENSTORE.to_owned()))
        }
    }

    fn servicenet_mac(&mut self) -> Result<Option<String>, String> {
        for child in self.children(metadata::NETWORKING)? {
            if let Value::Text(json) = self.value(&format!("{}/{child}", metadata::NETWORKING))
                && let Some(mac) = metadata::servicenet_mac(&json)
            {
                return Ok(Some(mac));
            }
            // The connection may have failed, or run out of time.
            self.connection.as_ref().map_err(|err| err.to_string())?;
        }
        Ok(None)
    }

    /// The interface with the MAC address that xenstore gives for ServiceNet.
    pub(super) fn servicenet(&mut self) -> Fact {
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
        Value::Unreadable(reason) => reason.clone(),
        _ => format!("xenstore has no {path}"),
    }
}

/// The interface with this MAC address (lower case, with colons). A bridge or VLAN has the address
/// of its member; then it is the one with a device.
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

#[cfg(test)]
mod tests {
    use simulated_xenstore::{Config, Fault, Simulator};

    use super::*;

    /// After the deadline at most one more value is read, however many there are.
    #[test]
    fn the_deadline_ends_every_sequence_of_reads() {
        let sequences: [fn(&mut XenstoreFacts) -> Fact; 2] =
            [XenstoreFacts::servicenet, XenstoreFacts::features];
        for facts in sequences {
            let config = (0..50).fold(Config::default(), |config, number| {
                let (directory, prefix) = metadata::FEATURES;
                let config = config.with(&format!("{}/{number}", metadata::NETWORKING), "{}");
                config.with(&format!("{directory}/{prefix}{number}"), "ENABLED")
            });
            let simulator = Simulator::start(config).unwrap();
            let connection = Connection::open_at(simulator.path());
            let mut store = XenstoreFacts { connection, deadline: BootInstant::default() };
            let err = facts(&mut store).unwrap_err();
            assert!(err.contains("no time was left") || err.contains("no features"), "{err}");
            assert_eq!(simulator.log().len(), 1);
            assert!(store.word(metadata::STATUS).is_err());
            assert_eq!(simulator.log().len(), 1);
        }
    }

    /// The deadline was exceeded by two seconds, the time limit of any other read.
    #[test]
    fn a_silent_xenstore_does_not_exceed_the_deadline() {
        let simulator = Simulator::start(Config::default().fault(Fault::Stall)).unwrap();
        let connection = Connection::open_at(simulator.path())
            .map(|store| store.with_deadline(Some(BootInstant::default())));
        let mut store = XenstoreFacts { connection, deadline: BootInstant::default() };
        let Value::Unreadable(err) = store.value(metadata::STATUS) else {
            panic!("xenstore is silent")
        };
        assert!(err.ends_with("no answer within 0s"), "{err}");
    }
}
