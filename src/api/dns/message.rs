//! DNS messages: a query for one type of address, and the interpretation of its response.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, TYPE, header_buffer};

const HEADER_BYTES: usize = 12;

/// The bit that is reserved in the fourth byte of the header (RFC 1035, section 4.1.1).
const RESERVED_BIT: u8 = 0x40;

/// Response codes (RFC 1035).
const NO_ERROR: u8 = 0;
const NAME_ERROR: u8 = 3;

/// The shortest resource record: the root as its name, and no data.
const MIN_RECORD_BYTES: usize = 11;

/// The longest chain of aliases (CNAME) that is followed.
const MAX_ALIASES: usize = 16;

/// The most addresses that are taken from one response.
const MAX_ADDRESSES: usize = 16;

/// The type of address that is queried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordType {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl RecordType {
    fn code(self) -> TYPE {
        match self {
            RecordType::A => TYPE::A,
            RecordType::Aaaa => TYPE::AAAA,
        }
    }
}

/// A nameserver's response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DnsResponse {
    /// The name has these addresses.
    Addresses(Vec<IpAddr>),
    /// The name exists, but has no address of this type.
    NoAddress,
    /// The name does not exist.
    NoSuchName,
    /// The nameserver cannot or will not answer: the response code.
    Refused(u8),
    /// It is the response to this query, but cannot be understood.
    Malformed,
    /// The response is too long for UDP.
    Truncated,
}

/// Encodes a query; `None` if the name is not valid in DNS.
pub(super) fn query(id: u16, name: &str, record_type: RecordType) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(question(name, record_type)?);
    packet.build_bytes_vec().ok()
}

fn question(name: &str, record_type: RecordType) -> Option<Question<'_>> {
    let name = Name::new(name).ok()?;
    Some(Question::new(name, record_type.code().into(), CLASS::IN.into(), false))
}

/// Decodes a message; `None` if it is not the response to this query. Such a message may be forged,
/// so the response may still come.
pub(super) fn response(
    message: &[u8],
    id: u16,
    name: &str,
    record_type: RecordType,
) -> Option<DnsResponse> {
    let is_response = header_buffer::has_flags(message, PacketFlag::RESPONSE).ok()?;
    if !is_response || header_buffer::id(message).ok()? != id {
        return None;
    }
    let code = message.get(3)? & 0x0f;
    let refused = !matches!(code, NO_ERROR | NAME_ERROR);
    let questions = header_buffer::questions(message).ok()?;
    // Some nameservers omit the question when they refuse a query.
    if refused && questions == 0 {
        return Some(DnsResponse::Refused(code));
    }
    let asked = question(name, record_type)?;
    if questions != 1 || !repeats(message, &asked) {
        return None;
    }
    if header_buffer::has_flags(message, PacketFlag::TRUNCATION).ok()? {
        return Some(DnsResponse::Truncated);
    }
    Some(match code {
        NO_ERROR => addresses(message, &asked.qname, record_type).unwrap_or(DnsResponse::Malformed),
        NAME_ERROR => DnsResponse::NoSuchName,
        _ => DnsResponse::Refused(code),
    })
}

/// Whether the question of the message is this one.
fn repeats(message: &[u8], asked: &Question<'_>) -> bool {
    let message = with_answers(message, 0);
    let Ok(packet) = Packet::parse(&message) else { return false };
    packet.questions.first().is_some_and(|question| {
        (&question.qname, question.qtype, question.qclass)
            == (&asked.qname, asked.qtype, asked.qclass)
    })
}

/// The addresses in the answer section, with aliases followed; `None` if it is malformed.
fn addresses(message: &[u8], name: &Name<'_>, record_type: RecordType) -> Option<DnsResponse> {
    let count = header_buffer::answers(message).ok()?;
    if usize::from(count) * MIN_RECORD_BYTES > message.len() {
        return None;
    }
    let message = with_answers(message, count);
    let packet = Packet::parse(&message).ok()?;
    let mut owner = name;
    for _ in 0..=MAX_ALIASES {
        let own = || packet.answers.iter().filter(|record| &record.name == owner);
        let found: Vec<IpAddr> = own()
            .filter_map(|record| match (&record.rdata, record_type) {
                (RData::A(a), RecordType::A) => Some(Ipv4Addr::from(a.address).into()),
                (RData::AAAA(aaaa), RecordType::Aaaa) => Some(Ipv6Addr::from(aaaa.address).into()),
                _ => None,
            })
            .take(MAX_ADDRESSES)
            .collect();
        if !found.is_empty() {
            return Some(DnsResponse::Addresses(found));
        }
        let alias = own().find_map(|record| match &record.rdata {
            RData::CNAME(target) => Some(&target.0),
            _ => None,
        });
        match alias {
            Some(target) => owner = target,
            None => break,
        }
    }
    Some(DnsResponse::NoAddress)
}

/// The message with the first `count` records of its answer section, and without the other sections
/// and the reserved bit of the header, which need not be valid.
fn with_answers(message: &[u8], count: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(header) = message.get_mut(..HEADER_BYTES) {
        header[3] &= !RESERVED_BIT;
        header[6..8].copy_from_slice(&count.to_be_bytes());
        header[8..].fill(0);
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::rdata::{A, AAAA, CNAME, TXT};
    use simple_dns::{RCODE, ResourceRecord};

    use super::*;

    const ID: u16 = 0x1234;
    const HOST: &str = "dfw.api.example.com";

    fn reply(host: &'static str, record_type: RecordType) -> Packet<'static> {
        let mut packet = Packet::new_reply(ID);
        packet.questions.push(question(host, record_type).unwrap());
        packet
    }

    fn record(owner: &'static str, rdata: RData<'static>) -> ResourceRecord<'static> {
        ResourceRecord::new(Name::new_unchecked(owner), CLASS::IN, 60, rdata)
    }

    fn a(owner: &'static str, last: u8) -> ResourceRecord<'static> {
        record(owner, RData::A(A::from(Ipv4Addr::new(192, 0, 2, last))))
    }

    fn alias(owner: &'static str, target: &'static str) -> ResourceRecord<'static> {
        record(owner, RData::CNAME(CNAME(Name::new_unchecked(target))))
    }

    fn read(packet: &Packet<'_>, record_type: RecordType) -> Option<DnsResponse> {
        response(&packet.build_bytes_vec_compressed().unwrap(), ID, HOST, record_type)
    }

    fn ips(texts: &[&str]) -> Option<DnsResponse> {
        let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
        Some(DnsResponse::Addresses(addresses))
    }

    #[test]
    fn a_query_has_one_question_and_asks_for_recursion() {
        let bytes = query(ID, HOST, RecordType::Aaaa).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.id(), ID);
        assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED));
        assert_eq!(packet.questions[0].qname.to_string(), HOST);
        assert_eq!(packet.questions[0].qtype, TYPE::AAAA.into());
        assert_eq!(packet.questions.len(), 1);
        assert_eq!(query(ID, &"x".repeat(64), RecordType::A), None);
    }

    #[test]
    fn addresses_of_the_right_kind_and_name() {
        let mut packet = reply("DFW.Api.Example.com", RecordType::A);
        packet.answers.extend([a("dfw.api.EXAMPLE.com", 1), a("other.example.com", 2)]);
        packet.answers.push(record(HOST, RData::AAAA(AAAA { address: 1 })));
        packet.answers.push(a(HOST, 3));
        assert_eq!(read(&packet, RecordType::A), ips(&["192.0.2.1", "192.0.2.3"]));
        let mut packet = reply(HOST, RecordType::Aaaa);
        packet.answers.extend([a(HOST, 1), record(HOST, RData::AAAA(AAAA { address: 1 }))]);
        assert_eq!(read(&packet, RecordType::Aaaa), ips(&["::1"]));
    }

    #[test]
    fn aliases_are_followed_in_any_order_and_a_loop_ends() {
        let mut packet = reply(HOST, RecordType::A);
        packet.answers.extend([a("c.example", 7), alias("b.example", "C.example")]);
        packet.answers.push(alias(HOST, "b.example"));
        assert_eq!(read(&packet, RecordType::A), ips(&["192.0.2.7"]));
        packet.answers.remove(0);
        assert_eq!(read(&packet, RecordType::A), Some(DnsResponse::NoAddress));
        packet.answers.push(alias("c.example", HOST));
        assert_eq!(read(&packet, RecordType::A), Some(DnsResponse::NoAddress));
    }

    #[test]
    fn answers_of_a_nameserver_without_an_address() {
        assert_eq!(read(&reply(HOST, RecordType::A), RecordType::A), Some(DnsResponse::NoAddress));
        for (code, expected) in [
            (RCODE::NameError, DnsResponse::NoSuchName),
            (RCODE::FormatError, DnsResponse::Refused(1)),
            (RCODE::ServerFailure, DnsResponse::Refused(2)),
            (RCODE::NotImplemented, DnsResponse::Refused(4)),
            (RCODE::Refused, DnsResponse::Refused(5)),
        ] {
            let mut packet = reply(HOST, RecordType::A);
            *packet.rcode_mut() = code;
            assert_eq!(read(&packet, RecordType::A), Some(expected.clone()));
            packet.questions.clear();
            let without_question = read(&packet, RecordType::A);
            let is_refusal = matches!(expected, DnsResponse::Refused(_));
            assert_eq!(without_question, is_refusal.then_some(expected));
        }
    }

    /// Anyone can send a datagram with a forged source address.
    #[test]
    fn responses_to_other_queries_are_ignored() {
        let mut packet = reply(HOST, RecordType::A);
        packet.answers.push(a(HOST, 1));
        let bytes = packet.build_bytes_vec().unwrap();
        assert!(response(&bytes, ID, HOST, RecordType::A).is_some());
        assert_eq!(response(&bytes, ID + 1, HOST, RecordType::A), None);
        assert_eq!(response(&bytes, ID, "ord.api.example.com", RecordType::A), None);
        assert_eq!(response(&bytes, ID, HOST, RecordType::Aaaa), None);
        let own_query = query(ID, HOST, RecordType::A).unwrap();
        assert_eq!(response(&own_query, ID, HOST, RecordType::A), None);
        packet.questions.push(packet.questions[0].clone());
        assert_eq!(read(&packet, RecordType::A), None);
    }

    /// Only the question and the answers are read.
    #[test]
    fn odd_records_elsewhere_do_no_harm() {
        let mut packet = reply(HOST, RecordType::A);
        packet.answers.extend([record(HOST, RData::TXT(TXT::new())), a(HOST, 1)]);
        let mut bytes = packet.build_bytes_vec().unwrap();
        bytes[3] |= RESERVED_BIT;
        bytes[8..12].fill(0xff);
        bytes.extend([0xc0, 0xff, 0xff]);
        assert_eq!(response(&bytes, ID, HOST, RecordType::A), ips(&["192.0.2.1"]));
    }

    #[test]
    fn truncated_and_malformed() {
        let mut packet = reply(HOST, RecordType::A);
        packet.answers.extend([a(HOST, 1), a(HOST, 2)]);
        let whole = packet.build_bytes_vec().unwrap();
        let mut bytes = whole[..whole.len() - 3].to_vec();
        assert_eq!(response(&bytes, ID, HOST, RecordType::A), Some(DnsResponse::Malformed));
        bytes[2] |= 0x02;
        assert_eq!(response(&bytes, ID, HOST, RecordType::A), Some(DnsResponse::Truncated));
        let mut bytes = whole.clone();
        bytes[6..8].fill(0xff);
        assert_eq!(response(&bytes, ID, HOST, RecordType::A), Some(DnsResponse::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(
            changes in prop::collection::vec((0..120_usize, any::<u8>()), 0..6),
            length in 0..120_usize,
        ) {
            let mut packet = reply(HOST, RecordType::A);
            packet.answers.extend([alias(HOST, "b.example"), a("b.example", 1)]);
            let mut bytes = packet.build_bytes_vec_compressed().unwrap();
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(length);
            let _ = response(&bytes, ID, HOST, RecordType::A);
        }

        #[test]
        fn no_message_breaks_it(mut bytes in prop::collection::vec(any::<u8>(), 12..200)) {
            bytes[..12].copy_from_slice(&[0x12, 0x34, 0x80, 0, 0, 1, 0, 1, 0, 1, 0, 1]);
            let _ = response(&bytes, ID, HOST, RecordType::A);
        }
    }
}
