//! Cloud Files and its CDN.
//!
//! As in OpenStack Object Storage, a list is plain text, or JSON with `format=json` or `Accept:
//! application/json`. Errors are HTML.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::identity::unauthorized;
use crate::wire::{Request, Response};
use crate::{STORAGE_TENANT, State, is_authorized};

/// The page size.
const MAX_NAMES: usize = 10_000;

/// A container.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// The objects, by name.
    pub objects: BTreeMap<String, Object>,
    /// Whether it is published in the CDN.
    pub cdn_enabled: bool,
}

/// An object.
#[derive(Clone, Debug)]
pub struct Object {
    /// The content.
    pub content: Vec<u8>,
    /// The content type.
    pub content_type: String,
}

impl Object {
    fn etag(&self) -> String {
        format!("{:x}", md5::compute(&self.content))
    }
}

pub(crate) fn answer(state: &mut State, request: &Request) -> Response {
    if !is_authorized(state, request) {
        return unauthorized("Authentication required");
    }
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let [service, region, "v1", STORAGE_TENANT, path @ ..] = &segments[..] else {
        return not_found();
    };
    let page_size = state.page_size;
    let containers = state.containers.entry(region.to_uppercase()).or_default();
    if *service == "cdn" {
        return match (request.method.as_str(), path) {
            ("GET", [] | [""]) => cdn_list(containers, request, page_size),
            _ => not_found(),
        };
    }
    match (request.method.as_str(), path) {
        ("GET" | "HEAD", [] | [""]) => {
            let names = containers.keys().map(String::as_str).collect();
            let response = list(request, names, page_size, |name| json!({"name": name}));
            response.with("X-Account-Container-Count", &containers.len().to_string())
        }
        (method, [container]) => match (method, containers.get(*container)) {
            ("PUT", Some(_)) => Response::empty(202),
            ("PUT", None) => {
                containers.insert((*container).to_owned(), Container::default());
                Response::empty(201)
            }
            ("HEAD", Some(found)) => Response::empty(204)
                .with("X-Container-Object-Count", &found.objects.len().to_string()),
            ("GET", Some(found)) => {
                let names = found.objects.keys().map(String::as_str).collect();
                list(request, names, page_size, |name| {
                    let object = &found.objects[name];
                    json!({"name": name, "bytes": object.content.len(), "hash": object.etag(),
                           "content_type": object.content_type})
                })
            }
            (_, None) => not_found(),
            _ => Response::html(405, "Method Not Allowed"),
        },
        (method, [container, name @ ..]) => match containers.get_mut(*container) {
            Some(found) => object(found, request, method, &name.join("/")),
            None => not_found(),
        },
        _ => Response::html(405, "Method Not Allowed"),
    }
}

fn not_found() -> Response {
    Response::html(404, "Not Found")
}

fn object(container: &mut Container, request: &Request, method: &str, name: &str) -> Response {
    match method {
        "PUT" => {
            let content_type = request.header("content-type").unwrap_or("application/octet-stream");
            let object = Object {
                content: request.body.clone().unwrap_or_default(),
                content_type: content_type.to_owned(),
            };
            let etag = object.etag();
            container.objects.insert(name.to_owned(), object);
            Response::empty(201).with("Etag", &etag)
        }
        "GET" | "HEAD" => match container.objects.get(name) {
            Some(object) => Response::bytes(200, &object.content_type, &object.content)
                .with("Etag", &object.etag()),
            None => not_found(),
        },
        _ => Response::html(405, "Method Not Allowed"),
    }
}

/// A page of names, or of their descriptions by `describe`.
fn list(
    request: &Request,
    mut names: Vec<&str>,
    page_size: usize,
    describe: impl Fn(&str) -> Value,
) -> Response {
    let limit = request.query("limit").and_then(|text| text.parse().ok()).unwrap_or(MAX_NAMES);
    if limit > MAX_NAMES {
        return Response::html(412, "Precondition Failed");
    }
    if let Some(marker) = request.query("marker") {
        names.retain(|name| *name > marker.as_str());
    }
    names.truncate(limit.min(page_size));
    let is_json = request.query("format").as_deref() == Some("json")
        || request.header("accept") == Some("application/json");
    match is_json {
        true => Response::json(200, &names.into_iter().map(describe).collect()),
        false if names.is_empty() => Response::empty(204),
        false => {
            let text: String = names.iter().map(|name| format!("{name}\n")).collect();
            Response::bytes(200, "text/plain; charset=utf-8", text.as_bytes())
        }
    }
}

fn cdn_list(
    containers: &BTreeMap<String, Container>,
    request: &Request,
    page_size: usize,
) -> Response {
    let enabled = containers.iter().filter(|(_, container)| container.cdn_enabled);
    list(request, enabled.map(|(name, _)| name.as_str()).collect(), page_size, |name| {
        json!({
            "name": name, "cdn_enabled": true, "ttl": 259_200, "log_retention": false,
            "cdn_uri": format!("http://{name}.cdn.example"),
            "cdn_ssl_uri": format!("https://{name}.ssl.cdn.example"),
            "cdn_streaming_uri": format!("http://{name}.stream.cdn.example"),
            "cdn_ios_uri": format!("http://{name}.ios.cdn.example"),
        })
    })
}
