//! Credentials are wiped from memory after use.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use nix::unistd::Pid;

use super::terminal::{answer, start};
use super::{CloudWorld, KEY, PASSWORD};
use crate::support::{PATIENCE, Running, Terminal, until};

const PASSCODE: &str = "1411594";

/// The memory of a process that it can write. None without permission, unless the environment
/// says that this must not be: the program lets only root trace it.
fn memory(pid: Pid) -> Option<Vec<Vec<u8>>> {
    let memory = match File::open(format!("/proc/{pid}/mem")) {
        Err(err) if err.kind() == ErrorKind::PermissionDenied => {
            assert!(std::env::var_os("RACKCONNECT_REQUIRE_PTRACE").is_none(), "{err}");
            eprintln!("NOT RUN: it needs CAP_SYS_PTRACE");
            return None;
        }
        opened => opened.unwrap(),
    };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let region = |line: &str| {
        let mut fields = line.split(' ');
        let (from, to) = fields.next()?.split_once('-')?;
        fields.next().filter(|mode| mode.starts_with("rw"))?;
        let address = |text| u64::from_str_radix(text, 16).ok();
        let (from, to) = (address(from)?, address(to)?);
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        memory.read_exact_at(&mut bytes, from).ok().map(|()| bytes)
    };
    Some(maps.lines().filter_map(region).collect())
}

/// How often a secret is in memory.
fn copies(memory: &[Vec<u8>], secret: &str) -> usize {
    let secret = secret.as_bytes();
    let count = |region: &Vec<u8>| region.windows(secret.len()).filter(|it| *it == secret).count();
    memory.iter().map(count).sum()
}

/// Requests and their bodies were left in buffers of ureq's connections, and in freed strings.
#[test]
fn copies_of_the_password_were_left_in_memory() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().authentication_time = PATIENCE;
    let profile = |name: &str, proof: &str, secret: &str| {
        format!("[{name}]\nusername = 'jsmith'\n{proof} = '{secret}'\n")
    };
    let profiles = profile("default", "password", PASSWORD) + &profile("other", "api_key", KEY);
    world.write_credentials(&profiles, 0o600);
    let running = Running::piped(world.anonymous("cloud wait web2"));
    assert!(world.cloud.wait_for("POST /v2.0/tokens", 1, PATIENCE));
    let Some(first) = memory(running.pid()) else { return };
    assert_eq!(copies(&first, KEY), 0);
    // The setting, and the body that may have to be sent again.
    until("no other copy", || copies(&memory(running.pid()).unwrap(), PASSWORD) == 2);
}

#[test]
fn in_a_wait_there_is_the_password_for_the_next_token_and_no_passcode() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().users[0].passcode = Some(PASSCODE.to_owned());
    world.write_credentials(
        &format!("[default]\nusername = 'jsmith'\npassword = '{PASSWORD}'\n"),
        0o600,
    );
    let mut agent = world.anonymous("cloud wait web2 --interval 3s --passcode-fd 0");
    let mut child = agent.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(PASSCODE.as_bytes()).unwrap();
    assert!(world.cloud.wait_for("GET /dfw", 2, PATIENCE));
    let memory = memory(Pid::from_raw(child.id().cast_signed()));
    child.kill().unwrap();
    child.wait().unwrap();
    let Some(memory) = memory else { return };
    assert_eq!(copies(&memory, PASSWORD), 1);
    assert_eq!(copies(&memory, PASSCODE), 0);
}

#[test]
fn nothing_that_was_typed_is_kept() {
    let world = CloudWorld::of("six servers");
    world.cloud.state().users[0].passcode = Some(PASSCODE.to_owned());
    let mut terminal = Terminal::open(24, 80);
    let running = start(&terminal, &world, "cloud wait web2 --interval 3s");
    terminal.wait_for("Username: ");
    terminal.types("jsmith\n");
    answer(&mut terminal, "Password of jsmith: ", &format!("{PASSWORD}\n"));
    answer(&mut terminal, "Passcode: ", &format!("{PASSCODE}\n"));
    assert!(world.cloud.wait_for("GET /dfw", 2, PATIENCE));
    let Some(memory) = memory(running.pid()) else { return };
    assert_eq!((copies(&memory, PASSWORD), copies(&memory, PASSCODE)), (0, 0));
}
