//! What of a folder is a hook. No files, no clock.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What is at a path, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Whether somebody may execute it.
        executable: bool,
    },
    /// A folder, a device, a socket.
    Other,
    /// A link that leads nowhere.
    Nowhere,
}

/// What to do with a name of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is a hook.
    Run,
    /// It is none; why.
    Skip(&'static str),
}

/// Whether the thing of that name is a hook.
pub fn choose(name: &OsStr, kind: Kind) -> Choice {
    let name = name.as_bytes();
    let last = name.iter().rposition(|byte| *byte == b'.').map_or(&name[..0], |dot| &name[dot + 1..]);
    match kind {
        _ if name.starts_with(b".") => Choice::Skip("it is hidden"),
        _ if name.ends_with(b"~") || last == b"bak" => Choice::Skip("it is a backup"),
        // dpkg(1) and rpm(8) leave these beside a file that both they and the user changed.
        _ if last.starts_with(b"dpkg-") || last.starts_with(b"rpm") => Choice::Skip("a package manager left it"),
        Kind::Nowhere => Choice::Skip("it leads nowhere"),
        Kind::Other => Choice::Skip("it is no regular file"),
        Kind::File { executable: false } => Choice::Skip("it is not executable"),
        Kind::File { executable: true } => Choice::Run,
    }
}

/// Whose a file or folder is, and who may write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Where it is, links resolved.
    pub path: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions.
    pub mode: u32,
    /// Whether it is a folder.
    pub folder: bool,
}

/// Whether root may run a hook: it and all folders above it belong to root, and nobody else can write them. In a folder
/// with the sticky bit, such as /tmp, others cannot replace what is root's.
///
/// # Errors
/// The end of a sentence that names what is in the way.
pub fn trust(chain: &[Owned]) -> Result<(), String> {
    chain.iter().try_for_each(|Owned { path, uid, gid, mode, folder }| {
        let by_group = mode & 0o020 != 0 && *gid != 0;
        let by_others = mode & 0o002 != 0;
        let sticky = *folder && mode & 0o1000 != 0;
        match () {
            () if *uid != 0 => Err(format!("{} is not root's (its owner is {uid})", path.display())),
            () if (by_group || by_others) && !sticky => {
                Err(format!("others than root can write {} (its mode is {:04o})", path.display(), mode & 0o7777))
            }
            () => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let file = Kind::File { executable: true };
        for name in ["10-setup.sh", "a", "bak", "x.bakery", "dpkg-a", "rpm", "a.b.c", "é"] {
            assert_eq!(choose(OsStr::new(name), file), Choice::Run, "{name}");
        }
        for name in [".a", "a~", "a.bak", "a.dpkg-dist", "a.dpkg-old", "a.rpmsave", "a.rpmnew", "a.rpmorig", ".bak"] {
            assert_ne!(choose(OsStr::new(name), file), Choice::Run, "{name}");
        }
        for kind in [Kind::File { executable: false }, Kind::Other, Kind::Nowhere] {
            assert_ne!(choose(OsStr::new("10-setup.sh"), kind), Choice::Run);
        }
    }

    #[test]
    fn only_what_root_alone_can_write_is_trusted() {
        let at = |path: &str, uid, gid, mode, folder| Owned { path: path.into(), uid, gid, mode, folder };
        let root = at("/", 0, 0, 0o755, true);
        let hook = |uid, gid, mode| trust(&[root.clone(), at("/h", uid, gid, mode, false)]);
        assert_eq!(hook(0, 0, 0o755), Ok(()));
        assert_eq!(hook(0, 100, 0o755), Ok(()));
        // Of root's group root alone is a member.
        assert_eq!(hook(0, 0, 0o775), Ok(()));
        assert_eq!(hook(1000, 0, 0o755), Err("/h is not root's (its owner is 1000)".to_owned()));
        assert!(hook(0, 100, 0o775).is_err());
        assert!(hook(0, 0, 0o757).is_err());
        // A file's sticky bit protects nothing.
        assert!(hook(0, 0, 0o1757).is_err());
        assert_eq!(trust(&[at("/tmp", 0, 0, 0o1777, true), at("/tmp/h", 0, 0, 0o755, false)]), Ok(()));
        assert!(trust(&[at("/home/me", 1000, 1000, 0o755, true), at("/home/me/h", 0, 0, 0o755, false)]).is_err());
    }
}
