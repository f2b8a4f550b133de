//! A TCP connection that can break after any number of bytes.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use socket2::SockRef;

/// Breaks every connection after a number of bytes from the simulator, including the handshake.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// The number of bytes that are sent unchanged.
    pub after: usize,
    /// What happens after them.
    pub how: How,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It ends with FIN.
    Close,
    /// It ends with RST.
    Reset,
    /// Nothing more is sent until the client leaves.
    Stall,
    /// The lowest bit of the next byte is flipped; the rest is unchanged.
    Flip,
    /// All bits of the rest are flipped.
    Garble,
}

/// A connection, shared with the simulator, which may end it.
pub(crate) struct Tcp {
    pub(crate) stream: Arc<TcpStream>,
    cut: Option<Cut>,
}

impl Tcp {
    pub(crate) fn new(stream: Arc<TcpStream>, cut: Option<Cut>) -> Tcp {
        Tcp { stream, cut }
    }

    /// Breaks the connection. Returns the changed bytes to send, or an error if it has ended.
    fn break_connection(&mut self, how: How, rest: &[u8]) -> io::Result<Vec<u8>> {
        match how {
            How::Flip => {
                self.cut = None;
                let mut rest = rest.to_vec();
                rest[0] ^= 1;
                return Ok(rest);
            }
            How::Garble => return Ok(rest.iter().map(|byte| !byte).collect()),
            How::Close => self.stream.shutdown(Shutdown::Write)?,
            How::Reset => SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO))?,
            How::Stall => {
                self.stream.set_read_timeout(None)?;
                while (&*self.stream).read(&mut [0; 512])? > 0 {}
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl Read for Tcp {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(into)
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.cut {
            Some(Cut { after: 0, how }) if !bytes.is_empty() => {
                let changed = self.break_connection(how, bytes)?;
                (&*self.stream).write_all(&changed)?;
                Ok(changed.len())
            }
            Some(Cut { after, how }) => {
                let whole = &bytes[..bytes.len().min(after)];
                let written = (&*self.stream).write(whole)?;
                self.cut = Some(Cut { after: after - written, how });
                Ok(written)
            }
            None => (&*self.stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
