//! Whether the API can be reached: a name lookup, a connection and a TLS handshake. It sends no
//! request, so it needs no permit of the rate limit.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::connect::connect_to_any;
use super::dns::Lookup;
use super::endpoint::{ConnectTarget, Endpoint};
use super::timed::Timed;
use crate::clock::BootInstant;

/// An endpoint to be reached. It remembers its addresses, so that no name is looked up twice.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    addresses: Vec<SocketAddr>,
}

impl Target {
    /// The target of an endpoint.
    pub fn new(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> Target {
        let ConnectTarget { host, port, is_tls } = endpoint.connect_target();
        Target { host, port, tls: is_tls.then_some(tls), addresses: Vec::new() }
    }

    /// Looks up the addresses in advance, by `deadline`.
    ///
    /// # Errors
    /// Why there is no address.
    pub fn look_up(&mut self, deadline: BootInstant) -> Result<(), String> {
        self.addresses = addresses(&self.host, self.port, deadline)?;
        Ok(())
    }

    /// Connects and does the TLS handshake, by `deadline`.
    ///
    /// # Errors
    /// Why that failed.
    pub fn reach(&mut self, deadline: BootInstant) -> Result<(), String> {
        if self.addresses.is_empty() {
            self.addresses = addresses(&self.host, self.port, deadline)?;
        }
        let mut addresses = self.addresses.clone();
        let mut last_error = "timed out".to_owned();
        while !addresses.is_empty() {
            let (stream, address) = connect_to_any(&addresses, Duration::MAX, deadline)
                .map_err(|err| err.to_string())?;
            // Each address gets its share of the time.
            let now = BootInstant::now();
            let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
            match self.handshake(&stream, now + deadline.since(now) / shares) {
                Ok(()) => {
                    self.addresses = vec![address];
                    return Ok(());
                }
                Err(err) => last_error = format!("{address}: {err}"),
            }
            addresses.retain(|other| *other != address);
        }
        Err(last_error)
    }

    fn handshake(&self, stream: &TcpStream, deadline: BootInstant) -> Result<(), String> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let name = ServerName::try_from(self.host.clone()).map_err(|err| err.to_string())?;
        let mut connection =
            ClientConnection::new(tls.clone(), name).map_err(|err| err.to_string())?;
        let mut timed = Timed { stream, deadline };
        while connection.is_handshaking() {
            connection.complete_io(&mut timed).map_err(|err| err.to_string())?;
        }
        Ok(())
    }
}

/// The addresses of a host, by `deadline`.
///
/// # Errors
/// Why there is no address.
pub fn addresses(host: &str, port: u16, deadline: BootInstant) -> Result<Vec<SocketAddr>, String> {
    let found = Lookup::default().addresses(host, port, Duration::ZERO, deadline);
    found.map_err(|err| err.to_string())
}
