//! The connection to a proxy of the environment, within the time of the request. ureq limits each
//! read of the proxy's response, but not all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ureq::unversioned::transport::time::Duration;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout, Transport,
};

/// ureq's connector for proxies, with a limit for the whole of it.
#[derive(Debug, Default)]
pub struct ProxyLayer(ConnectProxyConnector);

impl<In: Transport> Connector<In> for ProxyLayer {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let is_connected = Arc::new(AtomicBool::new(false));
        let (run, limit) = (details.run_connector.clone(), details.timeout.after);
        let (started, flag) = (Instant::now(), is_connected.clone());
        let limited = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            request_level: details.request_level,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: details.current_time.clone(),
            run_connector: Arc::new(move |details| {
                let (transport, is_connected) = (run(details)?, flag.clone());
                Ok(Box::new(LimitedTransport { transport, is_connected, started, limit }))
            }),
            register_shutdown: details.register_shutdown.clone(),
        };
        let connected = self.0.connect(&limited, chained);
        is_connected.store(true, Ordering::Relaxed);
        connected
    }
}

/// A connection that is limited until the proxy has connected it.
#[derive(Debug)]
struct LimitedTransport {
    transport: Box<dyn Transport>,
    is_connected: Arc<AtomicBool>,
    started: Instant,
    limit: Duration,
}

impl Transport for LimitedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if let Duration::Exact(limit) = self.limit
            && !self.is_connected.load(Ordering::Relaxed)
        {
            let left = limit.saturating_sub(self.started.elapsed());
            if left.is_zero() {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            timeout.after = timeout.after.min(Duration::Exact(left));
        }
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
