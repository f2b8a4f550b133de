//! The prompts, and the live lines of a wait, on a terminal.

use std::process::Command;

use nix::sys::signal::Signal;
use simulated_cloud::Server;

use super::{CloudWorld, PASSWORD};
use crate::support::{Running, Terminal, until, with_environment_of};

/// Starts the program in its own session, with this terminal as /dev/tty.
pub(super) fn start(terminal: &Terminal, world: &CloudWorld, arguments: &str) -> Running {
    let agent = world.anonymous(arguments);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(agent.get_program()).args(agent.get_args());
    with_environment_of(&agent, &mut command);
    Running::start(terminal.of(&mut command).stdin(terminal.end()))
}

/// Answers a question once nothing that is typed is shown.
pub(super) fn answer(terminal: &mut Terminal, question: &str, text: &str) {
    terminal.wait_for(question);
    until("no echo", || !terminal.has_echo());
    terminal.types(text);
}

#[test]
fn the_password_and_the_passcode_are_asked_without_echo() {
    let world = CloudWorld::new();
    world.cloud.state().users[0].passcode = Some("1411594".to_owned());
    let mut terminal = Terminal::open(24, 80);
    let running = start(&terminal, &world, "cloud login");
    terminal.wait_for("Username: ");
    assert!(terminal.has_echo());
    terminal.types("jsmith\n");
    answer(&mut terminal, "Password of jsmith: ", &format!("{PASSWORD}\n"));
    answer(&mut terminal, "Passcode: ", "1411594\n");
    running.end().expect(0);
    assert!(terminal.has_echo());
    let shown = terminal.close();
    assert!(shown.contains("logged in as jsmith"), "{shown}");
    assert!(!shown.contains(PASSWORD) && !shown.contains("1411594"), "{shown}");
}

#[test]
fn a_wrong_password_gives_one_sentence_and_an_empty_one_a_usage_error() {
    let world = CloudWorld::new();
    let mut terminal = Terminal::open(24, 200);
    let running = start(&terminal, &world, "cloud login");
    terminal.wait_for("Username: ");
    terminal.types("jsmith\n");
    answer(&mut terminal, "Password of jsmith: ", "wr0ng-password\n");
    running.end().expect(2);
    let shown = terminal.close();
    assert!(shown.contains("does not accept the credentials"), "{shown}");
    assert!(!shown.contains("wr0ng-password"), "{shown}");

    let mut terminal = Terminal::open(24, 200);
    let running = start(&terminal, &world, "cloud login");
    terminal.wait_for("Username: ");
    // Ctrl-D.
    terminal.types("\x04");
    running.end().expect(2);
    assert!(terminal.close().contains("nothing was typed on the terminal"));
    assert_eq!(world.authentications(), 1);
}

#[test]
fn a_password_that_is_interrupted_leaves_the_terminal_with_echo() {
    let world = CloudWorld::new();
    let mut terminal = Terminal::open(24, 80);
    let running = start(&terminal, &world, "cloud login");
    terminal.wait_for("Username: ");
    terminal.types("jsmith\n");
    // Ctrl-C.
    answer(&mut terminal, "Password of jsmith: ", "\x03");
    let end = running.end();
    assert_ne!(end.code, Some(0));
    assert!(terminal.has_echo());
    assert_eq!(world.authentications(), 0);
}

/// A world with servers `s1` … in DEPLOYING, and a wait for all of them on that terminal.
fn watched(servers: u32, terminal: &Terminal) -> (CloudWorld, Running) {
    let world = CloudWorld::new();
    let server = |number| Server::new("DFW", number, &format!("s{number}"), Some("DEPLOYING"));
    world.cloud.state().servers = (1..=servers).map(server).collect();
    let mut command = world.agent("cloud wait --all --interval 3s");
    let running = Running::start(terminal.of(&mut command).env("TERM", "xterm"));
    (world, running)
}

#[test]
fn a_wait_for_several_servers_has_a_live_line_for_each() {
    let mut terminal = Terminal::open(10, 80);
    let (world, running) = watched(3, &terminal);
    terminal.wait_for("3 of 3 servers are not done");
    let screen = terminal.screen();
    let first: Vec<&str> = screen.lines().take(3).collect();
    assert_eq!(first, ["s1 (DFW)  DEPLOYING", "s2 (DFW)  DEPLOYING", "s3 (DFW)  DEPLOYING"]);
    world.cloud.state().set_automation("s2", "FAILED");
    terminal.wait_for("2 of 3 servers are not done");
    let screen = terminal.screen();
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines[0].starts_with("rackconnect: error: s2 (DFW): FAILED after "), "{screen}");
    assert_eq!(lines[1..3], ["s1 (DFW)  DEPLOYING", "s3 (DFW)  DEPLOYING"]);
    assert_eq!(lines.len(), 4, "{screen}");
    world.cloud.state().set_automation("s1", "DEPLOYED");
    world.cloud.state().set_automation("s3", "DEPLOYED");
    running.end().expect(4);
    terminal.close();
    let screen = terminal.screen();
    assert!(!screen.contains("not done") && !screen.contains("  DEPLOYING"), "{screen}");
    assert_eq!(screen.lines().count(), 6, "{screen}");
}

#[test]
fn the_live_lines_are_bounded_by_the_height_of_the_terminal() {
    let mut terminal = Terminal::open(6, 80);
    let (world, running) = watched(30, &terminal);
    terminal.wait_for("and 26 more; 30 of 30 servers are not done");
    assert_eq!(terminal.screen().lines().count(), 5, "{}", terminal.screen());
    for number in 1..=30 {
        world.cloud.state().set_automation(&format!("s{number}"), "DEPLOYED");
    }
    running.end().expect(0);
    terminal.close();
    // A message and a word for each server, without live lines between them.
    let everything = terminal.everything();
    let lines: Vec<&str> = everything.lines().collect();
    assert_eq!(lines.len(), 60, "{everything}");
    assert!(lines[..30].iter().all(|line| line.contains(": DEPLOYED after ")), "{everything}");
    assert!(lines[30..].iter().all(|line| line.starts_with("DEPLOYED  s")), "{everything}");
}

#[test]
fn a_signal_erases_the_live_lines() {
    let mut terminal = Terminal::open(6, 80);
    let (_world, running) = watched(30, &terminal);
    terminal.wait_for("30 of 30 servers are not done");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code, None);
    terminal.close();
    assert_eq!(terminal.screen(), "");
}
