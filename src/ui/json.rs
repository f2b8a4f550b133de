//! JSON, laid out for a person.
//!
//! Only white space is changed, and characters that could act on a terminal are escaped: numbers
//! keep their digits and objects their order, which a parsed value would not.

use serde::de::IgnoredAny;

use super::escape::push_json_char;

/// The indentation of each level.
const INDENT: &str = "  ";

/// The deepest nesting that is laid out, as serde_json bounds it elsewhere.
const MAX_DEPTH: usize = 128;

/// The text of a JSON document with a line for each value; none if it is no JSON, or nested beyond
/// all reason.
pub fn pretty_json(json: &[u8]) -> Option<String> {
    let text = str::from_utf8(json).ok()?;
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut pretty = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                pretty.push('"');
                copy_string(&mut rest, &mut pretty);
            }
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                pretty.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                match rest.next_if(|c| matches!(c, '}' | ']')) {
                    Some(end) => pretty.push(end),
                    None if depth == MAX_DEPTH => return None,
                    None => {
                        depth += 1;
                        new_line(&mut pretty, depth);
                    }
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut pretty, depth);
                pretty.push(c);
            }
            ',' => {
                pretty.push(c);
                new_line(&mut pretty, depth);
            }
            ':' => pretty.push_str(": "),
            _ => pretty.push(c),
        }
    }
    Some(pretty)
}

fn new_line(pretty: &mut String, depth: usize) {
    pretty.push('\n');
    pretty.push_str(&INDENT.repeat(depth));
}

/// Copies the rest of a string, up to its closing quotation mark.
fn copy_string(rest: &mut impl Iterator<Item = char>, pretty: &mut String) {
    while let Some(c) = rest.next() {
        push_json_char(pretty, c);
        match c {
            '"' => return,
            '\\' => pretty.extend(rest.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_white_space_is_changed() {
        let json =
            br#"{"b":[1.10,{} , [ ],12345678901234567890123],"a":{"x":"a,b:\"{\\","b":null}}"#;
        let pretty = "{\n  \"b\": [\n    1.10,\n    {},\n    [],\n    12345678901234567890123\n  ],\n  \
                      \"a\": {\n    \"x\": \"a,b:\\\"{\\\\\",\n    \"b\": null\n  }\n}";
        assert_eq!(pretty_json(json).as_deref(), Some(pretty));
        assert_eq!(pretty_json(b" 7\n").as_deref(), Some("7"));
        for other in [&b"<html>"[..], b"{\"a\":1", b"", b"{} {}", b"\"\xff\""] {
            assert_eq!(pretty_json(other), None);
        }
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(pretty_json(deep(128).as_bytes()).is_some());
        assert_eq!(pretty_json(deep(129).as_bytes()), None);
    }

    #[test]
    fn text_that_could_control_a_terminal_is_escaped() {
        let pretty = pretty_json("\"\u{9b}31m \u{202e}\u{e0001} ä\"".as_bytes());
        assert_eq!(pretty.as_deref(), Some("\"\\u009b31m \\u202e\\udb40\\udc01 ä\""));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<Option<bool>>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_value_stays_the_same(value in any_json()) {
            let pretty = pretty_json(value.to_string().as_bytes()).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), value);
            prop_assert!(pretty.lines().flat_map(str::chars).all(super::super::is_terminal_safe));
        }
    }
}
