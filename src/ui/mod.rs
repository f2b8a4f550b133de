//! Output: log messages and live lines on standard error, standard output, escaping.

mod deadline;
mod escape;
#[cfg(feature = "cloud")]
mod json;
mod live;
mod logger;
pub mod output;
#[cfg(feature = "cloud")]
pub mod prompt;
pub(crate) mod stderr;

pub use deadline::{limit_output, output_deadline};
pub use escape::{escape_control, escape_in_json, is_terminal_safe};
#[cfg(feature = "cloud")]
pub use json::pretty_json;
pub use live::*;
pub use logger::*;

/// The width if it is not known.
const DEFAULT_WIDTH: usize = 80;

/// The width of the terminal in columns; 80 if there is none.
pub fn terminal_width() -> usize {
    let size = terminal_size::terminal_size();
    size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

/// Before the program ends or is replaced: writes what is queued, for up to a second.
pub fn finish_output() {
    stderr::finish();
}

/// Writes a text that needs no escaping to standard error. A failure could not be reported
/// anywhere.
pub fn write_to_stderr(text: &str) {
    let _ = std::io::Write::write_all(&mut stderr::Stderr, text.as_bytes());
}

/// "a, b and c".
pub fn enumerate(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumerations_end_with_and() {
        assert_eq!(enumerate(&["a"]), "a");
        assert_eq!(enumerate(&["a", "b", "c"]), "a, b and c");
    }
}
