//! The resolver against scripted nameservers on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::*;

/// What a nameserver does with a query.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// It knows an address.
    Answers,
    /// It knows so many that TCP is needed.
    AnswersByTcp,
    AnswersLate(Duration),
    AnswersTheSecondQuery,
    /// A datagram longer than any that is read.
    AnswersAtLength,
    /// With responses to other queries before the right one.
    AnswersAfterForgeries,
    HasNoAddress,
    Refuses(RCODE),
    SendsGarbage,
    SendsABrokenResponse,
    Nothing,
}

use Does::*;

const IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const BOTH: &[&str] = &["2001:db8::1", "192.0.2.1"];
const IPV4_ONLY: &[&str] = &["192.0.2.1"];

struct Nameserver {
    address: SocketAddr,
    queries: Arc<Mutex<Vec<String>>>,
}

impl Nameserver {
    fn start(script: impl Fn(&str, TYPE) -> Does + Send + 'static) -> Nameserver {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let queries = Arc::new(Mutex::new(Vec::new()));
        let log = queries.clone();
        thread::spawn(move || serve_udp(&udp, &log, script));
        thread::spawn(move || serve_tcp(&tcp));
        Nameserver { address, queries }
    }

    fn of(ipv4: Does, ipv6: Does) -> Nameserver {
        Nameserver::start(move |_, record_type| if record_type == TYPE::A { ipv4 } else { ipv6 })
    }

    fn queries(&self) -> Vec<String> {
        self.queries.lock().unwrap().clone()
    }
}

fn serve_udp(socket: &UdpSocket, log: &Mutex<Vec<String>>, script: impl Fn(&str, TYPE) -> Does) {
    let mut buffer = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).unwrap();
        let query = Packet::parse(&buffer[..length]).unwrap();
        let QTYPE::TYPE(record_type) = query.questions[0].qtype else { panic!("no type") };
        let name = query.questions[0].qname.to_string();
        let entry = format!("{name} {record_type:?}");
        let is_second = log.lock().unwrap().contains(&entry);
        log.lock().unwrap().push(entry);
        let send = |bytes: Vec<u8>| socket.send_to(&bytes, client).map(drop).unwrap();
        match script(&name, record_type) {
            Answers => send(answer(&query, 1)),
            AnswersByTcp => {
                let mut packet = reply(&query);
                packet.set_flags(PacketFlag::TRUNCATION);
                send(packet.build_bytes_vec().unwrap());
            }
            AnswersLate(delay) => {
                let (socket, bytes) = (socket.try_clone().unwrap(), answer(&query, 1));
                thread::spawn(move || {
                    thread::sleep(delay);
                    socket.send_to(&bytes, client)
                });
            }
            AnswersTheSecondQuery if is_second => send(answer(&query, 1)),
            AnswersAtLength => send(answer(&query, 500)),
            AnswersAfterForgeries => {
                forgeries(&query).into_iter().for_each(send);
                send(answer(&query, 1));
            }
            HasNoAddress => send(reply(&query).build_bytes_vec().unwrap()),
            Refuses(code) => {
                let mut packet = reply(&query);
                *packet.rcode_mut() = code;
                send(packet.build_bytes_vec().unwrap());
            }
            SendsGarbage => {
                send(Vec::new());
                send(vec![0xff; 60]);
            }
            SendsABrokenResponse => {
                let bytes = answer(&query, 1);
                send(bytes[..bytes.len() - 2].to_vec());
            }
            AnswersTheSecondQuery | Nothing => {}
        }
    }
}

fn serve_tcp(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).unwrap();
        let response = answer(&Packet::parse(&query).unwrap(), 500);
        let length = u16::try_from(response.len()).unwrap().to_be_bytes();
        // In pieces, as TCP may deliver it.
        for piece in [&length, &response[..1], &response[1..]] {
            stream.write_all(piece).unwrap();
            stream.flush().unwrap();
        }
    }
}

fn reply<'a>(query: &Packet<'a>) -> Packet<'a> {
    let mut packet = Packet::new_reply(query.id());
    packet.questions.clone_from(&query.questions);
    packet
}

fn answer(query: &Packet<'_>, copies: usize) -> Vec<u8> {
    let question = &query.questions[0];
    let rdata = match question.qtype {
        QTYPE::TYPE(TYPE::A) => RData::A(A::from(IPV4)),
        _ => RData::AAAA(AAAA::from(IPV6)),
    };
    let record = ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, rdata);
    let mut packet = reply(query);
    packet.answers.resize(copies, record);
    packet.build_bytes_vec_compressed().unwrap()
}

/// Responses of an attacker who does not know the query.
fn forgeries(query: &Packet<'_>) -> Vec<Vec<u8>> {
    let forged = |id, name: &'static str| {
        let mut other = query.clone();
        other.set_id(id);
        other.questions[0].qname = Name::new_unchecked(name);
        let mut packet = reply(&other);
        let evil = RData::A(A::from(Ipv4Addr::new(203, 0, 113, 66)));
        let owner = other.questions[0].qname.clone();
        packet.answers.push(ResourceRecord::new(owner, CLASS::IN, 60, evil));
        packet.build_bytes_vec().unwrap()
    };
    vec![
        forged(query.id().wrapping_add(1), "api.example.com"),
        forged(query.id(), "evil.example.com"),
        query.build_bytes_vec().unwrap(),
    ]
}

fn conf(nameservers: &[&Nameserver], text: &str) -> ResolvConf {
    let nameservers = nameservers.iter().map(|nameserver| nameserver.address).collect();
    ResolvConf { nameservers, ..ResolvConf::parse(text) }
}

fn sources(nameservers: &[&Nameserver], text: &str) -> NameSources {
    NameSources { hosts: String::new(), resolv_conf: conf(nameservers, text) }
}

/// Long enough for any machine.
const ENOUGH: Duration = Duration::from_secs(60);

fn in_time(sources: &NameSources, host: &str) -> Result<Vec<String>, String> {
    look_up(sources, host, ENOUGH)
}

fn look_up(sources: &NameSources, host: &str, time: Duration) -> Result<Vec<String>, String> {
    let found = sources.look_up(host, BootInstant::now() + time);
    found
        .map(|addresses| addresses.iter().map(|address| address.ip().to_string()).collect())
        .map_err(|reason| LookupError { host: host.to_owned(), reason }.to_string())
}

/// A machine that is slow between two responses may find one family only; not every time.
fn assert_finds_both(sources: &NameSources, host: &str) {
    let finds_both = || in_time(sources, host) == texts(BOTH);
    assert!((0..20).any(|_| finds_both()), "{host}: {:?}", in_time(sources, host));
}

fn texts(expected: &[&str]) -> Result<Vec<String>, String> {
    Ok(expected.iter().map(|text| (*text).to_owned()).collect())
}

const HOST: &str = "api.example.com";

/// getaddrinfo failed as a whole if a nameserver did not answer the question for AAAA properly.
#[test]
fn a_bad_answer_for_one_family_does_not_spoil_the_other() {
    let bad = [
        Refuses(RCODE::ServerFailure),
        Refuses(RCODE::NotImplemented),
        Refuses(RCODE::Refused),
        Refuses(RCODE::FormatError),
        Refuses(RCODE::NameError),
        HasNoAddress,
        SendsGarbage,
        SendsABrokenResponse,
        AnswersLate(ENOUGH),
        Nothing,
    ];
    for does in bad {
        // So long that a test which waits for it fails.
        let text = "options timeout:30 attempts:5";
        let start = BootInstant::now();
        let nameserver = Nameserver::of(Answers, does);
        let found = in_time(&sources(&[&nameserver], text), HOST);
        assert_eq!(found, texts(IPV4_ONLY), "AAAA: {does:?}");
        let nameserver = Nameserver::of(does, Answers);
        let found = in_time(&sources(&[&nameserver], text), HOST);
        assert_eq!(found, texts(&BOTH[..1]), "A: {does:?}");
        assert!(BootInstant::now().since(start) < ENOUGH / 4, "{does:?}");
    }
}

#[test]
fn the_families_are_asked_together_and_come_in_turn() {
    let nameserver = Nameserver::of(Answers, Answers);
    assert_finds_both(&sources(&[&nameserver], ""), HOST);
    let mut queries = nameserver.queries();
    queries.sort();
    queries.dedup();
    assert_eq!(queries, ["api.example.com A", "api.example.com AAAA"]);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let (v6, v4) = (["::1", "::2", "::3"].map(ip), ["10.0.0.1"].map(ip));
    let mixed = stub::alternate(v6.to_vec(), v4.to_vec());
    assert_eq!(mixed, ["::1", "10.0.0.1", "::2", "::3"].map(ip));
}

#[test]
fn no_address_at_all_is_an_error_that_says_why() {
    for (ipv4, ipv6, expected) in [
        (Refuses(RCODE::NameError), Refuses(RCODE::NameError), "cannot look up {}: no such host"),
        (HasNoAddress, HasNoAddress, "cannot look up {}: it has no address"),
        (
            Refuses(RCODE::ServerFailure),
            Refuses(RCODE::ServerFailure),
            "cannot look up {}: nameserver 127.0.0.1 responded with SERVFAIL",
        ),
        (
            HasNoAddress,
            SendsABrokenResponse,
            "cannot look up {}: nameserver 127.0.0.1 sent a malformed response",
        ),
    ] {
        let nameserver = Nameserver::of(ipv4, ipv6);
        let found = in_time(&sources(&[&nameserver], ""), HOST);
        assert_eq!(found, Err(expected.replace("{}", HOST)));
    }
}

#[test]
fn no_response_ends_with_the_deadline_and_with_the_attempts() {
    for (ipv4, ipv6) in [(Nothing, Nothing), (SendsGarbage, Nothing)] {
        let nameserver = Nameserver::of(ipv4, ipv6);
        let expected = Err(format!("the name lookup for {HOST} timed out"));
        let start = BootInstant::now();
        let patient = sources(&[&nameserver], "options timeout:30 attempts:5");
        assert_eq!(look_up(&patient, HOST, Duration::from_millis(200)), expected);
        assert_eq!(look_up(&patient, HOST, Duration::ZERO), expected);
        // `timeout:0 attempts:0` counts as one second, once.
        let zero = sources(&[&nameserver], "options attempts:0 timeout:0 ndots:5");
        assert_eq!(in_time(&zero, HOST), expected);
        assert!(BootInstant::now().since(start) < ENOUGH / 2);
    }
    let nameserver = Nameserver::of(Answers, Answers);
    let zero = sources(&[&nameserver], "options attempts:0 timeout:0 ndots:5");
    assert_finds_both(&zero, HOST);
}

#[test]
fn a_lost_query_is_sent_again() {
    let nameserver = Nameserver::of(AnswersTheSecondQuery, AnswersTheSecondQuery);
    let sources = sources(&[&nameserver], "options timeout:1 attempts:3");
    assert_finds_both(&sources, HOST);
}

#[test]
fn one_good_nameserver_is_enough() {
    let closed = Nameserver::of(Answers, Answers);
    let unused = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = Nameserver { address: unused, ..closed };
    for does in [Nothing, SendsGarbage, HasNoAddress, Refuses(RCODE::Refused)] {
        let bad = Nameserver::of(does, does);
        let late = AnswersLate(Duration::from_millis(30));
        let good = Nameserver::of(late, late);
        let text = "options timeout:30";
        let sources = sources(&[&bad, &closed, &good], text);
        let finds_ipv4 = || in_time(&sources, HOST).unwrap().contains(&IPV4.to_string());
        assert!((0..20).any(|_| finds_ipv4()), "{does:?}");
    }
    let found = in_time(&sources(&[&closed], ""), HOST);
    let expected = "nameserver 127.0.0.1 cannot be used: Connection refused";
    assert_eq!(found, Err(format!("cannot look up {HOST}: {expected}")));
}

#[test]
fn a_response_that_is_too_long_for_udp_comes_by_tcp() {
    for does in [AnswersByTcp, AnswersAtLength] {
        let nameserver = Nameserver::of(does, does);
        let found = in_time(&sources(&[&nameserver], "options timeout:30"), HOST).unwrap();
        assert!(found.iter().all(|ip| BOTH.contains(&ip.as_str())), "{does:?}: {found:?}");
        assert!(found.len() <= 32, "{}", found.len());
    }
}

#[test]
fn forged_responses_are_ignored() {
    let nameserver = Nameserver::of(AnswersAfterForgeries, AnswersAfterForgeries);
    assert_finds_both(&sources(&[&nameserver], ""), HOST);
}

/// With `ndots:5` a complete name was first looked for in every search domain, and one that was
/// broken, or answered every name, decided.
#[test]
fn a_name_with_a_dot_is_looked_up_as_it_is() {
    for does in [Refuses(RCODE::ServerFailure), Refuses(RCODE::Refused), Nothing, Answers] {
        let nameserver = Nameserver::start(move |name, _| match name {
            "dfw.example" => Answers,
            _ => does,
        });
        let text = "search bad.example worse.example\noptions ndots:5 timeout:30";
        let sources = sources(&[&nameserver], text);
        for host in ["dfw.example", "dfw.example."] {
            assert_finds_both(&sources, host);
        }
        let queries = nameserver.queries();
        assert!(queries.iter().all(|query| query.starts_with("dfw.example ")), "{queries:?}");
    }
}

#[test]
fn a_name_without_a_dot_is_looked_for_in_the_search_domains_first() {
    for does in [Refuses(RCODE::NameError), Refuses(RCODE::ServerFailure), Nothing] {
        let nameserver = Nameserver::start(move |name, _| match name {
            "api.b.example" => Answers,
            _ => does,
        });
        let text = "search a.example b.example\noptions timeout:1 attempts:1";
        assert_finds_both(&sources(&[&nameserver], text), "api");
        let first = &nameserver.queries()[0];
        assert!(first.starts_with("api.a.example "), "{first}");
    }
    let nameserver = Nameserver::start(|name, _| match name {
        "api" => Answers,
        _ => Refuses(RCODE::NameError),
    });
    let sources = sources(&[&nameserver], "search a.example");
    assert_finds_both(&sources, "api");
    assert_eq!(in_time(&sources, "x"), Err("cannot look up x: no such host".to_owned()));
    assert_eq!(in_time(&sources, "x."), Err("cannot look up x.: no such host".to_owned()));
}

#[test]
fn hosts_come_first_and_localhost_is_always_there() {
    let nameserver = Nameserver::of(Answers, Answers);
    let hosts = "10.0.0.1 Dfw.Example api\n10.0.0.2 other dfw.example\n".to_owned();
    let sources = NameSources { hosts, ..sources(&[&nameserver], "search a.example") };
    assert_eq!(in_time(&sources, "dfw.EXAMPLE"), texts(&["10.0.0.1", "10.0.0.2"]));
    assert_eq!(in_time(&sources, "dfw.example."), texts(&["10.0.0.1", "10.0.0.2"]));
    assert_eq!(in_time(&sources, "api"), texts(&["10.0.0.1"]));
    for host in ["localhost", "LocalHost", "localhost.", "x.localhost"] {
        assert_eq!(in_time(&sources, host), texts(&["::1", "127.0.0.1"]));
    }
    assert_eq!(nameserver.queries(), [""; 0]);
}

#[test]
fn names_that_dns_cannot_have_are_never_sent() {
    let nameserver = Nameserver::of(Answers, Answers);
    let sources = sources(&[&nameserver], "search a.example");
    let label = "x".repeat(63);
    let long = [label.as_str(); 4].join(".");
    for host in ["", ".", "..", "a..b", ".a", "a.b..", "a b.c", "a\\.b.c", "é.example", &long] {
        let expected = format!("{host:?} is not a valid host name");
        assert_eq!(in_time(&sources, host), Err(expected));
    }
    assert!(in_time(&sources, &format!("{label}x.example")).is_err());
    assert_eq!(nameserver.queries(), [""; 0]);
    assert_finds_both(&sources, &format!("{label}.a_b.example"));
    let longest = &long[..253];
    assert_finds_both(&sources, longest);
    // Too long with the search domain, so it is looked up as it is only.
    assert_finds_both(&sources, &label);
}

/// A dead DNS took all the time of a request, so that no time was left to connect.
#[test]
fn the_last_good_addresses_serve_with_time_left() {
    let good = Nameserver::of(Answers, Answers);
    let bad = Nameserver::of(Nothing, Nothing);
    let lookup = Lookup::default();
    let find = |nameserver, time| {
        let deadline = BootInstant::now() + time;
        let sources = sources(&[nameserver], "options timeout:30");
        let found = lookup.find(&sources, HOST, ENOUGH, deadline);
        let left = deadline.since(BootInstant::now());
        found.map(|found| (found, left)).map_err(|err| err.to_string())
    };
    assert!(find(&bad, Duration::from_millis(100)).is_err());
    let (addresses, _) = find(&good, ENOUGH).unwrap();
    let (last_good, left) = find(&bad, ENOUGH / 10).unwrap();
    assert_eq!(last_good, addresses);
    assert!(left > ENOUGH / 60, "{left:?}");
}

/// For a diagnosis each query to each nameserver has its own result.
#[test]
fn a_survey_asks_every_nameserver() {
    let good = Nameserver::of(Answers, Answers);
    let half = Nameserver::of(Answers, Refuses(RCODE::ServerFailure));
    let dead = Nameserver::of(Nothing, Nothing);
    let conf = conf(&[&good, &half, &dead], "");
    let answers = survey::survey(&conf, HOST, BootInstant::now() + Duration::from_millis(500));
    let seen: Vec<(&str, Result<usize, &str>)> = answers
        .iter()
        .map(|it| (it.record_type, it.outcome.as_ref().map(Vec::len).map_err(String::as_str)))
        .collect();
    assert_eq!(seen.len(), 6);
    assert!(seen[..3].iter().all(|(_, outcome)| outcome.is_ok_and(|count| count > 0)), "{seen:?}");
    assert_eq!(seen[3], ("AAAA", Err("responded with SERVFAIL")));
    assert_eq!(seen[4], ("A", Err("does not answer")));
    assert!(answers[4].time >= Duration::from_millis(500) && answers[0].time <= answers[4].time);
}
