//! Pages of the documentation that a program writes in part.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file of the checkout.
pub fn in_checkout(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// Replaces the text between the comments `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
///
/// # Errors
/// The page cannot be read or written, or has no such comments.
pub fn replace(page: &Path, name: &str, content: &str) -> io::Result<()> {
    let text = fs::read_to_string(page)?;
    let new = replaced(&text, name, content).ok_or_else(|| {
        io::Error::other(format!("{} has no comments for {name:?}", page.display()))
    })?;
    fs::write(page, new)
}

fn replaced(text: &str, name: &str, content: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", content.trim()))
}

/// A table in Markdown, padded so that it can be read as text too. The first column is aligned to
/// the left, the others to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let width = |column: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!(" {cell:<width$} ") } else { format!(" {cell:>width$} ") }
        });
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let rule = widths.iter().enumerate().map(|(column, width)| match column {
        0 => "-".repeat(width + 2),
        _ => format!("{}:", "-".repeat(width + 1)),
    });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    format!("{}{rule}{}", line(&head), rows.iter().map(line).collect::<String>())
}

/// A number with a thousands separator.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_comments_is_replaced() {
        let page = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n";
        let new = replaced(page, "x", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n");
        assert_eq!(replaced(&new, "x", "new"), Some(new.clone()));
        assert_eq!(replaced(page, "y", "new"), None);
    }

    #[test]
    fn tables_are_padded() {
        let rows = vec![vec!["a".to_owned(), thousands(1_234_567)], vec!["bcd".into(), "1".into()]];
        let expected = "\
            | x   |     count |\n\
            |-----|----------:|\n\
            | a   | 1,234,567 |\n\
            | bcd |         1 |\n";
        assert_eq!(table(&["x", "count"], &rows), expected);
        assert_eq!(thousands(999), "999");
    }
}
