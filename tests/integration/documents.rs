//! The README: every command in it runs, and shows what it says it shows.
//!
//! - A `console` block is run line by line on a terminal against the API that the comment above it names; `…` stands for
//!   anything within a line.
//! - A `sh` block is run by .ci/run if it is about cargo, else here.
//! - `yaml` and `toml` blocks are checked for what the agent itself understands of them.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{self, World, bare_agent, binary};
use nix::pty::openpty;
use rackconnect_agent::cli::{COMMANDS, OPTIONS};
use rackconnect_agent::exit::MEANINGS;
use simulated_api::{Item, Step};

const README: &str = include_str!("../../README.md");

struct Block {
    language: String,
    api: String,
    lines: Vec<String>,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut api = String::new();
    let mut open: Option<Block> = None;
    for line in README.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.to_owned(),
                    api: api.clone(),
                    lines: Vec::new(),
                });
            }
            (None, None) => {
                if let Some(name) = line.strip_prefix("<!-- api: ") {
                    api = name.trim_end_matches(" -->").to_owned();
                }
            }
        }
    }
    assert!(open.is_none());
    blocks
}

fn world(api: &str) -> World {
    let tasks = |last: &str| {
        vec![
            Item::new("Cloud Server Created: Add \"rackconnect\" user", "DEPLOYED"),
            Item::new("Cloud Server Created: Update access on dedicated network devices", last),
        ]
    };
    let deploying = Step { tasks: tasks("DEPLOYING"), ..Step::new("DEPLOYING") }
        .feature("configure_network_stack", "ENABLED")
        .feature("manage_software_firewall", "DISABLED");
    let deployed =
        Step { tasks: tasks("DEPLOYED"), ..Step::new("DEPLOYED") }.gateway("10.182.127.198");
    let user = "Cloud Server Created: Add \"rackconnect\" user";
    World::of(match api {
        "deploying" => vec![deploying],
        "deployed" => vec![deployed],
        "deploying-then-deployed" => vec![deploying.requests(2), deployed],
        "failed" => vec![Step::new("FAILED").task(user, "FAILED")],
        "unprocessable" => vec![Step::new("UNPROCESSABLE")],
        "unknown" => vec![Step::default()],
        "limit" => vec![deployed.fault("http-403")],
        _ => panic!("no such API: {api}"),
    })
}

/// Runs a line of shell on a terminal and answers with what that shows.
fn shell(world: &World, line: &str) -> String {
    let bin = world.folder.path().join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(binary(), bin.join("rackconnect")).unwrap();
    }
    let agent = world.agent(&[]);
    let pty = openpty(None, None).unwrap();
    let mut command = Command::new("bash");
    command
        .args(["-c", line])
        .env_clear()
        .current_dir(world.folder.path())
        .env("TERM", "dumb")
        .env("LC_ALL", "C");
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    let end = |pty: &std::os::fd::OwnedFd| Stdio::from(pty.try_clone().unwrap());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(end(&pty.slave))
        .stderr(end(&pty.slave))
        .spawn()
        .unwrap();
    drop((command, pty.slave));
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = File::from(pty.master).read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    });
    child.wait().unwrap();
    reader.join().unwrap().replace('\r', "")
}

/// Whether `shown` is `expected`, in which `…` stands for anything.
fn matches(expected: &str, shown: &str) -> bool {
    let mut rest = shown;
    for (i, part) in expected.split('…').enumerate() {
        match rest.find(part) {
            Some(at) if i > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || expected.ends_with('…')
}

#[test]
fn every_console_block_shows_what_it_says() {
    let consoles = blocks().into_iter().filter(|block| block.language == "console");
    let threads: Vec<_> = consoles.map(|block| thread::spawn(move || console(&block))).collect();
    assert!(threads.len() > 5);
    for thread in threads {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

fn console(block: &Block) {
    let world = world(&block.api);
    let mut lines = block.lines.iter().peekable();
    while let Some(line) = lines.next() {
        let command =
            line.strip_prefix("$ ").unwrap_or_else(|| panic!("a command is expected: {line}"));
        let shown = shell(&world, command);
        let mut shown_lines = shown.lines();
        while let Some(expected) = lines.next_if(|line| !line.starts_with("$ ")) {
            let found = shown_lines.next();
            assert!(
                found.is_some_and(|found| matches(expected, found)),
                "$ {command}\n{shown}\nexpected: {expected}"
            );
        }
        assert_eq!(shown_lines.next(), None, "$ {command}\n{shown}");
    }
}

#[test]
fn every_shell_line_runs() {
    let ci = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    let mut ran = 0;
    for line in
        blocks().into_iter().filter(|block| block.language == "sh").flat_map(|block| block.lines)
    {
        if line.starts_with("cargo ") {
            assert!(ci.contains(&line), ".ci/run does not run {line:?}");
        } else if line.starts_with("packaging/build.sh") || line.starts_with("dpkg -i ") {
            let scripts = ["tests/packages.sh", "tests/boot.sh"].map(|name| {
                assert!(ci.contains(name), ".ci/run does not run {name}");
                fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
            });
            let command = line
                .split(' ')
                .take(if line.starts_with("dpkg") { 2 } else { 1 })
                .collect::<Vec<_>>()
                .join(" ");
            assert!(scripts.iter().any(|script| script.contains(&command)), "{line}");
        } else if line.starts_with("install ") {
            assert!(ci.contains("target/x86_64-unknown-linux-musl/release/rackconnect"), "{line}");
        } else {
            let world = world("deployed");
            let script = world.folder.path().join("after-deployment.sh");
            fs::write(&script, "#!/bin/sh\necho \"ran with $RACKCONNECT_STATUS\"\n").unwrap();
            let line =
                line.replace("/root/after-deployment.sh", &format!("sh {}", script.display()));
            let shown = shell(&world, &format!("{line}; echo \"exit code $?\""));
            assert!(shown.contains("DEPLOYED") && shown.contains("exit code 0"), "{line}: {shown}");
        }
        ran += 1;
    }
    assert!(ran >= 5);
}

#[test]
fn every_cloud_init_line_runs() {
    let world = world("deployed");
    let lines =
        blocks().into_iter().filter(|block| block.language == "yaml").flat_map(|block| block.lines);
    let commands: Vec<String> = lines
        .filter_map(|line| line.strip_prefix("  - ").map(str::to_owned))
        .filter(|line| line.contains("rackconnect"))
        .collect();
    assert!(!commands.is_empty());
    for command in commands {
        let shown = shell(&world, &format!("{command}; echo \"exit code $?\""));
        assert!(shown.contains("DEPLOYED") && shown.contains("exit code 0"), "{command}: {shown}");
    }
}

#[test]
fn every_configuration_file_is_accepted() {
    for block in blocks().into_iter().filter(|block| block.language == "toml") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, block.lines.join("\n")).unwrap();
        let mut command = bare_agent(&["region"]);
        let ended = support::ended(command.env("RACKCONNECT_CONFIG", &path).output().unwrap());
        ended.expect(0);
        assert_eq!((ended.text(), ended.stderr.as_str()), ("dfw\n", ""));
    }
}

#[test]
fn every_option_command_and_exit_code_is_in_it() {
    let rows: Vec<&str> = README.lines().filter(|line| line.starts_with('|')).collect();
    for option in OPTIONS {
        let row = rows.iter().find(|row| {
            row.contains(&format!("--{}", option.long)) && row.matches('|').count() == 5
        });
        let row = row.unwrap_or_else(|| panic!("--{} is not in the README", option.long));
        let parts = option
            .env
            .iter()
            .copied()
            .chain(option.key.map(|(key, _)| key))
            .chain(option.value)
            .chain([option.default]);
        for part in parts {
            assert!(row.contains(part), "{part} is not in {row}");
        }
    }
    for (code, meaning) in MEANINGS {
        let row = format!("| {code} | {meaning} |").replace('`', "");
        assert!(rows.iter().any(|line| line.replace('`', "") == row), "{row} is not in the README");
    }
    for spec in COMMANDS {
        assert!(README.contains(&format!("rackconnect {}", spec.name)), "{}", spec.name);
    }
}
