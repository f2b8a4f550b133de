//! The stamp of a hook: a file that says for which deployment the hook succeeded. This module
//! handles the names and texts of stamps, without I/O.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::identity::Ids;
use crate::fnv::fnv1a;

/// Longer names are shortened; file systems allow 255 bytes.
const MAX_NAME_BYTES: usize = 200;

/// The name of the stamp for the hook with this path.
pub fn name(hook: &Path) -> String {
    let mut name = String::new();
    for byte in hook.as_os_str().as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(*byte)),
            _ => {
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    if name.len() > MAX_NAME_BYTES {
        // A collision is unlikely, and not an attack: the administrator chooses the names.
        let hash = fnv1a(name.as_bytes());
        name = format!("{}%{hash:016x}", &name[name.len() - MAX_NAME_BYTES..]);
    }
    name
}

/// The text of a stamp: one id per line.
pub fn text(ids: &Ids) -> String {
    ids.iter().fold(String::new(), |text, (kind, id)| text + kind + " " + id + "\n")
}

/// Whether a stamp is of this deployment. The most specific id that both have decides, so that a
/// hook does not run again after cloud-init was removed or installed. Without a common id the stamp
/// counts: a hook that did not run can be run by hand.
pub fn is_of(stamp: &str, ids: &Ids) -> bool {
    let stamped =
        |kind: &str| lines(stamp).find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    ids.iter().find_map(|(kind, id)| Some(stamped(kind)? == id)).unwrap_or(true)
}

/// The text that a stamp of this deployment should have now: the present ids, and the earlier ids
/// of other kinds. So a change of the instance id is noticed even if the hook ran before cloud-init
/// was installed.
pub fn renewed(stamp: &str, ids: &Ids) -> String {
    let is_known = |line: &&str| ids.iter().any(|(kind, _)| line.split(' ').next() == Some(kind));
    lines(stamp).filter(|line| !is_known(line)).fold(text(ids), |text, line| text + line + "\n")
}

/// The lines of a stamp. [`str::lines`] keeps a carriage return at the end of the text, but not one
/// before a newline.
fn lines(stamp: &str) -> impl Iterator<Item = &str> {
    stamp.lines().map(|line| line.trim_end_matches('\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[(&str, &str)]) -> Ids {
        ids.iter().map(|(kind, id)| ((*kind).to_owned(), (*id).to_owned())).collect()
    }

    #[test]
    fn each_hook_has_a_stamp_of_its_own() {
        assert_eq!(name(Path::new("/etc/rcrun.d/10-a b")), "%2fetc%2frcrun%2ed%2f10-a%20b");
        let long = |end| name(Path::new(&format!("/{}/{end}", "x".repeat(300))));
        assert!(long("a").len() < 255);
        assert_ne!(long("a"), long("b"));
    }

    /// A stamp without a newline at its end was renewed twice.
    #[test]
    fn a_carriage_return_at_the_end_is_not_part_of_an_id() {
        let ids = ids(&[("cloud-init", "i-1")]);
        assert!(is_of("cloud-init i-1\r", &ids) && is_of("cloud-init i-1\r\n", &ids));
        assert_eq!(renewed("dmi d\r", &ids), "cloud-init i-1\ndmi d\n");
    }

    #[test]
    fn the_most_specific_common_id_decides() {
        let whole = ids(&[("cloud-init", "i-1"), ("dmi", "d"), ("machine-id", "m")]);
        let stamp = text(&whole);
        assert!(is_of(&stamp, &whole));
        assert!(!is_of(&stamp, &ids(&[("cloud-init", "i-2"), ("dmi", "d"), ("machine-id", "m")])));
        assert!(is_of(&stamp, &ids(&[("dmi", "d"), ("machine-id", "other")])));
        assert!(!is_of(&stamp, &ids(&[("dmi", "e"), ("machine-id", "m")])));
        assert!(!is_of(&text(&ids(&[("machine-id", "x")])), &whole));
        assert!(is_of("", &whole));
        assert!(is_of(&stamp, &ids(&[("xen", "x")])));
        assert!(is_of("", &ids(&[])));
    }

    /// A stamp from before cloud-init was installed stayed valid whatever cloud-init's instance id
    /// was.
    #[test]
    fn a_stamp_learns_the_ids_that_come_later() {
        let old = text(&ids(&[("xen", "x"), ("machine-id", "m")]));
        let first = ids(&[("cloud-init", "i-1"), ("machine-id", "m")]);
        assert!(is_of(&old, &first));
        let new = renewed(&old, &first);
        assert_eq!(new, "cloud-init i-1\nmachine-id m\nxen x\n");
        assert_eq!(renewed(&new, &first), new);
        assert!(!is_of(&new, &ids(&[("cloud-init", "i-2"), ("machine-id", "m")])));
    }
}
