//! Cloud Images v2, as far as it is documented: images with members and tags, and import and export
//! tasks. Each request for a task advances it by one step.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::files::Object;
use crate::identity::unauthorized;
use crate::wire::{Request, Response};
use crate::{State, TENANT, is_authorized};

/// The media type of a JSON patch.
const PATCH_TYPE: &str = "application/openstack-images-v2.1-json-patch";

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The region in capitals.
    pub region: String,
    /// The id.
    pub id: String,
    /// The name.
    pub name: String,
    /// The tags.
    pub tags: BTreeSet<String>,
    /// The accounts that it is shared with, and whether they have accepted it.
    pub members: BTreeMap<String, String>,
    /// Other properties, by name.
    pub properties: Map<String, Value>,
}

impl Image {
    /// A private image.
    pub fn new(region: &str, number: usize, name: &str) -> Image {
        Image {
            region: region.to_owned(),
            id: format!("{number:08x}-1111-4000-8000-000000000000"),
            name: name.to_owned(),
            tags: BTreeSet::new(),
            members: BTreeMap::new(),
            properties: Map::new(),
        }
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "id": self.id, "name": self.name, "status": "active", "visibility": "private",
            "protected": false, "tags": self.tags, "self": format!("/v2/images/{}", self.id),
            "file": format!("/v2/images/{}/file", self.id),
        });
        for (name, property) in &self.properties {
            value[name] = property.clone();
        }
        value
    }
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    region: String,
    id: String,
    kind: String,
    input: Value,
    status: &'static str,
}

pub(crate) fn answer(state: &mut State, request: &Request) -> Response {
    if !is_authorized(state, request) {
        return unauthorized("Authentication required");
    }
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["images", region, "v2", path @ ..] = &segments[..] else { return not_found() };
    let region = region.to_uppercase();
    match (request.method.as_str(), path) {
        ("GET", ["images"]) => list(state, request, &region),
        ("POST", ["tasks"]) => create_task(state, request, &region),
        ("GET", ["tasks", id]) => show_task(state, &region, id),
        (_, ["images", id, rest @ ..]) => {
            let is_wanted = |image: &&mut Image| image.region == region && image.id == *id;
            match state.images.iter_mut().find(is_wanted) {
                Some(image) => image_request(image, request, rest),
                None => not_found(),
            }
        }
        _ => not_found(),
    }
}

fn not_found() -> Response {
    Response::html(404, "Not Found")
}

fn list(state: &State, request: &Request, region: &str) -> Response {
    let mut images: Vec<&Image> =
        state.images.iter().filter(|image| image.region == region).collect();
    if let Some(marker) = request.query("marker") {
        match images.iter().position(|image| image.id == marker) {
            Some(at) => drop(images.drain(..=at)),
            None => return Response::html(400, "Bad Request"),
        }
    }
    let has_more = images.len() > state.page_size;
    images.truncate(state.page_size);
    let mut body =
        json!({"images": images.iter().map(|image| image.to_json()).collect::<Vec<_>>()});
    if let Some(last) = images.last().filter(|_| has_more) {
        // A path of the service itself, without the prefix of the front end.
        body["next"] = json!(format!("/v2/images?marker={}", last.id));
    }
    Response::json(200, &body)
}

fn image_request(image: &mut Image, request: &Request, rest: &[&str]) -> Response {
    match (request.method.as_str(), rest) {
        ("GET", []) => Response::json(200, &image.to_json()),
        ("PATCH", []) => patch(image, request),
        ("PUT", ["tags", tag]) => {
            image.tags.insert((*tag).to_owned());
            Response::empty(204)
        }
        ("DELETE", ["tags", tag]) => {
            if image.tags.remove(*tag) {
                Response::empty(204)
            } else {
                not_found()
            }
        }
        ("GET", ["members"]) => {
            let members: Vec<Value> =
                image.members.keys().filter_map(|member| to_member(image, member)).collect();
            Response::json(200, &json!({"members": members}))
        }
        ("POST", ["members"]) => {
            let body = request.json().unwrap_or_default();
            let Some(member) = body["member"].as_str() else {
                return Response::html(400, "Bad Request");
            };
            image.members.insert(member.to_owned(), "pending".to_owned());
            Response::json(200, &to_member(image, member).unwrap_or_default())
        }
        ("PUT", ["members", member]) => {
            let body = request.json().unwrap_or_default();
            match (image.members.get_mut(*member), body["status"].as_str()) {
                (Some(status), Some(new)) => new.clone_into(status),
                (None, _) => return not_found(),
                (_, None) => return Response::html(400, "Bad Request"),
            }
            Response::json(200, &to_member(image, member).unwrap_or_default())
        }
        ("DELETE", ["members", member]) => match image.members.remove(*member) {
            Some(_) => Response::empty(204),
            None => not_found(),
        },
        _ => not_found(),
    }
}

fn to_member(image: &Image, member: &str) -> Option<Value> {
    let status = image.members.get(member)?;
    Some(json!({"image_id": image.id, "member_id": member, "status": status}))
}

/// Changes the name and other properties, by JSON patches of one level.
fn patch(image: &mut Image, request: &Request) -> Response {
    if request.header("content-type") != Some(PATCH_TYPE) {
        return Response::html(415, "Unsupported Media Type");
    }
    let Some(Value::Array(changes)) = request.json() else {
        return Response::html(400, "Bad Request");
    };
    for change in changes {
        let name = change["path"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
        match (change["op"].as_str(), name.as_str(), change["value"].as_str()) {
            (Some("replace"), "name", Some(value)) => value.clone_into(&mut image.name),
            (Some("add" | "replace"), _, Some(value)) if !name.is_empty() => {
                image.properties.insert(name, json!(value));
            }
            (Some("remove"), _, _) if image.properties.remove(&name).is_some() => {}
            _ => return Response::html(409, "Conflict"),
        }
    }
    Response::json(200, &image.to_json())
}

fn create_task(state: &mut State, request: &Request, region: &str) -> Response {
    let body = request.json().unwrap_or_default();
    let input = &body["input"];
    let is_complete = match body["type"].as_str() {
        Some("export") => {
            input["image_uuid"].is_string() && input["receiving_swift_container"].is_string()
        }
        Some("import") => {
            input["import_from"].is_string() && input["image_properties"]["name"].is_string()
        }
        _ => false,
    };
    if !is_complete {
        return Response::html(400, "Bad Request");
    }
    let task = Task {
        region: region.to_owned(),
        id: format!("{:08x}-2222-4000-8000-000000000000", state.tasks.len() + 1),
        kind: body["type"].as_str().unwrap_or_default().to_owned(),
        input: input.clone(),
        status: "pending",
    };
    let response = Response::json(201, &task_to_json(&task));
    state.tasks.push(task);
    response
}

fn show_task(state: &mut State, region: &str, id: &str) -> Response {
    let is_wanted = |task: &Task| task.region == region && task.id == id;
    let Some(at) = state.tasks.iter().position(is_wanted) else { return not_found() };
    let response = Response::json(200, &task_to_json(&state.tasks[at]));
    let task = state.tasks[at].clone();
    state.tasks[at].status = match task.status {
        "pending" => "processing",
        "processing" if carry_out(state, &task) => "success",
        "processing" => "failure",
        last => last,
    };
    response
}

fn task_to_json(task: &Task) -> Value {
    json!({"id": task.id, "type": task.kind, "status": task.status, "input": task.input,
           "owner": TENANT, "self": format!("/v2/tasks/{}", task.id)})
}

/// Carries out a task. False if something that it needs does not exist.
fn carry_out(state: &mut State, task: &Task) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let containers = state.containers.entry(task.region.clone()).or_default();
    if task.kind == "import" {
        let from = text(&task.input["import_from"]);
        let (container, object) = from.split_once('/').unwrap_or((&from, ""));
        let is_there = containers
            .get(container)
            .is_some_and(|container| container.objects.contains_key(object));
        if is_there {
            let name = text(&task.input["image_properties"]["name"]);
            let number = state.images.len() + 1;
            state.images.push(Image::new(&task.region, number, &name));
        }
        return is_there;
    }
    let id = text(&task.input["image_uuid"]);
    let is_there = state.images.iter().any(|image| image.region == task.region && image.id == id);
    match containers.get_mut(&text(&task.input["receiving_swift_container"])) {
        Some(container) if is_there => {
            let object = Object {
                content: b"simulated image".to_vec(),
                content_type: "application/octet-stream".to_owned(),
            };
            container.objects.insert(format!("{id}.vhd"), object);
            true
        }
        _ => false,
    }
}
