//! Encoding and decoding of the xenstore protocol's messages. No I/O, no clock.
//!
//! Source of all numbers: Xen's `xen/include/public/io/xs_wire.h` and `docs/misc/xenstore.txt`.

/// Lists the children of a path.
pub const DIRECTORY: u32 = 1;
/// Reads a value.
pub const READ: u32 = 2;
/// Registers a watch: one event immediately, and one for each change at or below a path.
pub const WATCH: u32 = 4;
/// Removes a watch.
pub const UNWATCH: u32 = 5;
/// The event of a watch; not a response.
pub const WATCH_EVENT: u32 = 15;
/// The response to a request that failed, with the name of an errno.
pub const ERROR: u32 = 16;

/// A header: four little-endian u32, the type, request id, transaction id and payload length.
pub const HEADER_BYTES: usize = 16;

/// The longest payload that the protocol allows.
pub const MAX_PAYLOAD_BYTES: usize = 4096;

/// One message, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenstoreMessage {
    /// Its type.
    pub kind: u32,
    /// The id of the request, in the request and its response.
    pub id: u32,
    /// Its content.
    pub payload: Vec<u8>,
}

/// The header of a message announces this many bytes, more than [`MAX_PAYLOAD_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized(pub u32);

/// Encodes a message that belongs to no transaction.
pub fn encode(kind: u32, id: u32, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= MAX_PAYLOAD_BYTES);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    for field in [kind, id, 0, payload.len() as u32] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Splits a stream of bytes into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds bytes that were read. If all messages are taken before the next bytes are fed, the
    /// buffer holds no more than one message and those bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// It is too long, so the stream cannot be decoded any further.
    pub fn take(&mut self) -> Result<Option<XenstoreMessage>, Oversized> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let field =
            |n: usize| u32::from_le_bytes([header[n], header[n + 1], header[n + 2], header[n + 3]]);
        let (kind, id, length) = (field(0), field(4), field(12));
        if length as usize > MAX_PAYLOAD_BYTES {
            return Err(Oversized(length));
        }
        let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
        let message = XenstoreMessage { kind, id, payload: payload.to_vec() };
        self.buffer.drain(..HEADER_BYTES + message.payload.len());
        Ok(Some(message))
    }
}

/// Encodes words as a payload: each ends with a NUL.
pub fn words(words: &[&str]) -> Vec<u8> {
    words.iter().flat_map(|word| word.bytes().chain([0])).collect()
}

/// A payload's text: up to the first NUL, since only some senders end it with one.
pub fn text(payload: &[u8]) -> String {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    String::from_utf8_lossy(&payload[..end]).into_owned()
}

/// The names in the response to [`DIRECTORY`]: each ends with a NUL.
pub fn names(payload: &[u8]) -> Vec<String> {
    let parts = payload.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    parts.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_as_the_header_file_has_it() {
        let bytes = encode(READ, 7, b"vm-data\0");
        assert_eq!(&bytes[..HEADER_BYTES], [2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0]);
        assert_eq!(&bytes[HEADER_BYTES..], b"vm-data\0");
    }

    #[test]
    fn the_longest_payload_is_accepted_and_a_longer_one_is_not() {
        let mut decoder = Decoder::default();
        decoder.feed(&encode(READ, 1, &[b'x'; MAX_PAYLOAD_BYTES]));
        assert_eq!(decoder.take().unwrap().unwrap().payload.len(), MAX_PAYLOAD_BYTES);
        let mut long = encode(READ, 1, b"");
        long[12..].copy_from_slice(&4097u32.to_le_bytes());
        decoder.feed(&long);
        assert_eq!(decoder.take(), Err(Oversized(4097)));
    }

    #[test]
    fn texts_and_names() {
        assert_eq!(text(b"ENOENT\0"), "ENOENT");
        assert_eq!(text(b"dfw"), "dfw");
        assert_eq!(text(b""), "");
        assert_eq!(names(b"a\0bc\0"), ["a", "bc"]);
        assert_eq!(names(b""), Vec::<String>::new());
    }

    fn message() -> impl Strategy<Value = XenstoreMessage> {
        (any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(kind, id, payload)| XenstoreMessage { kind, id, payload })
    }

    proptest! {
        /// However the bytes are cut, the messages come out as they went in.
        #[test]
        fn messages_round_trip(
            messages in prop::collection::vec(message(), 0..8),
            cuts in prop::collection::vec(1usize..40, 1..50),
        ) {
            let bytes: Vec<u8> =
                messages.iter().flat_map(|m| encode(m.kind, m.id, &m.payload)).collect();
            let (mut decoder, mut found, mut rest) =
                (Decoder::default(), vec![], bytes.as_slice());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.feed(now);
                while let Some(message) = decoder.take().unwrap() {
                    found.push(message);
                }
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(found, messages);
        }

        /// Any bytes: no panic, an end, and never more in memory than one message and the last
        /// chunk.
        #[test]
        fn any_bytes_are_read(chunks in chunks()) {
            let mut decoder = Decoder::default();
            for chunk in &chunks {
                decoder.feed(chunk);
                let mut steps = 0;
                loop {
                    match decoder.take() {
                        Ok(Some(message)) => {
                            let _ = (text(&message.payload), names(&message.payload));
                        }
                        Ok(None) => break,
                        Err(Oversized(length)) => {
                            prop_assert!(length as usize > MAX_PAYLOAD_BYTES);
                            return Ok(());
                        }
                    }
                    steps += 1;
                    prop_assert!(steps <= (chunk.len() + MAX_PAYLOAD_BYTES) / HEADER_BYTES + 1);
                }
                prop_assert!(decoder.buffer.len() < HEADER_BYTES + MAX_PAYLOAD_BYTES);
            }
        }
    }

    /// Chunks of bytes, most of which are zero, as in headers.
    fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop_oneof![4 => Just(0u8), 1 => any::<u8>()];
        prop::collection::vec(prop::collection::vec(byte, 0..600), 0..40)
    }
}
