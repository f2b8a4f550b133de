//! A proxy that delays the data that passes through it, and counts bytes and round trips.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::Result;

/// The delay in each direction: longer than any program computes between two messages.
const DELAY: Duration = Duration::from_millis(50);

/// The traffic through the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The bytes above TCP, in both directions.
    pub bytes: u64,
    /// How often the client waited for the server: once for the connection, then each time that
    /// data of the server followed data of the client.
    pub round_trips: u32,
    is_client_speaking: bool,
}

impl Passed {
    fn connected(&mut self) {
        self.round_trips += 1;
    }

    fn note(&mut self, direction: Direction, bytes: usize) {
        self.bytes += bytes as u64;
        if direction == Direction::ToClient && self.is_client_speaking {
            self.round_trips += 1;
        }
        self.is_client_speaking = direction == Direction::ToServer;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// The proxy. Its threads end with the program.
pub struct Proxy {
    address: SocketAddr,
    passed: Arc<Mutex<Passed>>,
}

impl Proxy {
    /// A proxy in front of this address.
    pub fn start(target: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let passed: Arc<Mutex<Passed>> = Arc::default();
        let count = passed.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(target) else { continue };
                lock(&count).connected();
                for stream in [&client, &server] {
                    let _ = stream.set_nodelay(true);
                }
                let clones = (client.try_clone(), server.try_clone());
                let (Ok(client_too), Ok(server_too)) = clones else { continue };
                pass(client, server, Direction::ToServer, count.clone());
                pass(server_too, client_too, Direction::ToClient, count.clone());
            }
        });
        Ok(Proxy { address, passed })
    }

    /// Its own address.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The traffic since the last call of this function.
    pub fn take(&self) -> Passed {
        std::mem::take(&mut *lock(&self.passed))
    }
}

fn lock(passed: &Mutex<Passed>) -> std::sync::MutexGuard<'_, Passed> {
    passed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(mut from: TcpStream, mut to: TcpStream, direction: Direction, passed: Arc<Mutex<Passed>>) {
    let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            lock(&passed).note(direction, length);
            let due = Instant::now() + DELAY;
            if sender.send((due, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[cfg(test)]
mod tests {
    use super::Direction::{ToClient, ToServer};
    use super::*;

    #[test]
    fn a_round_trip_is_data_of_the_server_after_data_of_the_client() {
        let mut passed = Passed::default();
        passed.connected();
        for direction in [ToServer, ToClient, ToClient, ToServer, ToServer, ToClient, ToServer] {
            passed.note(direction, 10);
        }
        assert_eq!((passed.bytes, passed.round_trips), (70, 3));
    }
}
