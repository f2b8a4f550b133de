//! The operations of the RackConnect v2.0 API, and the formats of their responses.
//!
//! Source: "The RackConnect v2.0 API".

use std::fmt;

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The automation status.
    Status,
    /// The status and its tasks.
    Details,
    /// The address of the RackConnect gateway.
    Gateway,
    /// The features that RackConnect automates on this server.
    Features,
}

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The bare word or address.
    Text,
    /// JSON.
    Json,
    /// XML.
    Xml,
}

impl Operation {
    /// Every operation. Its index is its number in the packets of `coalesce`, so new operations are
    /// appended.
    pub const ALL: &[Operation] =
        &[Operation::Status, Operation::Details, Operation::Gateway, Operation::Features];

    /// The path below the endpoint.
    pub fn path(self) -> &'static str {
        match self {
            Operation::Status => "/v1/automation_status",
            Operation::Details => "/v1/automation_status/details",
            Operation::Gateway => "/v1/gateway_ip",
            Operation::Features => "/v1/automation_features",
        }
    }

    /// The formats of its response, the API's default first.
    pub fn formats(self) -> &'static [Format] {
        match self {
            Operation::Status | Operation::Gateway => &[Format::Text, Format::Json, Format::Xml],
            Operation::Details | Operation::Features => &[Format::Json, Format::Xml],
        }
    }

    /// The path and query that request `format`. Text is the API's default wherever it exists, so
    /// it is requested without a query, as all known programs do. Some of them use `format=json`.
    pub fn path_and_query(self, format: Format) -> String {
        match format {
            Format::Text => self.path().to_owned(),
            _ => format!("{}?format={format}", self.path()),
        }
    }
}

impl Format {
    /// The name, as in `--format` and `?format=`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Xml => "xml",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
