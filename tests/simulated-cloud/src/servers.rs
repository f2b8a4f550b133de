//! Cloud Servers v2.

use std::time::SystemTime;

use regex_lite::Regex;
use serde_json::{Value, json};

use crate::identity::unauthorized;
use crate::wire::{Request, Response};
use crate::{Server, State, TENANT, is_authorized};

pub(crate) fn answer(state: &mut State, request: &Request, base: &str) -> Response {
    if !is_authorized(state, request) {
        return unauthorized("Authentication required");
    }
    let path = request.path.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let [region, "v2", TENANT, rest @ ..] = &segments[..] else { return not_found() };
    let region = region.to_uppercase();
    match (request.method.as_str(), rest) {
        ("GET", ["servers", "detail"]) => list(state, request, &region, base),
        ("GET", ["servers", id]) => match find(state, &region, id) {
            Some(server) => Response::json(200, &json!({"server": to_json(server)})),
            None => not_found(),
        },
        ("GET", ["servers", id, "metadata"]) => match find(state, &region, id) {
            Some(server) => Response::json(200, &json!({"metadata": server.metadata})),
            None => not_found(),
        },
        _ => Response::fault("itemNotFound", 404, "The resource could not be found."),
    }
}

fn not_found() -> Response {
    Response::fault("itemNotFound", 404, "Instance could not be found")
}

fn find<'a>(state: &'a State, region: &str, id: &str) -> Option<&'a Server> {
    let is_it = |server: &&Server| server.region == region && server.id == id;
    state.servers.iter().find(is_it).filter(|server| server.status != "DELETED")
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
            // Deleted servers are listed here alone.
            Some(since) => server.updated >= since,
            None => server.status != "DELETED",
        })
        .collect();
    if let Some(marker) = request.query("marker") {
        match servers.iter().position(|server| server.id == marker) {
            Some(at) => drop(servers.drain(..=at)),
            None => return Response::fault("badRequest", 400, "marker not found"),
        }
    }
    let has_more = servers.len() > limit;
    servers.truncate(limit);
    let mut body = json!({"servers": servers.iter().map(|it| to_json(it)).collect::<Vec<_>>()});
    if let Some(last) = servers.last().filter(|_| has_more) {
        let path = request.path.split('?').next().unwrap_or_default();
        let href = format!("{base}{path}?limit={limit}&marker={}", last.id);
        body["servers_links"] = json!([{"rel": "next", "href": href}]);
    }
    Response::json(200, &body)
}

fn to_json(server: &Server) -> Value {
    let number = u32::from_str_radix(&server.id[..8], 16).unwrap_or(0) % 250 + 1;
    let updated = humantime::format_rfc3339_seconds(server.updated).to_string();
    let mut value = json!({
        "id": server.id, "name": server.name, "status": server.status, "progress": 100,
        "created": updated, "updated": updated, "accessIPv4": format!("203.0.113.{number}"),
        "addresses": {
            "public": [{"addr": "2001:db8::1", "version": 6},
                       {"addr": format!("203.0.113.{number}"), "version": 4}],
            "private": [{"addr": format!("10.180.0.{number}"), "version": 4}]},
        "metadata": server.metadata, "image": {"id": "image"}, "flavor": {"id": "2"},
        "OS-EXT-STS:task_state": null,
    });
    if let Some(message) = &server.fault {
        value["fault"] = json!({"code": 500, "message": message});
    }
    value
}
