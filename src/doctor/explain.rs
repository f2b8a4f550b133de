//! The paragraph about a check. docs/doctor.md is the only source, for readers and for `--explain`.

/// The page.
const PAGE: &str = include_str!("../../docs/doctor.md");

/// The text under the heading of a check.
pub(crate) fn paragraph(id: &str) -> Option<String> {
    let heading = format!("### `{id}`");
    let lines = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let text: Vec<&str> = lines.take_while(|line| !line.starts_with('#')).collect();
    let text = text.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks;

    #[test]
    fn every_check_is_on_the_page_and_the_page_has_no_other() {
        let on_page: Vec<&str> =
            PAGE.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
        let checks: Vec<&str> = checks::all().map(|check| check.id).collect();
        assert_eq!(on_page, checks);
        for id in checks {
            let text = paragraph(id).unwrap_or_else(|| panic!("{id} has no paragraph"));
            assert!(text.len() > 80, "{id}: {text}");
        }
        assert_eq!(paragraph("server"), None);
    }
}
