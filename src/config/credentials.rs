//! Credentials for Rackspace Cloud Identity: from the environment, or from a profile in
//! `~/.config/rackconnect/credentials.toml`. Never from the command line, which every user of the
//! machine can read.

use std::env;
use std::path::{Path, PathBuf};

use toml_span::value::{Value, ValueInner};

use crate::cli::values;
use crate::error::{Error, Result};
use crate::model::Secret;
use crate::state::file;

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The keys of a profile in the file, each with its variables in the environment: first that of
/// Rackspace's own tools, then those of OpenStack's.
const KEYS: [(&str, &[&str]); 8] = [
    ("username", &["RAX_USERNAME", "OS_USERNAME"]),
    ("api_key", &["RAX_API_KEY"]),
    ("password", &["RAX_PASSWORD", "OS_PASSWORD"]),
    ("token", &["RAX_TOKEN", "OS_TOKEN"]),
    ("tenant_id", &["RAX_TENANT_ID", "OS_TENANT_ID", "OS_PROJECT_ID"]),
    ("tenant_name", &["OS_TENANT_NAME", "OS_PROJECT_NAME"]),
    ("region", &["RAX_REGION", "OS_REGION_NAME"]),
    // `RAX_IDENTITY_URL` is the variable of `--identity-url`.
    ("identity_url", &["OS_AUTH_URL"]),
];

/// The variables with secrets, which are removed from the environment of child processes.
pub const SECRET_VARIABLES: [&str; 5] =
    ["RAX_API_KEY", "RAX_PASSWORD", "OS_PASSWORD", "RAX_TOKEN", "OS_TOKEN"];

/// The proof of the user's identity.
#[derive(Clone, Debug)]
pub enum Proof {
    /// An API key.
    ApiKey(Secret),
    /// A password.
    Password(Secret),
    /// A token from another program, which is exchanged for one of the tenant.
    Token(Secret),
    /// None: a password is read from the terminal.
    Ask,
}

/// An account of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// By its number.
    Id(String),
    /// By its name.
    Name(String),
}

/// A user and the proof of the user's identity.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name; none if it is read from the terminal, or implied by a token.
    pub username: Option<String>,
    /// The proof.
    pub proof: Proof,
    /// The account, if it is given.
    pub tenant: Option<Tenant>,
}

/// Credentials, and the other settings of a profile or of the environment.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The credentials.
    pub credentials: Credentials,
    /// The region.
    pub region: Option<String>,
    /// The URL of Identity, without a slash at its end, if it belongs to these credentials.
    pub identity_url: Option<String>,
}

/// Builds a profile from one source: `get` returns the source's values of [`KEYS`].
fn profile_of(get: impl Fn(&str) -> Option<String>) -> Profile {
    let secret = |key| get(key).map(Secret::new);
    let proof = secret("api_key")
        .map(Proof::ApiKey)
        .or_else(|| secret("password").map(Proof::Password))
        .or_else(|| secret("token").map(Proof::Token))
        .unwrap_or(Proof::Ask);
    let tenant = get("tenant_id").map(Tenant::Id).or_else(|| get("tenant_name").map(Tenant::Name));
    let credentials = Credentials { username: get("username"), proof, tenant };
    Profile { credentials, region: get("region"), identity_url: get("identity_url") }
}

/// Finds the credentials: those of the profile `named`; else those of the environment; else those
/// of the profile `default`. Without any of them they are read from the terminal later.
///
/// # Errors
/// The file is not private, is not TOML, or has no such profile; or the credentials are incomplete.
pub fn find(named: Option<&str>) -> Result<Profile> {
    let environment = environment()?;
    let is_in_environment = !matches!(environment.credentials.proof, Proof::Ask)
        || environment.credentials.username.is_some();
    let from_file = if named.is_none() && is_in_environment { None } else { from_file(named)? };
    let profile = match from_file {
        Some(profile) => Profile { region: set("RAX_REGION").or(profile.region), ..profile },
        None => environment,
    };
    check(&profile.credentials)?;
    Ok(profile)
}

/// The credentials of the environment. The variables of OpenStack's clients may be for another
/// cloud, which must not get the key of this one. So they count only if those of Rackspace's tools
/// have no credentials.
fn environment() -> Result<Profile> {
    let has_credentials = |prefix: &str| {
        let keys = ["username", "api_key", "password", "token"];
        let mut variables = keys.into_iter().flat_map(variables_of);
        variables.any(|name| name.starts_with(prefix) && set(name).is_some())
    };
    let is_openstack = !has_credentials("RAX_") && has_credentials("OS_");
    let mut profile = profile_of(|key| {
        let variables = variables_of(key);
        variables.filter(|name| is_openstack || !name.starts_with("OS_")).find_map(set)
    });
    if let Some(url) = &mut profile.identity_url {
        *url =
            values::identity_url(url).map_err(|err| Error::usage(format!("OS_AUTH_URL: {err}")))?;
    }
    Ok(profile)
}

fn check(credentials: &Credentials) -> Result<()> {
    match (&credentials.proof, &credentials.username, &credentials.tenant) {
        (Proof::Token(_), _, None) => Err(Error::usage(
            "a token needs the account it is for: set RAX_TENANT_ID (tenant_id in a profile)",
        )),
        (Proof::ApiKey(_) | Proof::Password(_), None, _) => Err(Error::usage(
            "the credentials have no user name: set RAX_USERNAME (username in a profile)",
        )),
        _ => Ok(()),
    }
}

fn variables_of(key: &str) -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().filter(move |(name, _)| *name == key).flat_map(|(_, names)| names).copied()
}

/// The value of a variable that is set.
fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The path of the file; none without a home directory.
fn path() -> Option<PathBuf> {
    let config = match env::var_os("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(&env::var_os("HOME").filter(|dir| !dir.is_empty())?).join(".config"),
    };
    Some(config.join("rackconnect/credentials.toml"))
}

/// The profile `named`, which has to exist, or else the profile `default`, if there is one.
fn from_file(named: Option<&str>) -> Result<Option<Profile>> {
    let name = named.unwrap_or("default");
    let Some(path) = path() else {
        return match named {
            Some(_) => Err(Error::usage("--profile needs a home directory: set HOME")),
            None => Ok(None),
        };
    };
    let wrong = |reason: String| {
        Err(Error::usage(format!("the credentials file {} {reason}", path.display())))
    };
    let bytes = match file::read_private(&path, MAX_FILE_BYTES) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(err) if err.is_not_found() && named.is_none() => return Ok(None),
        Err(err) => return wrong(err.to_string()),
    };
    let Ok(text) = std::str::from_utf8(&bytes) else { return wrong("is not UTF-8".to_owned()) };
    match profile_in(text, name) {
        Ok(None) if named.is_some() => wrong(format!("has no profile [{name}]")),
        Ok(profile) => Ok(profile),
        Err(reason) => wrong(reason),
    }
}

/// A profile in the text of the file. Errors repeat no part of the text, which could be a secret.
fn profile_in(text: &str, name: &str) -> Result<Option<Profile>, String> {
    let mut document = toml_span::parse(text).map_err(|err| {
        let before = text.as_bytes().iter().take(err.span.start);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        format!("is not TOML: line {line} cannot be read")
    })?;
    let ValueInner::Table(mut profiles) = document.take() else { return Ok(None) };
    let Some(mut profile) = profiles.remove(name) else { return Ok(None) };
    let ValueInner::Table(mut profile) = profile.take() else {
        return Err(format!("has a value {name}, but a profile is a table, [{name}]"));
    };
    let mut found: Vec<(&str, String)> = Vec::new();
    for (key, _) in KEYS {
        if let Some(mut value) = profile.remove(key) {
            let text = text_of(&mut value);
            let text =
                text.ok_or_else(|| format!("has a {key} in [{name}] that is not a string"))?;
            found.push((key, text));
        }
    }
    if let Some(unknown) = profile.keys().next() {
        let keys = KEYS.map(|(key, _)| key).join(", ");
        return Err(format!("has the unknown key {:?} in [{name}] ({keys})", unknown.name));
    }
    let mut profile = profile_of(|key| {
        let value = found.iter().find(|(name, text)| *name == key && !text.is_empty());
        value.map(|(_, text)| text.clone())
    });
    for (_, text) in &mut found {
        zeroize::Zeroize::zeroize(text);
    }
    if let Some(url) = &mut profile.identity_url {
        *url = values::identity_url(url).map_err(|_| {
            format!(
                "has an identity_url in [{name}] that is not of the form https://HOST[:PORT]/PATH"
            )
        })?;
    }
    Ok(Some(profile))
}

/// The parser, for fuzzers. No error repeats a secret, here one of a good profile before it.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse_for_fuzzing(text: &str) {
    const SECRET: &str = "5ecret-0f-jsmith";
    let before = format!("[default]\nusername = 'jsmith'\napi_key = '{SECRET}'\n");
    for text in [text, &format!("{before}{text}")] {
        if let Err(reason) = profile_in(text, "default") {
            assert!(!reason.contains(SECRET), "{reason}");
        }
    }
}

/// A string or a number, since an account number may be written without quotes.
fn text_of(value: &mut Value<'_>) -> Option<String> {
    match value.take() {
        ValueInner::String(text) => Some(text.into_owned()),
        ValueInner::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[default]\nusername = 'jsmith'\napi_key = 'k3y'\nregion = 'ord'\n\
                        [uk]\nusername = 'jones'\npassword = 'pass'\ntenant_id = 110011\n";

    #[test]
    fn a_profile_has_its_own_credentials() {
        let profile = profile_in(TEXT, "default").unwrap().unwrap();
        assert_eq!(profile.credentials.username.as_deref(), Some("jsmith"));
        assert_eq!(profile.region.as_deref(), Some("ord"));
        let Proof::ApiKey(key) = profile.credentials.proof else { panic!("an API key") };
        assert_eq!(key.expose(), "k3y");
        let uk = profile_in(TEXT, "uk").unwrap().unwrap();
        assert!(matches!(uk.credentials.proof, Proof::Password(_)));
        assert_eq!(uk.credentials.tenant, Some(Tenant::Id("110011".to_owned())));
        assert!(profile_in(TEXT, "us").unwrap().is_none());
    }

    #[test]
    fn errors_show_no_secret() {
        for text in [
            "[default]\npassword = 's3cret",
            "[default]\npassword = s3cret",
            "default = 's3cret'",
            "[default]\npassword = ['s3cret']",
            "[default]\npasword = 's3cret'",
            "[default]\nidentity_url = 'https://jsmith:s3cret@identity.example/v2.0'",
        ] {
            let err = profile_in(text, "default").unwrap_err();
            assert!(!err.contains("s3cret"), "{err}");
        }
    }

    #[test]
    fn incomplete_credentials_are_named() {
        let credentials = |username: Option<&str>, proof| Credentials {
            username: username.map(str::to_owned),
            proof,
            tenant: None,
        };
        let secret = || Secret::new("x".to_owned());
        assert!(check(&credentials(None, Proof::Ask)).is_ok());
        assert!(check(&credentials(Some("u"), Proof::Password(secret()))).is_ok());
        assert!(check(&credentials(None, Proof::ApiKey(secret()))).is_err());
        assert!(check(&credentials(Some("u"), Proof::Token(secret()))).is_err());
    }
}
