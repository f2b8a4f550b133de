//! The fenced blocks of README.md, docs/ and the other pages, for the tests that run them.

use std::fs;
use std::path::Path;

/// The comment above a block that is run in network namespaces, by the `gateway` target.
pub const NETWORK: &str = "in a network of its own";

/// One fenced block.
pub struct Block {
    /// Its location, for messages: `docs/boot.md:12`.
    pub place: String,
    /// The word after the opening fence.
    pub language: String,
    /// The text of the HTML comment directly above the block; empty without one.
    pub comment: String,
    /// The lines between the fences.
    pub lines: Vec<String>,
}

/// Every page: its name and its text.
pub fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .into_iter()
        .filter(|name| root.join(name).exists())
        .map(str::to_owned)
        .collect();
    let docs = fs::read_dir(root.join("docs")).into_iter().flatten().flatten();
    let mut docs: Vec<String> = docs
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    docs.sort();
    names.extend(docs);
    names
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(root.join(&name)).expect("a readable page");
            (name, text)
        })
        .collect()
}

/// Every block of every page.
pub fn blocks() -> Vec<Block> {
    pages().iter().flat_map(|(name, text)| blocks_of(name, text)).collect()
}

fn blocks_of(name: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut comment = String::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, Some(language)) => {
                open = Some(Block {
                    place: format!("{name}:{}", index + 1),
                    language: language.to_owned(),
                    comment: std::mem::take(&mut comment),
                    lines: Vec::new(),
                });
            }
            (None, None) => {
                let inner = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
                comment = inner.unwrap_or_default().to_owned();
            }
        }
    }
    assert!(open.is_none(), "{name}: a block is not closed");
    blocks
}

/// Whether a line directly below a command of a `console` block continues it.
pub fn is_continuation(line: &str) -> bool {
    line.starts_with("    ")
}

/// Whether `shown` matches `expected`, in which `…` stands for any text.
pub fn matches(expected: &str, shown: &str) -> bool {
    let mut rest = shown;
    for (index, part) in expected.split('…').enumerate() {
        match rest.find(part) {
            Some(at) if index > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || expected.ends_with('…')
}
