//! The automation status: one word.

use std::fmt;

/// The state of RackConnect's automation of a server. Source: "The RackConnect v2.0 API",
/// automation_status; UNPROCESSABLE: the metadata documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The automation runs.
    Deploying,
    /// The automation is done.
    Deployed,
    /// The automation failed; staff may still repair it.
    Failed,
    /// The automation was not attempted and never will be.
    Unprocessable,
    /// A word that is not documented, as received.
    Unknown(String),
}

/// The longest word that counts as a status.
const MAX_WORD_CHARS: usize = 64;

impl Status {
    /// Parses a word, ignoring case, surrounding white space and one pair of double quotes. `None`
    /// if it is not one word of letters, digits, `_` and `-`, or if it is `null`, `true` or
    /// `false`.
    pub fn from_text(text: &str) -> Option<Status> {
        let word = unquoted(text);
        let known = [Status::Deploying, Status::Deployed, Status::Failed, Status::Unprocessable];
        if let Some(status) =
            known.into_iter().find(|status| status.word().eq_ignore_ascii_case(word))
        {
            return Some(status);
        }
        let is_word = word.len() <= MAX_WORD_CHARS
            && word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            && !["null", "true", "false"].contains(&word);
        is_word.then(|| Status::Unknown(word.to_owned()))
    }

    /// The word: as documented or, if unknown, as received.
    pub fn word(&self) -> &str {
        match self {
            Status::Deploying => "DEPLOYING",
            Status::Deployed => "DEPLOYED",
            Status::Failed => "FAILED",
            Status::Unprocessable => "UNPROCESSABLE",
            Status::Unknown(word) => word,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text without one pair of double quotes, and without white space inside and around them.
pub fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).trim()
}
