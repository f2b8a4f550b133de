//! The rate window as bytes: one record of a fixed size, little-endian on any machine, with a
//! checksum.

use std::time::Duration;

use super::window::{PERMITS, RateWindow};
use crate::clock::BootInstant;
use crate::fnv::fnv1a;

/// The first bytes of the record. They have to change with its format.
const MAGIC: [u8; 8] = *b"RCbudget";

/// The size of the record: magic, boot id, `blocked_until`, `consecutive_403s`, `is_probing`,
/// permit slots, checksum.
pub const RECORD_BYTES: usize = 8 + 16 + 8 + 4 + 4 + 8 * PERMITS + 8;

/// The id of a boot (/proc/sys/kernel/random/boot_id) as a number.
pub type BootId = [u8; 16];

/// Encodes a window as a record.
pub fn encode(window: &RateWindow, boot: &BootId) -> [u8; RECORD_BYTES] {
    let mut bytes = Vec::with_capacity(RECORD_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(boot);
    bytes.extend_from_slice(&nanos(window.blocked_until).to_le_bytes());
    bytes.extend_from_slice(&window.consecutive_403s.to_le_bytes());
    bytes.extend_from_slice(&u32::from(window.is_probing).to_le_bytes());
    for until in window.busy_until {
        bytes.extend_from_slice(&nanos(until).to_le_bytes());
    }
    bytes.extend_from_slice(&fnv1a(&bytes).to_le_bytes());
    bytes.try_into().expect("the sizes add up")
}

/// Decodes a record that is read at the time `now`; `None` if its window is of another boot, whose
/// requests no longer count.
///
/// # Errors
/// What is wrong with it.
pub fn decode(
    record: &[u8],
    boot: &BootId,
    now: BootInstant,
) -> Result<Option<RateWindow>, &'static str> {
    if record.len() != RECORD_BYTES {
        return Err("wrong length");
    }
    let (content, sum) = record.split_at(RECORD_BYTES - 8);
    if content[..8] != MAGIC {
        return Err("wrong magic number");
    }
    if number(sum) != fnv1a(content) {
        return Err("wrong checksum");
    }
    if content[8..24] != *boot {
        return Ok(None);
    }
    let time = |bytes: &[u8]| BootInstant(Duration::from_nanos(number(bytes)));
    let mut window = RateWindow {
        blocked_until: time(&content[24..32]),
        consecutive_403s: number(&content[32..36]) as u32,
        is_probing: number(&content[36..40]) != 0,
        ..RateWindow::default()
    };
    for (until, bytes) in window.busy_until.iter_mut().zip(content[40..].chunks_exact(8)) {
        *until = time(bytes);
    }
    if window.is_possible(now) { Ok(Some(window)) } else { Err("impossible times") }
}

/// Sets the checksum of a record.
#[cfg(any(test, fuzzing))]
pub fn seal(record: &mut [u8; RECORD_BYTES]) {
    let (content, sum) = record.split_at_mut(RECORD_BYTES - 8);
    sum.copy_from_slice(&fnv1a(content).to_le_bytes());
}

fn nanos(time: BootInstant) -> u64 {
    u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX)
}

/// Up to eight bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}

/// Parses a boot id as the kernel writes it.
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

    fn used() -> RateWindow {
        let mut window = RateWindow::default();
        let permit = window.take(at(100), at(110), 0).unwrap();
        window.take(at(101), at(111), 0).unwrap();
        window.forbidden(permit, at(102));
        window
    }

    #[test]
    fn an_encoded_window_is_decoded() {
        assert_eq!(decode(&encode(&used(), &BOOT), &BOOT, at(103)), Ok(Some(used())));
    }

    #[test]
    fn a_window_of_another_boot_does_not_count() {
        assert_eq!(decode(&encode(&used(), &BOOT), &[8; 16], at(103)), Ok(None));
    }

    #[test]
    fn corrupt_records() {
        let good = encode(&used(), &BOOT);
        let corrupt = |bytes: &[u8]| decode(bytes, &BOOT, at(103)).is_err();
        assert!(corrupt(b""));
        assert!(corrupt(&good[..RECORD_BYTES - 1]));
        assert!(corrupt(&[&good[..], &[0]].concat()));
        // Big-endian numbers.
        let mut foreign = good.to_vec();
        foreign[24..].chunks_exact_mut(8).for_each(|number| number.reverse());
        assert!(corrupt(&foreign));
        // A valid record from the future.
        assert!(corrupt(&encode(&RateWindow::unknown(at(100_000)), &BOOT)));
        assert!(corrupt(&encode(&RateWindow { blocked_until: at(100_000), ..used() }, &BOOT)));
    }

    #[test]
    fn boot_ids() {
        let id = boot_id("00010203-0405-0607-0809-0a0b0c0d0e0f\n").unwrap();
        assert_eq!(id, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(boot_id(""), None);
        assert_eq!(boot_id("zz010203-0405-0607-0809-0a0b0c0d0e0f"), None);
    }

    proptest! {
        /// No bytes cause a panic, and no single changed byte goes unnoticed.
        #[test]
        fn damage_is_noticed(
            bytes in prop::collection::vec(any::<u8>(), 0..2 * RECORD_BYTES),
            index in 0..RECORD_BYTES,
            change in 1u8..,
        ) {
            let _ = decode(&bytes, &BOOT, at(103));
            let mut damaged = encode(&used(), &BOOT);
            damaged[index] ^= change;
            prop_assert!(decode(&damaged, &BOOT, at(103)).is_err());
        }
    }
}
