//! The connections below ureq's HTTP, which observe the deadline of a request.
//!
//! ureq's own transport would look the name up before every request, even over a kept connection.
//! It would not show that a kept connection ended without a response, and a permit could not be
//! taken between the handshake and the first byte of the request.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::linux::net::TcpStreamExt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use ureq::unversioned::resolver::{ArrayVec, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::connect::{ConnectError, Preference, connect_to_any};
use super::dns::Lookup;
use super::endpoint::bare;
use super::request::BeforeSend;
use super::timed::Timed;
use crate::clock::BootInstant;
use crate::ratelimit::{LimiterPermit, RateLimited, RateLimiter};

/// The size of a connection's input buffer. The head of a response has to fit into it.
const INPUT: usize = 16 * 1024;

/// How often a kept connection is read before a request. A few session tickets need one or two
/// reads, and a server that sends them without end is not read beyond the deadline.
const MAX_IDLE_READS: usize = 8;

/// The size of its output buffer: a request fits into it.
const OUTPUT: usize = 2 * 1024;

/// What went wrong below HTTP. ureq carries it up unchanged, in `ureq::Error::Other`.
#[derive(Debug)]
pub enum TransportError {
    /// There is no permit.
    RateLimited(RateLimited),
    /// The name cannot be looked up.
    Name(String),
    /// No connection to any address.
    Connect(ConnectError),
    /// A TLS error.
    Tls(rustls::Error),
    /// The connection broke, or the deadline passed, during this activity.
    Broken(&'static str, io::Error),
    /// The response has an encoding that was not requested: the header.
    Coding(String),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for TransportError {}

impl From<TransportError> for ureq::Error {
    fn from(err: TransportError) -> ureq::Error {
        ureq::Error::Other(Box::new(err))
    }
}

/// The state that the client, the connector and the connections share.
pub struct Wire {
    connect_timeout: Duration,
    lookup: Lookup,
    preference: Mutex<Preference>,
    exchange: Mutex<Exchange>,
}

/// One request and its response.
pub struct Exchange {
    /// When it ends, whatever happens.
    pub deadline: BootInstant,
    /// How many permits are left to others.
    reserved: usize,
    /// The permit, once taken.
    pub permit: Option<LimiterPermit>,
    /// The caller's callback just before the first byte is sent.
    pub before_send: Option<BeforeSend>,
    /// Whether a connection was made for it, rather than a kept one used.
    pub has_connected: bool,
    /// Whether any byte of a response was received.
    pub has_received: bool,
    /// The rate limit.
    pub limiter: RateLimiter,
}

impl Wire {
    pub fn new(connect_timeout: Duration, limiter: RateLimiter) -> Wire {
        let exchange = Exchange {
            deadline: BootInstant::default(),
            reserved: 0,
            permit: None,
            before_send: None,
            has_connected: false,
            has_received: false,
            limiter,
        };
        Wire {
            connect_timeout,
            lookup: Lookup::default(),
            preference: Mutex::default(),
            exchange: Mutex::new(exchange),
        }
    }

    /// Begins another exchange, which leaves `reserved` permits to others.
    pub fn begin(&self, deadline: BootInstant, reserved: usize, before_send: Option<BeforeSend>) {
        let mut exchange = self.exchange();
        exchange.deadline = deadline;
        exchange.reserved = reserved;
        exchange.before_send = before_send;
        drop(exchange);
        self.begin_again();
    }

    /// Begins the same exchange once more: a new request, which takes a permit of its own.
    pub fn begin_again(&self) {
        let mut exchange = self.exchange();
        exchange.permit = None;
        exchange.has_connected = false;
        exchange.has_received = false;
    }

    pub fn exchange(&self) -> MutexGuard<'_, Exchange> {
        self.exchange.lock().expect("no panic under this lock")
    }

    fn deadline(&self) -> BootInstant {
        self.exchange().deadline
    }

    fn preference(&self) -> MutexGuard<'_, Preference> {
        self.preference.lock().expect("no panic under this lock")
    }

    /// Checks that there is a permit: without one there is no need to connect.
    fn check_limit(&self) -> Result<(), TransportError> {
        let mut exchange = self.exchange();
        let (deadline, reserved) = (exchange.deadline, exchange.reserved);
        exchange.limiter.check(deadline, reserved).map_err(TransportError::RateLimited)
    }

    /// Takes the permit for the request whose first byte is about to be sent.
    fn take_permit(&self) -> Result<(), TransportError> {
        let mut exchange = self.exchange();
        let Exchange { deadline, reserved, permit, before_send, limiter, .. } = &mut *exchange;
        while permit.is_none() {
            // This comes before the permit, which is valid for only a second.
            if let Some(before_send) = before_send {
                before_send(*deadline);
            }
            let taken = limiter.take(*deadline, *reserved).map_err(TransportError::RateLimited)?;
            let now = BootInstant::now();
            if now >= *deadline {
                return Err(TransportError::Broken(
                    "taking a permit of the rate limit",
                    ErrorKind::TimedOut.into(),
                ));
            }
            // A process that was delayed for longer than a permit is valid takes another one.
            *permit = Some(taken).filter(|taken| !taken.is_stale(now));
        }
        Ok(())
    }
}

/// Keeps ureq from looking names up before every request, even over a kept connection.
#[derive(Debug)]
pub struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        Ok(ArrayVec::from_fn(|_| SocketAddr::from(([0, 0, 0, 0], 0))))
    }
}

/// Looks the name up, connects, and does the TLS handshake.
pub struct ApiConnector {
    pub wire: Arc<Wire>,
    pub tls: Arc<ClientConfig>,
}

impl fmt::Debug for ApiConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiConnector")
    }
}

impl Connector for ApiConnector {
    type Out = ApiConnection;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> Result<Option<ApiConnection>, ureq::Error> {
        self.wire.exchange().has_connected = true;
        self.wire.check_limit()?;
        let deadline = self.wire.deadline();
        let host = bare(details.uri.host().unwrap_or_default());
        let port = details.uri.port_u16().unwrap_or(if details.needs_tls() { 443 } else { 80 });
        let addresses = self
            .wire
            .lookup
            .addresses(host, port, self.wire.connect_timeout, deadline)
            .map_err(|err| TransportError::Name(err.to_string()))?;
        let (stream, address) = self.connect_to_api(addresses, deadline)?;
        let tls = if details.needs_tls() {
            Some(Box::new(self.handshake(host, &stream, deadline)?))
        } else {
            None
        };
        let buffers = LazyBuffers::new(INPUT, OUTPUT);
        let wire = self.wire.clone();
        Ok(Some(ApiConnection { stream, address, tls, buffers, wire, has_just_received: false }))
    }
}

impl ApiConnector {
    fn connect_to_api(
        &self,
        mut addresses: Vec<SocketAddr>,
        deadline: BootInstant,
    ) -> Result<(TcpStream, SocketAddr), TransportError> {
        self.wire.preference().arrange(&mut addresses);
        let connected = connect_to_any(&addresses, self.wire.connect_timeout, deadline);
        let last = match &connected {
            // Until it responds: see `await_input`.
            Ok((_, address)) => Some(*address),
            Err(err) => err.failed.last().map(|(address, _)| *address),
        };
        if let Some(address) = last {
            *self.wire.preference() = Preference::Behind(address);
        }
        connected.map_err(TransportError::Connect)
    }

    /// Shakes hands, but for the client's last flight of TLS 1.3: [`send_tls`] sends it together
    /// with the request, in one segment, which waits for no acknowledgement of another one.
    fn handshake(
        &self,
        host: &str,
        stream: &TcpStream,
        deadline: BootInstant,
    ) -> Result<ClientConnection, TransportError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            TransportError::Name(format!("{host:?} is not a name that a certificate could have"))
        })?;
        let mut tls = ClientConnection::new(self.tls.clone(), name).map_err(TransportError::Tls)?;
        let mut timed = Timed { stream, deadline };
        let broken = |err| TransportError::Broken("shaking hands (TLS)", err);
        while tls.is_handshaking() {
            while tls.wants_write() {
                tls.write_tls(&mut timed).map_err(broken)?;
            }
            if tls.read_tls(&mut timed).map_err(broken)? == 0 {
                return Err(broken(ErrorKind::UnexpectedEof.into()));
            }
            if let Err(err) = tls.process_new_packets() {
                // The alert that tells the server why.
                let _ = tls.write_tls(&mut timed);
                return Err(TransportError::Tls(err));
            }
        }
        Ok(tls)
    }
}

/// Sends a request, and before it what is left of the handshake.
fn send_tls(tls: &mut ClientConnection, timed: &mut Timed<'_>, request: &[u8]) -> io::Result<()> {
    tls.writer().write_all(request)?;
    while tls.wants_write() {
        tls.write_tls(timed)?;
    }
    Ok(())
}

/// Whether a kept connection is open, and nothing but session tickets has arrived on it.
fn is_idle(tls: &mut ClientConnection, stream: &mut TcpStream) -> bool {
    for _ in 0..MAX_IDLE_READS {
        match tls.read_tls(stream) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(err) => return err.kind() == ErrorKind::WouldBlock,
        }
        match tls.process_new_packets() {
            Ok(state) if !state.peer_has_closed() && state.plaintext_bytes_to_read() == 0 => {}
            _ => return false,
        }
    }
    false
}

/// rustls's errors arrive inside an io::Error.
fn transport_error(activity: &'static str, err: io::Error) -> TransportError {
    match err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => TransportError::Tls(tls.clone()),
        None => TransportError::Broken(activity, err),
    }
}

/// A connection to the API.
pub struct ApiConnection {
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Box<ClientConnection>>,
    buffers: LazyBuffers,
    wire: Arc<Wire>,
    /// Whether data was received since [`Transport::is_open`] was last called.
    has_just_received: bool,
}

impl fmt::Debug for ApiConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiConnection").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Transport for ApiConnection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.wire.take_permit()?;
        let mut timed = Timed { stream: &self.stream, deadline: self.wire.deadline() };
        timed.limit_resending();
        let output = &self.buffers.output()[..amount];
        let sent = match &mut self.tls {
            Some(tls) => send_tls(tls, &mut timed, output),
            None => timed.write_all(output),
        };
        sent.map_err(|err| transport_error("sending the request", err))?;
        // A server that writes head and body separately waits for the acknowledgement of the head,
        // which the kernel would delay by 40 ms.
        let _ = self.stream.set_quickack(true);
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let mut timed = Timed { stream: &self.stream, deadline: self.wire.deadline() };
        let input = self.buffers.input_append_buf();
        if input.is_empty() {
            // Only an incomplete head stays in the buffer.
            return Err(ureq::Error::LargeResponseHeader(INPUT, INPUT));
        }
        let read = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut timed).read(input),
            None => timed.read(input),
        };
        // Not as ureq::Error::Io: in a body without a length ureq takes that for its end.
        let amount = read.map_err(|err| transport_error("waiting for the response", err))?;
        self.buffers.input_appended(amount);
        if amount > 0 {
            self.has_just_received = true;
            self.wire.exchange().has_received = true;
            *self.wire.preference() = Preference::With(self.address);
        }
        Ok(amount > 0)
    }

    /// Whether the connection is still open, without waiting. Readable data need not mean its end,
    /// since servers send TLS 1.3 session tickets at any time.
    fn is_open(&mut self) -> bool {
        // ureq calls this after a response, and again before the next request, which is soon enough.
        if std::mem::take(&mut self.has_just_received) {
            return true;
        }
        let mut byte = [0];
        match &mut self.tls {
            Some(tls) => is_idle(tls, &mut self.stream),
            None => {
                let peeked = self.stream.peek(&mut byte);
                peeked.is_err_and(|err| err.kind() == ErrorKind::WouldBlock)
            }
        }
    }

    fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::{fs, thread};

    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::TcpUserTimeout;
    use rustls::ServerConnection;

    use super::*;
    use crate::api::tls;

    const NO_TIMEOUT: NextTimeout = NextTimeout {
        after: ureq::unversioned::transport::time::Duration::NotHappening,
        reason: ureq::Timeout::Global,
        per_read: None,
        per_write: None,
    };

    /// A connection, its state directory, and its other end.
    fn connection() -> (tempfile::TempDir, ApiConnection, TcpStream) {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let limiter = RateLimiter::new(folder.path().to_owned());
        let wire = Arc::new(Wire::new(Duration::from_secs(60), limiter));
        wire.begin(BootInstant::now() + Duration::from_secs(60), 0, None);
        let buffers = LazyBuffers::new(INPUT, OUTPUT);
        let (tls, has_just_received) = (None, false);
        let connection = ApiConnection { stream, address, tls, buffers, wire, has_just_received };
        (folder, connection, listener.accept().unwrap().0)
    }

    /// A server that writes head and body apart waited 40 ms for the acknowledgement of the head.
    #[test]
    fn after_a_request_what_arrives_is_acknowledged_at_once() {
        let (_folder, mut connection, _server) = connection();
        connection.stream.set_quickack(false).unwrap();
        let request = b"GET / HTTP/1.1\r\n\r\n";
        connection.buffers().output()[..request.len()].copy_from_slice(request);
        assert!(!connection.stream.quickack().unwrap());
        connection.transmit_output(request.len(), NO_TIMEOUT).unwrap();
        assert!(connection.stream.quickack().unwrap());
    }

    /// It was sent again by the kernel after the deadline, and arrived without a permit.
    #[test]
    fn a_request_is_not_sent_again_after_its_deadline() {
        let (_folder, mut connection, _server) = connection();
        let soon = BootInstant::now() + Duration::from_secs(30);
        connection.wire.begin(soon, 0, None);
        connection.transmit_output(0, NO_TIMEOUT).unwrap();
        let limit = getsockopt(&connection.stream, TcpUserTimeout).unwrap();
        assert!((1..=30_000).contains(&limit), "{limit}");
    }

    /// A server that closes the connection after its response.
    #[test]
    fn whether_a_connection_is_open_is_found_out_before_the_next_request() {
        let (_folder, mut connection, mut server) = connection();
        server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        drop(server);
        assert!(connection.await_input(NO_TIMEOUT).unwrap());
        assert!(connection.is_open() && !connection.is_open());
    }

    /// A wait went on reading them beyond its deadline.
    #[test]
    fn a_connection_with_session_tickets_without_end_is_given_up() {
        let (folder, mut connection, mut server) = connection();
        let (ca, mut config) = simulated_api::tls_server();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, ca).unwrap();
        // They fit into the receive buffer, which the server then need not wait for.
        config.send_tls13_tickets = 400;
        let sender = thread::spawn(move || {
            let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
            while tls.is_handshaking() || tls.wants_write() {
                tls.complete_io(&mut server).unwrap();
            }
            server
        });
        let config = tls::roots(Some((&ca_file, "test"))).unwrap().config;
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(config, name).unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut connection.stream).unwrap();
        }
        let _server = sender.join().unwrap();
        connection.stream.set_nonblocking(true).unwrap();
        connection.tls = Some(Box::new(tls));
        assert!(!connection.is_open());
    }
}
