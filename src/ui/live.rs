//! Live lines: at the bottom of the terminal, drawn anew again and again, and gone at the end.
//!
//! The cursor stays at the end of the last one, so that a program that is killed leaves the lines as
//! they are and the shell goes on below them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{DEFAULT_WIDTH, escape_control, stderr};

/// How many lines are live.
static LINES: AtomicUsize = AtomicUsize::new(0);

/// Back to the first column, and the rest of the line erased (ECMA-48: EL).
const ERASE_LINE: &str = "\r\x1b[K";

/// What erases the live lines, from now on none; nothing if there were none.
pub(super) fn take() -> Option<String> {
    let count = LINES.swap(0, Ordering::Relaxed);
    (count > 0).then(|| erase(count))
}

#[cfg(not(feature = "cloud"))]
fn erase(_: usize) -> String {
    ERASE_LINE.to_owned()
}

#[cfg(feature = "cloud")]
fn erase(lines: usize) -> String {
    match lines {
        1 => ERASE_LINE.to_owned(),
        _ => to_the_first(lines) + ERASE_BELOW,
    }
}

/// Draws the one live line anew, cut off at the width of the terminal.
pub fn live(line: &str) {
    let width = terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
    let text = format!("{ERASE_LINE}{}", cut(&escape_control(line), width));
    LINES.store(1, Ordering::Relaxed);
    let _ = stderr::Stderr.write_all(text.as_bytes());
}

/// Everything from the cursor on erased (ECMA-48: ED).
#[cfg(feature = "cloud")]
const ERASE_BELOW: &str = "\x1b[J";

/// From the last of several live lines to the first column of the first one (ECMA-48: CUU).
#[cfg(feature = "cloud")]
fn to_the_first(lines: usize) -> String {
    match lines {
        0 | 1 => "\r".to_owned(),
        _ => format!("\r\x1b[{}A", lines - 1),
    }
}

/// How many live lines the terminal has room for, below one line of the log.
#[cfg(feature = "cloud")]
pub fn live_room() -> usize {
    const DEFAULT_HEIGHT: u16 = 24;
    let height = terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_HEIGHT, |(_, height)| height.0);
    usize::from(height).saturating_sub(1).max(1)
}

/// Draws the live lines anew, each cut off at the width of the terminal.
#[cfg(feature = "cloud")]
pub fn live_lines(lines: &[String]) {
    let width = terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
    // Line by line, so that nothing flickers.
    let lines: Vec<String> =
        lines.iter().map(|line| cut(&escape_control(line), width) + "\x1b[K").collect();
    // What takes them away on a signal must not come between.
    let _lock = io::stderr().lock();
    let before = LINES.swap(lines.len(), Ordering::Relaxed);
    let text = format!("{}{}{ERASE_BELOW}", to_the_first(before), lines.join("\r\n"));
    let _ = stderr::Stderr.write_all(text.as_bytes());
}

/// A line that stays in front of the last column: a character there makes some terminals wrap.
fn cut(line: &str, width: usize) -> String {
    let room = width.saturating_sub(1);
    if line.chars().count() <= room {
        return line.to_owned();
    }
    let kept: String = line.chars().take(room.saturating_sub(1)).collect();
    kept + "…"
}

/// Takes the live lines away.
pub fn end_live() {
    if let Some(erase) = take() {
        let _ = stderr::Stderr.write_all(erase.as_bytes());
    }
}

/// Takes the live lines away for good: nothing is written to standard error after it. For a program
/// about to end.
pub fn end_live_for_good() {
    let mut stderr = io::stderr().lock();
    if let Some(erase) = take() {
        let _ = stderr.write_all(erase.as_bytes());
    }
    // Never unlocked, so that no other thread draws them anew before the signal has ended the
    // program.
    std::mem::forget(stderr);
}

#[cfg(test)]
mod tests {
    use super::cut;

    /// A stray last character stood at the edge of narrow terminals.
    #[test]
    fn the_live_line_is_cut_in_front_of_the_last_column() {
        assert_eq!(cut("DEPLOYING, 7s so far", 40), "DEPLOYING, 7s so far");
        assert_eq!(cut("DEPLOYING, 7s so far", 20), "DEPLOYING, 7s so f…");
        assert_eq!(cut("DEPLOYING", 1), "…");
    }
}
