//! What people see: standard error with its log lines and live lines, standard output, escaping.

mod escape;
#[cfg(feature = "cloud")]
mod json;
mod live;
mod logger;
pub mod output;
#[cfg(feature = "cloud")]
pub mod prompt;
pub(crate) mod stderr;

pub use escape::{escape_control, is_terminal_safe, push_json_char};
#[cfg(feature = "cloud")]
pub use json::pretty_json;
pub use live::*;
pub use logger::*;

/// The width of a terminal that does not tell it.
const DEFAULT_WIDTH: usize = 80;

/// The width of the terminal in columns; 80 where there is none.
pub fn terminal_width() -> usize {
    let size = terminal_size::terminal_size();
    size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

/// Writes a text of the program's own to standard error. If it cannot be written there is nobody to
/// tell.
pub fn write_to_stderr(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
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
    fn lists() {
        assert_eq!(enumerate(&["a"]), "a");
        assert_eq!(enumerate(&["a", "b", "c"]), "a, b and c");
    }
}
