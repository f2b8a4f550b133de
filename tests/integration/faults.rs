//! Faults that were found by attacking the program, each with its regression test.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use simulated_api::Step;
use tempfile::TempDir;

use crate::support::{
    PATIENCE, World, bare_agent, binary, ended, finish_within, full_pipe, write_program,
};

/// A directory with one hook, and one for its stamps.
struct Hooks {
    folder: TempDir,
}

impl Hooks {
    fn with(script: &str) -> Hooks {
        let folder = tempfile::tempdir().expect("a folder");
        let hooks = Hooks { folder };
        fs::create_dir(hooks.dir()).expect("a folder");
        let hook = hooks.dir().join("10-hook");
        write_program(&hook, script, 0o755);
        hooks
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("hooks")
    }

    fn stamps(&self) -> PathBuf {
        self.folder.path().join("stamps")
    }

    /// `hooks`, run by another program, such as env.
    fn command(&self, prefix: &[&str]) -> Command {
        let own = bare_agent(&[]);
        let mut command = Command::new(prefix.first().copied().unwrap_or("env"));
        command.args(prefix.get(1..).unwrap_or_default()).arg(binary()).arg("hooks");
        command.arg(self.dir()).arg("--stamp-dir").arg(self.stamps()).env_clear();
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("RACKCONNECT_CONFIG", "/dev/null").stdin(Stdio::null());
        command
    }

    fn run(&self, prefix: &[&str]) -> crate::support::Ended {
        ended(self.command(prefix).output().expect("it starts"))
    }
}

#[test]
fn a_hook_that_succeeded_counted_as_failed_with_sigchld_ignored() {
    let hooks = Hooks::with("#!/bin/sh\nexit 0\n");
    hooks.run(&["env", "--ignore-signal=CHLD"]).expect(0).says("10-hook is done");
    hooks.run(&[]).expect(0).says("done already");
}

/// Regression: they waited for their output to be read, beyond any deadline.
#[test]
fn a_command_ends_by_its_deadline_although_nobody_reads_its_output() {
    let world = World::of([Step::new("DEPLOYING")]);
    let (_stdout, full_stdout) = full_pipe();
    let (_stderr, full_stderr) = full_pipe();
    let ends_with = |arguments: &[&str], code| {
        let mut command = world.agent(arguments);
        if arguments[0] == "doctor" {
            // Its first finding is then a warning, on standard error.
            command.env_remove("RACKCONNECT_ENDPOINT");
        }
        command.stdout(full_stdout.try_clone().unwrap()).stderr(full_stderr.try_clone().unwrap());
        finish_within(command.spawn().unwrap(), PATIENCE).unwrap().expect(code);
    };
    ends_with(&["status", "--deadline", "1s"], 1);
    ends_with(&["details", "--deadline", "1s"], 1);
    ends_with(&["facts", "--deadline", "1s"], 1);
    ends_with(&["doctor", "--deadline", "1s"], 1);
    ends_with(&["wait", "--timeout", "1s"], 124);
    // The pipe stays full, but the COMMAND of a wait is executed.
    world.play([Step::new("DEPLOYED")]);
    ends_with(&["wait", "--", "sh", "-c", "exit 42"], 42);
}

#[test]
fn a_wait_with_term_blocked_needed_sigkill() {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
    for (name, signal) in [("TERM", SIGTERM), ("INT", SIGINT), ("HUP", SIGHUP)] {
        let world = World::of([Step::new("DEPLOYING")]);
        // In the background of a script INT is ignored, and would stay so.
        let (block, default) =
            (format!("--block-signal={name}"), format!("--default-signal={name}"));
        let agent = world.agent(&["wait", "--timeout", "60s"]);
        let mut command = behind(&["env", &default, &block], &agent);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        assert!(world.api.wait_until(Duration::from_secs(60), |api| !api.log().is_empty()));
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("it runs");
        let status = child.wait().expect("it ends");
        let ended_by = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(ended_by, Some(signal as i32), "{name}");
    }
}

/// An agent's command line and environment behind the words of another program.
fn behind(prefix: &[&str], agent: &Command) -> Command {
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).arg(agent.get_program()).args(agent.get_args()).env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Hooks had the mask of this program, in which TERM, INT and HUP are not blocked.
#[test]
fn hooks_and_command_have_the_signal_mask_that_was_inherited() {
    let block = ["env", "--block-signal=TERM,USR1"];
    let look = ["grep", "SigBlk", "/proc/self/status"];
    let expected = Command::new(block[0]).arg(block[1]).args(look).output().expect("it starts");
    let expected = String::from_utf8(expected.stdout).expect("UTF-8");
    assert!(expected.contains('4'), "TERM is signal 15: {expected}");
    let world = World::of([Step::new("DEPLOYED")]);
    let wait = world.agent(&[&["wait", "--"][..], &look].concat());
    let command = ended(behind(&block, &wait).output().expect("it starts"));
    assert_eq!(command.expect(0).text(), expected);
    // Not by a shell, which may set a mask of its own.
    let hooks = Hooks::with(
        "#!/usr/bin/awk -f\n\
         BEGIN { while ((getline < \"/proc/self/status\") > 0) if (/^SigBlk/) print }\n",
    );
    assert_eq!(hooks.run(&block).expect(0).text(), expected);
}

#[test]
fn a_fifo_as_configuration_file_hung() {
    let folder = tempfile::tempdir().expect("a folder");
    let fifo = folder.path().join("config.toml");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    for arguments in [&["region", "--region", "dfw"][..], &["status"][..]] {
        let mut command = bare_agent(arguments);
        command.arg("--config").arg(&fifo);
        ended(command.output().expect("it starts")).expect(2).says("is not a regular file");
    }
    let mut command = bare_agent(&["gateway", "rollback"]);
    command.arg("--config").arg(&fifo).env("RACKCONNECT_STATE_DIR", folder.path().join("state"));
    let ended = ended(command.output().expect("it starts"));
    ended.says("is not a regular file");
}

#[test]
fn a_configuration_file_that_others_can_write_was_obeyed_by_root() {
    if !geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.toml");
    fs::write(&config, "region = 'dfw'\n").expect("a file");
    fs::set_permissions(&config, Permissions::from_mode(0o666)).expect("a mode");
    let mut command = bare_agent(&["region"]);
    command.arg("--config").arg(&config);
    ended(command.output().expect("it starts")).expect(2).says("is writable by other users");
}

#[test]
fn an_outcome_was_masked_by_a_full_disk() {
    let world = World::of([Step::new("FAILED").gateway("192.0.2.9")]);
    for (arguments, code) in [
        (&["wait"][..], 4),
        (&["status", "--check"], 4),
        (&["status", "--check", "--format", "json"], 4),
        (&["gateway", "check"], 9),
        (&["facts", "--deadline", "never"], 2),
    ] {
        let mut command = world.agent(arguments);
        command.stdout(File::options().write(true).open("/dev/full").expect("/dev/full"));
        ended(command.stderr(Stdio::piped()).output().expect("it starts"))
            .expect(code)
            .says("cannot write to standard output");
    }
}

#[test]
fn a_stamp_directory_of_others_was_trusted() {
    if !geteuid().is_root() {
        return;
    }
    let hooks = Hooks::with("#!/bin/sh\nexit 0\n");
    fs::create_dir(hooks.stamps()).expect("a folder");
    fs::set_permissions(hooks.stamps(), Permissions::from_mode(0o777)).expect("a mode");
    hooks.run(&[]).expect(2).says("is writable by other users");
}

#[test]
fn a_stamp_was_written_through_a_symbolic_link() {
    let hooks = Hooks::with("#!/bin/sh\nexit 0\n");
    fs::create_dir(hooks.stamps()).expect("a folder");
    fs::set_permissions(hooks.stamps(), Permissions::from_mode(0o755)).expect("a mode");
    let victim = hooks.folder.path().join("victim");
    fs::write(&victim, "precious").expect("a file");
    hooks.run(&[]).expect(0);
    let stamp = stamp_in(&hooks.stamps());
    fs::remove_file(&stamp).expect("the stamp");
    let name = stamp.file_name().expect("a name").to_string_lossy();
    let temporary = stamp.with_file_name(format!(".{name}.new"));
    std::os::unix::fs::symlink(&victim, &temporary).expect("a link");
    hooks.run(&[]).expect(0);
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "precious");
    assert!(temporary.symlink_metadata().is_err(), "no temporary file stays");
    assert!(stamp.is_file());
}

fn stamp_in(folder: &Path) -> PathBuf {
    let mut entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_stamp = |path: &PathBuf| !path.file_name().unwrap().to_string_lossy().starts_with('.');
    entries.find(is_stamp).expect("a stamp")
}

#[test]
fn a_hook_with_windows_line_endings_was_reported_as_missing() {
    let hooks = Hooks::with("#!/bin/sh\r\nexit 0\r\n");
    hooks.run(&[]).expect(1).says("\"/bin/sh\"").says("Windows line ending");
}

#[test]
fn the_fact_scripts_failed_where_the_program_is_missing() {
    for script in ["packaging/ansible/rackconnect.fact", "packaging/facter/rackconnect.sh"] {
        let mut command = Command::new("/bin/sh");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).env("PATH", "/nonexistent");
        let ended = ended(command.output().expect("it starts"));
        let json: serde_json::Value = serde_json::from_str(ended.expect(0).text()).expect(script);
        assert!(json.to_string().contains("exit code 127"), "{json}");
    }
}

/// Every error of a look at a hook was reported as a dangling link, and the hook as none.
#[test]
fn a_hook_that_cannot_be_examined_was_taken_for_a_dangling_link() {
    let hooks = Hooks::with("#!/bin/sh\nexit 0\n");
    std::os::unix::fs::symlink("20-circle", hooks.dir().join("20-circle")).expect("a link");
    hooks
        .run(&[])
        .expect(1)
        .says("10-hook is done")
        .says("20-circle is refused: it cannot be examined: Too many levels of symbolic links");
}
