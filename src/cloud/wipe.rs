//! Wipes the output buffer of a connection after each write. ureq keeps connections and their buffers,
//! and after a request for a token the buffer contains a key or a password.

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use zeroize::Zeroize;

/// Wraps connections.
#[derive(Debug)]
pub struct WipeLayer;

impl<In: Transport> Connector<In> for WipeLayer {
    type Out = WipedTransport<In>;

    fn connect(
        &self,
        _: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(chained.map(WipedTransport))
    }
}

/// A connection whose output buffer is wiped once it is sent.
#[derive(Debug)]
pub struct WipedTransport<T>(T);

impl<T: Transport> Transport for WipedTransport<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let sent = self.0.transmit_output(amount, timeout);
        self.0.buffers().output()[..amount].zeroize();
        sent
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
