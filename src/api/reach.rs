//! Whether the API can be reached: a name look-up, a connection and a TLS handshake. No request, so no place of the limit.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::dns::Lookup;
use super::endpoint::Endpoint;
use super::transport::Timed;
use crate::clock::BootInstant;

/// An endpoint to be reached. It remembers its addresses, so that a second time no name is looked up.
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
        let (host, port, secure) = endpoint.target();
        Target { host, port, tls: secure.then_some(tls), addresses: Vec::new() }
    }

    /// Looks up the addresses, by `deadline`, so that they are known when they are needed.
    ///
    /// # Errors
    /// Why there are none, in words.
    pub fn look_up(&mut self, deadline: BootInstant) -> Result<(), String> {
        self.addresses = addresses(&self.host, self.port, deadline)?;
        Ok(())
    }

    /// Connects and shakes hands, by `deadline`.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn reach(&mut self, deadline: BootInstant) -> Result<(), String> {
        if self.addresses.is_empty() {
            self.addresses = addresses(&self.host, self.port, deadline)?;
        }
        let mut last = format!("{} has no address", self.host);
        let mut left = self.addresses.len();
        for address in self.addresses.clone() {
            // Each address gets its share of the time.
            let time = deadline.since(BootInstant::now()) / u32::try_from(left).unwrap_or(1).max(1);
            left -= 1;
            match self.shake_hands(address, BootInstant::now() + time) {
                Ok(()) => {
                    self.addresses = vec![address];
                    return Ok(());
                }
                Err(why) => last = format!("{address}: {why}"),
            }
        }
        Err(last)
    }

    fn shake_hands(&self, address: SocketAddr, deadline: BootInstant) -> Result<(), String> {
        let left = deadline.since(BootInstant::now()).max(Duration::from_millis(1));
        let stream = TcpStream::connect_timeout(&address, left).map_err(|why| why.to_string())?;
        let Some(tls) = &self.tls else { return Ok(()) };
        let name = ServerName::try_from(self.host.clone()).map_err(|why| why.to_string())?;
        let mut connection =
            ClientConnection::new(tls.clone(), name).map_err(|why| why.to_string())?;
        let mut timed = Timed { stream: &stream, deadline };
        while connection.is_handshaking() {
            connection.complete_io(&mut timed).map_err(|why| why.to_string())?;
        }
        Ok(())
    }
}

/// The addresses of a host, by `deadline`.
///
/// # Errors
/// Why there is none.
pub fn addresses(host: &str, port: u16, deadline: BootInstant) -> Result<Vec<SocketAddr>, String> {
    Lookup::default().addresses(host, port, Duration::ZERO, deadline)
}
