//! Actions on servers: create, reboot, resize, rebuild, create an image.

use std::collections::VecDeque;

use serde_json::json;

use crate::images::Image;
use crate::servers::{malformed, strings, to_json};
use crate::wire::{Request, Response};
use crate::{Server, State, TENANT};

/// The password of every new server.
const PASSWORD: &str = "simulated-password";

pub(crate) fn create(state: &mut State, request: &Request, region: &str, base: &str) -> Response {
    let body = request.json().unwrap_or_default();
    let wanted = &body["server"];
    let text = |key: &str| wanted[key].as_str();
    let (Some(name), Some(image), Some(flavor)) =
        (text("name"), text("imageRef"), text("flavorRef"))
    else {
        return malformed();
    };
    let no_metadata = serde_json::Map::new();
    let Some(metadata) = strings(wanted["metadata"].as_object().unwrap_or(&no_metadata)) else {
        return malformed();
    };
    let number = u32::try_from(state.servers.len()).unwrap_or(0) + 1;
    let mut server = Server::new(region, number, name, None);
    server.metadata = metadata;
    image.clone_into(&mut server.image);
    flavor.clone_into(&mut server.flavor);
    server.updated = state.now();
    become_status(&mut server, &["BUILD", "ACTIVE"]);
    server.next_automation = automation();
    let href = server_url(&server, base);
    let links = json!([{"rel": "self", "href": href}]);
    let body = json!({"server": {"id": server.id, "adminPass": PASSWORD, "links": links}});
    state.servers.push(server);
    Response::json(202, &body).with("Location", &href)
}

/// Carries out an action on the server with this index.
pub(crate) fn run_action(
    state: &mut State,
    request: &Request,
    index: usize,
    base: &str,
) -> Response {
    let body = request.json().unwrap_or_default();
    let Some((action, argument)) = body.as_object().and_then(|members| members.iter().next())
    else {
        return malformed();
    };
    let now = state.now();
    let server = &mut state.servers[index];
    let accepted = |response: Response| (true, response);
    let text = |key: &str| argument[key].as_str();
    let (is_done, response) = match (action.as_str(), server.status.as_str()) {
        ("confirmResize" | "revertResize", status) if status != "VERIFY_RESIZE" => {
            (false, conflict(status))
        }
        ("confirmResize", _) => {
            become_status(server, &["ACTIVE"]);
            accepted(Response::empty(204))
        }
        ("revertResize", _) => {
            become_status(server, &["REVERT_RESIZE", "ACTIVE"]);
            accepted(Response::empty(202))
        }
        (_, "BUILD") => {
            (false, Response::fault("buildInProgress", 409, "The server is being built"))
        }
        (_, status) if status != "ACTIVE" => (false, conflict(status)),
        ("reboot", _) => match text("type") {
            Some(kind @ ("SOFT" | "HARD")) => {
                let status = if kind == "HARD" { "HARD_REBOOT" } else { "REBOOT" };
                become_status(server, &[status, "ACTIVE"]);
                accepted(Response::empty(202))
            }
            _ => (false, malformed()),
        },
        ("resize", _) => match text("flavorRef") {
            Some(flavor) => {
                flavor.clone_into(&mut server.flavor);
                become_status(server, &["RESIZE", "VERIFY_RESIZE"]);
                accepted(Response::empty(202))
            }
            None => (false, malformed()),
        },
        ("rebuild", _) => match text("imageRef") {
            Some(image) => {
                image.clone_into(&mut server.image);
                become_status(server, &["REBUILD", "ACTIVE"]);
                server.next_automation = automation();
                let mut body = json!({"server": to_json(server)});
                body["server"]["adminPass"] = json!(PASSWORD);
                accepted(Response::json(202, &body))
            }
            None => (false, malformed()),
        },
        ("createImage", _) => match text("name") {
            Some(name) => {
                let image = Image::new(&server.region, state.images.len() + 1, name);
                let region = server.region.to_lowercase();
                let url = format!("{base}/{region}/v2/{TENANT}/images/{}", image.id);
                state.images.push(image);
                accepted(Response::empty(202).with("Location", &url))
            }
            None => (false, malformed()),
        },
        _ => (false, malformed()),
    };
    if is_done {
        server.updated = now;
        server.actions.push((action.clone(), now));
    }
    response
}

/// The automation statuses of a new server. Its metadata appears late.
fn automation() -> VecDeque<String> {
    ["DEPLOYING", "DEPLOYED"].map(str::to_owned).into()
}

fn conflict(status: &str) -> Response {
    let message = format!("Cannot do this while the instance is in status {status}");
    Response::fault("conflictingRequest", 409, &message)
}

/// Sets the first status. The others follow when the server is requested.
fn become_status(server: &mut Server, statuses: &[&str]) {
    let mut statuses = statuses.iter().map(|status| (*status).to_owned());
    server.status = statuses.next().unwrap_or_default();
    server.next = statuses.collect();
}

fn server_url(server: &Server, base: &str) -> String {
    format!("{base}/{}/v2/{TENANT}/servers/{}", server.region.to_lowercase(), server.id)
}
