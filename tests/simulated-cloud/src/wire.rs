//! HTTP: requests in, responses out, over connections that are kept.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::SystemTime;

use httpdate::fmt_http_date;
use serde_json::{Value, json};

use crate::Shared;

/// A request.
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

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
        let hex = (*first == b'%').then(|| text_of(tail.get(..2)?)).flatten();
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

fn text_of(hex: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status_code: u16,
    /// Headers beside the usual ones.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// A response with a JSON body.
    pub fn json(status_code: u16, body: &Value) -> Response {
        Response { status_code, headers: Vec::new(), body: body.to_string() }
    }

    /// A response with any body.
    pub fn text(status_code: u16, body: &str) -> Response {
        Response { status_code, headers: Vec::new(), body: body.to_owned() }
    }

    /// A fault in its documented shape.
    pub fn fault(kind: &str, code: u16, message: &str) -> Response {
        Response::json(code, &json!({kind: {"code": code, "message": message}}))
    }

    /// The same with a header more.
    pub fn with(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Serves a connection until its end.
pub(crate) fn serve(shared: &Shared, mut stream: &TcpStream) {
    let mut buffer = Vec::new();
    while let Ok(Some(request)) = read(stream, &mut buffer) {
        let Some(response) = shared.answer(&request) else { return };
        let now = shared.state().now();
        if stream.write_all(bytes(&response, now).as_bytes()).is_err() {
            return;
        }
    }
}

fn bytes(response: &Response, now: SystemTime) -> String {
    let code = response.status_code;
    let mut text = format!("HTTP/1.1 {code} Simulated\r\nDate: {}\r\n", fmt_http_date(now));
    for (name, value) in &response.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if code != 204 {
        text += &format!("Content-Length: {}\r\n", response.body.len());
    }
    text + "\r\n" + &response.body
}

fn read(mut stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some((request, length)) = parse(buffer)? {
            buffer.drain(..length);
            return Ok(Some(request));
        }
        let mut chunk = [0; 8192];
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            length => buffer.extend_from_slice(&chunk[..length]),
        }
    }
}

fn parse(buffer: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = parsed.parse(buffer) else { return Ok(None) };
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|it| (it.name.to_owned(), String::from_utf8_lossy(it.value).into_owned()))
        .collect();
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers,
        body: Vec::new(),
    };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let Some(body) = buffer.get(head..head + length) else { return Ok(None) };
    request.body = body.to_vec();
    Ok(Some((request, head + length)))
}
