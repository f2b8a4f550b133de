//! Scripts, which determine the responses that a server gets and when, their steps, and the faults.

use serde::Deserialize;
use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

/// The operations of the API.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `/v1/automation_status`
    AutomationStatus,
    /// `/v1/automation_status/details`, in a script `details`
    #[serde(alias = "automation_status/details")]
    Details,
    /// `/v1/gateway_ip`
    GatewayIp,
    /// `/v1/automation_features`
    AutomationFeatures,
    /// Any other path for which the script has bodies: see [`Step::other`].
    Other,
}

/// The formats of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// A single word.
    Text,
    /// JSON
    Json,
    /// XML
    Xml,
}

impl Operation {
    /// The four operations that are built in.
    pub const ALL: [Operation; 4] =
        [Self::AutomationStatus, Self::Details, Self::GatewayIp, Self::AutomationFeatures];

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::AutomationStatus => "/v1/automation_status",
            Self::Details => "/v1/automation_status/details",
            Self::GatewayIp => "/v1/gateway_ip",
            Self::AutomationFeatures => "/v1/automation_features",
            Self::Other => "",
        }
    }

    /// Its formats, the default first.
    pub fn formats(self) -> &'static [Format] {
        match self {
            Self::AutomationStatus | Self::GatewayIp | Self::Other => {
                &[Format::Text, Format::Json, Format::Xml]
            }
            Self::Details | Self::AutomationFeatures => &[Format::Json, Format::Xml],
        }
    }

    /// The operation of a path, with or without a query.
    pub fn of_path(path: &str) -> Option<Operation> {
        let path = path.split('?').next().unwrap_or_default();
        Self::ALL.into_iter().find(|operation| operation.path() == path)
    }
}

impl Format {
    /// The format with this name in `?format=`, ignoring case.
    pub fn of_name(name: &str) -> Option<Format> {
        match name.to_ascii_lowercase().as_str() {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            "xml" => Some(Self::Xml),
            _ => None,
        }
    }
}

/// A task or a feature: a name and its status.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// `Cloud Server Created: Add "rackconnect" user`, `configure_network_stack`, …
    pub name: String,
    /// Its status, any word.
    pub status: String,
}

impl Item {
    /// An item with this name and status.
    pub fn new(name: &str, status: &str) -> Item {
        Item { name: name.into(), status: status.into() }
    }
}

/// The steps of one server, in order. The last step never ends, whatever its limits are. An empty
/// script does not know the server (404).
///
/// The first step begins with the server's first connection or, after `set_script`, with its next
/// connection or request.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The steps.
    #[serde(rename = "step", default)]
    pub steps: Vec<Step>,
}

/// The responses during a part of a script, and how long it lasts. The default never ends and does
/// not know the server.
///
/// With several of `requests`, `handshakes` and `lasts`, the step ends when the first of them is
/// reached.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// The step ends with the response to this many requests for operations. Requests over the
    /// limit do not count.
    pub requests: Option<u32>,
    /// Only requests for this operation count for `requests`.
    pub count: Option<Operation>,
    /// The step ends when it has accepted this many connections. For handshake faults.
    pub handshakes: Option<u32>,
    /// The step ends after this time.
    #[serde(deserialize_with = "optional_duration")]
    pub lasts: Option<Duration>,
    /// The status, any word. Without it, status, details and features get a 404.
    pub status: Option<String>,
    /// The complete response as sent over the connection, instead of any other.
    pub raw: Option<String>,
    /// What happens to the connection after `raw`.
    pub then: Then,
    /// The tasks that `details` lists.
    pub tasks: Vec<Item>,
    /// The features, in order.
    pub features: Vec<Item>,
    /// The gateway. Without it, `gateway_ip` gets a 404.
    pub gateway: Option<String>,
    /// Bodies of other operations, by path and then by format: text, json, xml.
    pub other: BTreeMap<String, BTreeMap<String, String>>,
    /// The shape of the bodies, one of [`shapes`](crate::shapes), by default `plain`.
    pub shape: Option<String>,
    /// The fault.
    pub fault: Option<Fault>,
    /// The body for every request, in any format.
    pub body: Option<String>,
    /// The Content-Type of `body`.
    pub content_type: Option<String>,
    /// The status code, instead of the usual one.
    pub code: Option<u16>,
    /// The operations to which `fault`, `body` and `code` apply, by default all. Not for handshake
    /// faults.
    pub only: Vec<Operation>,
}

impl Script {
    /// A script of these steps.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> Script {
        Script { steps: steps.into_iter().collect() }
    }

    /// A deployment of about twenty seconds, task by task. The program's default script.
    pub fn demo() -> Script {
        const TASKS: [&str; 4] = [
            "Cloud Server Created: Add \"rackconnect\" user",
            "Cloud Server Created: Update access on dedicated network devices",
            "Cloud Server Created: Configure network stack",
            "Cloud Server Created: Provision public IP",
        ];
        let step = |done: usize| {
            let tasks = TASKS.iter().enumerate().map(|(i, name)| {
                Item::new(
                    name,
                    match i {
                        i if i < done => "DEPLOYED",
                        i if i == done => "DEPLOYING",
                        _ => "PENDING",
                    },
                )
            });
            Step {
                lasts: Some(Duration::from_secs(5)),
                status: Some(if done == TASKS.len() { "DEPLOYED" } else { "DEPLOYING" }.into()),
                tasks: tasks.collect(),
                features: vec![
                    Item::new("configure_network_stack", "ENABLED"),
                    Item::new("manage_software_firewall", "ENABLED"),
                    Item::new("provision_public_ip", "DISABLED"),
                ],
                gateway: (done > 1).then(|| "10.182.127.198".into()),
                ..Step::default()
            }
        };
        Script::of((0..=TASKS.len()).map(step))
    }

    /// Checks that every step can have an effect.
    pub fn check(&self) -> Result<(), String> {
        for (i, step) in self.steps.iter().enumerate() {
            let error = |message: &str| Err(format!("step {}: {message}", i + 1));
            if let Some(shape) = &step.shape
                && !crate::shapes().contains(&shape.as_str())
            {
                return error(&format!(
                    "unknown shape: {shape} (known: {})",
                    crate::shapes().join(", ")
                ));
            }
            if step.requests == Some(0) || step.handshakes == Some(0) {
                return error("`requests` and `handshakes` must be at least 1");
            }
            if step.count.is_some() && step.requests.is_none() {
                return error("`count` without `requests`");
            }
            if step.code.is_some_and(|code| !(200..=999).contains(&code)) {
                return error("`code` must be between 200 and 999");
            }
            if step.fault.is_some_and(Fault::is_of_handshake)
                && (step.requests.is_some() || !step.only.is_empty())
            {
                return error(
                    "a handshake fault precedes any request: use `handshakes` or `lasts`, not \
                     `requests` or `only`",
                );
            }
        }
        Ok(())
    }
}

impl Step {
    /// A step with this status, which never ends.
    pub fn new(status: &str) -> Step {
        Step { status: Some(status.into()), ..Step::default() }
    }

    /// The step with `requests` set.
    pub fn requests(self, requests: u32) -> Step {
        Step { requests: Some(requests), ..self }
    }

    /// The step with `handshakes` set.
    pub fn handshakes(self, handshakes: u32) -> Step {
        Step { handshakes: Some(handshakes), ..self }
    }

    /// The step with `lasts` set.
    pub fn lasts(self, lasts: Duration) -> Step {
        Step { lasts: Some(lasts), ..self }
    }

    /// The step with the fault of this name. Panics if there is none.
    pub fn fault(self, name: &str) -> Step {
        Step { fault: Some(name.parse().expect("the name of a fault")), ..self }
    }

    /// The step with this gateway.
    pub fn gateway(self, gateway: &str) -> Step {
        Step { gateway: Some(gateway.into()), ..self }
    }

    /// The step with this shape of bodies.
    pub fn shape(self, shape: &str) -> Step {
        Step { shape: Some(shape.into()), ..self }
    }

    /// The step with one more task.
    pub fn task(mut self, name: &str, status: &str) -> Step {
        self.tasks.push(Item::new(name, status));
        self
    }

    /// The step with one more feature.
    pub fn feature(mut self, name: &str, status: &str) -> Step {
        self.features.push(Item::new(name, status));
        self
    }

    /// Whether `fault`, `body` and `code` apply to an operation.
    pub(crate) fn applies_to(&self, operation: Operation) -> bool {
        self.only.is_empty() || self.only.contains(&operation)
    }
}

/// What happens to a connection after a response.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// It stays open for the next request.
    Keep,
    /// It is closed properly.
    #[default]
    Close,
    /// It is closed without close_notify.
    Drop,
    /// It ends with a TCP reset.
    Reset,
    /// It stays open and silent until the client leaves.
    Stall,
}

/// A fault. Scripts use the names in `NAMES`; README.md describes them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq)]
#[serde(try_from = "String")]
#[allow(missing_docs, reason = "README.md and NAMES")]
pub enum Fault {
    Http(u16),
    Redirect,
    Reset,
    Close,
    Stall,
    StallHead,
    StallBody,
    Truncate,
    Cut,
    Slow,
    Drip,
    Huge,
    HugeChunked,
    Html,
    Garbage,
    Control,
    Empty,
    Json,
    Chunked,
    CloseAfter,
    CloseRacing,
    BigHeaders,
    Continue,
    Mangled(Mangle),
    StallHandshake,
    ResetHandshake,
    CertExpired,
    CertNotYetValid,
    CertWrongName,
    CertUnknownIssuer,
}

/// How a body is damaged, in a response that is complete for HTTP.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mangle {
    /// Only the first half.
    Half,
    /// Without the last byte that is not white space.
    Short,
    /// Without the first byte.
    Late,
    /// The body twice.
    Twice,
    /// With a NUL in the middle.
    Nul,
    /// With a byte in the middle that is not UTF-8.
    Latin1,
    /// In UTF-16, little-endian, with a byte-order mark.
    Utf16,
}

impl Mangle {
    /// The damaged body.
    pub fn apply(self, body: &[u8]) -> Vec<u8> {
        let (front, back) = body.split_at(body.len() / 2);
        match self {
            Mangle::Half => front.to_vec(),
            Mangle::Short => {
                let end = body.trim_ascii_end().len();
                body[..end.saturating_sub(1)].to_vec()
            }
            Mangle::Late => body.get(1..).unwrap_or_default().to_vec(),
            Mangle::Twice => body.repeat(2),
            Mangle::Nul => [front, b"\0", back].concat(),
            Mangle::Latin1 => [front, b"\xe9", back].concat(),
            Mangle::Utf16 => {
                let text = String::from_utf8_lossy(body);
                let units = std::iter::once(0xfeff).chain(text.encode_utf16());
                units.flat_map(u16::to_le_bytes).collect()
            }
        }
    }
}

const NAMES: [(&str, Fault); 43] = [
    ("http-204", Fault::Http(204)),
    ("http-400", Fault::Http(400)),
    ("http-403", Fault::Http(403)),
    ("http-404", Fault::Http(404)),
    ("http-418", Fault::Http(418)),
    ("http-500", Fault::Http(500)),
    ("http-502", Fault::Http(502)),
    ("http-503", Fault::Http(503)),
    ("redirect", Fault::Redirect),
    ("reset", Fault::Reset),
    ("close", Fault::Close),
    ("stall", Fault::Stall),
    ("stall-head", Fault::StallHead),
    ("stall-body", Fault::StallBody),
    ("truncate", Fault::Truncate),
    ("cut", Fault::Cut),
    ("slow", Fault::Slow),
    ("drip", Fault::Drip),
    ("huge", Fault::Huge),
    ("huge-chunked", Fault::HugeChunked),
    ("html", Fault::Html),
    ("garbage", Fault::Garbage),
    ("control", Fault::Control),
    ("empty", Fault::Empty),
    ("json", Fault::Json),
    ("chunked", Fault::Chunked),
    ("close-after", Fault::CloseAfter),
    ("close-racing", Fault::CloseRacing),
    ("big-headers", Fault::BigHeaders),
    ("continue", Fault::Continue),
    ("body-half", Fault::Mangled(Mangle::Half)),
    ("body-short", Fault::Mangled(Mangle::Short)),
    ("body-late", Fault::Mangled(Mangle::Late)),
    ("body-twice", Fault::Mangled(Mangle::Twice)),
    ("body-nul", Fault::Mangled(Mangle::Nul)),
    ("body-latin1", Fault::Mangled(Mangle::Latin1)),
    ("body-utf16", Fault::Mangled(Mangle::Utf16)),
    ("stall-handshake", Fault::StallHandshake),
    ("reset-handshake", Fault::ResetHandshake),
    ("cert-expired", Fault::CertExpired),
    ("cert-not-yet-valid", Fault::CertNotYetValid),
    ("cert-wrong-name", Fault::CertWrongName),
    ("cert-unknown-issuer", Fault::CertUnknownIssuer),
];

/// The names of all faults. `http-NNN` works with any code from 200 to 999; this has only some.
pub fn faults() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

impl Fault {
    /// Whether it affects the handshake. It is then selected when the connection is accepted.
    pub fn is_of_handshake(self) -> bool {
        use Fault::*;
        matches!(
            self,
            StallHandshake
                | ResetHandshake
                | CertExpired
                | CertNotYetValid
                | CertWrongName
                | CertUnknownIssuer
        )
    }

    /// Whether a correct (and patient) HTTP client still gets the correct response.
    pub fn is_harmless(self) -> bool {
        use Fault::*;
        matches!(self, Slow | Chunked | CloseAfter | CloseRacing | Continue)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Fault, String> {
        if let Some((_, fault)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(*fault);
        }
        match name.strip_prefix("http-").and_then(|code| code.parse().ok()) {
            Some(code @ 200..=999) => Ok(Fault::Http(code)),
            _ => Err(format!("unknown fault: {name} (known: http-NNN, {})", {
                let names: Vec<_> = faults().filter(|name| !name.starts_with("http-")).collect();
                names.join(", ")
            })),
        }
    }
}

impl TryFrom<String> for Fault {
    type Error = String;

    fn try_from(name: String) -> Result<Fault, String> {
        name.parse()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self, NAMES.iter().find(|(_, fault)| fault == self)) {
            (_, Some((name, _))) => f.write_str(name),
            (Fault::Http(code), None) => write!(f, "http-{code}"),
            (_, None) => unreachable!("every other fault is in NAMES"),
        }
    }
}

/// Reads `90`, `90s`, `2.5s`, `100ms`, `15m`, `1h30m`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
    }
    Some(total)
}

/// For serde: a duration as [`parse_duration`] reads it.
pub(crate) fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("not a duration: {text:?} (like \"2s\")")))
}

fn optional_duration<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("2.5s"), Some(Duration::from_millis(2500)));
        assert_eq!(parse_duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        for wrong in ["", "s", "2x", "-1s", "1.2.3s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_fault_name_can_be_parsed() {
        for name in faults() {
            assert_eq!(name.parse::<Fault>().unwrap().to_string(), name);
        }
        assert_eq!("http-599".parse::<Fault>().unwrap().to_string(), "http-599");
        for wrong in ["http-99", "http-1000", "nonsense"] {
            assert!(wrong.parse::<Fault>().is_err());
        }
    }

    #[test]
    fn invalid_steps_are_refused() {
        let refused = |step: Step| Script::of([step]).check().is_err();
        assert!(refused(Step::new("DEPLOYED").shape("round")));
        assert!(refused(Step::new("DEPLOYED").requests(0)));
        assert!(refused(Step::new("DEPLOYED").fault("cert-expired").requests(1)));
        assert!(refused(Step { count: Some(Operation::Details), ..Step::default() }));
        assert!(!refused(Step::new("DEPLOYED").fault("cert-expired").handshakes(1)));
        assert!(Script::demo().check().is_ok());
    }
}
