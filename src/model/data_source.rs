//! Where the body of a request comes from, as curl and gh write it.

use std::path::PathBuf;

/// The value of `--data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// The text itself.
    Text(String),
    /// `@FILE`
    File(PathBuf),
    /// `@-`
    Stdin,
}

impl DataSource {
    /// Reads it. None for a file without a name.
    pub fn parse(text: &str) -> Option<DataSource> {
        match text.strip_prefix('@') {
            None => Some(DataSource::Text(text.to_owned())),
            Some("") => None,
            Some("-") => Some(DataSource::Stdin),
            Some(path) => Some(DataSource::File(PathBuf::from(path))),
        }
    }
}
