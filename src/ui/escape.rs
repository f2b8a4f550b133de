//! Text from outside, made safe for a terminal.

/// Escapes every character that could control a terminal or be invisible on it: C0, DEL and C1, and
/// format characters (Unicode category Cf), which change the direction of text or have no width.
pub fn escape_control(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_terminal_safe(c) { safe.push(c) } else { safe.extend(c.escape_default()) }
    }
    safe
}

/// Adds a character to a JSON string, escaped as in JSON unless it is safe on a terminal.
pub fn push_json_char(json: &mut String, c: char) {
    if is_terminal_safe(c) {
        json.push(c);
        return;
    }
    let mut units = [0; 2];
    for unit in c.encode_utf16(&mut units) {
        json.push_str(&format!("\\u{unit:04x}"));
    }
}

/// Escapes the characters of a JSON document that could control a terminal. It has them only within
/// strings, where the escape has the same meaning.
pub fn escape_in_json(json: String) -> String {
    if json.chars().all(is_terminal_safe) {
        return json;
    }
    let mut safe = String::with_capacity(json.len());
    json.chars().for_each(|c| push_json_char(&mut safe, c));
    safe
}

/// Whether a character is only shown on a terminal, without any other effect.
pub fn is_terminal_safe(c: char) -> bool {
    // Most text is ASCII.
    matches!(c, ' '..='~') || (!c.is_control() && !is_format(c))
}

/// Unicode's category Cf, and the line and paragraph separators. Source: UnicodeData.txt, 16.0.
fn is_format(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C1 controls, DEL and zero-width characters reached the terminal.
    #[test]
    fn zero_width_and_direction_characters_are_escaped() {
        for c in ['\u{7f}', '\u{85}', '\u{ad}', '\u{200b}', '\u{200d}', '\u{2066}', '\u{feff}'] {
            assert!(!escape_control(&format!("a{c}b")).contains(c), "{c:?}");
        }
        assert_eq!(escape_control("größe 名前 …"), "größe 名前 …");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            escape_control("a\x1b[31mb\nc\x07\u{9b}d\u{202e}é…"),
            "a\\u{1b}[31mb\\nc\\u{7}\\u{9b}d\\u{202e}é…"
        );
    }
}
