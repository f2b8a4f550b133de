//! The issuer's name in a certificate, for a diagnosis. rustls verifies certificates and shows
//! nothing of them; this reads the one field, and decides nothing. Source: RFC 5280, section 4.1.

use std::str;

/// Tags of DER.
const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;

/// The tag of the version, which is left out for version 1.
const VERSION: u8 = 0xa0;

/// Attributes of a name: 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// The longest value that is shown. RFC 5280 allows 64 characters.
const MAX_CHARS: usize = 64;

/// A row of values in DER, each read once.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value with its tag; none at the end, and if it is cut.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        let (length, rest) = match first {
            0x00..=0x7f => (usize::from(*first), rest),
            // The length follows in so many bytes. Three are enough for any certificate.
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    /// The next value, if it has that tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    /// The values inside the next one, if it has that tag.
    fn enter(&mut self, tag: u8) -> Option<Der<'a>> {
        self.expect(tag).map(Der)
    }
}

/// The issuer of a certificate in DER: its common name and its organization.
pub(crate) fn issuer(certificate: &[u8]) -> Option<String> {
    let mut body = Der(certificate).enter(SEQUENCE)?.enter(SEQUENCE)?;
    if body.0.first() == Some(&VERSION) {
        body.next()?;
    }
    let _serial_number = body.expect(INTEGER)?;
    let _signature_algorithm = body.expect(SEQUENCE)?;
    let name = body.expect(SEQUENCE)?;
    match (attribute(name, COMMON_NAME), attribute(name, ORGANIZATION)) {
        (Some(common), Some(organization)) => Some(format!("{common} ({organization})")),
        (common, organization) => common.or(organization),
    }
}

/// An attribute of a name, which is a row of sets of attributes.
fn attribute(name: &[u8], id: &[u8]) -> Option<String> {
    let mut sets = Der(name);
    while let Some(mut set) = sets.enter(SET) {
        while let Some(mut attribute) = set.enter(SEQUENCE) {
            if attribute.expect(OBJECT_ID)? == id {
                let (tag, value) = attribute.next()?;
                return text(tag, value);
            }
        }
    }
    None
}

/// The text of a string: UTF-16 in a BMPString, else ASCII or UTF-8.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    let text = match tag {
        BMP_STRING => {
            let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<String, _>>().ok()?
        }
        _ => str::from_utf8(value).ok()?.to_owned(),
    };
    Some(text.chars().take(MAX_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A value of DER.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[tag, 0x82], length.as_slice(), &value].concat()
    }

    fn name(attributes: &[(&[u8], u8, &[u8])]) -> Vec<u8> {
        let sets = attributes.iter().map(|(id, tag, value)| {
            let id = [&[OBJECT_ID, id.len() as u8], *id].concat();
            der(SET, &[&der(SEQUENCE, &[&id, &der(*tag, &[value])])])
        });
        der(SEQUENCE, &[&sets.collect::<Vec<_>>().concat()])
    }

    fn certificate(version: &[u8], issuer: &[u8]) -> Vec<u8> {
        let algorithm = der(SEQUENCE, &[]);
        let body = der(SEQUENCE, &[version, &[INTEGER, 1, 7], &algorithm, issuer]);
        der(SEQUENCE, &[&body, &algorithm])
    }

    const UTF8: u8 = 0x0c;
    const COUNTRY: &[u8] = &[0x55, 0x04, 0x06];
    const V3: &[u8] = &[VERSION, 3, INTEGER, 1, 2];

    #[test]
    fn common_name_and_organization() {
        let country: (&[u8], u8, &[u8]) = (COUNTRY, UTF8, b"US");
        let both = name(&[country, (ORGANIZATION, UTF8, b"Acme"), (COMMON_NAME, UTF8, b"CA 1")]);
        for version in [V3, &[]] {
            let found = issuer(&certificate(version, &both));
            assert_eq!(found.as_deref(), Some("CA 1 (Acme)"));
        }
        let of = |name: &[u8]| issuer(&certificate(V3, name));
        let bmp = name(&[(COMMON_NAME, BMP_STRING, &[0, b'C', 0, 0xc4])]);
        assert_eq!(of(&bmp).as_deref(), Some("CÄ"));
        let organization = name(&[(ORGANIZATION, 0x13, b"Acme")]);
        assert_eq!(of(&organization).as_deref(), Some("Acme"));
        assert_eq!(of(&name(&[country])), None);
        assert_eq!(of(&name(&[(COMMON_NAME, UTF8, &[0xff])])), None);
        let long = name(&[(COMMON_NAME, UTF8, &[b'x'; 500])]);
        assert_eq!(of(&long).map(|text| text.len()), Some(64));
    }

    #[test]
    fn a_cut_certificate_has_no_issuer() {
        let whole = certificate(V3, &name(&[(COMMON_NAME, UTF8, b"CA")]));
        assert!((0..whole.len()).all(|length| issuer(&whole[..length]).is_none()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = issuer(&bytes);
        }
    }
}
