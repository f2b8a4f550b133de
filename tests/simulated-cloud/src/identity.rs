//! Identity v2.0.

use std::thread;

use serde_json::{Value, json};

use crate::wire::{Request, Response};
use crate::{REGIONS, Shared, State, TENANT, Token, User, is_authorized};

/// The session of a second factor.
const SESSION: &str = "SIMULATED-SESSION-OF-THE-SECOND-FACTOR";

const ADDITIONAL: &str = "Additional authentication credentials required.";
const WRONG: &str = "Unable to authenticate user with credentials provided.";
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
            Response::text(204, "")
        }
        _ => Response::fault("itemNotFound", 404, "Resource not found"),
    }
}

pub(crate) fn unauthorized(message: &str) -> Response {
    Response::fault("unauthorized", 401, message)
}

fn authenticate(state: &mut State, request: &Request, base: &str) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return Response::fault("badRequest", 400, MALFORMED);
    };
    let auth = &body["auth"];
    if let Some(tenant) = auth["tenantId"].as_str().or(auth["tenantName"].as_str())
        && tenant != TENANT
    {
        return unauthorized(WRONG);
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
            None => unauthorized(WRONG),
        }
    } else if password.is_object() {
        match user(password).filter(|user| password["password"] == user.password.as_str()) {
            Some(user) => first_factor(state, &user, base),
            None => unauthorized(WRONG),
        }
    } else if let Some(passcode) = passcode.as_str() {
        let is_right = |user: &&User| user.passcode.as_deref() == Some(passcode);
        match state.users.iter().find(is_right).cloned() {
            Some(user) if request.header("x-sessionid") == Some(SESSION) => {
                granted(state, &user, base)
            }
            _ => unauthorized(WRONG),
        }
    } else if let Some(id) = token {
        let user = state.users[0].clone();
        match state.tokens.get(id) {
            Some(token) if !token.is_revoked && auth["tenantId"].is_string() => {
                granted(state, &user, base)
            }
            _ => unauthorized(WRONG),
        }
    } else {
        Response::fault("badRequest", 400, MALFORMED)
    }
}

fn first_factor(state: &mut State, user: &User, base: &str) -> Response {
    match user.passcode {
        None => granted(state, user, base),
        Some(_) => unauthorized(ADDITIONAL)
            .with("WWW-Authenticate", &format!("OS-MF sessionId='{SESSION}', factor='PASSCODE'")),
    }
}

/// A token that is still valid is given again.
fn granted(state: &mut State, user: &User, base: &str) -> Response {
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
    let compute: Vec<Value> = REGIONS
        .iter()
        .map(|region| {
            let url = format!("{base}/{}/v2/{TENANT}", region.to_lowercase());
            json!({"publicURL": url, "region": region, "tenantId": TENANT})
        })
        .collect();
    let expires = humantime::format_rfc3339_millis(expires).to_string();
    Response::json(
        200,
        &json!({"access": {
            "token": {"id": id, "expires": expires, "tenant": {"id": TENANT, "name": TENANT}},
            "serviceCatalog": [
                {"name": "cloudServersOpenStack", "type": "compute", "endpoints": compute},
                {"name": "cloudDNS", "type": "rax:dns", "endpoints": [
                    {"publicURL": format!("{base}/dns/v1.0/{TENANT}"), "tenantId": TENANT}]}],
            "user": {"id": "123456", "name": user.username, "RAX-AUTH:defaultRegion": "ORD"}}}),
    )
}
