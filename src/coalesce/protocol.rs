//! Encoding and decoding of the packets between followers and their leader. They are untrusted.

use std::time::Duration;

use super::response::Response;
use crate::api::MAX_BODY_BYTES;
use crate::api::request::{Failure, LEADER_SILENT};
use crate::clock::BootInstant;
use crate::error::{Error, Kind};
use crate::model::{Format, Operation};
use crate::ratelimit::{LimitCause, MAX_REQUEST_TIME, RESERVED_PERMITS, WINDOW};

/// The first bytes of every packet. They change with the format.
const MAGIC: [u8; 4] = *b"RCs2";

/// The length of a response's packet in front of its body.
const HEAD_BYTES: usize = 28;

/// The largest packet.
pub(super) const MAX_PACKET_BYTES: usize = HEAD_BYTES + MAX_BODY_BYTES as usize;

/// The codes of [`LimitCause::Locked`] and [`LimitCause::ProcessLocal`]; 0 is that of
/// [`LimitCause::UsedUp`], and those between are numbers of consecutive 403s.
const LOCKED: u32 = u32::MAX;
const PROCESS_LOCAL: u32 = LOCKED - 1;

/// The longest error message that is passed on.
const MAX_MESSAGE_BYTES: usize = 1024;

const FORMATS: [Format; 3] = [Format::Text, Format::Json, Format::Xml];

/// The demand of a follower on its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// How often it needs a response at least; `None`: one response, as soon as possible.
    pub interval: Option<Duration>,
    /// How many permits of the rate limit a request for it leaves to others.
    pub reserved: usize,
    /// Whether it has had no response yet. A new subscriber has its first one as soon as the
    /// shortest interval between two requests allows.
    pub is_new: bool,
}

impl Demand {
    /// The packet.
    pub fn encode(self) -> [u8; 12] {
        let millis = |interval: Duration| u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        let interval = self.interval.map_or(0, |interval| millis(interval).max(1));
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&interval.to_le_bytes());
        bytes[8] = self.reserved.min(RESERVED_PERMITS) as u8;
        bytes[9] = u8::from(self.is_new);
        bytes
    }

    /// Decodes a packet. An interval shorter than `shortest` counts as `shortest`.
    pub fn decode(bytes: &[u8], shortest: Duration) -> Option<Demand> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let millis = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        Some(Demand {
            interval: (millis > 0).then(|| Duration::from_millis(millis.into()).max(shortest)),
            reserved: usize::from(*rest.get(4)?).min(RESERVED_PERMITS),
            is_new: *rest.get(5)? != 0,
        })
    }
}

impl Response {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, code, until, tail): (u8, u32, Duration, &[u8]) = match &self.reply {
            Ok((status_code, body)) => (0, u32::from(*status_code), Duration::ZERO, body),
            Err(Failure::RateLimited { until, cause }) => (1, code(*cause), until.0, &[]),
            // A leader has its own responses, so it never fails in this way.
            Err(Failure::LeaderSilent) => (2, 0, Duration::ZERO, LEADER_SILENT.as_bytes()),
            Err(Failure::Error(err)) => {
                let kind = if err.kind == Kind::NotUnderstood { 3 } else { 2 };
                (kind, 0, Duration::ZERO, err.message.as_bytes())
            }
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES + tail.len());
        bytes.extend(MAGIC);
        bytes.push(self.operation as u8);
        bytes.push(self.format as u8);
        bytes.extend([kind, 0]);
        bytes.extend(code.to_le_bytes());
        bytes.extend(nanos(self.asked.0).to_le_bytes());
        bytes.extend(nanos(until).to_le_bytes());
        bytes.extend(tail);
        bytes
    }

    /// Decodes a packet. Its times are clamped to those that a request can cause.
    pub fn decode(bytes: &[u8], now: BootInstant) -> Option<Response> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (head, tail) = rest.split_at_checked(HEAD_BYTES - MAGIC.len())?;
        let operation = *Operation::ALL.get(usize::from(head[0]))?;
        let format = *FORMATS.get(usize::from(head[1]))?;
        let code = u32::from_le_bytes(head[4..8].try_into().ok()?);
        let asked = instant(&head[8..16])?.clamp(now - MAX_REQUEST_TIME, now);
        let reply = match head[2] {
            0 => Ok((u16::try_from(code).ok()?, tail.to_vec())),
            1 => {
                let until = instant(&head[16..24])?.clamp(now, now + MAX_REQUEST_TIME + WINDOW);
                Err(Failure::RateLimited { until, cause: cause_of(code) })
            }
            2 => Err(error(Kind::Unreachable, tail)),
            3 => Err(error(Kind::NotUnderstood, tail)),
            _ => return None,
        };
        Some(Response { operation, format, asked, reply })
    }
}

fn code(cause: LimitCause) -> u32 {
    match cause {
        LimitCause::UsedUp => 0,
        LimitCause::Locked => LOCKED,
        LimitCause::ProcessLocal => PROCESS_LOCAL,
        LimitCause::Forbidden(consecutive) => consecutive.clamp(1, PROCESS_LOCAL - 1),
    }
}

fn cause_of(code: u32) -> LimitCause {
    match code {
        0 => LimitCause::UsedUp,
        LOCKED => LimitCause::Locked,
        PROCESS_LOCAL => LimitCause::ProcessLocal,
        consecutive => LimitCause::Forbidden(consecutive),
    }
}

fn error(kind: Kind, message: &[u8]) -> Failure {
    let start = &message[..message.len().min(MAX_MESSAGE_BYTES)];
    Failure::Error(Error::new(kind, String::from_utf8_lossy(start).into_owned()))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn instant(bytes: &[u8]) -> Option<BootInstant> {
    Some(BootInstant(Duration::from_nanos(u64::from_le_bytes(bytes.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant(Duration::from_secs(seconds))
    }

    fn response(reply: crate::api::request::Reply) -> Response {
        Response { operation: Operation::Gateway, format: Format::Xml, asked: at(1_000), reply }
    }

    #[test]
    fn encoded_messages_are_decoded() {
        for (index, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, index);
        }
        for (index, format) in FORMATS.into_iter().enumerate() {
            assert_eq!(format as usize, index);
        }
        for reply in [
            Ok((200, b"DEPLOYED".to_vec())),
            Ok((404, vec![])),
            Err(Failure::RateLimited { until: at(1_060), cause: LimitCause::UsedUp }),
            Err(Failure::RateLimited { until: at(1_060), cause: LimitCause::Forbidden(3) }),
            Err(Failure::RateLimited { until: at(1_060), cause: LimitCause::Locked }),
            Err(Failure::RateLimited { until: at(1_060), cause: LimitCause::ProcessLocal }),
            Err(Failure::Error(Error::new(Kind::Unreachable, "no route"))),
            Err(Failure::Error(Error::new(Kind::NotUnderstood, "HTTP 302"))),
        ] {
            let sent = response(reply);
            assert_eq!(Response::decode(&sent.encode(), at(1_001)), Some(sent));
        }
        for demand in [
            Demand { interval: None, reserved: 0, is_new: false },
            Demand {
                interval: Some(Duration::from_millis(5_250)),
                reserved: RESERVED_PERMITS,
                is_new: true,
            },
        ] {
            assert_eq!(Demand::decode(&demand.encode(), Duration::ZERO), Some(demand));
        }
    }

    #[test]
    fn no_time_is_further_away_than_a_request_can_cause() {
        let limited = Failure::RateLimited { until: at(1_000_000), cause: LimitCause::UsedUp };
        let bytes = response(Err(limited)).encode();
        let Some(Response { asked, reply: Err(Failure::RateLimited { until, .. }), .. }) =
            Response::decode(&bytes, at(9_000))
        else {
            panic!("not decoded")
        };
        assert_eq!((asked, until), (at(9_000 - 120), at(9_000 + 180)));
        let shortest = Duration::from_secs(3);
        let often =
            Demand { interval: Some(Duration::from_millis(1)), reserved: 200, is_new: false };
        let bounded =
            Demand { interval: Some(shortest), reserved: RESERVED_PERMITS, is_new: false };
        assert_eq!(Demand::decode(&often.encode(), shortest), Some(bounded));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..100),
            magic: bool,
        ) {
            if magic && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&MAGIC);
            }
            Demand::decode(&bytes, Duration::ZERO);
            Response::decode(&bytes, at(1_000));
        }
    }
}
