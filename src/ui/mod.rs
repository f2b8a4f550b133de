//! What people see: standard error with its log lines and the live line, standard output, escaping.

mod escape;
mod logger;
pub mod output;

pub use escape::escape_control;
pub use logger::*;

/// "a, b and c".
pub fn and(words: &[&str]) -> String {
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
        assert_eq!(and(&["a"]), "a");
        assert_eq!(and(&["a", "b", "c"]), "a, b and c");
    }
}
