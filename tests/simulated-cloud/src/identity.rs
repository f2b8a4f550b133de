//! Identity v2.0.

use std::thread;

use serde_json::{Value, json};

use crate::wire::{Request, Response};
use crate::{
    REGIONS, STORAGE_REGIONS, STORAGE_TENANT, Shared, State, TENANT, Token, User, is_authorized,
};

/// The session of a second factor.
const SESSION: &str = "SIMULATED-SESSION-OF-THE-SECOND-FACTOR";

const SECOND_FACTOR_NEEDED: &str = "Additional authentication credentials required.";
const WRONG_CREDENTIALS: &str = "Unable to authenticate user with credentials provided.";
const MALFORMED: &str =
    "Invalid request body: unable to parse Auth data. Please review XML or JSON formatting";

pub(crate) fn answer(shared: &Shared, request: &Request, path: &str) -> Response {
    match (request.method.as_str(), path) {
        ("POST", "tokens") => {
            let time = shared.state().authentication_time;
            thread::sleep(time);
            authenticate(&mut shared.state(), request, &shared.base())
        }
        ("DELETE", "tokens") => {
            let mut state = shared.state();
            if !is_authorized(&state, request) {
                return unauthorized("No valid token provided.");
            }
            let id = request.header("x-auth-token").unwrap_or_default();
            if let Some(token) = state.tokens.get_mut(id) {
                token.is_revoked = true;
            }
            Response::empty(204)
        }
        ("GET", "tenants" | "users") => {
            let state = shared.state();
            if !is_authorized(&state, request) {
                return unauthorized("No valid token provided.");
            }
            match path {
                "tenants" => Response::json(200, &tenants()),
                _ => Response::json(200, &users(&state)),
            }
        }
        _ => Response::fault("itemNotFound", 404, "Resource not found"),
    }
}

fn tenants() -> Value {
    json!({"tenants": [{"id": TENANT, "name": TENANT}]})
}

fn users(state: &State) -> Value {
    let user = |(number, user): (usize, &User)| {
        json!({"id": (123_456 + number).to_string(), "username": user.username, "enabled": true,
               "RAX-AUTH:defaultRegion": "ORD"})
    };
    json!({"users": state.users.iter().enumerate().map(user).collect::<Vec<_>>()})
}

pub(crate) fn unauthorized(message: &str) -> Response {
    Response::fault("unauthorized", 401, message)
}

fn authenticate(state: &mut State, request: &Request, base: &str) -> Response {
    let Some(body) = request.json() else {
        return Response::fault("badRequest", 400, MALFORMED);
    };
    let auth = &body["auth"];
    if let Some(tenant) = auth["tenantId"].as_str().or(auth["tenantName"].as_str())
        && tenant != TENANT
    {
        return unauthorized(WRONG_CREDENTIALS);
    }
    let user = |value: &Value| {
        state.users.iter().find(|user| value["username"] == user.username.as_str()).cloned()
    };
    let key = &auth["RAX-KSKEY:apiKeyCredentials"];
    let password = &auth["passwordCredentials"];
    let passcode = &auth["RAX-AUTH:passcodeCredentials"]["passcode"];
    let token = auth["token"]["id"].as_str();
    if key.is_object() {
        match user(key).filter(|user| key["apiKey"] == user.api_key.as_str()) {
            Some(user) => first_factor(state, &user, base),
            None => unauthorized(WRONG_CREDENTIALS),
        }
    } else if password.is_object() {
        match user(password).filter(|user| password["password"] == user.password.as_str()) {
            Some(user) => first_factor(state, &user, base),
            None => unauthorized(WRONG_CREDENTIALS),
        }
    } else if let Some(passcode) = passcode.as_str() {
        let is_right = |user: &&User| user.passcode.as_deref() == Some(passcode);
        match state.users.iter().find(is_right).cloned() {
            Some(user) if request.header("x-sessionid") == Some(SESSION) => {
                grant_token(state, &user, base)
            }
            _ => unauthorized(WRONG_CREDENTIALS),
        }
    } else if let Some(id) = token {
        let user = state.users[0].clone();
        match state.tokens.get(id) {
            Some(token) if !token.is_revoked && auth["tenantId"].is_string() => {
                grant_token(state, &user, base)
            }
            _ => unauthorized(WRONG_CREDENTIALS),
        }
    } else {
        Response::fault("badRequest", 400, MALFORMED)
    }
}

fn first_factor(state: &mut State, user: &User, base: &str) -> Response {
    match user.passcode {
        None => grant_token(state, user, base),
        Some(_) => unauthorized(SECOND_FACTOR_NEEDED)
            .with("WWW-Authenticate", &format!("OS-MF sessionId='{SESSION}', factor='PASSCODE'")),
    }
}

/// A token that is still valid is returned again.
fn grant_token(state: &mut State, user: &User, base: &str) -> Response {
    let now = state.now();
    let valid = state.tokens.iter().find(|(_, token)| !token.is_revoked && token.expires > now);
    let (id, expires) = match valid {
        Some((id, token)) => (id.clone(), token.expires),
        None => {
            // Longer than a hundred characters.
            let id = format!("AAB{:0>110}", state.tokens.len() + 1);
            let expires = now + state.token_lifetime;
            state.tokens.insert(id.clone(), Token { expires, is_revoked: false });
            (id, expires)
        }
    };
    let expires = humantime::format_rfc3339_millis(expires).to_string();
    Response::json(
        200,
        &json!({"access": {
            "token": {"id": id, "expires": expires, "tenant": {"id": TENANT, "name": TENANT}},
            "serviceCatalog": catalog(base),
            "user": {"id": "123456", "name": user.username, "RAX-AUTH:defaultRegion": "ORD"}}}),
    )
}

fn catalog(base: &str) -> Value {
    let endpoints = |regions: &[&str], path: &dyn Fn(&str) -> String, tenant: &str| -> Value {
        let endpoint = |region: &&str| {
            let url = format!("{base}/{}", path(&region.to_lowercase()));
            json!({"publicURL": url, "region": region, "tenantId": tenant})
        };
        regions.iter().map(endpoint).collect()
    };
    let service = |name: &str, service_type: &str, endpoints: Value| json!({"name": name, "type": service_type, "endpoints": endpoints});
    let compute = endpoints(&REGIONS, &|region| format!("{region}/v2/{TENANT}"), TENANT);
    let storage = |service: &'static str| {
        let path = move |region: &str| format!("{service}/{region}/v1/{STORAGE_TENANT}");
        endpoints(&STORAGE_REGIONS, &path, STORAGE_TENANT)
    };
    let images = endpoints(&STORAGE_REGIONS, &|region| format!("images/{region}/v2"), TENANT);
    let dns = json!([{"publicURL": format!("{base}/dns/v1.0/{TENANT}"), "tenantId": TENANT}]);
    json!([
        service("cloudServersOpenStack", "compute", compute),
        service("cloudFiles", "object-store", storage("files")),
        service("cloudFilesCDN", "rax:object-cdn", storage("cdn")),
        service("cloudImages", "image", images),
        service("cloudDNS", "rax:dns", dns),
    ])
}
