//! The exit codes: the one table between what happened and what the shell is told.
//!
//! The numbers are a promise to scripts (README, "Exit codes"); they are never renumbered.

use std::process::ExitCode;

/// What the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Answered, done, or nothing to do.
    Ok = 0,
    /// Something else went wrong, and it was said.
    Other = 1,
    /// Wrong usage or configuration; nothing was asked, nothing was changed.
    Usage = 2,
    /// Not yet: still deploying, no gateway assigned, or a server that RackConnect does not know (yet).
    NotYet = 3,
    /// The automation FAILED.
    Failed = 4,
    /// There is nothing to wait for.
    NothingToWaitFor = 5,
    /// The request limit is used up, and waiting for it would pass the deadline.
    LimitUsedUp = 6,
    /// The API cannot be reached.
    Unreachable = 7,
    /// The API's answer cannot be understood.
    NotUnderstood = 8,
    /// The default route is not the API's gateway, or there is none.
    NotTheGateway = 9,
    /// A change was refused or put back, or the gateway was given up.
    Refused = 10,
    /// The deadline of a wait passed.
    DeadlinePassed = 124,
    /// COMMAND cannot be executed.
    CannotExecute = 126,
    /// COMMAND was not found.
    CommandNotFound = 127,
}

/// Every exit code with its meaning, for the help and the manual.
pub const MEANINGS: &[(&str, &str)] = &[
    ("0", "answered; done; nothing to do; for wait: DEPLOYED (or what --for and --ok-if name)"),
    ("1", "something else went wrong (it is said), or a hook failed"),
    ("2", "wrong usage or configuration; nothing was asked, nothing was changed"),
    (
        "3",
        "not yet: under status --check DEPLOYING or an unknown word; no gateway address assigned; \
         RackConnect does not know this server (yet)",
    ),
    ("4", "FAILED"),
    ("5", "nothing to wait for: UNPROCESSABLE, no RackConnect v2 server, or no Managed Operations"),
    ("6", "the request limit is used up, and waiting for it would pass the deadline"),
    ("7", "the API cannot be reached (name, connection, TLS, timeout, 5xx)"),
    ("8", "the API's answer cannot be understood (an unexpected 3xx or 4xx too)"),
    ("9", "gateway check: the default route is not the API's gateway, or there is none"),
    (
        "10",
        "gateway set: refused (it says why; nothing was changed) or put back; gateway confirm or rollback: nothing \
         pending, or too late; gateway keep: gave up",
    ),
    ("124", "wait, gateway set --wait: the deadline passed"),
    ("126, 127", "COMMAND of wait cannot be executed, or was not found"),
    ("128+n", "ended by signal n"),
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
