//! XML to a [`Tree`], by quick-xml's events.
//!
//! No document type declaration is accepted and no entity but XML's own five and character
//! references is resolved, so a body cannot expand while it is parsed. Depth is bounded.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::{MAX_DEPTH, Tree};

/// An element whose end tag has not been read yet.
struct Open {
    name: String,
    entries: Vec<(String, Tree)>,
    text: String,
}

impl Open {
    fn new(start: &BytesStart<'_>) -> Result<Open, String> {
        let mut entries = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(invalid)?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(invalid)?;
            let name: &str = attribute.key.local_name().into_inner();
            // xsi:nil, xsi:type, xml:lang and the like describe the element; they are not data.
            if attribute.key.prefix().is_none() {
                entries.push((name.to_owned(), Tree::Text(value.into_owned())));
            }
        }
        Ok(Open { name: start.local_name().into_inner().to_owned(), entries, text: String::new() })
    }

    fn close(mut self) -> (String, Tree) {
        let text = self.text.trim();
        let tree = match (self.entries.is_empty(), text.is_empty()) {
            (true, true) => Tree::Nothing,
            (true, false) => Tree::Text(text.to_owned()),
            (false, true) => Tree::Map(self.entries),
            (false, false) => {
                self.entries.push((String::new(), Tree::Text(text.to_owned())));
                Tree::Map(self.entries)
            }
        };
        (self.name, tree)
    }
}

impl Tree {
    /// Parses one XML document: a map of one entry, the root element.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_xml(xml: &str) -> Result<Tree, String> {
        // quick-xml does not reject these characters.
        if let Some(character) = xml.chars().find(|character| !is_xml(*character)) {
            return Err(format!("invalid XML: the character {character:?}"));
        }
        let mut reader = Reader::from_str(xml);
        reader.config_mut().enable_all_checks(true);
        reader.config_mut().expand_empty_elements = true;
        let mut open: Vec<Open> = Vec::new();
        let mut root = None;
        loop {
            let event = reader.read_event().map_err(invalid)?;
            match event {
                Event::Start(_) if root.is_some() => {
                    return Err("invalid XML: a second root element".to_owned());
                }
                Event::Start(_) if open.len() == MAX_DEPTH => {
                    return Err("nested too deep".to_owned());
                }
                Event::Start(start) => open.push(Open::new(&start)?),
                Event::End(_) => {
                    // quick-xml has checked that this end tag has a start tag.
                    let Some((name, tree)) = open.pop().map(Open::close) else { continue };
                    if name.eq_ignore_ascii_case("html") {
                        return Err("it is an HTML page".to_owned());
                    }
                    match open.last_mut() {
                        Some(parent) => parent.entries.push((name, tree)),
                        None => root = Some(Tree::Map(vec![(name, tree)])),
                    }
                }
                Event::Text(text) => append(&mut open, &text.xml10_content())?,
                Event::CData(data) => append(&mut open, &data.xml10_content())?,
                Event::GeneralRef(reference) => append(&mut open, &resolve(&reference)?)?,
                Event::DocType(_) => {
                    return Err("it has a document type declaration, as HTML pages do".to_owned());
                }
                Event::Eof if open.is_empty() => {
                    return root.ok_or_else(|| "it is empty".to_owned());
                }
                Event::Eof => return Err("invalid XML: it ends too early".to_owned()),
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            }
        }
    }
}

/// Whether a document may contain this character (XML 1.0, section 2.2).
fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn invalid(error: impl std::fmt::Display) -> String {
    format!("invalid XML: {error}")
}

fn append(open: &mut [Open], text: &str) -> Result<(), String> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("invalid XML: text outside of the root element".to_owned()),
    }
    Ok(())
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(invalid)? {
        return Ok(character.to_string());
    }
    let name = reference.xml10_content();
    resolve_predefined_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| format!("unknown entity &{name};"))
}
