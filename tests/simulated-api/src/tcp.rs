//! A TCP connection that can break at any byte of what is sent.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use socket2::SockRef;

/// Every connection breaks after so many bytes from the simulator, those of the handshake included.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// The bytes that still arrive.
    pub after: usize,
    /// What happens then.
    pub how: How,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// It ends by FIN.
    Close,
    /// It ends by RST.
    Reset,
    /// Nothing more comes, until the client leaves.
    Stall,
    /// The next byte has its lowest bit flipped, and all goes on.
    Flip,
    /// Everything that follows has all its bits flipped.
    Garble,
}

/// The connection, shared with the simulator, which may end it.
pub(crate) struct Tcp {
    pub(crate) stream: Arc<TcpStream>,
    cut: Option<Cut>,
}

impl Tcp {
    pub(crate) fn new(stream: Arc<TcpStream>, cut: Option<Cut>) -> Tcp {
        Tcp { stream, cut }
    }

    /// Breaks it, as it should be. What was to be sent then is not needed any more, or changed.
    fn broken(&mut self, how: How, rest: &[u8]) -> io::Result<Vec<u8>> {
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
                let changed = self.broken(how, bytes)?;
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
