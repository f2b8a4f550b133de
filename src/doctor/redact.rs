//! Removes secrets from a text, and keeps addresses and names. Pure. Anything that looks like a
//! secret is removed, because a report with a password in it does more harm than one with a word
//! missing.

use std::ops::Range;

/// The replacement of a secret.
const REMOVED: &str = "[removed]";

/// The ends of names whose value is a secret, in lower case, without `_` and `-`.
const SECRET_NAMES: [&str; 14] = [
    "password",
    "passwords",
    "adminpass",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "authkey",
    "privatekey",
    "secretkey",
    "credential",
    "authorization",
];

/// Last parts of names whose value is a secret. At the end of a longer word they are harmless:
/// `bypass`, `OLDPWD`.
const SECRET_PARTS: [&str; 6] = ["_pass", "-pass", "_pwd", "-pwd", "_pw", "-pw"];

/// Names with these endings that are not secrets: sudo's tag, values of PermitRootLogin, directives
/// of PAM.
const HARMLESS_NAMES: [&str; 5] =
    ["nopasswd", "without-password", "prohibit-password", "common-password", "/etc/passwd"];

/// The characters that enclose a value.
const QUOTES: [char; 2] = ['"', '\''];

/// Words after which a secret follows directly.
const SCHEMES: [&str; 3] = ["bearer", "basic", "digest"];

/// Options of curl without a value that often stand before `-u`, in lower case. Source: curl(1).
const CURL_FLAGS: &str = "skfvigln46";

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
            safe.push_str(&redact_words(&redact_values(line)));
        }
        if line.contains("-----END ") {
            in_key = false;
        }
    }
    safe
}

/// Removes the values of names with an end in [`SECRET_NAMES`].
fn redact_values(line: &str) -> String {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_-/".contains(c);
    let is_netrc = line.starts_with("machine ") || line.starts_with("default ");
    let mut safe = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_of_name) {
        let end =
            rest[start..].find(|c| !is_of_name(c)).map_or(rest.len(), |length| start + length);
        let name = rest[start..end].to_ascii_lowercase();
        safe.push_str(&rest[..start]);
        let is_directive = is_netrc || safe.trim().is_empty();
        safe.push_str(&rest[start..end]);
        rest = &rest[end..];
        if is_secret(&name)
            && let Some(value) = value_in(rest, &name, is_directive)
        {
            safe.push_str(&rest[..value.start]);
            safe.push_str(REMOVED);
            rest = &rest[value.end..];
        }
    }
    safe.push_str(rest);
    safe
}

/// Whether the value of this name is a secret.
fn is_secret(name: &str) -> bool {
    let squeezed = name.replace(['_', '-'], "");
    let is_secret = SECRET_NAMES.iter().any(|end| squeezed.ends_with(end))
        || SECRET_PARTS.iter().any(|end| name.ends_with(end))
        || name == "pass";
    is_secret && !HARMLESS_NAMES.iter().any(|end| name.ends_with(end))
}

/// The position of a name's value in the text after the name. `is_directive`: whether the name is
/// the first word of its line, or in a line of netrc(5).
fn value_in(text: &str, name: &str, is_directive: bool) -> Option<Range<usize>> {
    let value = text.trim_start_matches(['"', '\'', ' ', '\t', ':', '=']);
    let start = text.len() - value.len();
    let separator = &text[..start];
    // White space is an assignment after an option or a directive, but not within a sentence.
    if !(separator.contains([':', '=']) || is_directive || name.starts_with("--")) {
        return None;
    }
    let length = if name.ends_with("authorization") {
        // The value is a scheme and its parameters.
        value.find(['"', '\n'])
    } else if value.starts_with('{') {
        // An object, whose names need not look secret: `"token": {"id": "..."}`.
        value.find('\n')
    } else if let Some(quote) = separator.chars().last().filter(|c| QUOTES.contains(c)) {
        let mut is_escaped = false;
        value.find(|c| {
            let is_end = c == '\n' || c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        })
    } else {
        // Other punctuation can be part of a password.
        value.find(|c: char| c.is_whitespace() || QUOTES.contains(&c))
    };
    let length = length.unwrap_or(value.len());
    (length > 0).then_some(start..start + length)
}

/// Removes words that are secrets by themselves, or because of the word before them.
fn redact_words(line: &str) -> String {
    let is_sshpass = line.contains("sshpass");
    let is_password_option = is_sshpass || line.contains("mysql");
    let mut safe = String::with_capacity(line.len());
    let mut previous = String::new();
    for part in line.split_inclusive(char::is_whitespace) {
        let word = part.trim_end();
        if !word.is_empty() {
            // `mysql -pSECRET`, `sshpass -p SECRET`; for other programs it is a port or a property.
            if is_password_option && word.len() > 2 && word.starts_with("-p")
                || is_sshpass && previous == "-p"
            {
                safe.push_str(REMOVED);
            } else {
                safe.push_str(&redact_word(word, &previous));
            }
            previous = word.trim_matches(QUOTES).to_ascii_lowercase();
        }
        safe.push_str(&part[word.len()..]);
    }
    safe
}

/// A word without its secret. `previous`: the word before it, in lower case and without quotes.
fn redact_word(word: &str, previous: &str) -> String {
    if HASHES.iter().any(|start| word.contains(start))
        || SCHEMES.contains(&previous)
        || is_key(word.trim_matches(['"', '\'', ',', ';']))
        || has_jwt(word)
    {
        return REMOVED.to_owned();
    }
    let is_after_option =
        matches!(previous, "--user" | "--proxy-user") || user_option(previous) == Some("");
    let is_option = word.starts_with("--user=") || word.starts_with("--proxy-user=");
    if (is_after_option || is_option || user_option(word).is_some())
        && let Some((user, password)) = word.split_once(':')
        && !password.is_empty()
    {
        return format!("{user}:{REMOVED}");
    }
    without_user_info(word)
}

/// What follows `-u` in a word, also behind other short options: `-ume:password`, `-sku`.
fn user_option(word: &str) -> Option<&str> {
    let (options, value) = word.strip_prefix('-')?.split_once(['u', 'U'])?;
    options.chars().all(|option| CURL_FLAGS.contains(option.to_ascii_lowercase())).then_some(value)
}

/// `https://user:password@host` without what is in front of the `@`.
fn without_user_info(word: &str) -> String {
    let mut safe = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((scheme, after)) = rest.split_once("://") {
        safe.push_str(scheme);
        safe.push_str("://");
        rest = after;
        let authority = after.split('/').next().unwrap_or(after);
        if let Some(at) = authority.rfind('@') {
            safe.push_str(REMOVED);
            rest = &after[at..];
        }
    }
    safe + rest
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

/// Whether a word contains a JSON Web Token: parts in base64url, the first of which is an object.
fn has_jwt(word: &str) -> bool {
    word.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .any(|part| part.starts_with("eyJ") && part.matches('.').count() >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each text with what is left of it.
    #[track_caller]
    fn assert_redacted(cases: &[(&str, &str)]) {
        for (text, safe) in cases {
            assert_eq!(redact(text), *safe);
        }
    }

    #[test]
    fn secrets_are_removed() {
        assert_redacted(&[
            ("password = hunter2\n", "password = [removed]\n"),
            ("db_password: 'hunter 2' # x", "db_password: '[removed]' # x"),
            (
                r#"{"adminPass": "hunter2", "api_key": "hunter2"}"#,
                r#"{"adminPass": "[removed]", "api_key": "[removed]"}"#,
            ),
            (
                "curl -H X-Auth-Token:hunter2 https://h/",
                "curl -H X-Auth-Token:[removed] https://h/",
            ),
            ("curl -u me:hunter2 https://h/", "curl -u me:[removed] https://h/"),
            ("curl --password hunter2 x", "curl --password [removed] x"),
            ("mysql -phunter2 db", "mysql [removed] db"),
            ("http_proxy=http://me:hunter2@proxy:3128", "http_proxy=http://[removed]@proxy:3128"),
            ("GET /?token=hunter2&x=1 HTTP", "GET /?token=[removed] HTTP"),
            ("Authorization: Bearer hunter2", "Authorization: [removed]"),
            ("header Bearer hunter2 x", "header Bearer [removed] x"),
            ("root:$6$salt$hash:1:2", "[removed]"),
            ("key 0123456789abcdef0123456789abcdef", "key [removed]"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\nb\n",
                "a\n[private key removed]\nb\n",
            ),
        ]);
    }

    #[test]
    fn a_password_with_punctuation_was_removed_only_in_part() {
        assert_redacted(&[
            ("password = hun,ter;2&x next", "password = [removed] next"),
            (r#"{"password": "hun\"ter2", "x": 1}"#, r#"{"password": "[removed]", "x": 1}"#),
            (r#"password = "hunter2\\" # x"#, r#"password = "[removed]" # x"#),
        ]);
    }

    #[test]
    fn a_password_directly_behind_its_option_was_kept() {
        assert_eq!(redact("curl -ume:hunter2 https://h/"), "curl -ume:[removed] https://h/");
    }

    #[test]
    fn a_name_that_ends_with_pass_was_not_that_of_a_password() {
        assert_redacted(&[
            ("DB_PASS=hunter2", "DB_PASS=[removed]"),
            ("wget --http-pass hunter2", "wget --http-pass [removed]"),
        ]);
        assert_eq!(redact("bypass = 1"), "bypass = 1");
    }

    #[test]
    fn a_password_behind_several_short_options_was_kept() {
        assert_redacted(&[
            ("curl -sku me:hunter2 https://h/", "curl -sku me:[removed] https://h/"),
            ("curl -fsSume:hunter2 https://h/", "curl -fsSume:[removed] https://h/"),
        ]);
    }

    #[test]
    fn only_the_first_address_of_a_word_lost_its_password() {
        assert_redacted(&[
            (
                r#"{"a":"http://h/","b":"http://me:x@h/"}"#,
                r#"{"a":"http://h/","b":"http://[removed]@h/"}"#,
            ),
            ("http://h,http://me:x@h", "http://h,http://[removed]@h"),
            ("http://me:x@h,y:z@h/@", "http://[removed]@h/@"),
        ]);
    }

    #[test]
    fn names_of_secrets_were_not_recognized() {
        assert_redacted(&[
            ("curl -H X-Auth-Key:hunter2 h", "curl -H X-Auth-Key:[removed] h"),
            ("SECRET_KEY=hunter2", "SECRET_KEY=[removed]"),
            ("MYSQL_PWD=hunter2", "MYSQL_PWD=[removed]"),
            ("openssl x -passin pass:hunter2", "openssl x -passin pass:[removed]"),
            (r#"{"auth":{"token":{"id":"hunter2"}}}"#, r#"{"auth":{"token":[removed]"#),
        ]);
    }

    #[test]
    fn passwords_of_sshpass_netrc_and_user_options_were_kept() {
        assert_redacted(&[
            ("sshpass -p hunter2 ssh me@h", "sshpass -p [removed] ssh me@h"),
            ("sshpass -phunter2 ssh me@h", "sshpass [removed] ssh me@h"),
            ("machine h login me password hunter2\n", "machine h login me password [removed]\n"),
            ("default login me password hunter2", "default login me password [removed]"),
            ("curl --user=me:hunter2 h", "curl --user=me:[removed] h"),
            ("curl --proxy-user=me:hunter2 h", "curl --proxy-user=me:[removed] h"),
            ("DB_PW=hunter2 passwords=hunter2", "DB_PW=[removed] passwords=[removed]"),
        ]);
    }

    #[test]
    fn a_json_web_token_was_not_a_key() {
        const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2ln-_8";
        assert_eq!(redact(&format!("jwt {JWT} x")), "jwt [removed] x");
        assert_eq!(redact(&format!("GET /?id={JWT}&x=1 HTTP")), "GET [removed] HTTP");
        assert_eq!(redact("keyJ.a.b a.eyJ.b"), "keyJ.a.b a.eyJ.b");
    }

    #[test]
    fn addresses_and_names_are_kept() {
        for text in [
            "PWD=/root OLDPWD=/\n",
            "journalctl -u rackconnect-wait: started\n",
            "java -Durl=jdbc:mysql:x https://h/a https://h/b@c\n",
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
