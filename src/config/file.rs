//! Reads and checks the configuration file.

use std::path::Path;

use toml_span::Span;
use toml_span::value::{Value, ValueInner};

use crate::cli::options::KeyType;
use crate::cli::{OPTIONS, option_specs, similar};
use crate::error::{Error, Result};
use crate::state::file::{self, Links};

/// The largest file that is read.
const MAX_CONFIG_BYTES: u64 = 64 * 1024;

/// A key of the file and its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value, as the text that its flag would have.
    pub value: String,
    /// The line number.
    pub line: usize,
}

/// Reads the file. `named_by`: the flag or variable that names it. The default file need not exist.
///
/// # Errors
/// It cannot be read, is not TOML, or holds an impossible value.
pub fn read(path: &Path, named_by: Option<&str>) -> Result<Vec<Entry>> {
    entries(&path.display().to_string(), &text(path, named_by)?)?.into_iter().collect()
}

/// Reads the valid entries of the file, and warns about the rest.
pub fn read_leniently(path: &Path) -> Vec<Entry> {
    let warn = |err: &Error| log::warn!("{err}");
    let name = path.display().to_string();
    match text(path, None).and_then(|text| entries(&name, &text)) {
        Ok(entries) => {
            entries.into_iter().filter_map(|entry| entry.inspect_err(warn).ok()).collect()
        }
        Err(err) => {
            warn(&err);
            let bytes =
                file::read_trusted(path, MAX_CONFIG_BYTES, Links::Follow).unwrap_or_default();
            entries_by_line(&name, &String::from_utf8_lossy(&bytes))
        }
    }
}

/// Reads the valid lines of a file that is not valid TOML, up to the first table.
pub(crate) fn entries_by_line(name: &str, text: &str) -> Vec<Entry> {
    let lines =
        text.lines().enumerate().take_while(|(_, line)| !line.trim_start().starts_with('['));
    let found = lines.flat_map(|(number, line)| {
        let entries = entries(name, line).unwrap_or_default();
        entries.into_iter().flatten().map(move |entry| Entry { line: number + 1, ..entry })
    });
    found.collect()
}

fn text(path: &Path, named_by: Option<&str>) -> Result<String> {
    let origin = named_by.map_or(String::new(), |origin| format!("{origin}: "));
    let failed = |reason: &dyn std::fmt::Display| {
        Error::usage(format!("{origin}the configuration file {} {reason}", path.display()))
    };
    match file::read_trusted(path, MAX_CONFIG_BYTES, Links::Follow) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| failed(&"is not UTF-8")),
        Err(err) if err.is_not_found() && named_by.is_none() => Ok(String::new()),
        Err(err) => Err(failed(&err)),
    }
}

/// Parses the file. An entry with an invalid value is an error; an unknown key is only a warning.
pub(crate) fn entries(name: &str, text: &str) -> Result<Vec<Result<Entry>>> {
    let line = |span: Span| {
        text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
            + 1
    };
    let mut document = toml_span::parse(text).map_err(|err| {
        Error::usage(format!("{name}:{}: not TOML: {}", line(err.span), sentence(&err.to_string())))
    })?;
    let ValueInner::Table(table) = document.take() else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for (key, mut value) in table {
        let here = line(key.span);
        let key = key.name.into_owned();
        let Some((option, key_type)) = OPTIONS.iter().find_map(|option| match option.spec().key {
            Some((known, key_type)) if known == key => Some((option, key_type)),
            _ => None,
        }) else {
            let keys = option_specs().filter_map(|option| option.key).map(|(key, _)| key);
            let hint = similar(&key, keys)
                .map_or(String::new(), |known| format!(": did you mean {known}?"));
            log::warn!("{name}:{here}: unknown key {key:?}{hint}");
            continue;
        };
        let checked =
            as_flag(&mut value, key_type).and_then(|value| option.check(&value).map(|()| value));
        entries.push(match checked {
            Ok(value) => Ok(Entry { key, value, line: here }),
            Err(err) => Err(Error::usage(format!("{name}:{here}: {key}: {err}"))),
        });
    }
    Ok(entries)
}

/// Converts a value to the text that its flag would have.
fn as_flag(value: &mut Value<'_>, key_type: KeyType) -> Result<String, String> {
    let inner = value.take();
    let found = inner.type_str();
    match (key_type, inner) {
        (_, ValueInner::String(text)) => Ok(text.into_owned()),
        (KeyType::Duration, ValueInner::Integer(seconds)) => Ok(seconds.to_string()),
        (KeyType::Duration, ValueInner::Float(seconds)) => Ok(seconds.to_string()),
        (KeyType::List, ValueInner::Array(items)) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            words.map(|words| words.join(",")).ok_or_else(|| "needs strings in its list".to_owned())
        }
        (KeyType::Text, _) => Err(format!("needs a string, not a value of type {found}")),
        (KeyType::Duration, _) => {
            Err(format!("needs a duration such as \"90s\", not a value of type {found}"))
        }
        (KeyType::List, _) => Err(format!("needs a list of strings, not a value of type {found}")),
    }
}

/// A message of toml-span without the byte position at its end.
fn sentence(err: &str) -> &str {
    err.split(" (at ").next().unwrap_or(err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String, usize)>> {
        let entries = entries("config.toml", text)?.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value, entry.line)).collect())
    }

    #[test]
    fn values_become_the_text_of_a_flag() {
        let text = "# comment\nregion = \"dfw\"\n\nwait_interval = 7\nwait_timeout = 90.5\nconnect_timeout = '1500ms'\n\
                    wait_ok_if = [\n  \"failed\",\n  'unprocessable' ]\nunknown = 1\n[table]\nregion = 'syd'\n";
        let mut found = read(text).unwrap();
        found.sort();
        let entry = |key: &str, value: &str, line| (key.to_owned(), value.to_owned(), line);
        assert_eq!(
            found,
            [
                entry("connect_timeout", "1500ms", 6),
                entry("region", "dfw", 2),
                entry("wait_interval", "7", 4),
                entry("wait_ok_if", "failed,unprocessable", 7),
                entry("wait_timeout", "90.5", 5),
            ]
        );
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn the_valid_lines_of_an_invalid_file_are_read() {
        let text = "region = dfw\nregion = 'iad'\n state_dir = \"/srv/x\" # here\r\n[table\nstate_dir = 'y'\n";
        let found = entries_by_line("config.toml", text);
        let entry = |key: &str, value: &str, line| Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            line,
        };
        assert_eq!(found, [entry("region", "iad", 2), entry("state_dir", "/srv/x", 3)]);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, says) in [
            ("\nregion = 7", "config.toml:2: region: needs a string"),
            ("region = 'xyz'", "config.toml:1: region: \"xyz\" is not a region"),
            ("\n\nwait_interval = '1s'", "config.toml:3: wait_interval: \"1s\" is too short"),
            ("wait_interval = -7", "config.toml:1: wait_interval: \"-7\" is not a duration"),
            ("wait_timeout = true", "config.toml:1: wait_timeout: needs a duration"),
            ("wait_timeout = nan", "config.toml:1: wait_timeout: \"NaN\" is not a duration"),
            ("wait_ok_if = [1]", "config.toml:1: wait_ok_if: needs strings"),
            ("wait_ok_if = 'faild'", "config.toml:1: wait_ok_if: \"faild\""),
            ("region = 'dfw'\nregion = 'iad'", "config.toml:2: not TOML"),
            ("region = 'dfw'\n= 3", "config.toml:2: not TOML"),
            ("endpoint = 'http://example.com'", "config.toml:1: endpoint: "),
            ("request_timeout = 0", "config.toml:1: request_timeout: must not be zero"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.message.starts_with(says), "{text}: {}", error.message);
        }
    }
}
