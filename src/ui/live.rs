//! Live lines: at the bottom of the terminal, redrawn at each change, and erased at the end.
//!
//! The cursor stays at the end of the last one, so that after a kill the lines stay and the shell
//! continues below them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::deadline::write_all_by;
use super::{DEFAULT_WIDTH, escape_control, stderr};
use crate::clock::BootInstant;

/// The number of live lines on the screen.
static LINES: AtomicUsize = AtomicUsize::new(0);

/// Returns to the first column and erases the line (ECMA-48: EL).
const ERASE_LINE: &str = "\r\x1b[K";

/// Marks the live lines as gone, and returns the text that erases them; none if there were none.
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

/// Redraws the only live line, cut to the width of the terminal.
pub fn live(line: &str) {
    let width = terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
    let text = format!("{ERASE_LINE}{}", cut(&escape_control(line), width));
    LINES.store(1, Ordering::Relaxed);
    let _ = stderr::Stderr.write_all(text.as_bytes());
}

/// Erases everything from the cursor on (ECMA-48: ED).
#[cfg(feature = "cloud")]
const ERASE_BELOW: &str = "\x1b[J";

/// Moves from the last live line to the beginning of the first one (ECMA-48: CUU).
#[cfg(feature = "cloud")]
fn to_the_first(lines: usize) -> String {
    match lines {
        0 | 1 => "\r".to_owned(),
        _ => format!("\r\x1b[{}A", lines - 1),
    }
}

/// How many live lines fit on the terminal below one log message.
#[cfg(feature = "cloud")]
pub fn live_room() -> usize {
    const DEFAULT_HEIGHT: u16 = 24;
    let height = terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_HEIGHT, |(_, height)| height.0);
    usize::from(height).saturating_sub(1).max(1)
}

/// Redraws the live lines, each cut to the width of the terminal.
#[cfg(feature = "cloud")]
pub fn live_lines(lines: &[String]) {
    let width = terminal_size::terminal_size_of(io::stderr())
        .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0));
    // Line by line, so that nothing flickers.
    let lines: Vec<String> =
        lines.iter().map(|line| cut(&escape_control(line), width) + "\x1b[K").collect();
    // So that a signal does not erase the lines between the two steps.
    let _lock = io::stderr().lock();
    let before = LINES.swap(lines.len(), Ordering::Relaxed);
    let text = format!("{}{}{ERASE_BELOW}", to_the_first(before), lines.join("\r\n"));
    let _ = stderr::Stderr.write_all(text.as_bytes());
}

/// Cuts a line so that it does not reach the last column, where some terminals wrap.
fn cut(line: &str, width: usize) -> String {
    let columns = width.saturating_sub(1);
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    kept + "…"
}

/// Erases the live lines.
pub fn end_live() {
    if let Some(erase) = take() {
        let _ = stderr::Stderr.write_all(erase.as_bytes());
    }
}

/// Erases the live lines, and keeps standard error locked, for a program that is about to end. On a
/// stopped terminal, which would keep it from ending, they stay.
pub fn end_live_for_good() {
    let stderr = io::stderr().lock();
    if let Some(erase) = take() {
        let _ = write_all_by(&stderr, erase.as_bytes(), Some(BootInstant::now()));
    }
    // Otherwise another thread could redraw them before the signal has ended the program.
    std::mem::forget(stderr);
}

#[cfg(test)]
mod tests {
    use super::cut;

    /// The last character of a line was left behind at the edge of narrow terminals.
    #[test]
    fn the_live_line_is_cut_in_front_of_the_last_column() {
        assert_eq!(cut("DEPLOYING, 7s so far", 40), "DEPLOYING, 7s so far");
        assert_eq!(cut("DEPLOYING, 7s so far", 20), "DEPLOYING, 7s so f…");
        assert_eq!(cut("DEPLOYING", 1), "…");
    }
}
