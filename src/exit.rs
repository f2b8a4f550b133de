//! The exit codes of the program.
//!
//! Scripts rely on the numbers (README, "Exit codes"): none ever changes its meaning.

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Answered, done, or nothing to do.
    Ok = 0,
    /// Another failure, with a message.
    Other = 1,
    /// Wrong usage or configuration; nothing was requested or changed.
    Usage = 2,
    /// Not yet: still deploying, no gateway assigned, or RackConnect does not know the server
    /// (yet).
    NotYet = 3,
    /// The automation FAILED.
    Failed = 4,
    /// There is nothing to wait for.
    NothingToWaitFor = 5,
    /// Rate limited, and waiting would pass the deadline.
    RateLimited = 6,
    /// The API cannot be reached.
    Unreachable = 7,
    /// The API's response cannot be understood.
    NotUnderstood = 8,
    /// The default route is not the API's gateway, or there is none.
    NotTheGateway = 9,
    /// A change was refused or rolled back, or `gateway keep` gave up.
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
    ("0", "answered; done; nothing to do; wait: DEPLOYED (or what --for and --ok-if name)"),
    ("1", "another failure, with a message; doctor found a failure; a hook failed"),
    ("2", "wrong usage or configuration; nothing was requested or changed"),
    (
        "3",
        "not yet: status --check with DEPLOYING or an unknown word; no gateway assigned; HTTP 404",
    ),
    ("4", "FAILED"),
    ("5", "nothing to wait for: UNPROCESSABLE, not a RackConnect v2 server, not managed"),
    ("6", "rate limited, and waiting would pass the deadline"),
    ("7", "the API cannot be reached (name, connection, TLS, timeout, 5xx)"),
    ("8", "the API's response cannot be understood"),
    ("9", "gateway check: the default route is not the API's gateway, or there is none"),
    (
        "10",
        "gateway set: refused or rolled back; confirm, rollback: nothing pending; keep: gave up",
    ),
    ("124", "wait, gateway set --wait: the deadline passed"),
    ("126, 127", "COMMAND of wait is not executable, or not found"),
    ("128+n", "ended by signal n"),
];
