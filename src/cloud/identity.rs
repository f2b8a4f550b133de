//! Identity v2.0: the bodies of the requests for a token, and the response with the token and the
//! catalog.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::catalog::Catalog;
use super::date::parse_timestamp;
use crate::config::credentials::{Credentials, Proof, Tenant};
use crate::model::Secret;

/// More than any body has, unless a secret is thousands of characters long.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// The result of an authentication.
#[derive(Clone, Debug)]
pub struct Access {
    /// The token.
    pub token: Secret,
    /// When it expires, by Identity's clock.
    pub expires: SystemTime,
    /// The user's name.
    pub user: String,
    /// The account.
    pub tenant: String,
    /// The services.
    pub catalog: Catalog,
}

/// A value of a body, with borrowed secrets.
enum Member<'a> {
    Text(&'a str),
    Object(BTreeMap<&'a str, &'a str>),
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Member::Text(text) => serializer.serialize_str(text),
            Member::Object(members) => members.serialize(serializer),
        }
    }
}

/// A body, in memory that is wiped. It does not grow, since that would leave a copy behind.
fn body(auth: &BTreeMap<&str, Member>) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_BODY_BYTES));
    serde_json::to_writer(&mut *body, &BTreeMap::from([("auth", auth)]))
        .expect("strings are JSON, and memory can be written");
    body
}

fn proof<'a>(username: &'a str, name: &'a str, secret: &'a Secret) -> Member<'a> {
    Member::Object([("username", username), (name, secret.expose())].into())
}

/// The body of the first step. `password`: the password that was read from the terminal, if the
/// credentials have no proof.
pub fn authentication(
    username: &str,
    credentials: &Credentials,
    password: Option<&Secret>,
) -> Zeroizing<Vec<u8>> {
    let mut auth = BTreeMap::new();
    match (&credentials.proof, password) {
        (Proof::ApiKey(key), _) => {
            auth.insert("RAX-KSKEY:apiKeyCredentials", proof(username, "apiKey", key));
        }
        (Proof::Password(password), _) | (Proof::Ask, Some(password)) => {
            auth.insert("passwordCredentials", proof(username, "password", password));
        }
        (Proof::Token(token), _) => {
            auth.insert("token", Member::Object([("id", token.expose())].into()));
        }
        (Proof::Ask, None) => {}
    }
    match &credentials.tenant {
        Some(Tenant::Id(id)) => auth.insert("tenantId", Member::Text(id)),
        Some(Tenant::Name(name)) => auth.insert("tenantName", Member::Text(name)),
        None => None,
    };
    body(&auth)
}

/// The body of the second step.
pub fn second_factor(passcode: &Secret) -> Zeroizing<Vec<u8>> {
    let passcode = Member::Object([("passcode", passcode.expose())].into());
    body(&[("RAX-AUTH:passcodeCredentials", passcode)].into())
}

/// The session of the second step, from `WWW-Authenticate: OS-MF sessionId='…'`.
pub fn session_of(challenge: &str) -> Option<Secret> {
    let rest = challenge.trim().strip_prefix("OS-MF")?;
    let (_, rest) = rest.split_once("sessionId='")?;
    let (session, _) = rest.split_once('\'')?;
    (!session.is_empty()).then(|| Secret::new(session.to_owned()))
}

/// Reads the response.
///
/// # Errors
/// What is missing in it: the end of a sentence.
pub fn access(body: &[u8]) -> Result<Access, &'static str> {
    let body: Value = serde_json::from_slice(body).map_err(|_| "is not JSON")?;
    let access = &body["access"];
    let token = access["token"]["id"].as_str().ok_or("has no token")?;
    // It is sent in a header.
    if token.is_empty() || token.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("has an invalid token");
    }
    let expires = access["token"]["expires"].as_str().and_then(parse_timestamp);
    Ok(Access {
        token: Secret::new(token.to_owned()),
        expires: expires.ok_or("does not say when the token expires")?,
        user: access["user"]["name"].as_str().unwrap_or_default().to_owned(),
        tenant: access["token"]["tenant"]["id"].as_str().unwrap_or_default().to_owned(),
        catalog: Catalog::from_identity(&access["serviceCatalog"])
            .ok_or("has a service catalog that is not a list")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(proof: Proof, tenant: Option<Tenant>, asked: Option<&Secret>) -> String {
        let credentials = Credentials { username: None, proof, tenant };
        String::from_utf8(authentication("jsmith", &credentials, asked).to_vec()).unwrap()
    }

    #[test]
    fn the_bodies_are_those_of_the_documentation() {
        let secret = || Secret::new("s".to_owned());
        assert_eq!(
            body(Proof::ApiKey(secret()), None, None),
            r#"{"auth":{"RAX-KSKEY:apiKeyCredentials":{"apiKey":"s","username":"jsmith"}}}"#
        );
        let password = r#"{"auth":{"passwordCredentials":{"password":"s","username":"jsmith"}}}"#;
        assert_eq!(body(Proof::Password(secret()), None, None), password);
        assert_eq!(body(Proof::Ask, None, Some(&secret())), password);
        assert_eq!(
            body(Proof::Token(secret()), Some(Tenant::Id("11".to_owned())), None),
            r#"{"auth":{"tenantId":"11","token":{"id":"s"}}}"#
        );
    }

    #[test]
    fn the_session_of_a_second_factor() {
        let session = session_of("OS-MF sessionId='LONG', factor='PASSCODE'");
        assert_eq!(session.as_ref().map(Secret::expose), Some("LONG"));
        assert!(session_of("Keystone uri='x'").is_none());
        assert!(session_of("OS-MF sessionId=''").is_none());
    }

    #[test]
    fn responses_that_are_not_an_access() {
        for (body, says) in [
            ("<html>", "is not JSON"),
            ("{}", "has no token"),
            (r#"{"access": {"token": {"id": "a b"}}}"#, "has an invalid token"),
            (r#"{"access": {"token": {"id": "a"}}}"#, "does not say when the token expires"),
            (
                r#"{"access": {"token": {"id": "a", "expires": "2099-01-01T00:00:00Z"},
                    "serviceCatalog": 7}}"#,
                "has a service catalog that is not a list",
            ),
        ] {
            assert_eq!(access(body.as_bytes()).unwrap_err(), says, "{body}");
        }
    }
}
