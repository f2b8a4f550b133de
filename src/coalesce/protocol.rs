//! What followers and leaders say to each other, as bytes. One packet each, read as untrusted.

use std::time::Duration;

use crate::api::client::{BODY_LIMIT, Failure, Reply, UNHEARD};
use crate::clock::BootInstant;
use crate::error::{Error, Kind};
use crate::model::{Format, Operation};
use crate::ratelimit::{
    LimitCause as Why, MAX_REQUEST_TIME as LONGEST, RESERVED_PERMITS as RESERVE, WINDOW,
};

/// What packets begin with; it changes with the format.
const MAGIC: [u8; 4] = *b"RCs2";

/// The length of an answer's packet in front of its body.
const HEAD: usize = 28;

/// The largest packet.
pub const LARGEST: usize = HEAD + BODY_LIMIT as usize;

/// The codes of [`Why::Locked`] and [`Why::Alone`]; 0 is that of [`Why::UsedUp`], and what lies between counts the 403s.
const LOCKED: u32 = u32::MAX;
const ALONE: u32 = LOCKED - 1;

/// The longest sentence of an error that is passed on.
const SENTENCE: usize = 1024;

const FORMATS: [Format; 3] = [Format::Text, Format::Json, Format::Xml];

/// What a follower wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// At least how often it wants an answer; none: one, and at once.
    pub every: Option<Duration>,
    /// How many places of the limit a request for it leaves free.
    pub reserve: usize,
    /// Whether it has heard nothing yet. If it wants an answer every so often, it has the first as soon as the shortest
    /// interval between two requests allows.
    pub is_new: bool,
}

impl Wish {
    /// The packet.
    pub fn encode(self) -> [u8; 12] {
        let every = self
            .every
            .map_or(0, |every| u32::try_from(every.as_millis()).unwrap_or(u32::MAX).max(1));
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&every.to_le_bytes());
        bytes[8] = self.reserve.min(RESERVE) as u8;
        bytes[9] = u8::from(self.is_new);
        bytes
    }

    /// Reads a packet. Whoever wants an answer ever so often gets none more often than `shortest`.
    pub fn decode(bytes: &[u8], shortest: Duration) -> Option<Wish> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let every = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let every = (every > 0).then(|| Duration::from_millis(every.into()).max(shortest));
        Some(Wish {
            every,
            reserve: usize::from(*rest.get(4)?).min(RESERVE),
            is_new: *rest.get(5)? != 0,
        })
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What was asked.
    pub operation: Operation,
    /// In which format.
    pub format: Format,
    /// When.
    pub asked: BootInstant,
    /// The code and the body, not what follows from them.
    pub reply: Reply,
}

impl Heard {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, code, number, tail): (u8, u32, Duration, &[u8]) = match &self.reply {
            Ok((code, body)) => (0, u32::from(*code), Duration::ZERO, body),
            Err(Failure::LimitUsedUp { until, why }) => {
                let code = match why {
                    Why::UsedUp => 0,
                    Why::Locked => LOCKED,
                    Why::Alone => ALONE,
                    Why::Forbidden(often) => (*often).clamp(1, ALONE - 1),
                };
                (1, code, until.0, &[])
            }
            // A leader hears what it asks for itself.
            Err(Failure::Unheard) => (2, 0, Duration::ZERO, UNHEARD.as_bytes()),
            Err(Failure::Error(error)) => {
                let kind = if error.kind == Kind::NotUnderstood { 3 } else { 2 };
                (kind, 0, Duration::ZERO, error.message.as_bytes())
            }
        };
        let mut bytes = Vec::with_capacity(HEAD + tail.len());
        bytes.extend(MAGIC);
        bytes.push(self.operation as u8);
        bytes.push(self.format as u8);
        bytes.extend([kind, 0]);
        bytes.extend(code.to_le_bytes());
        bytes.extend(nanos(self.asked.0).to_le_bytes());
        bytes.extend(nanos(number).to_le_bytes());
        bytes.extend(tail);
        bytes
    }

    /// Reads a packet. No time in it lies further away from `now` than a request can cause.
    pub fn decode(bytes: &[u8], now: BootInstant) -> Option<Heard> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (head, tail) = rest.split_at_checked(HEAD - MAGIC.len())?;
        let operation = *Operation::ALL.get(usize::from(head[0]))?;
        let format = *FORMATS.get(usize::from(head[1]))?;
        let code = u32::from_le_bytes(head[4..8].try_into().ok()?);
        let moment = |bytes: &[u8]| {
            Some(BootInstant(Duration::from_nanos(u64::from_le_bytes(bytes.try_into().ok()?))))
        };
        let asked = moment(&head[8..16])?.clamp(now - LONGEST, now);
        let error = |kind| {
            let start = &tail[..tail.len().min(SENTENCE)];
            Err(Failure::Error(Error::new(kind, String::from_utf8_lossy(start).into_owned())))
        };
        let reply = match head[2] {
            0 => Ok((u16::try_from(code).ok()?, tail.to_vec())),
            1 => {
                let until = moment(&head[16..24])?.clamp(now, now + LONGEST + WINDOW);
                let why = match code {
                    0 => Why::UsedUp,
                    LOCKED => Why::Locked,
                    ALONE => Why::Alone,
                    often => Why::Forbidden(often),
                };
                Err(Failure::LimitUsedUp { until, why })
            }
            2 => error(Kind::Unreachable),
            3 => error(Kind::NotUnderstood),
            _ => return None,
        };
        Some(Heard { operation, format, asked, reply })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> BootInstant {
        BootInstant(Duration::from_secs(seconds))
    }

    fn heard(reply: Reply) -> Heard {
        Heard { operation: Operation::Gateway, format: Format::Xml, asked: at(1_000), reply }
    }

    #[test]
    fn there_and_back() {
        for (index, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(*operation as usize, index);
        }
        for (index, format) in FORMATS.into_iter().enumerate() {
            assert_eq!(format as usize, index);
        }
        for reply in [
            Ok((200, b"DEPLOYED".to_vec())),
            Ok((404, vec![])),
            Err(Failure::LimitUsedUp { until: at(1_060), why: Why::UsedUp }),
            Err(Failure::LimitUsedUp { until: at(1_060), why: Why::Forbidden(3) }),
            Err(Failure::LimitUsedUp { until: at(1_060), why: Why::Locked }),
            Err(Failure::LimitUsedUp { until: at(1_060), why: Why::Alone }),
            Err(Failure::Error(Error::new(Kind::Unreachable, "no route"))),
            Err(Failure::Error(Error::new(Kind::NotUnderstood, "HTTP 302"))),
        ] {
            assert_eq!(
                Heard::decode(&heard(reply.clone()).encode(), at(1_001)),
                Some(heard(reply))
            );
        }
        for wish in [
            Wish { every: None, reserve: 0, is_new: false },
            Wish { every: Some(Duration::from_millis(5_250)), reserve: RESERVE, is_new: true },
        ] {
            assert_eq!(Wish::decode(&wish.encode(), Duration::ZERO), Some(wish));
        }
    }

    #[test]
    fn no_time_is_further_away_than_a_request_can_cause() {
        let bytes =
            heard(Err(Failure::LimitUsedUp { until: at(1_000_000), why: Why::UsedUp })).encode();
        let Some(Heard { asked, reply: Err(Failure::LimitUsedUp { until, .. }), .. }) =
            Heard::decode(&bytes, at(9_000))
        else {
            panic!()
        };
        assert_eq!((asked, until), (at(9_000 - 120), at(9_000 + 180)));
        let often = Wish { every: Some(Duration::from_millis(1)), reserve: 200, is_new: false };
        let shortest = Duration::from_secs(3);
        let bounded = Wish { every: Some(shortest), reserve: RESERVE, is_new: false };
        assert_eq!(Wish::decode(&often.encode(), shortest), Some(bounded));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..100), magic: bool) {
            if magic && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&MAGIC);
            }
            Wish::decode(&bytes, Duration::ZERO);
            Heard::decode(&bytes, at(1_000));
        }
    }
}
