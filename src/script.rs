//! Scripts that the kernel does not execute by itself: those without an interpreter line, and those
//! whose interpreter is missing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nix::errno::Errno;

/// The shell that runs a script without an interpreter line, as execvp(3) and all shells do.
pub const SHELL: &str = "/bin/sh";

/// How much of a file is looked at.
const HEAD_BYTES: u64 = 128;

/// Whether a program that the kernel did not execute for `err` is a script for [`SHELL`]. A binary
/// of another architecture fails likewise, and no shell can make sense of it.
pub fn is_for_shell(err: &io::Error, path: &Path) -> bool {
    err.raw_os_error() == Some(Errno::ENOEXEC as i32)
        && head(path).is_ok_and(|head| !head.contains(&0))
}

/// Why a script that exists was not found: its interpreter is missing, as far as the file tells.
pub fn missing_interpreter(path: &Path) -> String {
    let head = head(path).unwrap_or_default();
    let head = String::from_utf8_lossy(&head);
    let line = head.split('\n').next().unwrap_or_default();
    match line.strip_prefix("#!").map(|rest| (rest.trim(), rest.ends_with('\r'))) {
        Some((interpreter, true)) => format!(
            "its first line names the interpreter {interpreter:?} and ends with a carriage return \
             (Windows line ending); remove it with: sed -i 's/\\r$//' {}",
            path.display()
        ),
        Some((interpreter, false)) => format!("its interpreter {interpreter:?} does not exist"),
        None => "its interpreter or loader does not exist".to_owned(),
    }
}

fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// `wait` let a shell run whatever the kernel did not execute.
    #[test]
    fn a_binary_of_another_machine_was_given_to_a_shell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let is_for_shell = |errno: Errno, content: &[u8]| {
            fs::write(&path, content).unwrap();
            super::is_for_shell(&errno.into(), &path)
        };
        assert!(is_for_shell(Errno::ENOEXEC, b"echo hello\n"));
        assert!(is_for_shell(Errno::ENOEXEC, b""));
        assert!(!is_for_shell(Errno::ENOEXEC, b"\x7fELF\x02\x01\x01\0\0\0"));
        assert!(!is_for_shell(Errno::EACCES, b"echo hello\n"));
        fs::remove_file(&path).unwrap();
        assert!(!super::is_for_shell(&Errno::ENOEXEC.into(), &path));
    }

    #[test]
    fn the_interpreter_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        let missing = |content: &str| {
            fs::write(&path, content).unwrap();
            missing_interpreter(&path)
        };
        assert_eq!(
            missing("#!/usr/bin/nope -x\nexit\n"),
            "its interpreter \"/usr/bin/nope -x\" does not exist"
        );
        assert!(missing("#!/bin/sh\r\nexit\r\n").contains("Windows line ending"));
        assert_eq!(missing("\x7fELF"), "its interpreter or loader does not exist");
    }
}
