//! Tests the simulated API through clients, over real TLS. Nothing here depends on the wall clock
//! or on speed: the minute of the limit is an hour long and begins with the simulator, and only a
//! failure reaches the long timeouts.

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use simulated_api::{
    Align, Config, Fault, Item, Operation, Script, Simulator, Step, faults, shapes,
};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

const HOUR: Duration = Duration::from_secs(3600);
const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));
const STATUS: &str = "/v1/automation_status";

fn config(script: Script) -> Config {
    Config { script, minute: HOUR, align: Align::Start, limit: 1000, ..Config::default() }
}

fn start(script: Script) -> Simulator {
    Simulator::start(config(script)).unwrap()
}

fn deployed() -> Step {
    Step::new("DEPLOYED")
        .task("Cloud Server Created: Add \"rackconnect\" user", "DEPLOYED")
        .feature("configure_network_stack", "ENABLED")
        .gateway("10.182.127.198")
}

/// A client with one connection, with or without TLS.
struct Client {
    wire: Box<dyn ReadWrite>,
    buffer: Vec<u8>,
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    fn tls(address: SocketAddr, ca_pem: &str, name: &str) -> io::Result<Client> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let name = ServerName::try_from(name.to_string()).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        Ok(Client { wire: Box::new(StreamOwned::new(connection, tcp)), buffer: Vec::new() })
    }

    fn to(simulator: &Simulator) -> Client {
        Client::tls(simulator.addresses()[0], simulator.ca_pem(), "127.0.0.1").unwrap()
    }

    fn send(&mut self, request: &str) -> io::Result<()> {
        self.wire.write_all(request.as_bytes())?;
        self.wire.flush()
    }

    fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: test\r\n\r\n"))?;
        self.answer()
    }

    fn more(&mut self) -> io::Result<()> {
        let mut chunk = [0; 4096];
        match self.wire.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.more()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn take_through(&mut self, end: &str) -> io::Result<String> {
        loop {
            if let Some(at) =
                self.buffer.windows(end.len()).position(|window| window == end.as_bytes())
            {
                return Ok(String::from_utf8_lossy(&self.take(at + end.len())?).into_owned());
            }
            self.more()?;
        }
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let (head, code) = loop {
            let head = self.take_through("\r\n\r\n")?;
            let code = head
                .strip_prefix("HTTP/1.1 ")
                .and_then(|rest| rest.get(..3))
                .and_then(|code| code.parse().ok());
            match code {
                Some(100) => {}
                Some(code) => break (head, code),
                None => return Err(io::Error::other("not HTTP")),
            }
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map(|n| n.parse().unwrap());
        let body = match length {
            Some(length) => self.take(length)?,
            None if code == 204 => Vec::new(),
            None if head.contains("Transfer-Encoding: chunked") => {
                let mut body = Vec::new();
                loop {
                    let length =
                        usize::from_str_radix(self.take_through("\r\n")?.trim(), 16).unwrap();
                    body.extend(self.take(length)?);
                    self.take(2)?;
                    if length == 0 {
                        break body;
                    }
                    if body.len() > 4 << 20 {
                        return Err(io::Error::other("endless"));
                    }
                }
            }
            None => loop {
                self.more()?;
            },
        };
        Ok(Answer { code, head, body })
    }
}

fn status_of(client: &mut Client) -> String {
    let answer = client.get(STATUS).unwrap();
    format!("{} {}", answer.code, answer.text())
}

#[test]
fn every_operation_in_every_format() {
    let simulator = start(Script::of([deployed()]));
    let mut client = Client::to(&simulator);
    let mut check = |path: &str, code: u16, kind: &str, body: &str| {
        let answer = client.get(path).unwrap();
        assert_eq!((answer.code, answer.text()), (code, body), "{path}");
        assert!(answer.head.contains(&format!("Content-Type: {kind}")), "{path}: {}", answer.head);
    };
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    check(STATUS, 200, "text/plain", "DEPLOYED");
    check("/v1/automation_status?format=TEXT", 200, "text/plain", "DEPLOYED");
    check(
        "/v1/automation_status?format=JSON",
        200,
        "application/json",
        r#"{"automation_status":"DEPLOYED"}"#,
    );
    check(
        "/v1/automation_status?a=b&format=xml",
        200,
        "application/xml",
        &format!("{xml}<automation_status>DEPLOYED</automation_status>"),
    );
    check("/v1/automation_status?format=yaml", 400, "text/plain", "Bad Request");
    let details = r#"{"automation_status":"DEPLOYED","automation_tasks":[{"name":"Cloud Server Created: Add \"rackconnect\" user","status":"DEPLOYED"}]}"#;
    check("/v1/automation_status/details", 200, "application/json", details);
    check("/v1/automation_status/details?format=Json", 200, "application/json", details);
    check("/v1/automation_status/details?format=text", 400, "text/plain", "Bad Request");
    check(
        "/v1/automation_status/details?format=xml",
        200,
        "application/xml",
        &format!(
            "{xml}<automation_status_details><automation_status>DEPLOYED</automation_status><automation_tasks>\
             <automation_task><name>Cloud Server Created: Add &quot;rackconnect&quot; user</name>\
             <status>DEPLOYED</status></automation_task></automation_tasks></automation_status_details>"
        ),
    );
    check("/v1/gateway_ip", 200, "text/plain", "10.182.127.198");
    check(
        "/v1/gateway_ip?format=json",
        200,
        "application/json",
        r#"{"gateway_ip":"10.182.127.198"}"#,
    );
    check(
        "/v1/gateway_ip?format=xml",
        200,
        "application/xml",
        &format!("{xml}<gateway_ip>10.182.127.198</gateway_ip>"),
    );
    check(
        "/v1/automation_features",
        200,
        "application/json",
        r#"{"automation_features":[{"name":"configure_network_stack","status":"ENABLED"}]}"#,
    );
    check("/v1/automation_features?format=text", 400, "text/plain", "Bad Request");
    check("/v1/nothing", 404, "text/plain", "Not Found");
    assert_eq!(simulator.counts().connections, 1);
}

#[test]
fn other_operations_come_only_from_the_script() {
    let script = r#"
        [[step]]
        requests = 1
        other."/v1/automation_notes" = { json = '{"notes":[]}', xml = "<notes/>" }

        [[step]]
        status = "DEPLOYED"
        fault = "http-503"
        only = ["other"]
    "#;
    let Config { script, .. } = Config::from_toml(script).unwrap();
    let simulator = start(script);
    let mut client = Client::to(&simulator);
    let answer = client.get("/v1/automation_notes?format=xml").unwrap();
    assert_eq!((answer.code, answer.text()), (200, "<notes/>"));
    assert_eq!(client.get("/v1/automation_notes").unwrap().code, 503);
    assert_eq!(client.get("/v1/automation_other").unwrap().code, 404);
    assert_eq!(status_of(&mut client), "200 DEPLOYED");
}

#[test]
fn only_get_is_allowed() {
    let simulator = start(Script::of([deployed()]));
    let mut client = Client::to(&simulator);
    client
        .send("POST /v1/automation_status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer.code, 405);
    assert!(answer.head.contains("Allow: GET"));
}

#[test]
fn an_unknown_server_and_no_gateway_yet() {
    let simulator = start(Script::of([
        Step::default().requests(4),
        Step::new("DEPLOYING").requests(2),
        deployed(),
    ]));
    let mut client = Client::to(&simulator);
    for operation in Operation::ALL {
        assert_eq!(client.get(operation.path()).unwrap().code, 404);
    }
    assert_eq!(status_of(&mut client), "200 DEPLOYING");
    assert_eq!(client.get("/v1/gateway_ip").unwrap().code, 404);
    assert_eq!(client.get("/v1/gateway_ip").unwrap().text(), "10.182.127.198");
}

#[test]
fn each_server_has_its_own_limit() {
    let listen = vec![(ONE, 0).into(), (TWO, 0).into()];
    let simulator =
        Simulator::start(Config { listen, limit: 30, ..config(Script::of([deployed()])) }).unwrap();
    let mut client = Client::to(&simulator);
    for n in 1..=33 {
        let expected = if n <= 30 { "200 DEPLOYED" } else { "403 Over limit" };
        assert_eq!(status_of(&mut client), expected, "request {n}");
    }
    let mut other = Client::tls(simulator.addresses()[1], simulator.ca_pem(), "127.0.0.2").unwrap();
    assert_eq!(status_of(&mut other), "200 DEPLOYED");
    assert_eq!(simulator.max_in_any_window(ONE, HOUR), 33);
    assert_eq!(simulator.max_in_any_window(TWO, HOUR), 1);
    assert_eq!(simulator.counts_of(ONE).over_limit, 3);
}

#[test]
fn handshakes_do_not_count_for_the_limit() {
    let simulator =
        Simulator::start(Config { limit: 1, ..config(Script::of([deployed()])) }).unwrap();
    for _ in 0..5 {
        Client::to(&simulator);
    }
    assert_eq!(status_of(&mut Client::to(&simulator)), "200 DEPLOYED");
    assert!(simulator.wait_until(HOUR, |simulator| simulator.counts().handshakes == 6));
    assert_eq!(simulator.counts().requests, 1);
}

#[test]
fn the_destination_address_identifies_the_server() {
    let config = Config {
        listen: vec![(ONE, 0).into(), (TWO, 0).into()],
        servers: [(TWO, Script::of([Step::new("FAILED")]))].into(),
        ..config(Script::of([deployed()]))
    };
    let simulator = Simulator::start(config).unwrap();
    let address = |ip| simulator.endpoint_at(ip).strip_prefix("https://").unwrap().parse().unwrap();
    assert_eq!(
        status_of(&mut Client::tls(address(ONE), simulator.ca_pem(), "127.0.0.1").unwrap()),
        "200 DEPLOYED"
    );
    assert_eq!(
        status_of(&mut Client::tls(address(TWO), simulator.ca_pem(), "127.0.0.2").unwrap()),
        "200 FAILED"
    );
    let servers: Vec<_> = simulator.log().iter().map(|received| received.server).collect();
    assert_eq!(servers, [ONE, TWO]);
}

#[test]
fn steps_follow_the_script_and_the_test() {
    let simulator = start(Script::of([
        Step::new("DEPLOYING").requests(2),
        Step::new("UNPROCESSABLE"),
        deployed().requests(1),
    ]));
    let mut client = Client::to(&simulator);
    let seen: Vec<_> = (0..4).map(|_| status_of(&mut client)).collect();
    assert_eq!(seen, ["200 DEPLOYING", "200 DEPLOYING", "200 UNPROCESSABLE", "200 UNPROCESSABLE"]);
    simulator.advance(ONE);
    assert_eq!(simulator.step(ONE), 2);
    assert_eq!([status_of(&mut client), status_of(&mut client)], ["200 DEPLOYED", "200 DEPLOYED"]);
    simulator.set_script(ONE, Script::of([Step::new("FAILED")]));
    assert_eq!(status_of(&mut client), "200 FAILED");
    let steps: Vec<_> = simulator.log().iter().map(|received| received.step.unwrap()).collect();
    assert_eq!(steps, [0, 0, 1, 1, 2, 2, 0]);
}

#[test]
fn raw_bodies_for_some_operations_only() {
    let step = Step {
        body: Some("\"deployed\"\n".into()),
        content_type: Some("text/html".into()),
        code: Some(203),
        only: vec![Operation::AutomationStatus],
        ..deployed()
    };
    let simulator = start(Script::of([step]));
    let mut client = Client::to(&simulator);
    let answer = client.get(STATUS).unwrap();
    assert_eq!((answer.code, answer.text()), (203, "\"deployed\"\n"));
    assert!(answer.head.contains("Content-Type: text/html\r\n"));
    assert_eq!(client.get("/v1/gateway_ip").unwrap().text(), "10.182.127.198");
}

#[test]
fn every_shape_of_every_operation_is_served() {
    for shape in shapes() {
        let simulator = start(Script::of([deployed().shape(shape)]));
        let mut client = Client::to(&simulator);
        for operation in Operation::ALL {
            for format in operation.formats() {
                let answer =
                    client.get(&format!("{}?format={format:?}", operation.path())).unwrap();
                assert_eq!(answer.code, 200, "{shape}");
                assert_eq!(shape == &"bom", answer.body.starts_with(b"\xef\xbb\xbf"));
            }
        }
    }
}

#[test]
fn the_log_has_every_request() {
    let simulator =
        start(Script::of([Step::new("DEPLOYING").fault("http-500").requests(1), deployed()]));
    let mut client = Client::to(&simulator);
    client.get("/v1/automation_status?format=json").unwrap();
    client.get("/v1/gateway_ip").unwrap();
    let log = simulator.log();
    let received = &log[0];
    assert_eq!((received.server, received.connection, received.method.as_str()), (ONE, 1, "GET"));
    assert_eq!(received.path, "/v1/automation_status?format=json");
    assert_eq!(received.operation(), Some(Operation::AutomationStatus));
    assert_eq!((received.code, received.fault), (Some(500), Some(Fault::Http(500))));
    assert_eq!(received.header("user-agent"), Some("test"));
    assert_eq!((log[1].code, log[1].fault, log[1].connection), (Some(200), None, 1));
    assert!(log[0].at <= log[1].at);
    assert_eq!(simulator.max_in_any_window(ONE, HOUR), 2);
}

#[test]
fn the_log_can_be_bounded() {
    let simulator =
        Simulator::start(Config { keep: Some(3), ..config(Script::of([deployed()])) }).unwrap();
    let mut client = Client::to(&simulator);
    for _ in 0..10 {
        status_of(&mut client);
    }
    assert_eq!((simulator.log().len(), simulator.counts().requests), (3, 10));
    assert_eq!(simulator.max_in_any_window(ONE, HOUR), 3);
}

/// What a simple client gets from one request with this fault.
fn get_with_fault(fault: &str) -> (Simulator, io::Result<Answer>) {
    let simulator =
        start(Script::of([Step::new("DEPLOYING").fault(fault).requests(1), deployed()]));
    let mut client = Client::to(&simulator);
    let answer = client.get(STATUS);
    drop(client);
    (simulator, answer)
}

#[test]
fn the_script_continues_after_every_request_fault() {
    // "drip" is a slower "slow". The stalls have a separate test.
    for name in faults().filter(|name| !name.starts_with("stall") && *name != "drip") {
        let fault: Fault = name.parse().unwrap();
        if fault.is_of_handshake() {
            continue;
        }
        let (simulator, answer) = get_with_fault(name);
        match fault {
            Fault::Http(code) => assert_eq!(answer.unwrap().code, code, "{name}"),
            _ if fault.is_harmless() => assert_eq!(answer.unwrap().text(), "DEPLOYING", "{name}"),
            Fault::Redirect => {
                let answer = answer.unwrap();
                assert!(
                    answer
                        .head
                        .contains(&format!("Location: {}/elsewhere\r\n", simulator.endpoint()))
                );
                assert_eq!(Client::to(&simulator).get("/elsewhere").unwrap().text(), "DEPLOYED");
            }
            Fault::Html => assert!(answer.unwrap().text().contains("</html>")),
            Fault::Control => assert!(answer.unwrap().body.contains(&0x1b)),
            Fault::Empty => assert_eq!(answer.unwrap().body, b""),
            Fault::Json => {
                assert_eq!(answer.unwrap().text(), r#"{"automation_status":"DEPLOYING"}"#)
            }
            Fault::Huge => assert_eq!(answer.unwrap().body.len(), 2 << 20),
            Fault::BigHeaders => assert!(answer.unwrap().head.len() > 200 << 10),
            Fault::Reset => assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionReset),
            Fault::Close | Fault::Truncate => {
                assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{name}")
            }
            Fault::Cut => assert!(answer.unwrap_err().to_string().contains("close_notify")),
            Fault::Mangled(mangle) => assert_eq!(answer.unwrap().body, mangle.apply(b"DEPLOYING")),
            Fault::Garbage | Fault::HugeChunked => assert!(answer.is_err(), "{name}"),
            _ => panic!("{name} has no expectation"),
        }
        assert_eq!(simulator.log()[0].fault, Some(fault));
        assert_eq!(status_of(&mut Client::to(&simulator)), "200 DEPLOYED", "after {name}");
    }
}

#[test]
fn stalls_last_until_the_client_leaves() {
    for fault in ["stall", "stall-head", "stall-body"] {
        let simulator =
            start(Script::of([Step::new("DEPLOYING").fault(fault).requests(1), deployed()]));
        let mut client = Client::to(&simulator);
        client.send("GET /v1/automation_status HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(simulator.wait_until(HOUR, |simulator| simulator.log().len() == 1));
        if fault == "stall-body" {
            client.take_through("\r\n\r\n").unwrap();
            assert_eq!(client.take(4).unwrap(), b"DEPL");
        }
        assert_eq!(status_of(&mut Client::to(&simulator)), "200 DEPLOYED");
        // The stall ends when the simulator stops.
        drop(simulator);
        assert!(client.answer().is_err());
    }
}

#[test]
fn faulty_handshakes_then_good_ones() {
    let simulator = start(Script::of([
        Step::new("DEPLOYING").requests(1),
        Step::default().fault("cert-expired").handshakes(1),
        Step::default().fault("cert-not-yet-valid").handshakes(1),
        Step::default().fault("cert-wrong-name").handshakes(1),
        Step::default().fault("cert-unknown-issuer").handshakes(1),
        Step::default().fault("reset-handshake").handshakes(1),
        deployed(),
    ]));
    let dial = || Client::tls(simulator.addresses()[0], simulator.ca_pem(), "localhost");
    let mut old = dial().unwrap();
    assert_eq!(status_of(&mut old), "200 DEPLOYING");
    // A kept connection is closed in a step with a handshake fault.
    assert!(old.get(STATUS).is_err());
    use rustls::CertificateError::{
        ExpiredContext, NotValidForNameContext, NotValidYetContext, UnknownIssuer,
    };
    let problem = || match dial().err().unwrap().downcast::<rustls::Error>() {
        Ok(rustls::Error::InvalidCertificate(problem)) => problem,
        other => panic!("{other:?}"),
    };
    assert!(matches!(problem(), ExpiredContext { .. }));
    assert!(matches!(problem(), NotValidYetContext { .. }));
    assert!(matches!(problem(), NotValidForNameContext { .. }));
    assert!(matches!(problem(), UnknownIssuer));
    assert!(dial().is_err());
    assert_eq!(status_of(&mut dial().unwrap()), "200 DEPLOYED");
    assert_eq!(simulator.counts().connections, 7);
    assert!(simulator.wait_until(HOUR, |simulator| simulator.counts().failed_handshakes == 4));
}

#[test]
fn a_stalled_handshake() {
    let simulator =
        start(Script::of([Step::default().fault("stall-handshake").handshakes(1), deployed()]));
    let mut stalled = TcpStream::connect(simulator.addresses()[0]).unwrap();
    stalled.write_all(b"whatever").unwrap();
    assert!(simulator.wait_until(HOUR, |simulator| simulator.counts().connections == 1));
    assert_eq!(status_of(&mut Client::to(&simulator)), "200 DEPLOYED");
    drop(simulator);
    // It ends when the simulator stops, without any bytes.
    assert!(!matches!(stalled.read(&mut [0; 16]), Ok(1..)));
}

#[test]
fn connections_that_end_between_requests() {
    let simulator = start(Script::of([
        Step::new("DEPLOYING").fault("close-racing").requests(1),
        Step::new("DEPLOYING").fault("close-after").requests(1),
        deployed(),
    ]));
    let mut client = Client::to(&simulator);
    assert_eq!(status_of(&mut client), "200 DEPLOYING");
    assert_eq!(client.get(STATUS).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let mut client = Client::to(&simulator);
    let answer = client.get(STATUS).unwrap();
    assert!(answer.text() == "DEPLOYING" && !answer.head.contains("close"));
    assert!(client.get(STATUS).is_err());
    assert_eq!(status_of(&mut Client::to(&simulator)), "200 DEPLOYED");
    let codes: Vec<_> = simulator.log().iter().map(|received| received.code).collect();
    assert_eq!(codes, [Some(200), None, Some(200), Some(200)]);
}

#[test]
fn the_client_may_close_and_may_pipeline() {
    let simulator = start(Script::of([Step::new("A").requests(1), Step::new("B")]));
    let mut client = Client::to(&simulator);
    let get = "GET /v1/automation_status HTTP/1.1\r\nHost: localhost\r\n";
    client.send(&format!("{get}\r\n{get}Connection: Close\r\n\r\n")).unwrap();
    assert_eq!(client.answer().unwrap().text(), "A");
    let last = client.answer().unwrap();
    assert!(last.text() == "B" && last.head.contains("Connection: close"));
    assert_eq!(client.more().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn tls12_and_plain_http() {
    let old =
        Simulator::start(Config { tls12_only: true, ..config(Script::of([deployed()])) }).unwrap();
    assert_eq!(status_of(&mut Client::to(&old)), "200 DEPLOYED");
    let plain =
        Simulator::start(Config { tls: false, ..config(Script::of([deployed()])) }).unwrap();
    assert!(plain.endpoint().starts_with("http://127.0.0.1:"));
    let tcp = TcpStream::connect(plain.addresses()[0]).unwrap();
    assert_eq!(status_of(&mut Client { wire: Box::new(tcp), buffer: Vec::new() }), "200 DEPLOYED");
}

#[test]
fn an_idle_connection_is_closed() {
    let idle = Duration::from_millis(50);
    let simulator =
        Simulator::start(Config { tls: false, idle, ..config(Script::default()) }).unwrap();
    let mut tcp = TcpStream::connect(simulator.addresses()[0]).unwrap();
    assert_eq!(tcp.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn the_certificate_is_for_the_regions_and_names_given() {
    let names = vec!["api.example".into(), "10.1.2.3".into()];
    let simulator = Simulator::start(Config { names, ..config(Script::default()) }).unwrap();
    let known = [
        "localhost",
        "127.0.0.9",
        "::1",
        "ord.api.rackconnect.rackspace.com",
        "api.example",
        "10.1.2.3",
    ];
    for name in known {
        assert!(Client::tls(simulator.addresses()[0], simulator.ca_pem(), name).is_ok(), "{name}");
    }
    for name in ["other.example", "10.1.2.4"] {
        assert!(Client::tls(simulator.addresses()[0], simulator.ca_pem(), name).is_err(), "{name}");
    }
}

#[test]
fn hundreds_of_connections_at_once() {
    let simulator = start(Script::of([deployed()]));
    let mut clients: Vec<_> = (0..200).map(|_| Client::to(&simulator)).collect();
    for client in &mut clients {
        assert_eq!(status_of(client), "200 DEPLOYED");
    }
    assert_eq!(simulator.counts().connections, 200);
}

#[test]
fn it_stops_when_dropped() {
    let simulator = start(Script::of([deployed()]));
    let (address, folder) =
        (simulator.addresses()[0], simulator.ca_file().parent().unwrap().to_owned());
    let mut client = Client::to(&simulator);
    status_of(&mut client);
    assert!(simulator.ca_file().exists());
    drop(simulator);
    assert!(TcpStream::connect(address).is_err());
    assert!(client.get(STATUS).is_err());
    assert!(!folder.exists());
}

#[test]
fn a_config_in_toml() {
    let config = Config::from_toml(
        r#"
        listen = ["127.0.0.1:0", "127.0.0.2:0"]
        minute = "1h"
        align = "start"
        names = ["api.example"]

        [[step]]
        requests = 2
        count = "automation_status"
        status = "DEPLOYING"
        tasks = [{ name = 'Add "rackconnect" user', status = "DEPLOYING" }]
        shape = "attributes"

        [[step]]
        lasts = "1m30s"
        fault = "http-599"
        only = ["details", "automation_status/details", "gateway_ip"]

        [[server."127.0.0.2".step]]
        status = "FAILED"
        "#,
    )
    .unwrap();
    let steps = &config.script.steps;
    assert_eq!((config.listen.len(), config.minute, config.align), (2, HOUR, Align::Start));
    assert_eq!((steps[0].requests, steps[0].count), (Some(2), Some(Operation::AutomationStatus)));
    assert_eq!(steps[0].tasks, [Item::new("Add \"rackconnect\" user", "DEPLOYING")]);
    assert_eq!(
        (steps[1].lasts, steps[1].fault),
        (Some(Duration::from_secs(90)), Some(Fault::Http(599)))
    );
    assert_eq!(steps[1].only, [Operation::Details, Operation::Details, Operation::GatewayIp]);
    assert_eq!(config.servers[&TWO], Script::of([Step::new("FAILED")]));
    for wrong in [
        "[[step]]\nfault = \"oops\"",
        "minute = \"soon\"",
        "[[step]]\nshape = \"x\"",
        "stepp = 1",
        "minute = \"0\"",
    ] {
        assert!(Config::from_toml(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_readme_has_a_valid_script_and_all_shapes_and_faults() {
    let readme = include_str!("../README.md");
    let example = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::from_toml(example).unwrap();
    assert_eq!(config.script.steps.len(), 8);
    assert_eq!(config.servers.len(), 1);
    for name in shapes().iter().copied().chain(faults().filter(|name| !name.starts_with("http-"))) {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}
