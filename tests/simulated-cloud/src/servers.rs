//! Cloud Servers v2.

use std::collections::BTreeMap;
use std::time::SystemTime;

use regex_lite::Regex;
use serde_json::{Map, Value, json};

use crate::identity::unauthorized;
use crate::wire::{Request, Response};
use crate::{Server, State, TENANT, actions, is_authorized};

pub(crate) fn answer(state: &mut State, request: &Request, base: &str) -> Response {
    if !is_authorized(state, request) {
        return unauthorized("Authentication required");
    }
    let now = state.now();
    if let Some(refused) =
        state.limits.as_mut().and_then(|limits| limits.count(&request.method, now))
    {
        return refused;
    }
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let [region, "v2", TENANT, rest @ ..] = &segments[..] else { return not_found() };
    let region = region.to_uppercase();
    match (request.method.as_str(), rest) {
        ("GET", ["servers", "detail"]) => {
            let response = list(state, request, &region, base);
            let seen = state.servers.iter_mut().filter(|server| server.region == region);
            seen.for_each(|server| advance(server, now));
            response
        }
        ("POST", ["servers"]) => actions::create(state, request, &region, base),
        (method, ["servers", id, rest @ ..]) => match state.servers.iter().position(|server| {
            server.region == region && server.id == *id && server.status != "DELETED"
        }) {
            Some(index) => server_request(state, request, index, method, rest, base),
            None => not_found(),
        },
        _ => Response::fault("itemNotFound", 404, "The resource could not be found."),
    }
}

fn not_found() -> Response {
    Response::fault("itemNotFound", 404, "Instance could not be found")
}

/// A request for a server moves it to its next status and then to its next automation status.
fn advance(server: &mut Server, now: SystemTime) {
    if let Some(status) = server.next.pop_front() {
        server.status = status;
    } else if let Some(status) = server.next_automation.pop_front() {
        server.metadata.insert("rackconnect_automation_status".to_owned(), status);
    } else {
        return;
    }
    server.updated = now;
}

fn server_request(
    state: &mut State,
    request: &Request,
    index: usize,
    method: &str,
    rest: &[&str],
    base: &str,
) -> Response {
    let now = state.now();
    let server = &mut state.servers[index];
    match (method, rest) {
        ("GET", []) => {
            let response = Response::json(200, &json!({"server": to_json(server)}));
            advance(server, now);
            response
        }
        ("DELETE", []) => {
            "DELETED".clone_into(&mut server.status);
            server.next.clear();
            server.updated = now;
            Response::empty(204)
        }
        ("GET", ["metadata"]) => Response::json(200, &json!({"metadata": server.metadata})),
        ("POST", ["metadata"]) => {
            let body = request.json().unwrap_or_default();
            match body["metadata"].as_object().and_then(strings) {
                Some(metadata) => {
                    server.metadata.extend(metadata);
                    server.updated = now;
                    Response::json(200, &json!({"metadata": server.metadata}))
                }
                None => malformed(),
            }
        }
        ("GET", ["metadata", key]) => match server.metadata.get(*key) {
            Some(value) => Response::json(200, &json!({"meta": {*key: value}})),
            None => Response::fault("itemNotFound", 404, "Metadata item was not found"),
        },
        ("PUT", ["metadata", key]) => {
            let body = request.json().unwrap_or_default();
            match body["meta"].as_object().and_then(strings) {
                Some(meta) if meta.len() == 1 && meta.contains_key(*key) => {
                    server.metadata.extend(meta);
                    server.updated = now;
                    Response::json(200, &json!({"meta": {*key: server.metadata[*key]}}))
                }
                _ => malformed(),
            }
        }
        ("POST", ["action"]) => actions::run_action(state, request, index, base),
        ("GET", ["os-instance-actions"]) => {
            let action = |(number, (action, time)): (usize, &(String, SystemTime))| {
                let start = humantime::format_rfc3339_seconds(*time).to_string();
                json!({"action": action, "request_id": format!("req-{number}"),
                       "user_id": "123456", "start_time": start})
            };
            let actions: Vec<Value> = server.actions.iter().enumerate().map(action).collect();
            Response::json(200, &json!({"instanceActions": actions}))
        }
        (_, [] | ["metadata" | "action", ..]) => {
            Response::fault("badMethod", 405, "The method is not allowed for this resource")
        }
        _ => Response::fault("itemNotFound", 404, "The resource could not be found."),
    }
}

pub(crate) fn malformed() -> Response {
    Response::fault("badRequest", 400, "The server could not comply with the request")
}

/// Metadata: strings of at most 255 characters.
pub(crate) fn strings(map: &Map<String, Value>) -> Option<BTreeMap<String, String>> {
    let text = |value: &Value| {
        let text = value.as_str()?;
        (text.chars().count() <= 255).then(|| text.to_owned())
    };
    map.iter().map(|(key, value)| Some((key.clone(), text(value)?))).collect()
}

fn list(state: &State, request: &Request, region: &str, base: &str) -> Response {
    let since = request.query("changes-since").map(|text| humantime::parse_rfc3339(&text));
    let since: Option<SystemTime> = match since {
        Some(Err(_)) => return Response::fault("badRequest", 400, "Invalid changes-since value"),
        Some(Ok(since)) => Some(since),
        None => None,
    };
    let name = request.query("name").map(|name| Regex::new(&name));
    let Ok(name) = name.transpose() else {
        return Response::fault("badRequest", 400, "Invalid name pattern");
    };
    let limit = request.query("limit").and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let limit = state.page_size.min(limit);
    let mut servers: Vec<&Server> = state
        .servers
        .iter()
        .filter(|server| server.region == region)
        .filter(|server| name.as_ref().is_none_or(|name| name.is_match(&server.name)))
        .filter(|server| match since {
            // Deleted servers are listed only here.
            Some(since) => server.updated >= since,
            None => server.status != "DELETED",
        })
        .collect();
    if let Some(marker) = request.query("marker") {
        match servers.iter().position(|server| server.id == marker) {
            Some(index) => drop(servers.drain(..=index)),
            None => return Response::fault("badRequest", 400, "marker not found"),
        }
    }
    let has_more = servers.len() > limit;
    servers.truncate(limit);
    let mut body =
        json!({"servers": servers.iter().map(|server| to_json(server)).collect::<Vec<_>>()});
    if let Some(last) = servers.last().filter(|_| has_more) {
        let path = request.path.split('?').next().unwrap_or_default();
        let href = format!("{base}{path}?limit={limit}&marker={}", last.id);
        body["servers_links"] = json!([{"rel": "next", "href": href}]);
    }
    Response::json(200, &body)
}

pub(crate) fn to_json(server: &Server) -> Value {
    let number = u32::from_str_radix(&server.id[..8], 16).unwrap_or(0) % 250 + 1;
    let updated = humantime::format_rfc3339_seconds(server.updated).to_string();
    let mut value = json!({
        "id": server.id, "name": server.name, "status": server.status, "progress": 100,
        "created": updated, "updated": updated, "accessIPv4": format!("203.0.113.{number}"),
        "addresses": {
            "public": [{"addr": "2001:db8::1", "version": 6},
                       {"addr": format!("203.0.113.{number}"), "version": 4}],
            "private": [{"addr": format!("10.180.0.{number}"), "version": 4}]},
        "metadata": server.metadata, "image": {"id": server.image},
        "flavor": {"id": server.flavor},
        "OS-EXT-STS:task_state": null,
    });
    if let Some(message) = &server.fault {
        value["fault"] = json!({"code": 500, "message": message});
    }
    value
}
