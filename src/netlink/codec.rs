//! Encoding and decoding of netlink messages and attributes.
//!
//! Every length is checked against the bytes received, and every step advances by at least a
//! header, so decoding ends. Numbers are in native byte order. Source: netlink(7),
//! `include/uapi/linux/netlink.h`.

use std::fmt;

/// The size of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// The size of `struct nlattr`.
const ATTRIBUTE_BYTES: usize = 4;

/// NLA_F_NESTED and NLA_F_NET_BYTEORDER, flags within an attribute's type.
const TYPE_FLAGS: u16 = 0xc000;

/// Bytes that are not a valid message, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed netlink message: {}", self.0)
    }
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The type: `RTM_…`, or one of the four of netlink itself (`NLMSG_…`).
    pub kind: u16,
    /// `NLM_F_…`
    pub flags: u16,
    /// The sequence number of the request; 0 for a notification.
    pub sequence: u32,
    /// The port of the receiving socket; 0 for a notification.
    pub port: u32,
    /// The bytes after the header.
    pub body: &'a [u8],
}

/// The messages of one datagram. Ends after a malformed one.
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
            return Some(Err(Malformed("shorter than a header")));
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < HEADER_BYTES {
            return Some(Err(Malformed("a length shorter than a header")));
        }
        let Some(body) = bytes.get(HEADER_BYTES..length) else {
            return Some(Err(Malformed("a length beyond the datagram")));
        };
        self.0 = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Ok(Message { kind, flags, sequence, port, body }))
    }
}

/// The attributes of a message as type (without its flags) and value. Ends after a malformed one.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        // Fewer bytes than a header are padding.
        let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) else { return None };
        let length = usize::from(length);
        if length < ATTRIBUTE_BYTES {
            return Some(Err(Malformed("an attribute shorter than its header")));
        }
        let Some(value) = bytes.get(ATTRIBUTE_BYTES..length) else {
            return Some(Err(Malformed("an attribute beyond the end of its message")));
        };
        self.0 = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Ok((kind & !TYPE_FLAGS, value)))
    }
}

/// Builds a message.
#[derive(Clone, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A message of type `kind` (`RTM_…`) with `flags` (`NLM_F_…`) and the fixed part of its body.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Writer {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        let mut writer = Writer { bytes };
        writer.pad();
        writer
    }

    /// Adds an attribute. A value that is too long is truncated, and the kernel rejects it.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Writer {
        let value = &value[..value.len().min(usize::from(u16::MAX) - ATTRIBUTE_BYTES)];
        let length = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    /// The message's flags.
    pub(super) fn flags(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[6], self.bytes[7]])
    }

    /// The message's bytes with a sequence number.
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

/// A length rounded up to the alignment of messages and attributes.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The number at offset `at`, if there are enough bytes.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The number at offset `at`, if there are enough bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_messages_are_read_back() {
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
    fn wrong_lengths_are_malformed() {
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
        /// No panic, no endless loop, nothing read past the end.
        #[test]
        fn decoding_ends_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let mut total = 0;
            for message in Messages(&bytes).flatten() {
                total += HEADER_BYTES + message.body.len();
                let inner: usize =
                    Attributes(message.body).flatten().map(|(_, value)| ATTRIBUTE_BYTES + value.len()).sum();
                prop_assert!(inner <= message.body.len());
            }
            prop_assert!(total <= bytes.len());
            prop_assert!(Messages(&bytes).count() <= bytes.len() / HEADER_BYTES + 1);
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / ATTRIBUTE_BYTES + 1);
        }

        /// The same with plausible lengths, so that decoding passes the first header.
        #[test]
        fn decoding_ends_on_plausible_bytes(
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
