//! Removes secrets from a text, and keeps addresses and names. Pure. Anything that looks like a
//! secret is removed, because a report with a password in it does more harm than one with a word
//! missing.

/// The replacement of a secret.
const REMOVED: &str = "[removed]";

/// The ends of names whose value is a secret, in lower case.
const SECRET_NAMES: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "privatekey",
    "private_key",
    "private-key",
    "credential",
    "authorization",
];

/// Names with these endings that are not secrets: sudo's tag, values of PermitRootLogin, directives
/// of PAM.
const HARMLESS_NAMES: [&str; 5] =
    ["nopasswd", "without-password", "prohibit-password", "common-password", "/etc/passwd"];

/// Words after which a secret follows directly.
const SCHEMES: [&str; 3] = ["bearer", "basic", "digest"];

/// The beginnings of hashes of passwords. Source: crypt(5).
const HASHES: [&str; 7] = ["$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$"];

/// A word of at least this length with both letters and digits is taken for a key.
const KEY_LENGTH: usize = 32;

/// The text without its secrets.
pub(crate) fn redact(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN ") && line.contains("PRIVATE KEY") {
            in_key = true;
            safe.push_str("[private key removed]\n");
        }
        if !in_key {
            safe.push_str(&redact_line(line));
        }
        if line.contains("-----END ") {
            in_key = false;
        }
    }
    safe
}

fn redact_line(line: &str) -> String {
    let line = redact_named(line);
    let is_mysql = line.contains("mysql");
    let mut safe = String::with_capacity(line.len());
    let mut previous = String::new();
    for part in split_words(&line) {
        if part.trim().is_empty() {
            safe.push_str(part);
            continue;
        }
        // `mysql -pSECRET`; for other programs it is a port or a property.
        let is_password_flag = is_mysql && part.len() > 2 && part.starts_with("-p");
        if is_password_flag {
            safe.push_str(REMOVED)
        } else {
            safe.push_str(&redact_word(part, &previous))
        }
        previous = part.to_ascii_lowercase();
    }
    safe
}

/// Words and the white space between them.
fn split_words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let is_space = rest.chars().next()?.is_whitespace();
        let end = rest.find(|c: char| c.is_whitespace() != is_space).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}

/// A word, and the word before it in lower case.
fn redact_word(word: &str, previous: &str) -> String {
    let bare = word.trim_matches(['"', '\'', ',', ';']);
    if HASHES.iter().any(|start| word.contains(start))
        || SCHEMES.contains(&previous.trim_matches(['"', '\'']))
        || is_key(bare)
    {
        return REMOVED.to_owned();
    }
    if matches!(previous, "-u" | "--user" | "--proxy-user")
        && let Some((user, _)) = word.split_once(':')
    {
        return format!("{user}:{REMOVED}");
    }
    without_user_info(word)
}

/// `https://user:password@host` without what is in front of the `@`.
fn without_user_info(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://{REMOVED}{}", &rest[at..]),
        None => word.to_owned(),
    }
}

/// Whether a word looks like a key: long, letters and digits mixed. A UUID does not.
fn is_key(word: &str) -> bool {
    let is_uuid = word.len() == 36 && word.matches('-').count() == 4;
    word.len() >= KEY_LENGTH
        && !is_uuid
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "+/=_-".contains(c))
        && !word.starts_with(['/', '-'])
        && word.chars().any(|c| c.is_ascii_digit())
        && word.chars().any(|c| c.is_ascii_alphabetic())
}

/// Removes the values of names in [`SECRET_NAMES`].
fn redact_named(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    let mut rest = line;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '/';
    while let Some(start) = rest.find(is_name) {
        let length = rest[start..].find(|c| !is_name(c)).unwrap_or(rest.len() - start);
        let name = rest[start..start + length].to_ascii_lowercase();
        let is_first = safe.trim().is_empty() && rest[..start].trim().is_empty();
        safe.push_str(&rest[..start + length]);
        rest = &rest[start + length..];
        let is_secret = SECRET_NAMES.iter().any(|end| name.ends_with(end))
            && !HARMLESS_NAMES.iter().any(|end| name.ends_with(end));
        if !is_secret {
            continue;
        }
        let gap = rest.len() - rest.trim_start_matches(['"', '\'', ' ', '\t', ':', '=']).len();
        // White space is an assignment after an option or after the first word of a line, but not
        // within a sentence.
        let is_assigned = rest[..gap].contains([':', '=']);
        if !(is_assigned || is_first || name.starts_with("--")) {
            continue;
        }
        let value = &rest[gap..];
        let is_whole_line = name.ends_with("authorization");
        let quote = rest[..gap].chars().last().filter(|c| *c == '"' || *c == '\'');
        let end = match quote {
            _ if is_whole_line => value.find(['"', '\n']),
            Some(quote) => value.find([quote, '\n']),
            None => value.find(|c: char| c.is_whitespace() || "&,;\"'".contains(c)),
        }
        .unwrap_or(value.len());
        if end > 0 {
            safe.push_str(&rest[..gap]);
            safe.push_str(REMOVED);
            rest = &value[end..];
        }
    }
    safe.push_str(rest);
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn secrets_are_removed() {
        for (text, safe) in [
            ("password = hunter2\n", "password = [removed]\n"),
            ("db_password: 'hunter 2' # x", "db_password: '[removed]' # x"),
            (
                r#"{"adminPass": "x", "api_key": "hunter2"}"#,
                r#"{"adminPass": "x", "api_key": "[removed]"}"#,
            ),
            (
                "curl -H X-Auth-Token:hunter2 https://h/",
                "curl -H X-Auth-Token:[removed] https://h/",
            ),
            ("curl -u me:hunter2 https://h/", "curl -u me:[removed] https://h/"),
            ("curl --password hunter2 x", "curl --password [removed] x"),
            ("mysql -phunter2 db", "mysql [removed] db"),
            ("http_proxy=http://me:hunter2@proxy:3128", "http_proxy=http://[removed]@proxy:3128"),
            ("GET /?token=hunter2&x=1", "GET /?token=[removed]&x=1"),
            ("Authorization: Bearer hunter2", "Authorization: [removed]"),
            ("header Bearer hunter2 x", "header Bearer [removed] x"),
            ("root:$6$salt$hash:1:2", "[removed]"),
            ("key 0123456789abcdef0123456789abcdef", "key [removed]"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\nb\n",
                "a\n[private key removed]\nb\n",
            ),
        ] {
            assert_eq!(redact(text), safe);
        }
    }

    #[test]
    fn addresses_and_names_are_kept() {
        for text in [
            "PasswordAuthentication no\nPermitRootLogin without-password\n",
            "rackconnect ALL=(ALL) NOPASSWD: ALL\n",
            "default via 10.182.127.198 dev eth1 metric 100\n",
            "vm-data/provider_data/roles = [\"rack_connect\"]\n",
            "curl https://dfw.api.rackconnect.rackspace.com/v1/automation_status\n",
            "root may not log in over SSH with its password (PermitRootLogin no)\n",
            "boot 7d3c1f0e-1111-2222-3333-444455556666\nsystemctl show -pId,ActiveState\n",
            "2001:db8::1 fe80::1%eth0 bc:76:4e:04:a2:0b\n",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_secret_survives_behind_its_name(before in "[a-z ]{0,9}", secret in "[A-Za-z0-9]{9,20}") {
            let text = format!("{before} my_password=\"{secret}\" and token: {secret}");
            prop_assert!(!redact(&text).contains(&secret));
        }

        #[test]
        fn any_text_does_not_panic(text in "\\PC*") {
            let _ = redact(&text);
        }
    }
}
