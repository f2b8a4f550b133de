//! One fact, and its shape in JSON.

use crate::model::{NamedStatus, Tree};

/// The name of xenstore as a source.
pub(super) const XENSTORE: &str = "xenstore";

/// A value and its source, or why there is none.
pub(super) type Fact = Result<(Tree, String), String>;

pub(super) fn as_tree(fact: Fact) -> Tree {
    match fact {
        Ok((value, source)) => map([("value", value), ("source", Tree::Text(source))]),
        Err(reason) => map([("value", Tree::Nothing), ("reason", Tree::Text(reason))]),
    }
}

pub(super) fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

pub(super) fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
    Tree::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Named statuses as an object, with the names as keys.
pub(super) fn statuses(named: Vec<NamedStatus>) -> Tree {
    Tree::Map(named.into_iter().map(|named| (named.name, Tree::Text(named.status))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_has_a_source_or_a_reason() {
        assert_eq!(
            as_tree(Ok((Tree::Number(7), "x".to_owned()))).to_json(),
            r#"{"value":7,"source":"x"}"#
        );
        assert_eq!(as_tree(Err("no".to_owned())).to_json(), r#"{"value":null,"reason":"no"}"#);
    }
}
