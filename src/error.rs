//! The program's error: a kind, which decides the exit code, and a sentence for a person.
//!
//! A sentence names the thing (the path, the address, the option), says what is wrong with it and,
//! where that is not plain, what to do. It may contain untrusted text;
//! `ui::escape_control` escapes it before it is printed.

use std::fmt;

use crate::exit::Exit;

/// Which way something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wrong usage or configuration.
    Usage,
    /// The API says: not (yet).
    NotYet,
    /// The rate limit is used up.
    LimitUsedUp,
    /// The API cannot be reached: name, connection, TLS, timeout, 5xx.
    Unreachable,
    /// The API's answer cannot be understood.
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

/// What went wrong, told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// One clear sentence, without a capital and without a full stop.
    pub message: String,
}

/// The result of everything that can go wrong in a way a person is told.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` with its sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into() }
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Kind::Usage, message)
    }

    /// The exit code that this error ends the program with.
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Usage => Exit::Usage,
            Kind::NotYet => Exit::NotYet,
            Kind::LimitUsedUp => Exit::LimitUsedUp,
            Kind::Unreachable => Exit::Unreachable,
            Kind::NotUnderstood => Exit::NotUnderstood,
            Kind::Refused => Exit::Refused,
            Kind::CannotExecute => Exit::CannotExecute,
            Kind::CommandNotFound => Exit::CommandNotFound,
            Kind::Other => Exit::Other,
        }
    }
}

/// What the system says, without "(os error N)".
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
