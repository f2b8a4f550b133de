//! The bodies of the responses, in every plausible shape of the real ones.
//!
//! JSON is written without a library, so that maps keep the order of the script.

use crate::script::{Format, Item};

/// The content of a response.
#[derive(Clone)]
pub(crate) enum Content {
    Status(String),
    Details(String, Vec<Item>),
    Gateway(String),
    Features(Vec<Item>),
}

/// The names of all shapes; README.md describes them. Every operation has a body in every shape and
/// format. If a shape makes no difference to a body, the body is that of `plain`.
pub fn shapes() -> &'static [&'static str] {
    &[
        "plain",
        "attributes",
        "bare",
        "bom",
        "camel",
        "cdata",
        "extras",
        "flat",
        "lower",
        "map",
        "namespaced",
        "nested",
        "newline",
        "padded",
        "prefixed",
        "quoted",
        "short",
        "states",
    ]
}

/// The body of a response.
pub(crate) fn body(content: &Content, format: Format, shape: &str) -> Vec<u8> {
    let mut content = content.clone();
    if shape == "lower" {
        let lower = |items: &mut Vec<Item>| {
            items.iter_mut().for_each(|item| item.status.make_ascii_lowercase())
        };
        match &mut content {
            Content::Status(status) => status.make_ascii_lowercase(),
            Content::Details(status, tasks) => {
                status.make_ascii_lowercase();
                lower(tasks);
            }
            Content::Gateway(_) => {}
            Content::Features(features) => lower(features),
        }
    }
    let body = match format {
        Format::Text => text(&content, shape),
        Format::Json => json(&content, shape),
        Format::Xml => xml(&content, shape),
    };
    if shape == "bom" { format!("\u{feff}{body}").into_bytes() } else { body.into_bytes() }
}

fn text(content: &Content, shape: &str) -> String {
    let word = match content {
        Content::Status(word) | Content::Gateway(word) => word,
        Content::Details(..) | Content::Features(_) => unreachable!("these have no text"),
    };
    match shape {
        "quoted" => format!("\"{word}\""),
        "newline" => format!("{word}\n"),
        "padded" => format!("  {word} \r\n"),
        _ => word.clone(),
    }
}

/// The names of a list of items and its parts.
struct Names {
    /// `task`
    one: &'static str,
    /// `automation_tasks`
    list: &'static str,
    /// The same in camel case.
    camel: &'static str,
    /// `tasks`
    short: &'static str,
}

const TASKS: Names =
    Names { one: "task", list: "automation_tasks", camel: "automationTasks", short: "tasks" };
const FEATURES: Names = Names {
    one: "feature",
    list: "automation_features",
    camel: "automationFeatures",
    short: "features",
};

fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a string is JSON")
}

fn json(content: &Content, shape: &str) -> String {
    let body = match content {
        Content::Status(status) => match shape {
            "extras" => format!(
                r#"{{"updated":null,"automation_status":{},"server_id":4711}}"#,
                quote(status)
            ),
            _ => format!(r#"{{"automation_status":{}}}"#, quote(status)),
        },
        Content::Details(status, tasks) => {
            let (status, list) = (quote(status), json_items(&TASKS, tasks, shape));
            match shape {
                "camel" => format!(r#"{{"automation_status":{status},"automationTasks":{list}}}"#),
                "extras" => format!(
                    r#"{{"server":{{"id":4711,"tags":["a","b"]}},"automation_tasks":{list},"automation_status":{status},"updated":null}}"#
                ),
                "nested" => format!(
                    r#"{{"automation_status":{status},"details":{{"tasks":{{"task":{list}}}}}}}"#
                ),
                "short" => format!(r#"{{"automation_status":{status},"tasks":{list}}}"#),
                _ => format!(r#"{{"automation_status":{status},"automation_tasks":{list}}}"#),
            }
        }
        Content::Gateway(gateway) => {
            let gateway = quote(gateway);
            match shape {
                "bare" => gateway,
                "camel" => format!(r#"{{"gatewayIp":{gateway}}}"#),
                "extras" => {
                    format!(r#"{{"server_id":4711,"gateway_ip":{gateway},"updated":null}}"#)
                }
                "nested" => format!(r#"{{"gateway":{{"ip":{gateway}}}}}"#),
                "short" => format!(r#"{{"gateway":{gateway}}}"#),
                _ => format!(r#"{{"gateway_ip":{gateway}}}"#),
            }
        }
        Content::Features(features) => {
            let list = json_items(&FEATURES, features, shape);
            match shape {
                "bare" => list,
                "flat" => json_items(&FEATURES, features, "map"),
                "camel" => format!(r#"{{"automationFeatures":{list}}}"#),
                "extras" => format!(
                    r#"{{"server":{{"id":4711}},"automation_features":{list},"updated":null}}"#
                ),
                "nested" => format!(r#"{{"automation":{{"features":{{"feature":{list}}}}}}}"#),
                "short" => format!(r#"{{"features":{list}}}"#),
                _ => format!(r#"{{"automation_features":{list}}}"#),
            }
        }
    };
    match shape {
        "newline" => {
            let value: serde_json::Value = serde_json::from_str(&body).expect("our own JSON");
            format!("{}\n", serde_json::to_string_pretty(&value).expect("a value is JSON"))
        }
        "padded" => format!(" \r\n{body}\t\r\n"),
        _ => body,
    }
}

fn json_items(names: &Names, items: &[Item], shape: &str) -> String {
    let one = names.one;
    let written = items.iter().enumerate().map(|(i, item)| {
        let (name, status) = (quote(&item.name), quote(&item.status));
        match shape {
            "map" => format!("{name}:{status}"),
            "states" => format!(r#"{{"{one}":{name},"state":{status}}}"#),
            "camel" => format!(r#"{{"{one}Name":{name},"{one}Status":{status}}}"#),
            "extras" => {
                format!(r#"{{"id":{},"updated":null,"status":{status},"name":{name}}}"#, i + 1)
            }
            _ => format!(r#"{{"name":{name},"status":{status}}}"#),
        }
    });
    let written = written.collect::<Vec<_>>().join(",");
    if shape == "map" { format!("{{{written}}}") } else { format!("[{written}]") }
}

/// An XML element, with text or with children.
#[derive(Default)]
struct Element {
    name: String,
    attributes: Vec<(&'static str, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn text(name: &str, text: &str) -> Element {
        Element { name: name.into(), text: text.into(), ..Element::default() }
    }

    fn attributes(name: &str, attributes: &[(&'static str, &str)]) -> Element {
        let attributes =
            attributes.iter().map(|(name, value)| (*name, value.to_string())).collect();
        Element { name: name.into(), attributes, ..Element::default() }
    }

    fn parent(name: &str, children: Vec<Element>) -> Element {
        Element { name: name.into(), children, ..Element::default() }
    }

    fn write(&self, shape: &str, depth: usize, out: &mut String) {
        let prefix = if shape == "prefixed" { "rc:" } else { "" };
        let indent = |depth: usize| {
            if shape == "newline" { format!("\n{}", "  ".repeat(depth)) } else { String::new() }
        };
        out.push_str(&format!("<{prefix}{}", self.name));
        match (depth, shape) {
            (0, "namespaced") => {
                out.push_str(r#" xmlns="http://docs.rackspace.com/rackconnect/api/v1.0""#)
            }
            (0, "prefixed") => {
                out.push_str(r#" xmlns:rc="http://docs.rackspace.com/rackconnect/api/v1.0""#)
            }
            _ => {}
        }
        for (name, value) in &self.attributes {
            out.push_str(&format!(r#" {name}="{}""#, escape(value)));
        }
        if self.children.is_empty() && self.text.is_empty() {
            return out.push_str("/>");
        }
        out.push('>');
        match shape {
            _ if self.text.is_empty() => {}
            "cdata" => out
                .push_str(&format!("<![CDATA[{}]]>", self.text.replace("]]>", "]]]]><![CDATA[>"))),
            "padded" => out.push_str(&format!("\n  {}\n", escape(&self.text))),
            _ => out.push_str(&escape(&self.text)),
        }
        for child in &self.children {
            out.push_str(&indent(depth + 1));
            child.write(shape, depth + 1, out);
        }
        if !self.children.is_empty() {
            out.push_str(&indent(depth));
        }
        out.push_str(&format!("</{prefix}{}>", self.name));
    }
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\r' | '\n' | '\t' => out.push_str(&format!("&#{};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn xml(content: &Content, shape: &str) -> String {
    let status_element = |status: &str| match shape {
        "camel" => Element::text("automationStatus", status),
        "short" => Element::text("status", status),
        _ => Element::text("automation_status", status),
    };
    let mut root = match content {
        Content::Status(status) => match shape {
            "attributes" => Element::attributes("automation", &[("status", status)]),
            "nested" => Element::parent("automation", vec![Element::text("status", status)]),
            "extras" => Element::parent(
                "server",
                vec![Element::text("id", "4711"), Element::text("automation_status", status)],
            ),
            _ => status_element(status),
        },
        Content::Details(status, tasks) => match shape {
            "attributes" => Element {
                children: xml_items(&TASKS, tasks, shape),
                ..Element::attributes("automation", &[("status", status)])
            },
            "flat" => {
                let mut children = vec![status_element(status)];
                children.extend(xml_items(&TASKS, tasks, shape));
                Element::parent("automation_status_details", children)
            }
            "camel" => Element::parent(
                "automationStatusDetails",
                vec![
                    status_element(status),
                    Element::parent(TASKS.camel, xml_items(&TASKS, tasks, shape)),
                ],
            ),
            "nested" => Element::parent(
                "automation",
                vec![
                    Element::text("status", status),
                    Element::parent(
                        "details",
                        vec![Element::parent(TASKS.short, xml_items(&TASKS, tasks, shape))],
                    ),
                ],
            ),
            "short" => Element::parent(
                "details",
                vec![
                    status_element(status),
                    Element::parent(TASKS.short, xml_items(&TASKS, tasks, shape)),
                ],
            ),
            "extras" => Element::parent(
                "automation_status_details",
                vec![
                    Element::text("id", "4711"),
                    Element::parent(TASKS.list, xml_items(&TASKS, tasks, shape)),
                    status_element(status),
                ],
            ),
            _ => Element::parent(
                "automation_status_details",
                vec![
                    status_element(status),
                    Element::parent(TASKS.list, xml_items(&TASKS, tasks, shape)),
                ],
            ),
        },
        Content::Gateway(gateway) => match shape {
            "attributes" => Element::attributes("gateway", &[("ip", gateway)]),
            "camel" => Element::text("gatewayIp", gateway),
            "nested" => Element::parent("gateway", vec![Element::text("ip", gateway)]),
            "extras" => Element::parent(
                "server",
                vec![Element::text("id", "4711"), Element::text("gateway_ip", gateway)],
            ),
            "short" => Element::text("gateway", gateway),
            _ => Element::text("gateway_ip", gateway),
        },
        Content::Features(features) => {
            let items = xml_items(&FEATURES, features, shape);
            match shape {
                "camel" => Element::parent(FEATURES.camel, items),
                "nested" => {
                    Element::parent("automation", vec![Element::parent(FEATURES.short, items)])
                }
                "attributes" | "short" => Element::parent(FEATURES.short, items),
                _ => Element::parent(FEATURES.list, items),
            }
        }
    };
    if shape == "extras" {
        root.attributes.push(("version", "1.0".into()));
    }
    let mut out = String::new();
    if shape != "bare" {
        out.push_str(r#"<?xml version="1.0" encoding="UTF-8"?>"#);
        out.push('\n');
    }
    if shape == "extras" {
        out.push_str("<!-- DEPLOYED or 10.0.0.1: not in a comment --><?generator version=\"1\"?>");
    }
    root.write(shape, 0, &mut out);
    if matches!(shape, "newline" | "padded") {
        out.push('\n');
    }
    out
}

fn xml_items(names: &Names, items: &[Item], shape: &str) -> Vec<Element> {
    let one = names.one;
    let long = format!("automation_{one}");
    let element = |item: &Item| {
        let (name, status) = (item.name.as_str(), item.status.as_str());
        let pair = |outer: &str, name_element: &str, status_element: &str| {
            Element::parent(
                outer,
                vec![Element::text(name_element, name), Element::text(status_element, status)],
            )
        };
        match shape {
            "attributes" => Element::attributes(one, &[("name", name), ("status", status)]),
            "map" => Element { text: status.into(), ..Element::attributes(one, &[("name", name)]) },
            "flat" if one == "feature" => Element::text(&element_name(name), status),
            "flat" | "nested" | "short" => pair(one, "name", "status"),
            "states" => pair(&long, one, "state"),
            "camel" => pair(one, &format!("{one}Name"), &format!("{one}Status")),
            "extras" => {
                let mut element = pair(&long, "name", "status");
                element.children.insert(0, Element::text("id", "7"));
                element.children.push(Element::text("updated", ""));
                element
            }
            _ => pair(&long, "name", "status"),
        }
    };
    items.iter().map(element).collect()
}

/// Turns a name into a valid element name.
fn element_name(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        format!("_{name}")
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Content; 4] {
        let items = vec![
            Item::new("Created: Add \"rackconnect\" <user>", "DEPLOYED"),
            Item::new("b", "PENDING"),
        ];
        [
            Content::Status("DEPLOYING".into()),
            Content::Details("DEPLOYING".into(), items.clone()),
            Content::Gateway("10.182.127.198".into()),
            Content::Features(items),
        ]
    }

    fn rendered(content: &Content, format: Format, shape: &str) -> String {
        String::from_utf8(body(content, format, shape)).unwrap()
    }

    #[test]
    fn every_json_shape_has_the_documented_key() {
        for shape in shapes() {
            for content in all() {
                let body = rendered(&content, Format::Json, shape);
                let value: serde_json::Value =
                    serde_json::from_str(body.trim_start_matches('\u{feff}')).unwrap();
                if let Content::Status(status) | Content::Details(status, _) = &content {
                    let found = value["automation_status"].as_str().unwrap();
                    assert!(found.eq_ignore_ascii_case(status), "{shape}: {body}");
                }
            }
        }
    }

    #[test]
    fn every_shape_has_all_content_in_every_format() {
        for shape in shapes() {
            for content in all() {
                for format in [Format::Json, Format::Xml] {
                    let body = rendered(&content, format, shape).to_ascii_uppercase();
                    let words: &[&str] = match &content {
                        Content::Status(_) => &["DEPLOYING"],
                        Content::Details(..) => {
                            &["DEPLOYING", "RACKCONNECT", "DEPLOYED", "PENDING"]
                        }
                        Content::Gateway(_) => &["10.182.127.198"],
                        Content::Features(_) => &["RACKCONNECT", "DEPLOYED", "PENDING"],
                    };
                    assert!(words.iter().all(|word| body.contains(word)), "{shape}: {body}");
                }
            }
        }
    }

    #[test]
    fn xml_as_expected() {
        let [status, details, gateway, _] = all();
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        assert_eq!(
            rendered(&status, Format::Xml, "plain"),
            format!("{head}<automation_status>DEPLOYING</automation_status>")
        );
        assert_eq!(
            rendered(&gateway, Format::Xml, "attributes"),
            format!("{head}<gateway ip=\"10.182.127.198\"/>")
        );
        assert_eq!(
            rendered(&status, Format::Xml, "bare"),
            "<automation_status>DEPLOYING</automation_status>"
        );
        assert_eq!(
            rendered(&details, Format::Xml, "attributes"),
            format!(
                "{head}<automation status=\"DEPLOYING\">\
                 <task name=\"Created: Add &quot;rackconnect&quot; &lt;user&gt;\" status=\"DEPLOYED\"/>\
                 <task name=\"b\" status=\"PENDING\"/></automation>"
            )
        );
    }
}
