//! A directory with the files of a healthy RackConnect server, for `doctor --root`, and its
//! xenstore.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use simulated_xenstore::{Config, Simulator};
use tempfile::TempDir;

use super::write_program;

/// The text files of a healthy server.
const FILES: [(&str, &str); 13] = [
    ("etc/ssh/sshd_config", "Port 22\nPermitRootLogin yes\nPasswordAuthentication yes\n"),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nrackconnect:x:1001:1001::/home/rackconnect:/bin/bash\n",
    ),
    ("etc/group", "root:x:0:\nrackconnect:x:1001:\n"),
    ("etc/sudoers", "root ALL=(ALL) ALL\n"),
    ("etc/sudoers.d/rackconnect", "rackconnect ALL=(ALL) NOPASSWD: ALL\n"),
    ("etc/resolv.conf", "nameserver 10.191.5.6\n"),
    ("etc/fstab", "/dev/xvda1 / ext4 defaults 0 1\n"),
    ("proc/mounts", "/dev/xvda1 / ext4 rw 0 0\n"),
    ("proc/uptime", "600.00 500.00\n"),
    ("proc/stat", "cpu 1 2 3\nbtime 1700000000\n"),
    ("proc/cmdline", "root=/dev/xvda1 console=hvc0\n"),
    ("proc/1/stat", "1 (init) S 0 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 5 1 2 3\n"),
    ("proc/1/cmdline", "/sbin/init\0"),
];

/// The programs of a healthy server, as shell scripts.
const PROGRAMS: [(&str, &str); 4] = [
    ("bin/sed", ""),
    ("usr/bin/awk", ""),
    ("sbin/ip", ""),
    (
        "usr/bin/systemctl",
        "printf 'Id=rackconnect-wait.service\\nUnitFileState=enabled\\nActiveState=active\\n\
         Result=success\\nExecMainStatus=0\\n'",
    ),
];

/// The root directory of a server, and its xenstore.
pub struct PreparedServer {
    folder: TempDir,
    /// Its xenstore.
    pub xenstore: Simulator,
}

impl PreparedServer {
    /// A healthy server whose automation has this status.
    pub fn healthy(status: &str) -> PreparedServer {
        let xenstore = Config::default()
            .with("vm-data/provider_data/provider", "Rackspace")
            .with("vm-data/provider_data/region", "DFW")
            .with("vm-data/provider_data/roles", r#"["rack_connect"]"#)
            .with("vm-data/user-metadata/rackconnect_automation_status", &format!("{status:?}"));
        let server = PreparedServer {
            folder: tempfile::tempdir().expect("a temporary directory"),
            xenstore: Simulator::start(xenstore).expect("the simulated xenstore starts"),
        };
        FILES.iter().for_each(|(path, text)| server.write(path, text));
        PROGRAMS.iter().for_each(|(path, script)| server.program(path, script));
        server
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// Writes a program, given as a shell script.
    pub fn program(&self, path: &str, script: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        write_program(&path, &format!("#!/bin/sh\n{script}\n"), 0o755);
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).expect("a file");
    }

    /// Adds a process to `proc`.
    pub fn process(&self, pid: u32, name: &str, arguments: &[&str]) {
        let stat = format!("{pid} ({name}) S 1 1 1 0 -1 0 0 0 0 0 1 2 0 0 20 0 1 0 100 1 2 3\n");
        self.write(&format!("proc/{pid}/stat"), &stat);
        self.write(&format!("proc/{pid}/cmdline"), &(arguments.join("\0") + "\0"));
    }

    /// All files with their modes and contents, to check that nothing was changed.
    pub fn contents(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let entry = |path: PathBuf| {
            let mode = fs::metadata(&path).expect("its metadata").permissions().mode();
            let bytes =
                if path.is_dir() { Vec::new() } else { fs::read(&path).expect("its bytes") };
            (path, (mode, bytes))
        };
        self.paths().into_iter().map(entry).collect()
    }

    /// When its files and directories were last changed.
    pub fn modification_times(&self) -> Vec<(PathBuf, SystemTime)> {
        let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
        let paths = self.paths().into_iter();
        paths.map(|path| (path.clone(), changed(&path).expect("a time"))).collect()
    }

    /// The requests to xenstore other than READ (2) and DIRECTORY (1).
    pub fn written_in_xenstore(&self) -> Vec<String> {
        let log = self.xenstore.log();
        log.iter().filter(|request| request.kind > 2).map(|it| format!("{it:?}")).collect()
    }

    /// Everything below its root.
    fn paths(&self) -> Vec<PathBuf> {
        let mut found = vec![self.root().to_owned()];
        let mut next = 0;
        while let Some(path) = found.get(next).cloned() {
            if path.is_dir() {
                let entries = fs::read_dir(path).expect("a directory");
                found.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
            next += 1;
        }
        found
    }
}
