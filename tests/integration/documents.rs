//! Runs every command in README.md and docs/, and compares its output with the page.
//!
//! - A `console` block is run line by line on a terminal; `…` stands for anything within a line.
//!   The comment directly above it says against what: `<!-- api: NAME -->` (see `world`), `<!-- in
//!   a network of its own -->` (run by the `gateway` target) or `<!-- not run: REASON -->`.
//! - A `sh` block is run as a whole, or only checked for syntax where it would change the machine.
//! - Of `yaml` and `toml` blocks, what the program itself understands is run or read.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::documents::{Block, NETWORK, blocks, is_continuation, matches, pages};
use crate::support::{self, Terminal, World, bare_agent, binary};
use rackconnect_agent::cli::{COMMANDS, option_specs};
use rackconnect_agent::exit::MEANINGS;
use simulated_api::{Item, Step};

/// Commands for a reader's machine, which no test runs.
const CHANGES_THE_MACHINE: [&str; 20] = [
    "apt",
    "apt-get",
    "cargo",
    "chmod",
    "cp",
    "curl",
    "dnf",
    "dpkg",
    "git",
    "install",
    "mkdir",
    "packaging/build.sh",
    "rm",
    "rpm",
    "rustup",
    "sudo",
    "systemctl",
    "tee",
    "yum",
    "zypper",
];

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

/// The variables of a block about `cloud`, and the simulated cloud that they name.
#[cfg(feature = "cloud")]
fn cloud(comment: &str) -> Option<(crate::cloud::CloudWorld, Variables)> {
    let servers = comment.strip_prefix("cloud: ")?;
    let world = crate::cloud::CloudWorld::of(servers);
    let variables = world.variables();
    Some((world, variables))
}

#[cfg(not(feature = "cloud"))]
fn cloud(_: &str) -> Option<((), Variables)> {
    None
}

type Variables = Vec<(std::ffi::OsString, std::ffi::OsString)>;

/// Runs a line in a shell on a terminal, and returns what the terminal shows.
fn shell(world: &World, line: &str) -> String {
    shell_with(world, &Variables::new(), line)
}

/// The same with additional variables.
fn shell_with(world: &World, variables: &Variables, line: &str) -> String {
    let bin = world.folder.path().join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        for name in ["rackconnect", "rackconnect-inventory"] {
            std::os::unix::fs::symlink(binary(), bin.join(name)).unwrap();
        }
    }
    let agent = world.agent(&[]);
    let mut terminal = Terminal::open(24, 80);
    let mut command = Command::new("bash");
    command.args(["-c", line]).env_clear().current_dir(world.folder.path()).env("LC_ALL", "C");
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.envs(variables.iter().cloned());
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    // Without live lines.
    terminal.of(&mut command).env("TERM", "dumb").stdin(Stdio::null()).status().unwrap();
    drop(command);
    terminal.close().replace('\r', "")
}

#[test]
fn every_console_block_has_the_output_on_the_page() {
    let (own, others): (Vec<Block>, Vec<Block>) =
        blocks().into_iter().filter(|block| block.language == "console").partition(|block| {
            let is_cloud = cfg!(feature = "cloud") && block.comment.starts_with("cloud: ");
            is_cloud || block.comment.starts_with("api: ")
        });
    for block in others {
        let is_left_out = cfg!(not(feature = "cloud")) && block.comment.starts_with("cloud: ");
        assert!(
            is_left_out || block.comment == NETWORK || block.comment.starts_with("not run: "),
            "{}: no comment above this block says how to run it",
            block.place
        );
    }
    let threads: Vec<_> =
        own.into_iter().map(|block| thread::spawn(move || console(&block))).collect();
    assert!(threads.len() > 5);
    for thread in threads {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }
}

fn console(block: &Block) {
    let place = &block.place;
    let cloud = cloud(&block.comment);
    let variables = cloud.as_ref().map_or(Variables::new(), |(_, variables)| variables.clone());
    let world = match &cloud {
        Some(_) => World::of([]),
        None => world(block.comment.trim_start_matches("api: ")),
    };
    let mut lines = block.lines.iter().peekable();
    while let Some(line) = lines.next() {
        let mut command = line
            .strip_prefix("$ ")
            .unwrap_or_else(|| panic!("{place}: a command is expected: {line}"))
            .to_owned();
        while let Some(more) = lines.next_if(|line| is_continuation(line)) {
            command = format!("{command}\n{more}");
        }
        let shown = shell_with(&world, &variables, &command);
        let mut shown_lines = shown.lines();
        while let Some(expected) = lines.next_if(|line| !line.starts_with("$ ")) {
            let found = shown_lines.next();
            assert!(
                found.is_some_and(|found| matches(expected, found)),
                "{place}: $ {command}\n{shown}\nexpected: {expected}"
            );
        }
        assert_eq!(shown_lines.next(), None, "{place}: $ {command}\n{shown}");
    }
}

#[test]
fn every_shell_block_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Commands that CI runs, itself or in the script that builds the packages.
    let ci: String = [".ci/run", "packaging/build.sh"]
        .map(|script| fs::read_to_string(root.join(script)).unwrap())
        .concat();
    let mut count = 0;
    for block in blocks().into_iter().filter(|block| block.language == "sh") {
        let (place, script) = (&block.place, block.lines.join("\n"));
        let syntax = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
        assert!(syntax.status.success(), "{place}: {}", String::from_utf8_lossy(&syntax.stderr));
        for line in block.lines.iter().filter(|line| line.starts_with("cargo ")) {
            if place.starts_with("README.md") || line.starts_with("cargo run --example ") {
                assert!(ci.contains(line), "{place}: .ci/run does not run {line:?}");
            }
        }
        let first_words = block.lines.iter().filter_map(|line| line.split_whitespace().next());
        let is_local = |word: &str| word.contains('/') && root.join(word).exists();
        if first_words.into_iter().any(|word| CHANGES_THE_MACHINE.contains(&word) || is_local(word))
            || block.comment.starts_with("not run: ")
        {
            continue;
        }
        let world = world("deployed");
        let follow_up = world.folder.path().join("after-deployment.sh");
        fs::write(&follow_up, "#!/bin/sh\necho \"ran with $RACKCONNECT_STATUS\"\n").unwrap();
        let script =
            script.replace("/root/after-deployment.sh", &format!("sh {}", follow_up.display()));
        let shown = shell(&world, &format!("{script}\necho \"exit code $?\""));
        assert!(shown.contains("exit code 0"), "{place}: {script}: {shown}");
        count += 1;
    }
    assert!(count >= 2);
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
fn every_option_command_and_exit_code_is_documented() {
    let text: String = pages().into_iter().map(|(_, text)| text).collect();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    for option in option_specs().filter(|option| option.is_shown()) {
        let row = rows.iter().find(|row| {
            row.contains(&format!("--{}", option.long)) && row.matches('|').count() == 5
        });
        let row = row.unwrap_or_else(|| panic!("--{} is in no table of options", option.long));
        let parts = option
            .env
            .iter()
            .copied()
            .chain(option.key.map(|(key, _)| key))
            .chain(option.value_name)
            .chain([option.default]);
        for part in parts {
            assert!(row.contains(part), "{part} is not in {row}");
        }
    }
    for (code, meaning) in MEANINGS {
        let row = format!("| {code} | {meaning} |").replace('`', "");
        assert!(rows.iter().any(|line| line.replace('`', "") == row), "{row} is not documented");
    }
    for spec in COMMANDS {
        assert!(text.contains(&format!("rackconnect {}", spec.name)), "{}", spec.name);
    }
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for (name, text) in pages() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let page = root.join(&name);
            let path = if file.is_empty() { page } else { page.with_file_name("").join(file) };
            assert!(path.exists(), "{name}: no file for the link {target}");
            if !anchor.is_empty() {
                let linked = fs::read_to_string(&path).unwrap();
                let mut headings = linked.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| anchor_of(heading) == anchor),
                    "{name}: no heading for the link {target}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

/// The anchor that GitHub gives a heading.
fn anchor_of(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

/// All source text below `directory`.
fn source(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// SECURITY.md names tests, cases and scripts as evidence.
#[test]
fn everything_that_security_md_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    source(&root.join("src"), &mut text);
    source(&root.join("tests"), &mut text);
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut tests = 0;
    for name in page.split('`').skip(1).step_by(2) {
        if name.starts_with("tests/") {
            assert!(root.join(name).exists(), "{name}");
        } else if name.contains('_')
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        {
            assert!(text.contains(&format!("fn {name}(")), "no test is named {name}");
            tests += 1;
        }
    }
    assert!(tests > 30, "{tests}");
}
