//! A relay in front of the simulated API. Connections to it are accepted by the kernel, but carry
//! nothing until it is opened: a request that has been started is held before its first byte.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// A closed relay.
pub struct Gate {
    listener: TcpListener,
    behind: SocketAddr,
}

impl Gate {
    /// A relay to `behind`, closed.
    pub fn closed(behind: SocketAddr) -> Gate {
        let listener = TcpListener::bind((behind.ip(), 0)).expect("a free port");
        Gate { listener, behind }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }

    /// Relays everything, for as long as the test process runs.
    pub fn open(self) {
        thread::spawn(move || {
            for client in self.listener.incoming().flatten() {
                let server = TcpStream::connect(self.behind).expect("the simulated API listens");
                relay(&client, &server).expect("sockets can be cloned");
            }
        });
    }
}

fn relay(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
