//! HTTP: reads requests and sends responses over persistent connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, SystemTime};

use httpdate::fmt_http_date;
use serde_json::{Value, json};

use crate::Shared;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, with the query.
    pub path: String,
    /// The headers as received.
    pub headers: Vec<(String, String)>,
    /// The body. None if it was refused before it was sent.
    pub body: Option<Vec<u8>>,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The path without the query, in decoded segments.
    pub fn segments(&self) -> Vec<String> {
        let path = self.path.split('?').next().unwrap_or_default();
        path.split('/').skip(1).map(decode).collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(self.body.as_ref()?).ok()
    }

    /// The decoded value of a parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        Some(decode(value))
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| parse_hex(tail.get(..2)?)).flatten();
        match hex {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse_hex(hex: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status_code: u16,
    /// Additional headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response with a JSON body.
    pub fn json(status_code: u16, body: &Value) -> Response {
        Response::bytes(status_code, "application/json", body.to_string().as_bytes())
    }

    /// A response without a body.
    pub fn empty(status_code: u16) -> Response {
        Response::untyped(status_code, "")
    }

    /// A response with any body, without a content type.
    pub fn untyped(status_code: u16, body: &str) -> Response {
        Response { status_code, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    /// A response with a body of this content type.
    pub fn bytes(status_code: u16, content_type: &str, body: &[u8]) -> Response {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Response { status_code, headers, body: body.to_vec() }
    }

    /// An error response of a front end, instead of a fault.
    pub fn html(status_code: u16, title: &str) -> Response {
        let body = format!("<html><head><title>{title}</title></head><h1>{title}</h1></html>\n");
        Response::bytes(status_code, "text/html; charset=UTF-8", body.as_bytes())
    }

    /// A fault in its documented form.
    pub fn fault(kind: &str, code: u16, message: &str) -> Response {
        Response::json(code, &json!({kind: {"code": code, "message": message}}))
    }

    /// The same with an additional header.
    pub fn with(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How a request is answered.
pub(crate) enum Outcome {
    /// With a response.
    Answer(Response),
    /// The body comes in pieces of this many bytes, with this time between them.
    Pieces(Response, usize, Duration),
    /// The connection ends after this many bytes of the body.
    Cut(Response, usize),
    /// These bytes are sent, and the connection ends.
    Raw(Vec<u8>),
}

/// Serves a connection until its end.
pub(crate) fn serve(shared: &Shared, mut stream: &TcpStream) {
    let mut buffer = Vec::new();
    while let Ok(Some(request)) = read(shared, stream, &mut buffer) {
        let is_refused = request.body.is_none();
        let outcome = shared.answer(&request);
        let now = shared.state().now();
        let sent = match outcome {
            Outcome::Answer(response) => {
                let (head, body) = (head(&response, now), sent_body(&request, &response));
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body))
            }
            Outcome::Pieces(response, length, pause) => {
                let head = stream.write_all(head(&response, now).as_bytes());
                response.body.chunks(length).fold(head, |before, piece| {
                    before?;
                    stream.write_all(piece)?;
                    thread::sleep(pause);
                    Ok(())
                })
            }
            Outcome::Cut(response, length) => {
                let body = &response.body[..length.min(response.body.len())];
                let _ = stream.write_all(&[head(&response, now).as_bytes(), body].concat());
                return;
            }
            Outcome::Raw(bytes) => {
                let _ = stream.write_all(&bytes);
                return;
            }
        };
        if sent.is_err() || is_refused {
            return;
        }
    }
}

fn sent_body<'a>(request: &Request, response: &'a Response) -> &'a [u8] {
    if request.method == "HEAD" { &[] } else { &response.body }
}

fn head(response: &Response, now: SystemTime) -> String {
    let code = response.status_code;
    let mut text = format!("HTTP/1.1 {code} Simulated\r\nDate: {}\r\n", fmt_http_date(now));
    for (name, value) in &response.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if code != 204 {
        text += &format!("Content-Length: {}\r\n", response.body.len());
    }
    text + "\r\n"
}

/// Reads a request. One that expects `100 Continue` gets it, or is answered without its body.
fn read(
    shared: &Shared,
    mut stream: &TcpStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    let mut has_continued = false;
    loop {
        if let Some((mut request, head)) = parse(buffer) {
            let length: usize =
                request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if let Some(body) = buffer.get(head..head + length) {
                request.body = Some(body.to_vec());
                buffer.drain(..head + length);
                return Ok(Some(request));
            }
            if !has_continued && request.header("expect").is_some() {
                has_continued = true;
                if shared.refuses(&request) {
                    return Ok(Some(request));
                }
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
        let mut chunk = vec![0; 64 * 1024];
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            length => buffer.extend_from_slice(&chunk[..length]),
        }
    }
}

/// The head of a request, and its length.
fn parse(buffer: &[u8]) -> Option<(Request, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(buffer) else { return None };
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers,
        body: None,
    };
    Some((request, length))
}
