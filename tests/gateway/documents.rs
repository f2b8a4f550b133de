//! The gateway commands of the documentation, run in namespaces.

use std::process::{Command, Stdio};

use crate::network::Network;
use crate::support::binary;
use crate::support::documents::{Block, NETWORK, blocks, matches};

pub const TESTS: &[(&str, fn())] =
    &[("documents::every_gateway_line_shows_what_it_says", every_line)];

fn every_line() {
    let mut commands = 0;
    for block in blocks().into_iter().filter(|block| block.comment == NETWORK) {
        commands += run(&block);
    }
    assert!(commands > 5);
}

/// Runs the commands of a block and returns their number.
fn run(block: &Block) -> usize {
    let network = Network::usual();
    let bin = network.folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(binary(), bin.join("rackconnect")).unwrap();
    let mut commands = 0;
    for part in format!("\n{}\n", block.lines.join("\n")).split("\n$ ").skip(1) {
        let (line, expected) = part.split_once('\n').unwrap_or((part, ""));
        let agent = network.agent(&[]);
        let mut command = Command::new("bash");
        command.args(["-c", &format!("({line}) 2>&1")]).env_clear().stdin(Stdio::null());
        command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        let output = network.start(command).wait_with_output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let found: Vec<&str> = shown.lines().collect();
        let expected: Vec<&str> = expected.lines().collect();
        assert_eq!(found.len(), expected.len(), "{}: $ {line}\n{shown}", block.place);
        for (found, expected) in found.iter().zip(expected) {
            // The network manager depends on the machine, hence the `…`.
            assert!(matches(expected, found), "{}: $ {line}\n{shown}", block.place);
        }
        commands += 1;
    }
    commands
}
