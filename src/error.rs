//! The program's error: a kind, which decides the exit code, and a message for the user.
//!
//! A message names the subject (the path, the address, the option), what is wrong with it and, if
//! that is not obvious, what to do. It may contain untrusted text; `ui::escape_control` escapes it
//! before it is printed.

use std::fmt;

use crate::exit::Exit;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wrong usage or configuration.
    Usage,
    /// There is no result yet: a 404, no gateway, or a region that may still become known.
    NotYet,
    /// Rate limited, and waiting would pass the deadline.
    RateLimited,
    /// The API cannot be reached: name, connection, TLS, timeout, 5xx.
    Unreachable,
    /// The API's response cannot be understood.
    NotUnderstood,
    /// A change was refused; nothing was changed.
    Refused,
    /// COMMAND cannot be executed.
    CannotExecute,
    /// COMMAND was not found.
    CommandNotFound,
    /// Anything else.
    Other,
}

/// An error: its kind and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// One sentence, without initial capital and full stop.
    pub message: String,
}

/// A result whose error is shown to the user.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    /// The exit code of a program that ends with this error.
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Usage => Exit::Usage,
            Kind::NotYet => Exit::NotYet,
            Kind::RateLimited => Exit::RateLimited,
            Kind::Unreachable => Exit::Unreachable,
            Kind::NotUnderstood => Exit::NotUnderstood,
            Kind::Refused => Exit::Refused,
            Kind::CannotExecute => Exit::CannotExecute,
            Kind::CommandNotFound => Exit::CommandNotFound,
            Kind::Other => Exit::Other,
        }
    }
}

/// An I/O error's message, without "(os error N)".
pub fn plain(err: &std::io::Error) -> String {
    let text = err.to_string();
    text.split(" (os error ").next().unwrap_or(&text).to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
