//! The id of this boot, and the offset of this process's boot clock.

use std::fs::{self, File};
use std::io::Read;
use std::sync::OnceLock;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

/// The id of the boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The time namespace of this process, and that of its children: they differ between an unshare(2)
/// and the next execve(2) or fork(2).
const TIME_NAMESPACE: &str = "/proc/self/ns/time";
const TIME_NAMESPACE_OF_CHILDREN: &str = "/proc/self/ns/time_for_children";

/// The link to the initial time namespace (the kernel's PROC_TIME_INIT_INO).
const INITIAL_TIME_NAMESPACE: &str = "time:[4026531834]";

/// The offsets of the children's time namespace from the initial one (time_namespaces(7)).
const TIME_OFFSETS: &str = "/proc/self/timens_offsets";

/// The length of a boot id: that of a UUID.
const BOOT_ID_BYTES: usize = 36;

/// The boot id as the kernel writes it. It stays the same while a process lives.
pub fn boot_id() -> Option<&'static str> {
    static READ: OnceLock<String> = OnceLock::new();
    if let Some(id) = READ.get() {
        return Some(id);
    }
    // musl's open(3), which std uses, takes an additional fcntl(2) for O_CLOEXEC.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(AT_FDCWD, BOOT_ID, flags, Mode::empty()).ok()?;
    let mut id = [0; BOOT_ID_BYTES];
    File::from(file).read_exact(&mut id).ok()?;
    let id = String::from_utf8(id.to_vec()).ok()?;
    Some(READ.get_or_init(|| id))
}

/// By how many nanoseconds this process's CLOCK_BOOTTIME is ahead of that of the initial time
/// namespace; `None` if that cannot be known. Kernels before 5.6 have no time namespaces.
pub fn boot_clock_offset() -> Option<i128> {
    match fs::read_link(TIME_NAMESPACE) {
        Err(_) => Some(0),
        Ok(own) if own.as_os_str() == INITIAL_TIME_NAMESPACE => Some(0),
        // The file has the offsets of the children's namespace, which is this process's as well.
        Ok(own) if own == fs::read_link(TIME_NAMESPACE_OF_CHILDREN).ok()? => {
            parse_offset(&fs::read_to_string(TIME_OFFSETS).ok()?)
        }
        Ok(_) => None,
    }
}

/// The offset of the boot clock: a line `boottime SECONDS NANOSECONDS`, or with the number of
/// CLOCK_BOOTTIME, 7, in place of its name.
fn parse_offset(text: &str) -> Option<i128> {
    let mut fields = text
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut fields| matches!(fields.next(), Some("boottime" | "7")).then_some(fields))?;
    let seconds: i64 = fields.next()?.parse().ok()?;
    let nanos: i64 = fields.next()?.parse().ok()?;
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_a_time_namespace() {
        let offset = |text| parse_offset(text);
        assert_eq!(
            offset("monotonic           0         0\nboottime        86400         5\n"),
            Some(86_400_000_000_005)
        );
        assert_eq!(offset("monotonic 1 0\nboottime -3 500000000\n"), Some(-2_500_000_000));
        assert_eq!(offset("1 0 0\n7 2 0\n"), Some(2_000_000_000));
        for text in ["", "boottime", "boottime x 0", "boottime 1", "monotonic 1 1"] {
            assert_eq!(offset(text), None, "{text}");
        }
    }

    #[test]
    fn this_process_has_a_known_clock_and_boot() {
        assert!(boot_clock_offset().is_some());
        assert_eq!(boot_id().map(|id| id.len()), Some(36));
    }
}
