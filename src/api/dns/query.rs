//! One query to one nameserver: over UDP, or TCP if the response is too long for UDP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::error::NameserverError;
use super::message::{self, DnsResponse, RecordType};
use crate::api::connect;

/// The longest datagram that is read, since responses are rarely longer than 512 bytes. A longer
/// one counts as truncated.
const MAX_DATAGRAM_BYTES: usize = 4_096;

/// How many datagrams are read before other nameservers are served and the deadline is checked.
const MAX_DATAGRAMS_AT_ONCE: usize = 32;

/// The state of a query.
#[derive(Debug)]
pub(super) enum QueryState {
    /// It is not answered yet.
    Open,
    /// The name has these addresses.
    Addresses(Vec<IpAddr>),
    /// The name exists, but has no address of this type.
    NoAddress,
    /// The name does not exist.
    NoSuchName,
    /// The nameserver did not answer.
    Failed(NameserverError),
}

/// A query.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) server: SocketAddr,
    pub(super) record_type: RecordType,
    pub(super) state: QueryState,
    name: &'a str,
    id: u16,
    message: Vec<u8>,
    channel: Channel,
}

#[derive(Debug)]
enum Channel {
    Closed,
    Udp(UdpSocket),
    Tcp(TcpExchange),
}

/// A query and its response over TCP, each preceded by its length.
#[derive(Debug)]
struct TcpExchange {
    stream: TcpStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl<'a> Query<'a> {
    /// A query that is not sent yet. `id` must not be predictable.
    pub(super) fn new(
        server: SocketAddr,
        record_type: RecordType,
        name: &'a str,
        id: u16,
    ) -> Option<Query<'a>> {
        let message = message::query(id, name, record_type)?;
        let (state, channel) = (QueryState::Open, Channel::Closed);
        Some(Query { server, record_type, state, name, id, message, channel })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, QueryState::Open)
    }

    /// Sends the query over UDP, for the first time or again, unless it has ended.
    pub(super) fn send(&mut self) {
        if !self.is_open() {
            return;
        }
        if matches!(self.channel, Channel::Closed) {
            match udp_socket(self.server) {
                Ok(socket) => self.channel = Channel::Udp(socket),
                Err(err) => return self.fail(err),
            }
        }
        if let Channel::Udp(socket) = &self.channel {
            match socket.send(&self.message) {
                // It is sent again later.
                Err(err) if is_temporary(&err) => {}
                Err(err) => self.fail(err),
                Ok(_) => {}
            }
        }
    }

    /// The socket and the events to wait for.
    pub(super) fn poll_fd(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.channel {
            Channel::Closed => None,
            Channel::Udp(socket) => Some((socket.as_fd(), PollFlags::POLLIN)),
            Channel::Tcp(TcpExchange { stream, unsent, .. }) => {
                let is_sent = unsent.is_empty();
                let flags = if is_sent { PollFlags::POLLIN } else { PollFlags::POLLOUT };
                Some((stream.as_fd(), flags))
            }
        }
    }

    /// Sends and receives without waiting, when the socket is ready.
    pub(super) fn proceed(&mut self) {
        let result = match &mut self.channel {
            Channel::Closed => return,
            Channel::Udp(socket) => receive(socket, |bytes| {
                message::response(bytes, self.id, self.name, self.record_type)
            }),
            Channel::Tcp(exchange) => exchange.proceed().map(|message| {
                message.map(|bytes| {
                    message::response(&bytes, self.id, self.name, self.record_type)
                        .filter(|response| *response != DnsResponse::Truncated)
                        .unwrap_or(DnsResponse::Malformed)
                })
            }),
        };
        match result {
            Ok(None) => {}
            Ok(Some(response)) => self.settle(response),
            Err(err) => self.fail(err),
        }
    }

    fn settle(&mut self, response: DnsResponse) {
        self.state = match response {
            DnsResponse::Addresses(addresses) => QueryState::Addresses(addresses),
            DnsResponse::NoAddress => QueryState::NoAddress,
            DnsResponse::NoSuchName => QueryState::NoSuchName,
            DnsResponse::Refused(code) => QueryState::Failed(NameserverError::Code(code)),
            DnsResponse::Malformed => QueryState::Failed(NameserverError::Malformed),
            DnsResponse::Truncated => {
                match TcpExchange::start(self.server, &self.message) {
                    Ok(exchange) => self.channel = Channel::Tcp(exchange),
                    Err(err) => self.fail(err),
                }
                return;
            }
        };
        self.channel = Channel::Closed;
    }

    pub(super) fn fail(&mut self, err: io::Error) {
        self.state = QueryState::Failed(NameserverError::Io(err));
        self.channel = Channel::Closed;
    }
}

/// A UDP socket with a random port. It is connected, so that the kernel drops datagrams from other
/// addresses and reports an unreachable nameserver.
fn udp_socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(server))?;
    Ok(UdpSocket::from(fd))
}

fn receive(
    socket: &UdpSocket,
    read: impl Fn(&[u8]) -> Option<DnsResponse>,
) -> io::Result<Option<DnsResponse>> {
    let mut buffer = [0; MAX_DATAGRAM_BYTES];
    for _ in 0..MAX_DATAGRAMS_AT_ONCE {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let response = read(&buffer[..length]);
                let is_whole = length < MAX_DATAGRAM_BYTES;
                match response {
                    None => {}
                    Some(DnsResponse::Malformed) if !is_whole => {
                        return Ok(Some(DnsResponse::Truncated));
                    }
                    Some(response) => return Ok(Some(response)),
                }
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) if is_temporary(&err) => break,
            Err(err) => return Err(err),
        }
    }
    Ok(None)
}

fn is_temporary(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl TcpExchange {
    fn start(server: SocketAddr, message: &[u8]) -> io::Result<TcpExchange> {
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
        let unsent = [&length, message].concat();
        Ok(TcpExchange { stream: connect::start(server)?, unsent, received: Vec::new() })
    }

    /// Sends and receives without waiting. Returns the response once it is complete.
    fn proceed(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.try_proceed() {
            Err(err) if is_temporary(&err) => Ok(None),
            done => done,
        }
    }

    fn try_proceed(&mut self) -> io::Result<Option<Vec<u8>>> {
        while !self.unsent.is_empty() {
            let sent = self.stream.write(&self.unsent)?;
            self.unsent.drain(..sent);
        }
        let mut buffer = [0; MAX_DATAGRAM_BYTES];
        loop {
            if let [high, low, message @ ..] = self.received.as_slice()
                && let Some(message) = message.get(..usize::from(u16::from_be_bytes([*high, *low])))
            {
                return Ok(Some(message.to_vec()));
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => self.received.extend_from_slice(&buffer[..length]),
            }
        }
    }
}
