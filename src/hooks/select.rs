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
    let last =
        name.iter().rposition(|byte| *byte == b'.').map_or(&name[..0], |dot| &name[dot + 1..]);
    match kind {
        _ if name.starts_with(b".") => Choice::Skip("it is hidden"),
        _ if name.ends_with(b"~") || last == b"bak" => Choice::Skip("it is a backup"),
        // dpkg(1) and rpm(8) leave these beside a file that both they and the user changed.
        _ if last.starts_with(b"dpkg-") || last.starts_with(b"rpm") => {
            Choice::Skip("a package manager left it")
        }
        Kind::Nowhere => Choice::Skip("it leads nowhere"),
        Kind::Other => Choice::Skip("it is no regular file"),
        Kind::File { executable: false } => Choice::Skip("it is not executable"),
        Kind::File { executable: true } => Choice::Run,
    }
}

/// What is passed on the way to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// The hook, at the end.
    Hook,
}

/// Whose something is, and who may write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: Passed,
    /// Its owner.
    pub uid: u32,
    /// Its permissions.
    pub mode: u32,
}

/// Whether root may run a hook, given all that is passed on the way to it, from / on: everything belongs to root, and nobody
/// else can write it. A group can, be it root's: it may have members, and an ACL shows as its permissions. In a folder with
/// the sticky bit, such as /tmp, others cannot replace root's folders; but they can add files and links to it.
///
/// # Errors
/// The end of a sentence that names what is in the way.
pub fn trust(way: &[Owned]) -> Result<(), String> {
    let next = way.iter().skip(1).map(|next| Some(next.what)).chain([None]);
    way.iter().zip(next).try_for_each(|(Owned { path, what, uid, mode }, next)| {
        let sticky = mode & 0o1000 != 0 && *what == Passed::Folder && next == Some(Passed::Folder);
        // A link's own permissions mean nothing.
        let by_others = mode & 0o022 != 0 && *what != Passed::Link;
        match () {
            () if *uid != 0 => {
                Err(format!("{} is not root's (its owner is {uid})", path.display()))
            }
            () if by_others && !sticky => Err(format!(
                "others than root can write {} (its mode is {:04o})",
                path.display(),
                mode & 0o7777
            )),
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
            assert_ne!(choose(OsStr::new(name), file), Choice::Run, "{name}");
        }
        for kind in [Kind::File { executable: false }, Kind::Other, Kind::Nowhere] {
            assert_ne!(choose(OsStr::new("10-setup.sh"), kind), Choice::Run);
        }
    }

    #[test]
    fn only_what_root_alone_can_write_is_trusted() {
        use Passed::{Folder, Hook, Link};
        let at = |path: &str, what, uid, mode| Owned { path: path.into(), what, uid, mode };
        let root = at("/", Folder, 0, 0o755);
        let hook = |uid, mode| trust(&[root.clone(), at("/h", Hook, uid, mode)]);
        assert_eq!(hook(0, 0o755), Ok(()));
        assert_eq!(hook(1000, 0o755), Err("/h is not root's (its owner is 1000)".to_owned()));
        assert_eq!(
            hook(0, 0o775),
            Err("others than root can write /h (its mode is 0775)".to_owned())
        );
        assert!(hook(0, 0o757).is_err());
        // A file's sticky bit protects nothing.
        assert!(hook(0, 0o1757).is_err());
        let folder = |uid| {
            trust(&[
                root.clone(),
                at("/home/me", Folder, uid, 0o755),
                at("/home/me/h", Hook, 0, 0o755),
            ])
        };
        assert_eq!(folder(0), Ok(()));
        assert!(folder(1000).is_err());

        let tmp = at("/tmp", Folder, 0, 0o1777);
        let (below, hook) = (at("/tmp/d", Folder, 0, 0o755), at("/tmp/d/h", Hook, 0, 0o755));
        assert_eq!(trust(&[tmp.clone(), below.clone(), hook.clone()]), Ok(()));
        assert!(trust(&[at("/tmp", Folder, 0, 0o777), below, hook]).is_err());
        // A file there could be a hard link of anybody's making.
        assert!(trust(&[tmp.clone(), at("/tmp/h", Hook, 0, 0o755)]).is_err());
        assert!(
            trust(&[tmp, at("/tmp/l", Link, 0, 0o777), root.clone(), at("/h", Hook, 0, 0o755)])
                .is_err()
        );
        let link =
            |uid| trust(&[root.clone(), at("/l", Link, uid, 0o777), at("/h", Hook, 0, 0o755)]);
        assert_eq!(link(0), Ok(()));
        assert!(link(1000).is_err());
    }
}
