//! Text from outside, made safe for a terminal.

/// The text with every control character made escape_control, and so every one that changes the direction of writing.
pub fn escape_control(text: &str) -> String {
    let is_unsafe = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(
            escape_control("a\x1b[31mb\nc\x07\u{9b}d\u{202e}é…"),
            "a\\u{1b}[31mb\\nc\\u{7}\\u{9b}d\\u{202e}é…"
        );
    }
}
