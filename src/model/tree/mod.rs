//! The common structure of JSON and XML: text, lists, and named entries in their order.

mod json;
mod xml;

/// How deep XML may be nested (JSON: serde_json's 128). The API's bodies have at most four levels.
const MAX_DEPTH: usize = 64;

/// A JSON value or an XML element.
///
/// An XML element that contains only text is [`Tree::Text`]. Any other is [`Tree::Map`]: its
/// attributes, then its child elements, then its own text under the empty name. Names are without
/// namespace prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// JSON's null, or an empty XML element.
    Nothing,
    /// A string, or a number or boolean as it was written.
    Text(String),
    /// A whole number to be written as JSON. One that is parsed becomes [`Tree::Text`].
    Number(u64),
    /// A JSON array.
    List(Vec<Tree>),
    /// A JSON object or an XML element. Names can occur more than once.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// The first entry with this name.
    pub fn get(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Map(entries) => {
                entries.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// The text, if this is [`Tree::Text`].
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it contains no text: it is empty, or everything in it is.
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
