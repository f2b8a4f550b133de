//! Accepts connections, reads requests, and sends the responses and faults of the server's step.

use crate::{
    Received, Shared, bodies,
    bodies::Content,
    script::{Fault, Format, Operation, Step, Then},
    tcp::Tcp,
};
use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Enough for a handshake in a debug build, and small enough for thousands of threads.
const STACK_SIZE: usize = 256 << 10;
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Accepts connections until the simulator stops.
pub(crate) fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while !shared.stopping.load(Ordering::SeqCst) {
        let Ok((tcp, peer)) = listener.accept() else {
            // For example, too many open files. Try again.
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let Ok(local) = tcp.local_addr() else { continue };
        let server = identity(peer.ip(), local.ip());
        let tcp = Arc::new(tcp);
        let (number, fault) = {
            let mut state = shared.state();
            state.connections += 1;
            let number = state.connections;
            state.open.insert(number, Arc::downgrade(&tcp));
            (number, state.server(server, &shared.config).accept(Instant::now()))
        };
        let mut connection = Connection {
            shared: shared.clone(),
            tcp,
            local,
            server,
            number,
            fault,
            racing: false,
            buffer: Vec::new(),
        };
        let thread = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || {
            let _ = connection.serve();
            connection.shared.state().open.remove(&number);
        });
        if thread.is_err() {
            shared.state().open.remove(&number);
        }
    }
}

/// The server that a connection is from.
fn identity(peer: IpAddr, local: IpAddr) -> IpAddr {
    let (peer, local) = (peer.to_canonical(), local.to_canonical());
    if peer.is_loopback() { local } else { peer }
}

struct Connection {
    shared: Arc<Shared>,
    tcp: Arc<TcpStream>,
    local: SocketAddr,
    server: IpAddr,
    number: u64,
    /// Its handshake fault.
    fault: Option<Fault>,
    /// Whether the last response had `close-racing`, so that the next request is lost.
    racing: bool,
    /// Bytes that have been read but not used yet.
    buffer: Vec<u8>,
}

/// The transport, with or without TLS.
enum Wire {
    Plain(Tcp),
    Tls(Box<StreamOwned<ServerConnection, Tcp>>),
}

impl Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(tcp) => tcp.read(into),
            Wire::Tls(tls) => tls.read(into),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Wire::Plain(tcp) => tcp.write_all(bytes),
            Wire::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Ends the output, with close_notify in TLS and FIN in TCP.
    fn close(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(tcp) => tcp.stream.shutdown(Shutdown::Write),
            Wire::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                tls.sock.stream.shutdown(Shutdown::Write)
            }
        }
    }
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    /// Whether the connection can be kept: the client does not close it, and sent no body.
    keep: bool,
}

/// A response, before its fault is applied.
struct Response {
    step: Option<usize>,
    code: u16,
    content_type: String,
    body: Vec<u8>,
    fault: Option<Fault>,
    /// Bytes to send instead of all of the above, and what happens to the connection after them.
    raw: Option<(String, Then)>,
    keep: bool,
}

impl Response {
    /// A response with a short text.
    fn short(code: u16) -> Response {
        let words = if code == 403 { "Over limit" } else { reason(code) };
        Response {
            step: None,
            code,
            content_type: text(),
            body: words.into(),
            fault: None,
            raw: None,
            keep: true,
        }
    }
}

fn text() -> String {
    "text/plain; charset=UTF-8".into()
}

impl Connection {
    /// Serves a connection until its end. An error means that the client left or that the simulator
    /// stopped.
    fn serve(&mut self) -> io::Result<()> {
        self.tcp.set_nodelay(true)?;
        SockRef::from(&*self.tcp).set_keepalive(true)?;
        match self.fault {
            Some(Fault::StallHandshake) => return stall(&mut Wire::Plain(self.tcp())),
            Some(Fault::ResetHandshake) => return self.reset(),
            _ => {}
        }
        self.tcp.set_read_timeout(Some(self.shared.config.idle))?;
        let tcp = self.tcp();
        let mut wire = if self.shared.config.tls {
            Wire::Tls(Box::new(self.handshake(tcp)?))
        } else {
            Wire::Plain(tcp)
        };
        loop {
            let Some(request) = self.read_request(&mut wire)? else { return wire.close() };
            let response = self.decide(&request);
            match self.send(&mut wire, &request, &response)? {
                Then::Keep => {}
                Then::Close => return wire.close(),
                Then::Drop => return self.tcp.shutdown(Shutdown::Write),
                Then::Reset => return self.reset(),
                Then::Stall => return stall(&mut wire),
            }
        }
    }

    fn tcp(&self) -> Tcp {
        Tcp::new(self.tcp.clone(), self.shared.config.cut)
    }

    fn handshake(&self, tcp: Tcp) -> io::Result<StreamOwned<ServerConnection, Tcp>> {
        let config = self.shared.certificates.for_fault(self.fault);
        let mut tls =
            StreamOwned::new(ServerConnection::new(config).map_err(io::Error::other)?, tcp);
        let mut result = Ok(());
        while tls.conn.is_handshaking() && result.is_ok() {
            result = tls.conn.complete_io(&mut tls.sock).map(|_| ());
        }
        let mut state = self.shared.state();
        let counts = &mut state.server(self.server, &self.shared.config).counts;
        match result {
            Ok(()) => counts.handshakes += 1,
            Err(_) => counts.failed_handshakes += 1,
        }
        result.map(|()| tls)
    }

    /// Makes TCP send a reset when the socket is closed.
    fn reset(&self) -> io::Result<()> {
        SockRef::from(&*self.tcp).set_linger(Some(Duration::ZERO))
    }

    /// The next request. `None` if the client left, was idle for too long, or sends an endless
    /// head.
    fn read_request(&mut self, wire: &mut Wire) -> io::Result<Option<Request>> {
        loop {
            if let Some((request, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(Some(request));
            }
            let mut chunk = [0; 2048];
            match wire.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(_) if self.buffer.len() > MAX_HEAD_BYTES => return Ok(None),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Counts and logs a request, and returns the response to it.
    fn decide(&mut self, request: &Request) -> Response {
        let shared = &self.shared;
        let minute = shared.minute();
        let mut state = shared.state();
        let (now, at) = (Instant::now(), shared.started.elapsed());
        let server = state.server(self.server, &shared.config);
        let within = server.count_request(at, minute, shared.config.limit);
        let handshake_fault = server.handshake_fault(now);
        let operation = Operation::of_path(&request.path)
            .or_else(|| server.knows(&request.path).then_some(Operation::Other));
        let mut response = if self.racing {
            Response { fault: Some(Fault::CloseRacing), ..Response::short(500) }
        } else if handshake_fault.is_some() && handshake_fault != self.fault {
            // While new connections get a handshake fault, existing connections are closed.
            Response { fault: handshake_fault, ..Response::short(500) }
        } else if !within {
            Response::short(403)
        } else if request.method != "GET" {
            Response { keep: false, ..Response::short(405) }
        } else if let Some(operation) = operation {
            let (index, step) = server.take_step(operation, now);
            Response { step: Some(index), ..response(operation, &request.path, step) }
        } else if request.path == "/elsewhere" {
            Response { body: "DEPLOYED".into(), ..Response::short(200) }
        } else {
            Response::short(404)
        };
        response.keep &= request.keep;
        let has_no_response = |fault: Fault| match fault {
            Fault::Reset | Fault::Close | Fault::Stall | Fault::Garbage => true,
            Fault::CloseRacing => self.racing,
            fault => fault.is_of_handshake(),
        };
        let received = Received {
            at,
            server: self.server,
            connection: self.number,
            method: request.method.clone(),
            path: request.path.clone(),
            headers: request.headers.clone(),
            step: response.step,
            code: (!response.fault.is_some_and(has_no_response)).then_some(response.code),
            fault: response.fault,
        };
        (shared.observer)(&received);
        state.log.push_back(received);
        if let Some(keep) = shared.config.keep {
            while state.log.len() > keep {
                state.log.pop_front();
            }
            let arrivals = &mut state.server(self.server, &shared.config).arrivals;
            while arrivals.len() > keep {
                arrivals.pop_front();
            }
        }
        response
    }

    /// Sends a response with its fault.
    fn send(
        &mut self,
        wire: &mut Wire,
        request: &Request,
        response: &Response,
    ) -> io::Result<Then> {
        if let Some((raw, then)) = &response.raw {
            wire.send(raw.as_bytes())?;
            return Ok(*then);
        }
        let body = response.body.as_slice();
        let half = &body[..body.len() / 2];
        let length = |n: usize| vec![("Content-Length", n.to_string())];
        let chunked = || vec![("Transfer-Encoding", "chunked".to_string())];
        let head = |extra: Vec<(&str, String)>| head(response, &extra);
        match response.fault {
            Some(Fault::Reset) => return Ok(Then::Reset),
            Some(Fault::Close) => return Ok(Then::Close),
            Some(Fault::Stall) => return Ok(Then::Stall),
            Some(Fault::CloseRacing) if self.racing => return Ok(Then::Close),
            Some(fault) if fault.is_of_handshake() => return Ok(Then::Close),
            Some(Fault::StallHead) => {
                let head = head(length(body.len()));
                wire.send(&head[..head.len() / 2])?;
                return Ok(Then::Stall);
            }
            Some(Fault::StallBody) => {
                wire.send(&[&head(length(body.len())), half].concat())?;
                return Ok(Then::Stall);
            }
            Some(Fault::Truncate) => {
                wire.send(&[&head(length(body.len() + 16)), body].concat())?;
                return Ok(Then::Close);
            }
            Some(Fault::Cut) => {
                wire.send(&[&head(vec![("Connection", "close".into())]), half].concat())?;
                return Ok(Then::Drop);
            }
            Some(Fault::Garbage) => {
                wire.send(b"\x00\xff\x16\x03 SSH-2.0-DEPLOYED\r\n\x1b[2J\r\n\r\n")?;
                return Ok(Then::Close);
            }
            Some(Fault::HugeChunked) => {
                let mut piece = body.to_vec();
                wire.send(&head(chunked()))?;
                loop {
                    piece.resize(8192, b' ');
                    wire.send(
                        &[format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat(),
                    )?;
                    piece.clear();
                }
            }
            Some(fault @ (Fault::Slow | Fault::Drip)) => {
                wire.send(&head(length(body.len())))?;
                for byte in body {
                    thread::sleep(Duration::from_millis(if fault == Fault::Slow {
                        100
                    } else {
                        2000
                    }));
                    wire.send(&[*byte])?;
                }
            }
            Some(Fault::Chunked) => {
                let mut out = head(chunked());
                for piece in body.chunks(3) {
                    out.extend(
                        [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
                    );
                }
                out.extend(b"0\r\n\r\n");
                wire.send(&out)?;
            }
            Some(Fault::BigHeaders) => {
                let mut extra = length(body.len());
                extra.extend((0..200).map(|_| ("X-Filler", "x".repeat(1014))));
                wire.send(&[&head(extra), body].concat())?;
            }
            fault => {
                let mut extra = length(body.len());
                match fault {
                    _ if has_no_body(response.code) => extra.clear(),
                    Some(Fault::Redirect) => {
                        let scheme = if self.shared.config.tls { "https" } else { "http" };
                        extra.push(("Location", format!("{scheme}://{}/elsewhere", self.local)));
                    }
                    None if response.code == 405 => extra.push(("Allow", "GET".into())),
                    _ => {}
                }
                if let Some(offset) = self.shared.config.date_offset {
                    extra.push(("Date", http_date(offset)));
                }
                if !response.keep {
                    extra.push(("Connection", "close".into()));
                }
                let mut out = if fault == Some(Fault::Continue) {
                    b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()
                } else {
                    Vec::new()
                };
                out.extend(head(extra));
                if request.method != "HEAD" && !has_no_body(response.code) {
                    out.extend(body);
                }
                wire.send(&out)?;
            }
        }
        self.racing = response.fault == Some(Fault::CloseRacing);
        let mut state = self.shared.state();
        let next = state.server(self.server, &self.shared.config).handshake_fault(Instant::now());
        let ends = !response.keep
            || response.fault == Some(Fault::CloseAfter)
            || (next.is_some() && next != self.fault);
        Ok(if ends { Then::Close } else { Then::Keep })
    }
}

/// Reads without responding until the client leaves.
fn stall(wire: &mut Wire) -> io::Result<()> {
    let tcp = match wire {
        Wire::Plain(tcp) => &tcp.stream,
        Wire::Tls(tls) => &tls.sock.stream,
    };
    tcp.set_read_timeout(None)?;
    while wire.read(&mut [0; 512])? > 0 {}
    Ok(())
}

/// The request at the start of the bytes, and its length. `None` while it is incomplete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let pairs = request
        .headers
        .iter()
        .map(|h| (h.name.to_string(), String::from_utf8_lossy(h.value).into_owned()));
    let headers: Vec<(String, String)> = pairs.collect();
    let asks_for = |name: &str, word: &str| {
        let of_name = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name
            .flat_map(|(_, value)| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let has_body = headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("transfer-encoding")
            || (name.eq_ignore_ascii_case("content-length") && value.trim() != "0")
    });
    let keep = !has_body && request.version == Some(1) && !asks_for("connection", "close");
    let method = request.method.unwrap_or_default().to_string();
    let path = request.path.unwrap_or_default().to_string();
    Ok(Some((Request { method, path, headers, keep }, length)))
}

/// The response of a step at a path for which it has bodies, in the requested or the first format.
fn other(path: &str, asked: Option<&str>, step: &Step) -> Response {
    let Some(bodies) = step.other.get(path) else { return Response::short(404) };
    let found = match asked {
        Some(format) => bodies.get_key_value(format),
        None => ["text", "json", "xml"].iter().find_map(|format| bodies.get_key_value(*format)),
    };
    let Some((format, body)) = found else { return Response::short(400) };
    let content_type = match format.as_str() {
        "text" => text(),
        format => format!("application/{format}"),
    };
    Response { body: body.clone().into_bytes(), content_type, ..Response::short(200) }
}

/// The response of a step to a request for an operation.
fn response(operation: Operation, path: &str, step: Step) -> Response {
    let applies = step.applies_to(operation);
    let fault = step.fault.filter(|_| applies);
    // If the client continued in spite of the handshake fault of this connection, respond normally.
    let fault = fault.filter(|fault| !fault.is_of_handshake());
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("format="));
    let other = (operation == Operation::Other).then(|| other(path, asked, &step));
    let format = match asked {
        None => Some(operation.formats()[0]),
        Some(name) => Format::of_name(name).filter(|format| operation.formats().contains(format)),
    };
    let format =
        format.map(|format| if fault == Some(Fault::Json) { Format::Json } else { format });
    let content = match (operation, step.status, step.gateway) {
        (Operation::AutomationStatus, Some(status), _) => Some(Content::Status(status)),
        (Operation::Details, Some(status), _) => Some(Content::Details(status, step.tasks)),
        (Operation::AutomationFeatures, Some(_), _) => Some(Content::Features(step.features)),
        (Operation::GatewayIp, _, Some(gateway)) => Some(Content::Gateway(gateway)),
        _ => None,
    };
    let mut response = match (other, format, content) {
        (Some(other), _, _) => other,
        (_, None, _) => Response::short(400),
        (_, _, None) => Response::short(404),
        (_, Some(format), Some(content)) => Response {
            body: bodies::body(&content, format, step.shape.as_deref().unwrap_or("plain")),
            content_type: match format {
                Format::Text => text(),
                Format::Json => "application/json".into(),
                Format::Xml => "application/xml".into(),
            },
            ..Response::short(200)
        },
    };
    if applies {
        response.raw = step.raw.map(|raw| (raw, step.then));
        if let Some(body) = step.body {
            response.code = 200;
            response.body = body.into_bytes();
            response.content_type = step.content_type.unwrap_or_else(text);
        }
        response.code = step.code.unwrap_or(response.code);
    }
    response.fault = fault;
    match fault {
        Some(Fault::Http(code)) => Response { fault, ..Response::short(code) },
        Some(Fault::Redirect) => Response { fault, ..Response::short(302) },
        Some(Fault::Html) => Response {
            body: "<!DOCTYPE html>\n<html><head><title>Welcome</title></head>\
                   <body><h1>DEPLOYED</h1><p>Your web server works.</p></body></html>\n"
                .into(),
            content_type: "text/html".into(),
            fault,
            ..Response::short(200)
        },
        Some(Fault::Control) => Response {
            body:
                b"\x1b]0;owned\x07\x1b[2J\x1b[31mDEPLOYED\x1b[0m\x00\x08\x7f\xc2\x9b1m\xff\r\x1b[1A"
                    .into(),
            fault,
            ..Response::short(200)
        },
        Some(Fault::Mangled(mangle)) => {
            response.body = mangle.apply(&response.body);
            response
        }
        Some(Fault::Empty) => Response { code: 200, body: Vec::new(), ..response },
        Some(Fault::Huge) => {
            response.body.resize(2 << 20, b' ');
            response
        }
        _ => response,
    }
}

fn head(response: &Response, extra: &[(&str, String)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.code, reason(response.code));
    if !has_no_body(response.code) {
        head.push_str(&format!("Content-Type: {}\r\n", response.content_type));
    }
    for (name, value) in extra {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The current time plus `offset` seconds, in the format of HTTP (RFC 9110, IMF-fixdate).
fn http_date(offset: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = now.as_secs().saturating_add_signed(offset);
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[(days % 7) as usize];
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let (mut year, mut month) = (1970, 0);
    let length = |year: u64, month: usize| match month {
        1 if is_leap(year) => 29,
        1 => 28,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    while days >= length(year, month) {
        days -= length(year, month);
        month = (month + 1) % 12;
        year += u64::from(month == 0);
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!(
        "{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT",
        days + 1,
        MONTHS[month]
    )
}

fn has_no_body(code: u16) -> bool {
    matches!(code, 204 | 304)
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}
