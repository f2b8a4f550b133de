//! The table of commands: their names and help texts. Parser, help, manual and completions use this
//! table.

/// A command of the program.
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
    /// `doctor`
    Doctor,
    /// `hooks`
    Hooks,
    /// `region`
    Region,
    /// `completions`
    Completions,
    /// `man`
    Man,
    /// `cloud …`; only with the feature `cloud`.
    Cloud(CloudCommand),
}

/// A command of `cloud`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudCommand {
    /// `cloud login`
    Login,
    /// `cloud logout`
    Logout,
    /// `cloud token`
    Token,
    /// `cloud catalog`
    Catalog,
    /// `cloud servers`
    Servers,
    /// `cloud status`
    Status,
    /// `cloud wait`
    Wait,
    /// `cloud facts`
    Facts,
    /// `cloud api`
    Api,
}

/// The definition of a command.
#[derive(Debug)]
pub struct CommandSpec {
    /// Which command it is.
    pub command: Command,
    /// The words that name it.
    pub name: &'static str,
    /// What may follow the options, as the usage line shows it.
    pub operands: &'static str,
    /// One line, without a full stop.
    pub help: &'static str,
    /// The rest, in paragraphs.
    pub long_help: &'static str,
}

impl CommandSpec {
    /// The definition of `command`.
    pub fn of(command: Command) -> Option<&'static CommandSpec> {
        COMMANDS.iter().find(|spec| spec.command == command)
    }
}

const fn spec(
    command: Command,
    name: &'static str,
    operands: &'static str,
    help: &'static str,
    long_help: &'static str,
) -> CommandSpec {
    CommandSpec { command, name, operands, help, long_help }
}

/// The exit codes of `wait` and their outcomes, for its help.
pub(super) const WAIT_OUTCOMES: &[(&str, &str)] = &[
    ("0", "DEPLOYED (or what --for and --ok-if name)"),
    ("4", "FAILED; with --for managed also: Managed Operations ended in an error"),
    ("5", "UNPROCESSABLE, or not a RackConnect v2 server, or not managed"),
    ("124", "the deadline (--timeout) passed"),
    ("126, 127", "COMMAND is not executable, or not found; checked before waiting"),
];

/// All commands, in the order of the help.
pub const COMMANDS: &[CommandSpec] = &[
    spec(
        Command::Status,
        "status",
        "",
        "Print the automation status",
        "Prints one word: DEPLOYING, DEPLOYED, FAILED, UNPROCESSABLE, or any other word as the API \
         sent it. The exit code is 0 for every status unless --check is given.",
    ),
    spec(
        Command::Details,
        "details",
        "",
        "Print the automation status and its tasks",
        "Prints a table of the tasks on a terminal, and the API's JSON into a pipe or file.",
    ),
    spec(
        Command::Features,
        "features",
        "",
        "Print the automation features of this server",
        "Prints a table of the features on a terminal, and the API's JSON into a pipe or file.",
    ),
    spec(
        Command::GatewayShow,
        "gateway show",
        "",
        "Print the address of the RackConnect gateway",
        "Prints the address that the API has assigned to this server. The exit code is 3 while none \
         is assigned. \"rackconnect gateway\" without a subcommand does the same.",
    ),
    spec(
        Command::GatewayCheck,
        "gateway check",
        "",
        "Compare the default route with the API's gateway",
        "Prints the API's gateway and all default routes of the kernel, and changes nothing. The \
         exit code is 0 if the kernel sends packets for the internet through the API's gateway, 9 if \
         it does not, and 3 if no gateway is assigned. Reports a change that was interrupted or \
         waits for its confirmation.",
    ),
    spec(
        Command::GatewaySet,
        "gateway set",
        "",
        "Make the API's gateway the default gateway",
        "Prints the plan and carries it out. The new default route replaces the one in effect, and \
         others of the same metric, without a gap; no other route is changed. The result is \
         verified: the kernel uses the gateway, the gateway answers at the link layer, and the API \
         and every --probe that answered before still answer. If not, the change is undone, even \
         if this program is killed in the meantime. If the gateway is set already, nothing is \
         changed and the exit code is 0.\n\n\
         The change is refused (exit code 10) if the automation may be setting the gateway itself: \
         if the status is DEPLOYING or unknown, unless the feature configure_network_stack is \
         disabled; and if that feature is enabled, unless the status is DEPLOYED.",
    ),
    spec(
        Command::GatewayConfirm,
        "gateway confirm",
        "",
        "Accept the pending change of the gateway",
        "Works from any session and sends no request to the API.",
    ),
    spec(
        Command::GatewayRollback,
        "gateway rollback",
        "",
        "Undo the pending change of the gateway, or the last one",
        "Restores the default route that the last \"gateway set\" replaced, unless another process \
         has replaced the one that it set. Refused (exit code 10) while \"gateway keep\" runs, \
         which would set the gateway again at once. Sends no request to the API.",
    ),
    spec(
        Command::GatewayKeep,
        "gateway keep",
        "",
        "Set the gateway, and restore it when it is lost",
        "Listens to the kernel's route, address and link events. If no default route is left, the \
         last gateway that was verified, or set since the boot, is restored at once. If another \
         default route has taken its place, that is replaced, up to five times in ten minutes; \
         then keep gives up (exit code 10). The route stays when keep is stopped.",
    ),
    spec(
        Command::Wait,
        "wait",
        "[-- COMMAND [ARG]...]",
        "Wait until the server is DEPLOYED, then run COMMAND",
        "Waits until the automation is DEPLOYED, or until it is certain that it never will be. It \
         goes on through everything that can happen on a booting server: no route, no DNS, refused \
         connections, TLS errors due to a wrong clock, server errors, the rate limit, empty or \
         broken responses.\n\n\
         Prints one word: the last known status, whatever the outcome (nothing if none is known; \
         NOT-RACKCONNECT; the address with --for gateway). With COMMAND it prints nothing, and after \
         success COMMAND replaces this program, with RACKCONNECT_STATUS (that one word) and, if the \
         region is known, RACKCONNECT_REGION in its environment.\n\n\
         As root on a Xen guest it also watches xenstore. When the status there changes, it asks the \
         API at once; otherwise it asks only twice a minute. If the API does not answer after such a \
         change, it uses the status in xenstore, and says so. On a server of another provider or of \
         RackConnect v3 the wait ends at once, and on a server whose xenstore has neither a \
         RackConnect role nor a status it ends after a minute without a status from the API: with \
         exit code 5 and the word NOT-RACKCONNECT.",
    ),
    spec(
        Command::Facts,
        "facts",
        "",
        "Print everything known about this server as JSON",
        "Prints one object on one line. Every fact in it is an object with value and source, or with \
         value null and reason: agent_version, region, rackconnect_version (v2, v3 or none), status, \
         unprocessable_reason, managed_operations, features, gateway, servicenet_interface (name, \
         mac), default_route (gateway, interface, metric), request_budget (free, limit). Sends at \
         most three requests to the API. Without a response, status and features are read from \
         xenstore.",
    ),
    spec(
        Command::Doctor,
        "doctor",
        "",
        "Find what is wrong on this server and say what to do",
        "Examines the server, the way to the API and this program, all at the same time and within \
         ten seconds, and changes nothing. [PASS] and [INFO] lines go to standard output, [WARNING] \
         and [FAIL] lines to standard error, with the command that repairs the problem. The exit \
         code is 1 if a check failed; warnings do not count. Without root it skips some checks, and \
         names them. The last line, on standard error, counts the checks.\n\n\
         ServiceNet is Rackspace's private network between the servers of a region. The automation \
         is what RackConnect does to a new server from outside, over SSH, until it is DEPLOYED.\n\n\
         --list shows the checks; --explain shows what a check means and how to repair what it finds.",
    ),
    spec(
        Command::Hooks,
        "hooks",
        "[DIR]",
        "Run the executables of a directory, once per deployment",
        "Runs every executable regular file in DIR (/etc/rackconnect-agent/deployed.d) in the order \
         of the names, except hidden files and those that end in ~, .bak, .dpkg-* or .rpm*. It \
         does not wait: use \"rackconnect wait -- rackconnect hooks\" for that. A hook that has \
         ended with exit code 0 does not run again in the same deployment of the server: a stamp \
         in /var/lib/rackconnect-agent/hooks, named after the hook's full path, records the \
         instance id. If a hook fails, the others run nevertheless, the exit code is 1, and the \
         hook runs again the next time. A hook that ends with exit code 126 asks to be skipped \
         this time; that is not a failure.\n\n\
         RACKCONNECT_STATUS and RACKCONNECT_REGION are in the environment of hooks, if they are known. \
         Standard input is empty and the working directory is /. Root runs a hook only if the hook \
         and every directory and link on its path belong to root and are not writable by other \
         users; a directory with the sticky bit, such as /tmp, may be writable. Under systemd a \
         hook's output is in the journal under its name (journalctl -t NAME).",
    ),
    spec(
        Command::Region,
        "region",
        "",
        "Print the region of this server",
        "Prints the region's code, and with -v its source. Sends nothing to the network.",
    ),
    spec(
        Command::Completions,
        "completions",
        "SHELL",
        "Print shell completions: bash, zsh or fish",
        "For example: rackconnect completions bash > /etc/bash_completion.d/rackconnect",
    ),
    spec(
        Command::Man,
        "man",
        "",
        "Print the manual page",
        "For example: rackconnect man | man -l -",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Login),
        "cloud login",
        "",
        "Authenticate with Rackspace Cloud Identity and cache the token",
        "The credentials are those of --profile; else those in the environment (RAX_USERNAME with \
         RAX_API_KEY or RAX_PASSWORD, RAX_TENANT_ID; or the OS_ variables of OpenStack's clients); \
         else those of the profile [default] in ~/.config/rackconnect/credentials.toml, which only \
         its owner may read; else they are read from the terminal. They are never taken from the \
         command line. The token is cached in ~/.cache/rackconnect, readable only for this user. \
         The other commands log in by themselves if necessary.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Logout),
        "cloud logout",
        "",
        "Revoke the cached token and forget it",
        "Other programs that use the same token lose it, too.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Token),
        "cloud token",
        "",
        "Print a valid token",
        "For other programs. Anyone who sees it can use the account until it expires.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Catalog),
        "cloud catalog",
        "",
        "Print the services of the account, with their regions and URLs",
        "As a table, or with --format json as a list of objects with name, type, region and url.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Servers),
        "cloud servers",
        "",
        "List the account's servers with their RackConnect status",
        "Prints columns: name, id, region, server status, RackConnect status, ServiceNet address, \
         public address. Asks all regions of the account at the same time, or only --region. With \
         --format ansible, --list or --host it prints a dynamic inventory; a link to the program \
         with the name rackconnect-inventory works as an inventory script.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Status),
        "cloud status",
        "SERVER...",
        "Print the automation status of servers, from their metadata",
        "SERVER is an id or a name. Prints one word for one server, and for several servers one line \
         each: status, name, region. The exit code is 3 if a server does not exist or has no status \
         yet.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Wait),
        "cloud wait",
        "[SERVER]...",
        "Wait until servers are DEPLOYED, then run COMMAND",
        "Servers are given by id or name, or selected with --name or --all. \"-- COMMAND\" may follow. \
         It waits like \"rackconnect wait\" on a server, but for any number of servers: every \
         --interval (10s) it requests one list from each region. The wait for a server also ends \
         if the server is deleted (exit code 5) or in ERROR (4). The exit code is that of the \
         server with the worst outcome; with --any, that of the first one that ended. The \
         variables with credentials are not in the environment of COMMAND.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Facts),
        "cloud facts",
        "SERVER...",
        "Print what Cloud Servers knows of a server as JSON",
        "Prints one object on one line for each server: id, name, region, server_status, status, \
         unprocessable_reason, managed_operations, features, servicenet_address, public_address, \
         metadata, agent_version.",
    ),
    #[cfg(feature = "cloud")]
    spec(
        Command::Cloud(CloudCommand::Api),
        "cloud api",
        "[METHOD] SERVICE PATH",
        "Send an authenticated request to a service of the catalog",
        "SERVICE is a name (cloudFiles), a short name (the name without cloud: servers, files, cdn, \
         images, dns, identity, blockstorage and so on) or a type in the catalog. PATH, optionally \
         with a query, is appended to the service's URL in the catalog. METHOD is GET by default, \
         POST with --data, PUT with --upload.\n\n\
         The body of the response goes to standard output: byte for byte into a pipe or file, JSON \
         indented on a terminal. The body of an error response is printed too, with a message on \
         standard error. The exit code is 0 for 2xx, 2 for 401 and 403, 3 for 404, 6 for 413 and \
         429 after waiting as long as --deadline allows, 7 for 5xx or no response, 8 for anything \
         else. GET and HEAD are sent a second time after 5xx or no response. Other methods are not, \
         because the first request may have been carried out.",
    ),
];
