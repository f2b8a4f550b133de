//! The window as bytes: one record of a fixed size, little-endian whatever the machine, with a checksum.

use std::time::Duration;

use super::window::{LIMIT, Window};
use crate::clock::BootInstant;

/// What the record begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"RCbudget";

/// The size of the record: magic, boot id, `held_until`, series, asking, places, checksum.
pub const SIZE: usize = 8 + 16 + 8 + 4 + 4 + 8 * LIMIT + 8;

/// What tmpfiles.d writes into a file that no request was ever entered into. systemd 219 appends it to one that is there,
/// too, at every run: an upgrade must not make a budget corrupt.
const NEW: &[u8] = b"new";

/// The most that is worth reading of a file.
pub const MOST: usize = SIZE + 64 * NEW.len();

/// The id of a boot (/proc/sys/kernel/random/boot_id), without its dashes.
pub type BootId = [u8; 16];

/// The record of a window.
pub fn encode(window: &Window, boot: &BootId) -> [u8; SIZE] {
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.extend(MAGIC);
    bytes.extend(boot);
    bytes.extend(nanos(window.held_until).to_le_bytes());
    bytes.extend(window.series.to_le_bytes());
    bytes.extend(u32::from(window.asking).to_le_bytes());
    for until in window.busy_until {
        bytes.extend(nanos(until).to_le_bytes());
    }
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes.try_into().expect("the sizes add up")
}

/// Reads what a file holds, now: the window of this boot, or nothing (what is from before a reboot counts for nothing).
///
/// # Errors
/// What is wrong with it.
pub fn decode(
    bytes: &[u8],
    boot: &BootId,
    now: BootInstant,
) -> Result<Option<Window>, &'static str> {
    let mut record = bytes;
    while record.len() != SIZE
        && let Some(before) = record.trim_ascii_end().strip_suffix(NEW)
    {
        record = before;
    }
    if record.is_empty() && !bytes.is_empty() {
        return Ok(None);
    }
    if record.len() != SIZE {
        return Err("it has another length than a budget");
    }
    let (content, sum) = record.split_at(SIZE - 8);
    if content[..8] != MAGIC {
        return Err("it does not begin as a budget does");
    }
    if number(sum) != checksum(content) {
        return Err("its checksum is wrong");
    }
    if content[8..24] != *boot {
        return Ok(None);
    }
    let moment = |bytes: &[u8]| BootInstant(Duration::from_nanos(number(bytes)));
    let mut window = Window {
        held_until: moment(&content[24..32]),
        series: number(&content[32..36]) as u32,
        asking: number(&content[36..40]) != 0,
        ..Window::default()
    };
    for (until, bytes) in window.busy_until.iter_mut().zip(content[40..].chunks_exact(8)) {
        *until = moment(bytes);
    }
    match window.is_possible(now) {
        true => Ok(Some(window)),
        false => Err("it holds times that no request can have led to"),
    }
}

fn nanos(moment: BootInstant) -> u64 {
    u64::try_from(moment.0.as_nanos()).unwrap_or(u64::MAX)
}

/// Up to eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// FNV-1a: against accidents, not against people.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Reads a boot id as the kernel writes it.
pub fn boot_id(text: &str) -> Option<BootId> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOT: BootId = [7; 16];

    fn at(seconds: u64) -> BootInstant {
        BootInstant(Duration::from_secs(seconds))
    }

    fn used() -> Window {
        let mut window = Window::default();
        let place = window.take(at(100), at(110), 0).unwrap();
        window.take(at(101), at(111), 0).unwrap();
        window.forbidden(place, at(102));
        window
    }

    #[test]
    fn there_and_back() {
        assert_eq!(decode(&encode(&used(), &BOOT), &BOOT, at(103)), Ok(Some(used())));
    }

    #[test]
    fn what_counts_for_nothing() {
        assert_eq!(decode(&encode(&used(), &BOOT), &[8; 16], at(103)), Ok(None));
        assert_eq!(decode(b"new", &BOOT, at(103)), Ok(None));
        assert_eq!(decode(b"new\n", &BOOT, at(103)), Ok(None));
    }

    /// systemd 219 appends its line to a budget in use, at every upgrade.
    #[test]
    fn what_tmpfiles_appended_made_a_budget_corrupt() {
        let good = encode(&used(), &BOOT);
        for often in 1..4 {
            let more = b"new".repeat(often);
            assert_eq!(decode(&[&good[..], &more].concat(), &BOOT, at(103)), Ok(Some(used())));
            assert_eq!(decode(&more, &BOOT, at(103)), Ok(None));
        }
        assert!(decode(&[&good[..], b"newer"].concat(), &BOOT, at(103)).is_err());
    }

    #[test]
    fn what_is_corrupt() {
        let good = encode(&used(), &BOOT);
        let corrupt = |bytes: &[u8]| decode(bytes, &BOOT, at(103)).is_err();
        assert!(corrupt(b""));
        assert!(corrupt(&good[..SIZE - 1]));
        assert!(corrupt(&[&good[..], &[0]].concat()));
        // Big-endian numbers.
        let mut foreign = good.to_vec();
        foreign[24..].chunks_exact_mut(8).for_each(|number| number.reverse());
        assert!(corrupt(&foreign));
        // Well made, and from the future.
        assert!(corrupt(&encode(&Window::unknown(at(100_000)), &BOOT)));
        assert!(corrupt(&encode(&Window { held_until: at(100_000), ..used() }, &BOOT)));
    }

    #[test]
    fn boot_ids() {
        let id = boot_id("00010203-0405-0607-0809-0a0b0c0d0e0f\n").unwrap();
        assert_eq!(id, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(boot_id(""), None);
        assert_eq!(boot_id("zz010203-0405-0607-0809-0a0b0c0d0e0f"), None);
    }

    proptest! {
        /// No bytes at all make it panic, and no single changed byte goes unnoticed.
        #[test]
        fn damage_shows(bytes in prop::collection::vec(any::<u8>(), 0..2 * SIZE), index in 0..SIZE, change in 1u8..) {
            let _ = decode(&bytes, &BOOT, at(103));
            let mut damaged = encode(&used(), &BOOT);
            damaged[index] ^= change;
            prop_assert!(decode(&damaged, &BOOT, at(103)).is_err());
        }
    }
}
