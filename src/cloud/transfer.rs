//! The progress of a transfer, on a terminal.

use std::cell::Cell;
use std::time::Duration;

use crate::clock::BootInstant;
use crate::ui;

/// The time between two updates.
const REDRAW: Duration = Duration::from_millis(200);

/// The live line of a transfer.
pub struct TransferProgress {
    label: String,
    total: Option<u64>,
    is_watched: bool,
    next: Cell<BootInstant>,
}

impl TransferProgress {
    /// A transfer that begins now, with its length if that is known.
    pub fn new(label: String, total: Option<u64>) -> TransferProgress {
        let is_watched = ui::is_watched() && log::log_enabled!(log::Level::Info);
        TransferProgress { label, total, is_watched, next: Cell::new(BootInstant::now()) }
    }

    /// Updates the line, from time to time.
    pub fn show(&self, done: u64) {
        let now = BootInstant::now();
        // A short transfer needs no line.
        let is_done = self.total == Some(done);
        if self.is_watched && !is_done && now >= self.next.get() {
            self.next.set(now + REDRAW);
            ui::live(&line(&self.label, done, self.total));
        }
    }
}

impl Drop for TransferProgress {
    fn drop(&mut self) {
        if self.is_watched {
            ui::end_live();
        }
    }
}

fn line(label: &str, done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) if total > 0 => {
            let percent = u128::from(done) * 100 / u128::from(total);
            format!("{label}: {} of {} ({percent} %)", size(done), size(total))
        }
        _ => format!("{label}: {}", size(done)),
    }
}

/// A number of bytes with a unit and about three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_with_and_without_a_total() {
        assert_eq!(line("x", 512, None), "x: 512 B");
        assert_eq!(line("x", 1536, Some(3 << 20)), "x: 1.5 KiB of 3.0 MiB (0 %)");
        assert_eq!(line("x", 3 << 30, Some(3 << 30)), "x: 3.0 GiB of 3.0 GiB (100 %)");
        assert_eq!(line("x", 0, Some(0)), "x: 0 B");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }
}
