//! The program against the simulated API, as far as a case file cannot describe it: every shape of
//! every body, connections, signals, terminals, broken outputs.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;

use crate::support::{PATIENCE, Terminal, World, bare_agent, config, ended, finish, finish_within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use simulated_api::{Config, Script, Step, shapes};

fn deploying() -> Step {
    Step::new("DEPLOYING")
        .gateway("10.182.127.198")
        .task("Cloud Server Created: Add \"rackconnect\" user", "DEPLOYED")
        .task("Cloud Server Created: Update access on dedicated network devices", "DEPLOYING")
        .feature("configure_network_stack", "ENABLED")
        .feature("manage_software_firewall", "DISABLED")
}

#[test]
fn every_operation_in_every_format_and_shape() {
    for shape in shapes() {
        let world = World::of([deploying().shape(shape)]);
        for (command, formats) in [
            ("status", &["text", "json", "xml"][..]),
            ("gateway", &["text", "json", "xml"]),
            ("details", &["json", "xml"]),
            ("features", &["json", "xml"]),
        ] {
            for format in formats {
                let ended = world.run(&[command, "--format", format]);
                ended.expect(0);
                assert!(
                    !ended.stdout.is_empty() && ended.stderr.is_empty(),
                    "{shape} {command} {format}"
                );
            }
            world.run(&[command]).expect(0);
        }
        let check = world.run(&["status", "--check", "--format", "xml"]);
        check.expect(3);
        assert_eq!(world.run(&["status"]).text(), "DEPLOYING\n", "{shape}");
        assert_eq!(world.run(&["gateway"]).text(), "10.182.127.198\n", "{shape}");
        assert_eq!(world.api.counts().over_limit, 0);
    }
}

#[test]
fn a_terminal_gets_tables_in_every_shape() {
    for shape in shapes() {
        let world = World::of([deploying().shape(shape)]);
        let (code, details) = on_a_terminal(&world, &["details"]);
        assert_eq!(code, Some(0), "{shape}: {details}");
        let lines: Vec<String> = details.lines().map(str::to_lowercase).collect();
        assert_eq!(lines[0], "deploying", "{shape}");
        assert_eq!(
            lines[1], "  deployed   cloud server created: add \"rackconnect\" user",
            "{shape}"
        );
        assert_eq!(
            lines[2],
            "  deploying  cloud server created: update access on dedicated network devices",
            "{shape}"
        );
        assert_eq!(lines.len(), 3, "{shape}: {details}");
        let (code, features) = on_a_terminal(&world, &["features"]);
        assert_eq!(code, Some(0), "{shape}: {features}");
        let plain = features.to_lowercase().replace('_', "");
        assert_eq!(
            plain, "  enabled   configurenetworkstack\r\n  disabled  managesoftwarefirewall\r\n",
            "{shape}"
        );
    }
}

#[test]
fn a_terminal_gets_a_newline_and_no_control_characters() {
    let mut evil = Step::new("DEPLOYED");
    evil.body =
        Some("{\"automation_status\":\"DEPLOYED\",\n \"\u{1b}[2J\u{202e}\":\t1}".to_owned());
    let world = World::of([evil]);
    let (code, text) = on_a_terminal(&world, &["details", "--format", "json"]);
    // Control characters are not valid in strings of JSON.
    assert_eq!(code, Some(8), "{text}");
    assert!(
        text.starts_with(
            "{\"automation_status\":\"DEPLOYED\",\r\n \"\\u{1b}[2J\\u{202e}\":    1}\r\n"
        ),
        "{text:?}"
    );
    let world = World::of([Step::new("DEPLOYED")]);
    assert_eq!(
        on_a_terminal(&world, &["status", "--format", "text"]),
        (Some(0), "DEPLOYED\r\n".to_owned())
    );
}

#[test]
fn a_wait_on_a_terminal_has_one_live_line() {
    let steps = [deploying().requests(2), Step::new("DEPLOYED")];
    let world = World::of(steps);
    let (code, text) = on_a_terminal(&world, &["wait", "--interval", "3s"]);
    assert_eq!(code, Some(0), "{text:?}");
    let live = text.split('\r').filter(|line| line.contains("next check in")).collect::<Vec<_>>();
    assert!(!live.is_empty(), "{text:?}");
    for part in [
        "DEPLOYING, ",
        "1 of 2 tasks done, now: Cloud Server Created: Update access",
        "next check in",
    ] {
        assert!(live.iter().any(|line| line.contains(part)), "{part}: {text:?}");
    }
    // The live line is erased at the end; the last message and the status stay.
    let rest = text.rsplit("\x1b[K").next().unwrap_or_default();
    assert!(
        rest.contains("rackconnect: DEPLOYED after") && rest.ends_with("DEPLOYED\r\n"),
        "{text:?}"
    );
}

#[test]
fn a_wait_on_a_dumb_terminal_or_a_quiet_one_has_no_live_line() {
    let world = World::of([Step::new("DEPLOYED")]);
    let mut command = world.agent(&["wait", "-q"]);
    command.env("TERM", "xterm");
    assert_eq!(terminal(command).1, "DEPLOYED\r\n");
    let mut command = world.agent(&["wait"]);
    command.env("TERM", "dumb");
    assert!(!terminal(command).1.contains('\x1b'));
}

#[test]
fn one_connection_serves_a_whole_wait() {
    let world = World::of([deploying().requests(3), Step::new("DEPLOYED")]);
    world.run(&["wait", "--interval", "3s"]).expect(0);
    let counts = world.api.counts();
    assert_eq!((counts.connections, counts.handshakes), (1, 1));
    assert_eq!(counts.requests, 4);
}

#[test]
fn a_connection_that_was_closed_in_the_meantime_is_replaced_quietly() {
    for fault in ["close-after", "close-racing"] {
        let world = World::of([deploying().fault(fault).requests(2), Step::new("DEPLOYED")]);
        let ended = world.run(&["wait", "--interval", "3s"]);
        ended.expect(0);
        assert!(!ended.stderr.contains("broke"), "{}", ended.stderr);
        assert!(world.api.counts().connections > 1);
    }
}

#[test]
fn the_request_is_minimal() {
    let world = World::of([Step::new("DEPLOYED")]);
    world.run(&["status"]).expect(0);
    let log = world.api.log();
    let mut names: Vec<String> =
        log[0].headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    assert_eq!(names, ["accept", "host", "user-agent"]);
    assert_eq!(
        log[0].header("user-agent"),
        Some(concat!("rackconnect-agent/", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn only_tls_1_2_and_plain_http_on_loopback() {
    for config in [Config { tls12_only: true, ..config() }, Config { tls: false, ..config() }] {
        let world = World::with(Config { script: Script::of([deploying()]), ..config });
        assert_eq!(world.run(&["status"]).expect(0).text(), "DEPLOYING\n");
    }
}

#[test]
fn the_thirty_first_request_in_a_minute_is_the_limit_and_no_answer() {
    let world = World::of([Step::new("DEPLOYED")]);
    for _ in 0..30 {
        world.run(&["status"]).expect(0);
    }
    world
        .run(&["status", "--deadline", "5s"])
        .expect(6)
        .says("rate limit of this server is used up");
}

#[test]
fn a_signal_ends_a_stalled_request_at_once() {
    let world = World::of([Step::new("DEPLOYED").fault("stall")]);
    let all = [
        (Signal::SIGTERM, &["status", "--request-timeout", "1h", "--deadline", "1h"][..]),
        (Signal::SIGINT, &["status", "--request-timeout", "1h", "--deadline", "1h"]),
        (Signal::SIGTERM, &["wait", "--request-timeout", "1h"]),
        (Signal::SIGHUP, &["wait", "--request-timeout", "1h"]),
    ];
    for (signal, arguments) in all {
        let before = world.api.counts().requests;
        let child =
            world.agent(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(world.api.wait_until(PATIENCE, |api| api.counts().requests > before));
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            output.status.signal(),
            Some(signal as i32),
            "it ends by the signal, so that a shell sees 128+n"
        );
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn a_signal_erases_the_live_line() {
    let world = World::of([Step::new("DEPLOYING")]);
    let mut terminal = Terminal::open(50, 200);
    let mut command = world.agent(&["wait"]);
    command.env("TERM", "xterm");
    let mut child = terminal.of(&mut command).stdout(Stdio::null()).spawn().unwrap();
    drop(command);
    assert!(world.api.wait_until(PATIENCE, |api| api.counts().requests > 1));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    assert!(terminal.close().ends_with("\r\x1b[K"));
}

/// Regression: the signal waited until the live line could be erased.
#[test]
fn a_signal_ends_a_wait_on_a_stopped_terminal() {
    let world = World::of([Step::new("DEPLOYING")]);
    let terminal = Terminal::open(50, 200);
    let mut command = world.agent(&["wait"]);
    command.env("TERM", "xterm");
    let child = terminal.of(&mut command).stdout(Stdio::null()).spawn().unwrap();
    assert!(world.api.wait_until(PATIENCE, |api| api.counts().requests > 1));
    terminal.stop();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    let ended = finish_within(child, PATIENCE).unwrap();
    assert_eq!(ended.code, None, "it ends by the signal");
}

#[test]
fn standard_output_that_cannot_be_written() {
    let world = World::of([Step::new("DEPLOYED")]);
    for arguments in
        [&["wait"][..], &["status"], &["status", "--format", "json"], &["--help"], &["man"]]
    {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = world.agent(arguments);
        let ended = ended(command.stdout(full).stderr(Stdio::piped()).output().unwrap());
        ended.expect(1).says("cannot write to standard output: No space left on device");
    }
}

#[test]
fn a_closed_pipe_ends_it_silently() {
    let world = World::of([Step::new("FAILED")]);
    for (arguments, code) in
        [(&["status", "--check"][..], 4), (&["status"], 0), (&["--help"], 0), (&["man"], 0)]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = world.agent(arguments);
        let ended = ended(command.stdout(writer).stderr(Stdio::piped()).output().unwrap());
        ended.expect(code);
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn an_empty_environment_makes_no_difference() {
    let world = World::of([Step::new("DEPLOYED")]);
    let endpoint = world.api.endpoint();
    let ca = world.api.ca_file().display().to_string();
    let mut command = bare_agent(&["status", "--endpoint", &endpoint, "--ca-file", &ca]);
    command.env_clear().env("RACKCONNECT_STATE_DIR", world.folder.path());
    assert_eq!(ended(command.output().unwrap()).expect(0).text(), "DEPLOYED\n");
}

#[test]
fn under_the_journal_lines_carry_priorities() {
    let world = World::of([Step::new("DEPLOYED")]);
    let (reader, writer) = std::io::pipe().unwrap();
    let file = File::from(OwnedFd::from(writer.try_clone().unwrap()));
    let metadata = file.metadata().unwrap();
    use std::os::unix::fs::MetadataExt;
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let mut command = world.agent(&["wait"]);
    command.env("JOURNAL_STREAM", stream).stderr(writer).stdout(Stdio::null());
    let status = command.status().unwrap();
    drop((command, file));
    let mut text = String::new();
    File::from(OwnedFd::from(reader)).read_to_string(&mut text).unwrap();
    assert!(status.success() && text.starts_with("<6>DEPLOYED after "), "{text}");
    // An inherited JOURNAL_STREAM that is not this standard error is ignored.
    let mut command = world.agent(&["status", "--region", "nyc"]);
    command.env("JOURNAL_STREAM", "1:2");
    assert!(ended(command.output().unwrap()).expect(2).stderr.starts_with("rackconnect: error: "));
}

#[test]
fn command_gets_its_arguments_its_name_and_a_standard_environment() {
    let world = World::of([Step::new("DEPLOYED")]);
    let script = "echo \"$0|$1|$RACKCONNECT_STATUS|${RACKCONNECT_REGION-unset}\"; trap - PIPE; kill -PIPE $$; echo alive";
    let ended = world.run(&["wait", "--", "sh", "-c", script, "zero", "-q --help"]);
    // SIGPIPE kills COMMAND: Rust's ignoring of it is not inherited.
    assert_eq!(ended.code, None);
    assert_eq!(ended.text(), "zero|-q --help|DEPLOYED|unset\n");
    let ended = world.run(&["wait", "--", "sh", "-c", "exit 77"]);
    ended.expect(77);
}

#[test]
fn command_without_an_interpreter_line_is_run_by_the_shell() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::of([Step::new("DEPLOYED")]);
    let path = world.folder.path().join("script");
    std::fs::write(&path, "echo \"$1 $RACKCONNECT_STATUS\"\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = path.display().to_string();
    assert_eq!(world.run(&["wait", "--", &path, "one"]).expect(0).text(), "one DEPLOYED\n");
    std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    world.run(&["wait", "--", &path]).expect(127).says("interpreter");
    world.run(&["wait", "--", ""]).expect(127).says("\"\" was not found");
}

#[test]
fn a_wait_in_the_background_and_one_in_the_foreground_share() {
    let world = World::of([deploying().requests(4), Step::new("DEPLOYED")]);
    let children: Vec<_> = (0..2)
        .map(|_| {
            let mut command = world.agent(&["wait", "--interval", "3s"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap()
        })
        .collect();
    for child in children {
        assert_eq!(finish(child).expect(0).text(), "DEPLOYED\n");
    }
}

/// Runs the agent with both outputs on a terminal that can redraw a line.
fn on_a_terminal(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = world.agent(arguments);
    command.env("TERM", "xterm");
    terminal(command)
}

fn terminal(mut command: std::process::Command) -> (Option<i32>, String) {
    let mut terminal = Terminal::open(50, 200);
    let status = terminal.of(&mut command).status().unwrap();
    drop(command);
    (status.code(), terminal.close())
}
