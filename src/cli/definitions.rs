//! The one definition of the command line: every command and every option, with its environment variable, its key in
//! the configuration file, its default and its text. Parsing, settings, help, manual and completions all read it here.

use crate::cli::values;

/// What the program can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `status`
    Status,
    /// `details`
    Details,
    /// `features`
    Features,
    /// `gateway show`, or just `gateway`
    GatewayShow,
    /// `gateway check`
    GatewayCheck,
    /// `gateway set`
    GatewaySet,
    /// `gateway confirm`
    GatewayConfirm,
    /// `gateway rollback`
    GatewayRollback,
    /// `gateway keep`
    GatewayKeep,
    /// `wait`
    Wait,
    /// `facts`
    Facts,
    /// `hooks`
    Hooks,
    /// `region`
    Region,
    /// `completions`
    Completions,
    /// `man`
    Man,
}

/// A command's texts.
#[derive(Debug)]
pub struct CommandSpec {
    /// Which it is.
    pub command: Command,
    /// The words that name it.
    pub name: &'static str,
    /// What may follow, as the usage line shows it.
    pub operands: &'static str,
    /// One line.
    pub help: &'static str,
    /// The rest, in paragraphs.
    pub more: &'static str,
}

/// An option's definition.
#[derive(Debug)]
pub struct Opt {
    /// The name, without its dashes.
    pub long: &'static str,
    /// The short form.
    pub short: Option<char>,
    /// What its value is called; none for a switch.
    pub value: Option<&'static str>,
    /// The environment variables that give it, the first one first.
    pub env: &'static [&'static str],
    /// Its key in the configuration file, and the type of its value there.
    pub key: Option<(&'static str, KeyType)>,
    /// What holds without it, as the help shows it.
    pub default: &'static str,
    /// The commands that take it; all of them where there are none.
    pub on: &'static [Command],
    /// The words that a completion offers.
    pub words: &'static [&'static str],
    /// Whether a value is possible; the end of a sentence if it is not.
    pub check: fn(&str) -> Result<(), String>,
    /// One line.
    pub help: &'static str,
    /// The rest.
    pub more: &'static str,
}

/// The type of a value in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A string.
    Text,
    /// A string, or a number of seconds.
    Duration,
    /// A list of strings, or one string with commas.
    List,
}

impl Opt {
    /// Whether its value is the path of a file or a directory.
    pub fn is_file(&self) -> bool {
        matches!(self.value, Some("FILE" | "DIR"))
    }

    /// Whether `command` takes it.
    pub fn is_on(&self, command: Command) -> bool {
        self.on.is_empty() || self.on.contains(&command)
    }
}

use Command::{
    Details, Facts, Features, GatewayCheck, GatewayConfirm, GatewayKeep, GatewayRollback,
    GatewaySet, GatewayShow, Hooks, Region, Status, Wait,
};

const ASKING: &[Command] =
    &[Status, Details, Features, GatewayShow, GatewayCheck, GatewaySet, GatewayKeep, Wait, Facts];
const ONE_SHOT: &[Command] =
    &[Status, Details, Features, GatewayShow, GatewayCheck, GatewaySet, GatewayKeep, Facts];
const STATE: &[Command] = &[
    Status,
    Details,
    Features,
    GatewayShow,
    GatewayCheck,
    GatewaySet,
    GatewayConfirm,
    GatewayRollback,
    GatewayKeep,
    Wait,
    Facts,
    Hooks,
];

/// All commands, in the order of the help.
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        command: Status,
        name: "status",
        operands: "",
        help: "Print the automation status",
        more: "Prints the status as one word: DEPLOYING, DEPLOYED, FAILED, UNPROCESSABLE or, if it is none of these, \
               as it came. Any status that could be read is exit code 0, unless --check is given.",
    },
    CommandSpec {
        command: Details,
        name: "details",
        operands: "",
        help: "Print the automation status and its tasks",
        more: "Prints a table of the tasks under the status on a terminal, and the API's JSON otherwise.",
    },
    CommandSpec {
        command: Features,
        name: "features",
        operands: "",
        help: "Print what RackConnect automates on this server",
        more: "Prints a table of the automation features on a terminal, and the API's JSON otherwise.",
    },
    CommandSpec {
        command: GatewayShow,
        name: "gateway show",
        operands: "",
        help: "Print the address of the RackConnect gateway",
        more: "Prints the address that the API has assigned to this server; exit code 3 while there is none. \
               \"gateway\" alone is the same.",
    },
    CommandSpec {
        command: GatewayCheck,
        name: "gateway check",
        operands: "",
        help: "Compare the default route with the API's gateway; change nothing",
        more: "Prints the API's gateway, and all default routes of the kernel. What counts is where the kernel would send a \
               packet for the internet: exit code 0 if it is the API's gateway, 9 if not, 3 if none is assigned. A change \
               that was interrupted, or waits for its confirmation, is said and left alone.",
    },
    CommandSpec {
        command: GatewaySet,
        name: "gateway set",
        operands: "",
        help: "Make the API's gateway the default gateway",
        more: "Prints the plan, and then carries it out: the default route in effect is replaced, without a moment between, \
               with any others of its metric, and nothing else is touched. The result is verified: the kernel uses the gateway, the gateway answers at the \
               link layer, the API and every --probe that answered before still answer. Otherwise everything is put back, \
               even if this program is killed meanwhile. Nothing to do is success.\n\n\
               It is refused (exit code 10) while the automation may be setting the gateway itself: while the status is \
               DEPLOYING or unknown, unless the features say that the network stack is not configured automatically; and \
               unless the status is DEPLOYED where they say that it is.",
    },
    CommandSpec {
        command: GatewayConfirm,
        name: "gateway confirm",
        operands: "",
        help: "Accept the change that waits for its confirmation",
        more: "From any session. The API is asked nothing.",
    },
    CommandSpec {
        command: GatewayRollback,
        name: "gateway rollback",
        operands: "",
        help: "Undo the change that waits for its confirmation, or the last one",
        more: "Puts back the default route that the last gateway set replaced, if the present one is still the one that it \
               set, or if there is none. While gateway keep runs, which would set it again at once, that is refused (exit code \
               10). The API is asked nothing.",
    },
    CommandSpec {
        command: GatewayKeep,
        name: "gateway keep",
        operands: "",
        help: "Set the gateway, and set it again whenever it is lost",
        more: "Hears of route, address and link changes from the kernel. With no default route left at all, the last gateway \
               that it verified itself, or that was set since the server booted, is put back at once. Another default route in its place is replaced up to five times in ten \
               minutes; then this gives up (exit code 10), since fighting is of no use to anybody. Stopped, it leaves the \
               route.",
    },
    CommandSpec {
        command: Wait,
        name: "wait",
        operands: "[-- COMMAND [ARG]...]",
        help: "Block until the server is DEPLOYED, then run COMMAND in its place",
        more: "Blocks until the automation is DEPLOYED, or until it can be said that it never will be. Everything that a \
               booting server goes through is waited out: no route, no DNS, refused connections, TLS errors from a wrong \
               clock, server errors, the request limit, an answer that is empty or broken.\n\n\
               As root on a Xen guest it watches xenstore, too: a change of the status there is the signal to ask the API \
               at once, so it asks only twice a minute otherwise. The API's answer counts; if it gives none after such a \
               change, xenstore is believed, and that is said. The wait ends at once on a server of another provider or of \
               RackConnect v3, and after a minute in which the API gave no status if the roles and the metadata in xenstore \
               are without RackConnect: with exit code 5, and the word NOT-RACKCONNECT.\n\n\
               Prints one word: the last status known, whatever the end (nothing if none is known; NOT-RACKCONNECT; the \
               address with --for gateway). With COMMAND it prints nothing and COMMAND replaces this program after success, with \
               RACKCONNECT_STATUS (that one word) and, if the region is known, RACKCONNECT_REGION in its environment. COMMAND is \
               looked for before waiting.",
    },
    CommandSpec {
        command: Facts,
        name: "facts",
        operands: "",
        help: "Print everything known about this server and RackConnect, as JSON",
        more: "One object, on one line. Every fact in it is an object: value and source (api, xenstore, or the place), or \
               value null and reason: agent_version, region, rackconnect_version (v2, v3 or none), status, \
               unprocessable_reason, managed_operations, features (an object), gateway, servicenet_interface (name, mac), \
               default_route (gateway, interface, metric), request_budget (free, limit). The API is asked three questions at \
               most; what it does not answer xenstore may. Exit code 0 whenever the object could be printed.",
    },
    CommandSpec {
        command: Hooks,
        name: "hooks",
        operands: "[DIR]",
        help: "Run the programs of a folder in order, once per deployment",
        more: "Runs every executable regular file of DIR (/etc/rackconnect-agent/deployed.d) in the order of their names, but \
               hidden ones and those that end in ~, .bak, .dpkg-* or .rpm*. It does not wait: rackconnect wait -- rackconnect \
               hooks does. A hook that ended with exit code 0 is not run again on this deployment of the server: a stamp in \
               /var/lib/rackconnect-agent, named by its full path, holds the instance id (cloud-init's, else the UUID of DMI \
               or Xen, else /etc/machine-id). One that failed is named, does not stop the others, makes the exit code 1, and \
               runs again the next time. So does one that ended with exit code 126, which means that it is to be passed over \
               this time, and is no failure.\n\n\
               Hooks see RACKCONNECT_STATUS and RACKCONNECT_REGION as far as they are known. Their standard input is empty, \
               their folder is /. Run as root, a hook is refused if it, or a folder or link on the way to it, is not root's \
               or can be written by others; of folders with the sticky bit, such as /tmp, only the hook's own counts. Their \
               output goes where this program's goes, what is said of them to standard error; the plan of --dry-run is an \
               answer, and goes to standard output. Under systemd their output is in the journal under the hook's name \
               (journalctl -t NAME).",
    },
    CommandSpec {
        command: Region,
        name: "region",
        operands: "",
        help: "Print the region whose API is asked",
        more: "Prints the code. With -v it says from where the region is known. Nothing is asked of the network.",
    },
    CommandSpec {
        command: Command::Completions,
        name: "completions",
        operands: "SHELL",
        help: "Print shell completions: bash, zsh or fish",
        more: "For example: rackconnect completions bash > /etc/bash_completion.d/rackconnect",
    },
    CommandSpec {
        command: Command::Man,
        name: "man",
        operands: "",
        help: "Print the manual page",
        more: "For example: rackconnect man | man -l -",
    },
];

const fn opt(
    long: &'static str,
    value: Option<&'static str>,
    help: &'static str,
    more: &'static str,
) -> Opt {
    Opt {
        long,
        short: None,
        value,
        env: &[],
        key: None,
        default: "",
        on: &[],
        words: &[],
        check: values::anything,
        help,
        more,
    }
}

/// `--check`
pub const CHECK: Opt = Opt {
    on: &[Status],
    ..opt(
        "check",
        None,
        "Let the exit code tell the status",
        "0: DEPLOYED; 3: DEPLOYING or an unknown word; 4: FAILED; 5: UNPROCESSABLE.",
    )
};

/// `--format`
pub const FORMAT: Opt = Opt {
    on: &[Status, Details, Features, GatewayShow, GatewayCheck, Region],
    words: &["text", "json", "xml"],
    ..opt(
        "format",
        Some("FORMAT"),
        "Ask the API for text, json or xml and print its answer as it is",
        "status and gateway show have text, json and xml; details and features have json and xml. The body is printed byte \
         for byte (on a terminal a newline is added and control characters are made escape_control). region and gateway check have \
         json: an object of their own.",
    )
};

/// `--source`
pub const SOURCE: Opt = Opt {
    on: &[Status],
    words: SOURCES,
    default: "api",
    ..opt(
        "source",
        Some("SOURCE"),
        "Whom to ask: api or xenstore",
        "xenstore costs no request, and needs root and a Xen guest; it cannot be combined with --format. What it says may be \
         left over from before a rebuild; the API is the judge. Exit codes of its own: 1 without xenstore, 3 if no status is \
         there (yet), 5 if xenstore says that this is no RackConnect v2 server, 8 if what is there is no status.",
    )
};

/// What `--source` takes.
pub const SOURCES: &[&str] = &["api", "xenstore"];

/// `--no-api`
pub const NO_API: Opt = Opt {
    on: &[Facts],
    ..opt("no-api", None, "Ask nothing of the network", "What the API alone knows is null then.")
};

/// `--for`
pub const FOR: Opt = Opt {
    on: &[Wait],
    words: values::GOALS,
    default: "deployed",
    check: |value| values::goal(value).map(drop),
    ..opt(
        "for",
        Some("WHAT"),
        "What to wait for: deployed, gateway or managed",
        "deployed: the status DEPLOYED. gateway: until the API has assigned a gateway, whose address is printed; FAILED and \
         UNPROCESSABLE end the wait as usual (one question in five is for the status). managed: DEPLOYED, and then that the automation of Managed Operations, which \
         runs after RackConnect's, is complete; if that fails the exit code is 4, and 5 if the roles in xenstore say that the \
         account has no Managed Operations.",
    )
};

/// `--timeout`
pub const TIMEOUT: Opt = Opt {
    env: &["RACKCONNECT_WAIT_TIMEOUT"],
    key: Some(("wait_timeout", KeyType::Duration)),
    default: "60m",
    on: &[GatewaySet, Wait],
    check: |value| values::duration(value).map(drop),
    ..opt(
        "timeout",
        Some("DURATION"),
        "Give up after this long, with exit code 124",
        "0 means never.",
    )
};

/// `--interval`
pub const INTERVAL: Opt = Opt {
    env: &["RACKCONNECT_WAIT_INTERVAL"],
    key: Some(("wait_interval", KeyType::Duration)),
    default: "5s",
    on: &[GatewaySet, Wait],
    check: |value| values::interval(value).map(drop),
    ..opt(
        "interval",
        Some("DURATION"),
        "How long from one question to the next",
        "At least 3s. Up to a tenth is added by chance, so that servers that boot together do not ask together.",
    )
};

/// `--ok-if`
pub const OK_IF: Opt = Opt {
    env: &["RACKCONNECT_WAIT_OK_IF"],
    key: Some(("wait_ok_if", KeyType::List)),
    on: &[Wait],
    words: values::ENDS,
    check: |value| values::ok_if(value).map(drop),
    ..opt(
        "ok-if",
        Some("LIST"),
        "Which other ends of the wait are a success, too",
        "Any of failed, unprocessable, not-rackconnect and not-managed, with commas between them. After such an end the \
         exit code is 0 and COMMAND is run.",
    )
};

/// `--through-failed`
pub const THROUGH_FAILED: Opt = Opt {
    on: &[Wait],
    ..opt(
        "through-failed",
        None,
        "Go on waiting after FAILED",
        "Staff may repair a failed automation by hand, and it then becomes DEPLOYED. Cannot be combined with \
         --ok-if failed.",
    )
};

/// `--again`
pub const AGAIN: Opt =
    Opt { on: &[Hooks], ..opt("again", None, "Run the hooks that are done already, too", "") };

/// `--limit`
pub const HOOK_LIMIT: Opt = Opt {
    env: &["RACKCONNECT_HOOK_LIMIT"],
    key: Some(("hook_limit", KeyType::Duration)),
    default: "30m",
    on: &[Hooks],
    check: |value| values::duration(value).map(drop),
    ..opt(
        "limit",
        Some("DURATION"),
        "How long one hook may take",
        "Then it and all that it has started is told to end (SIGTERM), ten seconds later it is ended (SIGKILL), and it has \
         failed. 0 means no limit.",
    )
};

/// `--stamp-dir`
pub const STAMP_DIR: Opt = Opt {
    env: &["RACKCONNECT_STAMP_DIR"],
    default: "/var/lib/rackconnect-agent/hooks",
    on: &[Hooks],
    ..opt(
        "stamp-dir",
        Some("DIR"),
        "Where it is kept which hooks are done",
        "It has to outlast a reboot.",
    )
};

/// `--region`
pub const REGION: Opt = Opt {
    env: &["RACKCONNECT_REGION"],
    key: Some(("region", KeyType::Text)),
    default: "detected: xenstore, then cloud-init's instance data",
    on: &[
        Status,
        Details,
        Features,
        GatewayShow,
        GatewayCheck,
        GatewaySet,
        GatewayKeep,
        Wait,
        Facts,
        Hooks,
        Region,
    ],
    words: &crate::model::REGION_CODES,
    check: |value| values::region(value).map(drop),
    ..opt(
        "region",
        Some("CODE"),
        "The region of this server",
        "One of dfw, hkg, iad, lon, ord and syd.",
    )
};

/// `--endpoint`
pub const ENDPOINT: Opt = Opt {
    env: &["RACKCONNECT_ENDPOINT"],
    key: Some(("endpoint", KeyType::Text)),
    default: "from the region",
    on: ASKING,
    check: |value| values::endpoint(value).map(drop),
    ..opt(
        "endpoint",
        Some("URL"),
        "The API's URL",
        "https://HOST[:PORT]. Plain http is accepted for a loopback address alone. User info, a query or a fragment are \
         usage errors.",
    )
};

/// `--ca-file`
pub const CA_FILE: Opt = Opt {
    env: &["RACKCONNECT_CA_FILE", "SSL_CERT_FILE"],
    key: Some(("ca_file", KeyType::Text)),
    default: "the roots built into the program; where those do not know the issuer, the system's bundle too",
    on: ASKING,
    ..opt(
        "ca-file",
        Some("FILE"),
        "Trust the certificates of this file alone",
        "A bundle of PEM certificates.",
    )
};

/// `--connect-timeout`
pub const CONNECT_TIMEOUT: Opt = Opt {
    env: &["RACKCONNECT_CONNECT_TIMEOUT"],
    key: Some(("connect_timeout", KeyType::Duration)),
    default: "3s",
    on: ASKING,
    check: |value| values::positive(value).map(drop),
    ..opt("connect-timeout", Some("DURATION"), "How long to try to connect to one address", "")
};

/// `--request-timeout`
pub const REQUEST_TIMEOUT: Opt = Opt {
    env: &["RACKCONNECT_REQUEST_TIMEOUT"],
    key: Some(("request_timeout", KeyType::Duration)),
    default: "10s",
    on: ASKING,
    check: |value| values::positive(value).map(drop),
    ..opt(
        "request-timeout",
        Some("DURATION"),
        "How long a whole request may take, name look-up included",
        "More than 2m counts as 2m.",
    )
};

/// `--deadline`
pub const DEADLINE: Opt = Opt {
    env: &["RACKCONNECT_DEADLINE"],
    key: Some(("deadline", KeyType::Duration)),
    default: "70s",
    on: ONE_SHOT,
    check: |value| values::positive(value).map(drop),
    ..opt(
        "deadline",
        Some("DURATION"),
        "How long the whole command may take",
        "Waiting for the request limit included. Of facts it is 5s unless it is given.",
    )
};

/// `--state-dir`
pub const STATE_DIR: Opt = Opt {
    env: &["RACKCONNECT_STATE_DIR"],
    key: Some(("state_dir", KeyType::Text)),
    default: "/run/rackconnect-agent",
    on: STATE,
    check: |value| values::folder(value).map(drop),
    ..opt(
        "state-dir",
        Some("DIR"),
        "Where processes share the request limit, and where the undo of a gateway change is kept",
        "root makes it. Without it a process keeps to 6 requests a minute, as it cannot know of the others.",
    )
};

/// `--interface`
pub const INTERFACE: Opt = Opt {
    env: &["RACKCONNECT_INTERFACE"],
    key: Some(("interface", KeyType::Text)),
    default: "the one that the gateway is on-link on",
    on: &[GatewayShow, GatewayCheck, GatewaySet, GatewayKeep],
    check: |value| values::interface(value).map(drop),
    ..opt("interface", Some("NAME"), "The interface that the gateway is on", "")
};

/// `--as`
pub const AS: Opt = Opt {
    on: &[GatewayShow],
    words: values::MANAGERS,
    check: values::manager,
    ..opt(
        "as",
        Some("PROGRAM"),
        "Print the gateway as networkd, netplan, ifupdown or sysconfig is told it",
        "For whoever owns the configuration of this server's network to put in place. Nothing is written.",
    )
};

/// `--dry-run`
pub const DRY_RUN: Opt =
    Opt { on: &[GatewaySet, Hooks], ..opt("dry-run", None, "Print the plan, and do nothing", "") };

/// `--force`
pub const FORCE: Opt = Opt {
    on: &[GatewaySet],
    ..opt(
        "force",
        None,
        "Set it even if the automation may be setting it at the same time",
        "Whatever the status and the features say.",
    )
};

/// `--wait`
pub const WAIT: Opt = Opt {
    on: &[GatewaySet],
    ..opt(
        "wait",
        None,
        "Wait until a gateway is assigned and the automation is done with it",
        "Up to --timeout; then exit code 124.",
    )
};

/// `--keep-old-metric`
pub const KEEP_OLD_METRIC: Opt = Opt {
    on: &[GatewaySet],
    check: |value| values::metric(value).map(drop),
    ..opt(
        "keep-old-metric",
        Some("N"),
        "Keep the replaced default route as a fallback at this metric",
        "",
    )
};

/// `--probe`
pub const PROBE: Opt = Opt {
    on: &[GatewaySet],
    check: |value| crate::gateway::verify::Probe::parse(value).map(drop),
    ..opt(
        "probe",
        Some("HOST[:PORT]"),
        "Put everything back if this host answers before the change and not after it",
        "By a TCP connection; without a port to 443, where a refusal is an answer, too. Can be given several times.",
    )
};

/// `--confirm`
pub const CONFIRM: Opt = Opt {
    default: "60s if standard input is a terminal, else 0",
    on: &[GatewaySet],
    check: |value| values::duration(value).map(drop),
    ..opt(
        "confirm",
        Some("DURATION"),
        "Put everything back unless it is confirmed within this time",
        "By gateway confirm in any session, or by Enter. A correct change can end the very session that it is typed in. 0 \
         means that no confirmation is needed.",
    )
};

/// `--config`
pub const CONFIG: Opt = Opt {
    env: &["RACKCONNECT_CONFIG"],
    default: "/etc/rackconnect-agent/config.toml",
    on: &[
        Status,
        Details,
        Features,
        GatewayShow,
        GatewayCheck,
        GatewaySet,
        GatewayConfirm,
        GatewayRollback,
        GatewayKeep,
        Wait,
        Facts,
        Hooks,
        Region,
    ],
    ..opt(
        "config",
        Some("FILE"),
        "The configuration file",
        "TOML. A flag wins over the environment, the environment over this file. The default file need not exist.",
    )
};

/// `--quiet`
pub const QUIET: Opt = Opt { short: Some('q'), ..opt("quiet", None, "Say nothing but errors", "") };

/// `--verbose`
pub const VERBOSE: Opt = Opt {
    short: Some('v'),
    ..opt(
        "verbose",
        None,
        "Say more; twice: everything",
        "RACKCONNECT_LOG takes env_logger's filter syntax where neither this nor -q is given.",
    )
};

/// `--help`
pub const HELP: Opt = Opt {
    short: Some('h'),
    ..opt("help", None, "Print the help: -h in short, --help in full", "")
};

/// `--version`
pub const VERSION: Opt = Opt { short: Some('V'), ..opt("version", None, "Print the version", "") };

/// All options, in the order of the help.
pub const OPTIONS: &[&Opt] = &[
    &CHECK,
    &FORMAT,
    &SOURCE,
    &NO_API,
    &FOR,
    &TIMEOUT,
    &INTERVAL,
    &OK_IF,
    &THROUGH_FAILED,
    &AGAIN,
    &HOOK_LIMIT,
    &STAMP_DIR,
    &REGION,
    &ENDPOINT,
    &CA_FILE,
    &CONNECT_TIMEOUT,
    &REQUEST_TIMEOUT,
    &DEADLINE,
    &STATE_DIR,
    &INTERFACE,
    &AS,
    &DRY_RUN,
    &FORCE,
    &WAIT,
    &KEEP_OLD_METRIC,
    &PROBE,
    &CONFIRM,
    &CONFIG,
    &QUIET,
    &VERBOSE,
    &HELP,
    &VERSION,
];
