//! Which entries of a directory are hooks. No I/O, no clock.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The type of an entry, with links followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Whether any user may execute it.
        is_executable: bool,
    },
    /// A directory, a device, a socket.
    Other,
    /// A link whose target does not exist.
    DanglingLink,
    /// The system does not tell; the reason.
    Unknown(String),
}

/// What to do with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// It is a hook.
    Run,
    /// It is not a hook, for this reason.
    Skip(&'static str),
    /// Whether it is a hook is not known, so it is not done; the reason.
    Refuse(String),
}

/// Whether an entry with this name is a hook.
pub fn select(name: &OsStr, kind: EntryKind) -> Selection {
    let name = name.as_bytes();
    let suffix =
        name.iter().rposition(|byte| *byte == b'.').map_or(&name[..0], |dot| &name[dot + 1..]);
    match kind {
        _ if name.starts_with(b".") => Selection::Skip("it is hidden"),
        _ if name.ends_with(b"~") || suffix == b"bak" => Selection::Skip("it is a backup"),
        // dpkg(1) and rpm(8) leave these beside a file that both they and the user changed.
        _ if suffix.starts_with(b"dpkg-") || suffix.starts_with(b"rpm") => {
            Selection::Skip("a package manager left it")
        }
        EntryKind::DanglingLink => Selection::Skip("it is a dangling link"),
        EntryKind::Other => Selection::Skip("it is not a regular file"),
        EntryKind::Unknown(reason) => Selection::Refuse(reason),
        EntryKind::File { is_executable: false } => Selection::Skip("it is not executable"),
        EntryKind::File { is_executable: true } => Selection::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_and_backups_are_not_hooks() {
        let file = EntryKind::File { is_executable: true };
        for name in ["10-setup.sh", "a", "bak", "x.bakery", "dpkg-a", "rpm", "a.b.c", "é"] {
            assert_eq!(select(OsStr::new(name), file.clone()), Selection::Run, "{name}");
        }
        for name in [
            ".a",
            "a~",
            "a.bak",
            "a.dpkg-dist",
            "a.dpkg-old",
            "a.rpmsave",
            "a.rpmnew",
            "a.rpmorig",
            ".bak",
        ] {
            assert_ne!(select(OsStr::new(name), file.clone()), Selection::Run, "{name}");
        }
    }

    #[test]
    fn only_executable_files_are_hooks() {
        for kind in
            [EntryKind::File { is_executable: false }, EntryKind::Other, EntryKind::DanglingLink]
        {
            assert_ne!(select(OsStr::new("10-setup.sh"), kind), Selection::Run);
        }
    }

    /// Only what could be a hook is refused for it.
    #[test]
    fn an_entry_that_cannot_be_examined_is_refused() {
        let unknown = || EntryKind::Unknown("it cannot be examined".to_owned());
        let refused = Selection::Refuse("it cannot be examined".to_owned());
        assert_eq!(select(OsStr::new("10-setup.sh"), unknown()), refused);
        assert_eq!(
            select(OsStr::new("10-setup.sh~"), unknown()),
            Selection::Skip("it is a backup")
        );
    }
}
