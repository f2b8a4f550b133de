//! The proxies of the environment, which the cloud commands use and the other commands never do.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{CloudWorld, KEY};
use crate::support::{Ended, World, ended};

/// A proxy that connects (RFC 9110, section 9.3.6), or refuses to.
struct HttpProxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl HttpProxy {
    fn start(response: &'static str) -> HttpProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = log.clone();
                thread::spawn(move || serve(&stream, response, &log));
            }
        });
        HttpProxy { address, requests }
    }

    /// The request lines that it received.
    fn requests(&self) -> String {
        self.requests.lock().unwrap().concat()
    }
}

fn serve(stream: &TcpStream, response: &str, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
    log.lock().unwrap().push(head.clone());
    let mut client = stream;
    let _ = client.write_all(response.as_bytes());
    let target = head.split(' ').nth(1).unwrap_or_default();
    if let Ok(server) = TcpStream::connect(target)
        && response.contains(" 200 ")
    {
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = copy(&mut &server, &mut &*stream);
                let _ = stream.shutdown(Shutdown::Both);
            });
            let _ = copy(&mut reader, &mut &server);
            let _ = server.shutdown(Shutdown::Write);
        });
    }
}

/// Logs in to an Identity behind TLS, with these additional variables.
fn log_in(api: &World, variables: &[(&str, String)]) -> Ended {
    let world = CloudWorld::new();
    let mut command = world.agent("cloud login -vv");
    command
        .env("RAX_IDENTITY_URL", api.api.endpoint())
        .env("RACKCONNECT_CA_FILE", api.api.ca_file())
        .envs(variables.iter().map(|(name, value)| (name, value)));
    ended(command.output().unwrap())
}

#[test]
fn https_goes_through_the_proxy_of_the_environment() {
    let api = World::of([]);
    let host = api.api.endpoint().replace("https://", "");
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let proxy = HttpProxy::start("HTTP/1.1 200 Connected\r\n\r\n");
        let url = format!("http://pr0xy-user:pr0xy-secret@{}", proxy.address);
        let before = api.count();
        let output = log_in(&api, &[(variable, url)]);
        // The simulated API is not Identity: any response of it shows that it was reached.
        assert!(output.stderr.contains("HTTP 4"), "{variable}: {}", output.stderr);
        assert_eq!(api.count(), before + 1, "{variable}");
        let seen = proxy.requests();
        assert!(seen.starts_with(&format!("CONNECT {host} ")), "{variable}: {seen}");
        // The proxy sees the destination but not the content.
        assert!(!seen.contains(KEY) && !seen.contains("/tokens"), "{seen}");
        assert!(!output.stderr.contains("pr0xy-secret"), "{}", output.stderr);
    }
}

#[test]
fn hosts_of_no_proxy_are_asked_directly() {
    let api = World::of([]);
    let proxy = HttpProxy::start("HTTP/1.1 200 Connected\r\n\r\n");
    let (host, _) = api
        .api
        .endpoint()
        .replace("https://", "")
        .split_once(':')
        .map_or_else(|| panic!("a port"), |(host, port)| (host.to_owned(), port.to_owned()));
    let url = format!("http://{}", proxy.address);
    let output = log_in(&api, &[("HTTPS_PROXY", url), ("NO_PROXY", host)]);
    assert!(output.stderr.contains("HTTP 4"), "{}", output.stderr);
    assert_eq!(proxy.requests(), "");
}

#[test]
fn a_proxy_that_refuses_or_is_not_there() {
    let api = World::of([]);
    let proxy = HttpProxy::start("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    let url = format!("http://pr0xy-user:pr0xy-secret@{}", proxy.address);
    let output = log_in(&api, &[("HTTPS_PROXY", url)]);
    output.expect(7).says("proxy");
    assert!(!output.stderr.contains("pr0xy-secret"), "{}", output.stderr);
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    log_in(&api, &[("HTTPS_PROXY", format!("http://{closed}"))]).expect(7);
    assert_eq!(api.count(), 0);
}

/// Plain http is only used on this machine, and never through a proxy.
/// ureq limited each read of the proxy's response, and not all of them together.
#[test]
fn a_proxy_that_answered_byte_by_byte_held_up_a_command_beyond_its_deadline() {
    let api = World::of([]);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
                for _ in 0..200 {
                    let _ = stream.write_all(b"x");
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    let world = CloudWorld::new();
    let mut command = world.agent("cloud login --deadline 2s");
    command.env("RAX_IDENTITY_URL", api.api.endpoint()).env("HTTPS_PROXY", url);
    ended(command.output().unwrap()).expect(7).says("no response from").says("within ");
}

#[test]
fn plain_http_to_loopback_goes_through_no_proxy() {
    let world = CloudWorld::new();
    let proxy = HttpProxy::start("HTTP/1.1 200 Connected\r\n\r\n");
    let mut command = world.agent("cloud login");
    for variable in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(variable, format!("http://{}", proxy.address));
    }
    ended(command.output().unwrap()).expect(0);
    assert_eq!(proxy.requests(), "");
}
