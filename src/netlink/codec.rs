//! The bytes of netlink: messages and attributes, taken apart and put together. Pure.
//!
//! Lengths are claims of the sender: every one is checked against what is really there, and every step goes forward by
//! at least a header, so that reading ends. Source: netlink(7), `include/uapi/linux/netlink.h`; numbers are in the
//! byte order of the machine.

use std::fmt;

/// The length of a message's header (`struct nlmsghdr`).
const HEADER: usize = 16;

/// The length of an attribute's header (`struct nlattr`).
const ATTRIBUTE: usize = 4;

/// The bits of an attribute's type that are flags: NLA_F_NESTED and NLA_F_NET_BYTEORDER.
const FLAGS: u16 = 0xc000;

/// What is wrong with bytes that are not what they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed netlink message: {}", self.0)
    }
}

/// One message of those that came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is: `RTM_…`, or one of the four of netlink itself.
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// The sequence number of the request it answers; 0 for an event.
    pub sequence: u32,
    /// The port of the socket it is for; 0 for an event.
    pub port: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages in what was received at once. After a malformed one it ends.
#[derive(Clone, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        let (Some(length), Some(kind), Some(flags), Some(sequence), Some(port)) = (
            u32_at(bytes, 0),
            u16_at(bytes, 4),
            u16_at(bytes, 6),
            u32_at(bytes, 8),
            u32_at(bytes, 12),
        ) else {
            return Some(Err(Malformed("less than a header")));
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER {
            return Some(Err(Malformed("a length below that of its own header")));
        }
        let Some(body) = bytes.get(HEADER..length) else {
            return Some(Err(Malformed("a length beyond what was received")));
        };
        self.0 = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Ok(Message { kind, flags, sequence, port, body }))
    }
}

/// The attributes in the rest of a message: type without its flags, and value. After a malformed one it ends.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        // Less than a header is padding.
        let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else { return None };
        let length = usize::from(length);
        if length < ATTRIBUTE {
            return Some(Err(Malformed("an attribute shorter than its own header")));
        }
        let Some(value) = bytes.get(ATTRIBUTE..length) else {
            return Some(Err(Malformed("an attribute beyond the end of its message")));
        };
        self.0 = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Ok((kind & !FLAGS, value)))
    }
}

/// Puts a message together.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A request of that kind (`RTM_…`) with those flags (`NLM_F_…`) and the fixed part of its body.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Writer {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut writer = Writer { bytes };
        writer.pad();
        writer
    }

    /// Adds an attribute. A value too long for one is cut, which the kernel refuses.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Writer {
        let value = &value[..value.len().min(usize::from(u16::MAX) - ATTRIBUTE)];
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// The message, with that sequence number.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }
}

/// A length rounded up to a multiple of four, as messages and attributes begin.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The number at that place, if there is one.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The number at that place, if there is one.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Writer::new(24, 5, &[1, 2, 3, 4, 5])
            .attribute(7, b"abc")
            .attribute(0x8009, b"")
            .finish(42);
        let mut two = bytes.clone();
        two.extend_from_slice(&bytes);
        let messages: Vec<_> = Messages(&two).collect::<Result<_, _>>().unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[1].kind, messages[1].flags, messages[1].sequence), (24, 5, 42));
        let attributes: Vec<_> =
            Attributes(&messages[1].body[8..]).collect::<Result<_, _>>().unwrap();
        assert_eq!(attributes, [(7, b"abc".as_slice()), (9, b"".as_slice())]);
    }

    #[test]
    fn lengths_that_lie() {
        let one = Writer::new(24, 0, &[]).finish(1);
        for claimed in [0u32, 1, 15, 17, 4_000, u32::MAX] {
            let mut bytes = one.clone();
            bytes[..4].copy_from_slice(&claimed.to_ne_bytes());
            let read: Vec<_> = Messages(&bytes).collect();
            assert!(matches!(read.as_slice(), [Err(_)]), "{claimed}: {read:?}");
        }
        for claimed in [0u16, 3, 9, u16::MAX] {
            let mut bytes = vec![0; 8];
            bytes[..2].copy_from_slice(&claimed.to_ne_bytes());
            let read: Vec<_> = Attributes(&bytes).collect();
            assert!(matches!(read.as_slice(), [Err(_)]), "{claimed}: {read:?}");
        }
        assert_eq!(Messages(&one[..7]).count(), 1);
        assert_eq!(Attributes(&[4, 0, 1]).count(), 0);
    }

    proptest! {
        /// No panic, no end that never comes, nothing read that was not there.
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let mut total = 0;
            for message in Messages(&bytes).flatten() {
                total += HEADER + message.body.len();
                let inner: usize =
                    Attributes(message.body).flatten().map(|(_, value)| ATTRIBUTE + value.len()).sum();
                prop_assert!(inner <= message.body.len());
            }
            prop_assert!(total <= bytes.len());
            prop_assert!(Messages(&bytes).count() <= bytes.len() / HEADER + 1);
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / ATTRIBUTE + 1);
        }

        /// The same where the lengths are plausible, so that more than the first header is reached.
        #[test]
        fn plausible_bytes_end(
            parts in proptest::collection::vec((0u16..64, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            cut in 0usize..64,
        ) {
            let mut writer = Writer::new(24, 0, &[0; 12]);
            for (kind, value) in &parts {
                writer = writer.attribute(*kind, value);
            }
            let whole = writer.finish(1);
            let message = Messages(&whole).next().unwrap().unwrap();
            let read: Vec<_> = Attributes(&message.body[12..]).collect::<Result<_, _>>().unwrap();
            let wrote: Vec<_> = parts.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
            prop_assert_eq!(read, wrote);
            let shorter = &whole[..whole.len().saturating_sub(cut)];
            prop_assert!(Messages(shorter).count() <= 1);
            let body = shorter.get(28..).unwrap_or_default();
            prop_assert!(Attributes(body).count() <= parts.len());
        }
    }
}
