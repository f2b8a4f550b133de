//! The connections that must still work after a change: to the API and to the probes.
//!
//! All are made at the same time, with one deadline; so are those to the addresses of one host.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::api::connect::{ConnectError, Race};
use crate::api::reach::{self, Target};
use crate::clock::BootInstant;
use crate::model::{OnRefusal, Probe};

/// A thread that only connects needs little stack; a TLS handshake fits as well.
const STACK_BYTES: usize = 256 * 1024;

/// Something to connect to. It keeps its addresses, so that no name is looked up twice.
#[derive(Clone)]
pub(super) enum Destination {
    /// The API, without a request.
    Api(Box<Target>),
    /// A host given with `--probe`.
    Probe { probe: Probe, addresses: Vec<SocketAddr> },
}

impl Destination {
    pub(super) fn probe(probe: Probe) -> Destination {
        Destination::Probe { probe, addresses: Vec::new() }
    }

    /// The name for messages.
    pub(super) fn name(&self) -> &str {
        match self {
            Destination::Api(_) => "the API",
            Destination::Probe { probe, .. } => &probe.name,
        }
    }

    /// Checks that it is reachable before the change. The API has just responded, so that only its
    /// addresses are looked up.
    fn reach_before(&mut self, deadline: BootInstant) -> Result<(), String> {
        match self {
            Destination::Api(target) => target.look_up(deadline),
            Destination::Probe { .. } => self.reach(deadline),
        }
    }

    /// Connects; to the API with a TLS handshake.
    fn reach(&mut self, deadline: BootInstant) -> Result<(), String> {
        match self {
            Destination::Api(target) => target.reach(deadline),
            Destination::Probe { probe, addresses } => {
                if addresses.is_empty() {
                    *addresses = reach::addresses(&probe.host, probe.port(), deadline)?;
                }
                connect_to_any(addresses, deadline, probe.on_refusal())
            }
        }
    }
}

/// The result of one connection.
pub(super) struct Reached {
    pub(super) destination: Destination,
    pub(super) result: Result<(), String>,
}

/// Whether the connections are made before or after the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    BeforeChange,
    AfterChange,
}

/// Connects to all `destinations` at the same time. A connection attempt that outlives the receiver
/// ends at the deadline.
pub(super) fn reach_all(
    phase: Phase,
    destinations: impl IntoIterator<Item = Destination>,
    deadline: BootInstant,
) -> Receiver<Reached> {
    let (sender, results) = channel();
    for destination in destinations {
        let mut own = destination.clone();
        let run = move |sender: Sender<Reached>| {
            let result = match phase {
                Phase::BeforeChange => own.reach_before(deadline),
                Phase::AfterChange => own.reach(deadline),
            };
            let _ = sender.send(Reached { destination: own, result });
        };
        let own_sender = sender.clone();
        if let Err(err) = spawn(move || run(own_sender)) {
            let result = Err(format!("cannot start a thread: {err}"));
            let _ = sender.send(Reached { destination, result });
        }
    }
    results
}

/// Connects to the first address that answers.
fn connect_to_any(
    addresses: &[SocketAddr],
    deadline: BootInstant,
    on_refusal: OnRefusal,
) -> Result<(), String> {
    let mut failed = Vec::new();
    for (address, result) in Race::new(addresses, Duration::MAX, deadline) {
        match result {
            Ok(_) => return Ok(()),
            Err(err)
                if on_refusal == OnRefusal::Reachable
                    && err.kind() == ErrorKind::ConnectionRefused =>
            {
                return Ok(());
            }
            Err(err) => failed.push((address, err)),
        }
    }
    Err(ConnectError { failed }.to_string())
}

fn spawn(run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let builder = thread::Builder::new().name("probe".to_owned()).stack_size(STACK_BYTES);
    builder.spawn(run).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_refusal_counts_if_no_port_was_given() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let deadline = BootInstant::now() + Duration::from_secs(60);
        assert_eq!(connect_to_any(&[address], deadline, OnRefusal::Reachable), Ok(()));
        assert!(connect_to_any(&[address], deadline, OnRefusal::Unreachable).is_err());
        assert!(connect_to_any(&[], deadline, OnRefusal::Reachable).is_err());
    }
}
