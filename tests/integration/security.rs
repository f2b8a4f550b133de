//! Attacks of another local user on root's processes: tests that SECURITY.md names and that are not
//! elsewhere. They need root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;
use simulated_api::Step;

use crate::support::{Running, World, bare_agent, binary, ended, until, write_program};

/// Another user.
const BOB: u32 = 2001;

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("NOT RUN: it needs root");
    }
    is_root
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|err| panic!("{}: {err}", path.display())).mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A configuration file below a directory of its own.
fn config(folder: &Path) -> PathBuf {
    let dir = folder.join("etc");
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o755);
    fs::write(dir.join("config.toml"), "region = 'dfw'\n").unwrap();
    set_mode(&dir.join("config.toml"), 0o644);
    dir.join("config.toml")
}

#[test]
fn root_does_not_obey_a_configuration_file_of_another_user() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let run = || {
        let mut command = bare_agent(&["region"]);
        ended(command.arg("--config").arg(&config).output().unwrap())
    };
    assert_eq!(run().expect(0).text(), "dfw\n");
    chown(&config, Some(BOB), None).unwrap();
    run().expect(2).says("belongs to another user (uid 2001)");
}

/// A file of root's in a directory where another user could replace it.
#[test]
fn root_does_not_obey_a_file_in_a_directory_that_others_can_write_to() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let dir = config.parent().unwrap();
    let run = || {
        let mut command = bare_agent(&["region"]);
        ended(command.arg("--config").arg(&config).output().unwrap())
    };
    set_mode(dir, 0o777);
    run().expect(2).says("can be replaced by other users").says("(mode 0777)");
    set_mode(dir, 0o1777);
    assert_eq!(run().expect(0).text(), "dfw\n");
    set_mode(dir, 0o755);
    chown(dir, Some(BOB), None).unwrap();
    run().expect(2).says("can be replaced by other users").says("(uid 2001)");
}

/// Regression: the file was read without a check of its owner.
#[test]
fn root_does_not_trust_certificates_in_a_file_of_another_user() {
    if !is_root() {
        return;
    }
    let world = World::of([Step::new("DEPLOYED")]);
    let file = world.folder.path().join("ca.pem");
    fs::write(&file, world.api.ca_pem()).unwrap();
    let run = || world.run(&*format!("status --ca-file {}", file.display()));
    run().expect(0);
    chown(&file, Some(BOB), None).unwrap();
    run().expect(2).says("ca.pem belongs to another user (uid 2001)");
    chown(&file, Some(0), None).unwrap();
    set_mode(&file, 0o664);
    run().expect(2).says("is writable by other users (mode 0664)");
}

/// The variable that names the socket of [`listens_for_another_user`].
const IMPOSTOR_SOCKET: &str = "RACKCONNECT_TEST_IMPOSTOR";

/// The process that the next test starts as another user; by itself it does nothing.
#[test]
#[ignore = "started by root_does_not_believe_a_xenstore_of_another_user"]
fn listens_for_another_user() {
    let Some(path) = std::env::var_os(IMPOSTOR_SOCKET) else { return };
    let _listener = UnixListener::bind(path).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn root_does_not_believe_a_xenstore_of_another_user() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o777);
    let (socket, program) = (folder.path().join("socket"), folder.path().join("impostor"));
    // Copied by another process: a file that is open for writing here, even in a child of another
    // test, cannot be executed.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(&program);
    command.args(["--exact", "security::listens_for_another_user", "--ignored"]);
    command.env(IMPOSTOR_SOCKET, &socket).uid(BOB).gid(BOB).stdout(Stdio::null());
    let _impostor = Running::start(&mut command);
    until("the impostor listens", || UnixStream::connect(&socket).is_ok());
    let mut command = bare_agent(&["status", "--source", "xenstore"]);
    command.env("XENSTORED_PATH", &socket);
    let run = ended(command.output().unwrap());
    run.expect(1).says("belongs to another user (uid 2001)");
}

/// The outcome of a wait is not taken from a file that another user could have written.
#[test]
fn hooks_do_not_see_a_status_json_of_another_user() {
    if !is_root() {
        return;
    }
    let world = World::of([Step::new("DEPLOYED")]).with_new_state_dir();
    world.run("status").expect(0);
    let hooks = world.folder.path().join("d");
    fs::create_dir(&hooks).unwrap();
    write_program(&hooks.join("1"), "#!/bin/sh\necho \"status: $RACKCONNECT_STATUS\"\n", 0o755);
    let stamps = world.folder.path().join("stamps");
    let run = || {
        let mut command = world.agent(&["hooks", "--again"]);
        command.arg(&hooks).arg("--stamp-dir").arg(&stamps);
        ended(command.output().unwrap())
    };
    assert_eq!(run().expect(0).text(), "status: DEPLOYED\n");
    let file = world.state_dir.join("status.json");
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    chown(&file, Some(BOB), None).unwrap();
    assert_eq!(run().expect(0).text(), "status: \n");
    chown(&file, Some(0), None).unwrap();
    set_mode(&world.state_dir, 0o777);
    assert_eq!(run().expect(0).text(), "status: \n");
}

/// The modes are those in SECURITY.md.
#[test]
fn files_have_the_documented_modes_with_any_umask() {
    if !is_root() {
        return;
    }
    for umask in ["000", "022", "077"] {
        let world = World::of([Step::new("DEPLOYED")]).with_new_state_dir();
        let (hooks, stamps) = (world.folder.path().join("d"), world.folder.path().join("stamps"));
        fs::create_dir(&hooks).unwrap();
        write_program(&hooks.join("1"), "#!/bin/sh\n", 0o755);
        let script = format!(
            "umask {umask} && \"$0\" status && \"$0\" hooks {} --stamp-dir {}",
            hooks.display(),
            stamps.display()
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(binary()).env_clear();
        let agent = world.agent("");
        shell.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
        ended(shell.output().unwrap()).expect(0);
        let state = |name: &str| mode(&world.state_dir.join(name));
        let modes = [state(""), state("budget"), state("lock"), state("status.json")];
        assert_eq!(modes, [0o755, 0o600, 0o600, 0o644], "umask {umask}");
        for entry in fs::read_dir(&stamps).unwrap() {
            let entry = entry.unwrap();
            let is_lock = entry.file_name().to_string_lossy().starts_with(".lock-");
            let expected = if is_lock { 0o600 } else { 0o644 };
            assert_eq!(mode(&entry.path()), expected, "{:?}, umask {umask}", entry.file_name());
        }
        assert_eq!(mode(&stamps) & 0o022, 0, "umask {umask}");
    }
}
