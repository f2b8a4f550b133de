//! A nameserver that knows one address for every name, and answers questions for IPv6 addresses
//! wrongly or not at all.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, QTYPE, RCODE, ResourceRecord, TYPE};

/// How questions are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Questions {
    /// None is answered.
    Dropped,
    /// Those for AAAA are dropped.
    AaaaDropped,
    /// Those for AAAA are answered with this error.
    AaaaRefused(RCODE),
}

/// Answers questions at that address until the test ends.
pub fn start(listen: Ipv4Addr, known: Ipv4Addr, questions: Questions) {
    let socket = UdpSocket::bind((listen, 53)).expect("port 53 of a namespace");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = reply(&buffer[..length], known, questions) {
                socket.send_to(&reply, client).expect("the client is reached");
            }
        }
    });
}

fn reply(query: &[u8], known: Ipv4Addr, questions: Questions) -> Option<Vec<u8>> {
    let query = Packet::parse(query).expect("a query");
    let mut reply = query.into_reply();
    let question = reply.questions.first().expect("a question").clone();
    match (question.qtype, questions) {
        (_, Questions::Dropped) | (QTYPE::TYPE(TYPE::AAAA), Questions::AaaaDropped) => return None,
        (QTYPE::TYPE(TYPE::AAAA), Questions::AaaaRefused(code)) => *reply.rcode_mut() = code,
        _ => {
            let address = RData::A(A::from(known));
            reply.answers.push(ResourceRecord::new(question.qname, CLASS::IN, 60, address));
        }
    }
    Some(reply.build_bytes_vec().expect("a reply"))
}
