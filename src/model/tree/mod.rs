//! What JSON and XML have in common: text, lists, and named entries in their order.

mod json;
mod xml;

/// How deep XML may be nested (JSON: serde_json's 128). No known body has more than four levels.
const MAX_DEPTH: usize = 64;

/// A JSON value or an XML element.
///
/// Of XML, an element with nothing but text is [`Tree::Text`]; any other is [`Tree::Map`]: attributes
/// first, then child elements, then its own text under the empty name. Names come without their
/// namespace prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// JSON's null, or an XML element with nothing in it.
    Nothing,
    /// A string, or a number or boolean as it was written.
    Text(String),
    /// A whole number, in JSON that is written here; one that is read is a text.
    Number(u64),
    /// A JSON array.
    List(Vec<Tree>),
    /// A JSON object or an XML element. Names can occur more than once.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// The first entry of that name.
    pub fn get(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Map(entries) => {
                entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether there is nothing in it: no text, no entry, or only empty ones.
    pub fn is_empty(&self) -> bool {
        match self {
            Tree::Nothing => true,
            Tree::Text(text) => text.trim().is_empty(),
            Tree::Number(_) => false,
            Tree::List(items) => items.iter().all(Tree::is_empty),
            Tree::Map(entries) => entries.iter().all(|(_, value)| value.is_empty()),
        }
    }
}
