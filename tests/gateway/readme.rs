//! The README's lines about the gateway, run.

use std::process::{Command, Stdio};

use crate::support::binary;
use crate::world::World;

pub const TESTS: &[(&str, fn())] = &[("readme::every_gateway_line_shows_what_it_says", every_line)];

const README: &str = include_str!("../../README.md");

fn every_line() {
    let world = World::usual();
    let bin = world.folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(binary(), bin.join("rackconnect")).unwrap();
    let (_, text) = README
        .split_once("<!-- in a network of its own -->\n```text\n")
        .expect("the block is there");
    let (block, _) = text.split_once("```").expect("the block ends");
    let mut commands = 0;
    for part in format!("\n{block}").split("\n$ ").skip(1) {
        let (line, expected) = part.split_once('\n').unwrap_or((part, ""));
        let agent = world.agent(&[]);
        let mut command = Command::new("bash");
        command.args(["-c", &format!("({line}) 2>&1")]).env_clear().stdin(Stdio::null());
        command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        let output = world.start(command).wait_with_output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let found: Vec<&str> = shown.lines().collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(found.len(), expected.len(), "$ {line}\n{shown}");
        for (found, expected) in found.iter().zip(expected) {
            // What manages the interface depends on the machine.
            let parts: Vec<&str> = expected.split('…').collect();
            assert!(
                found.starts_with(parts[0]) && parts.iter().all(|part| found.contains(part)),
                "$ {line}\n{shown}"
            );
            assert!(parts.len() > 1 || *found == expected, "$ {line}\n{shown}");
        }
        commands += 1;
    }
    assert!(commands > 5);
}
