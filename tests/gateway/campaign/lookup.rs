//! Name lookup with faults of nameservers, resolv.conf and hosts.
//!
//! Each row has a network namespace with a nameserver and the API, and its own `/etc` mounted over
//! the machine's.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use libtest_mimic::{Failed, Trial};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, QTYPE, RCODE, ResourceRecord, TYPE};
use simulated_api::{Config, Script, Simulator};
use tempfile::TempDir;

use super::{Row, has_code};
use crate::namespace::Namespace;
use crate::network::deployed;
use crate::support::{self, bare_agent};

/// A name in the API's certificate.
const NAME: &str = "dfw.api.rackconnect.rackspace.com";

/// How a nameserver responds to a query.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Answers(&'static [IpAddr]),
    HasNoAddress,
    Refuses(RCODE),
    SendsGarbage,
    /// A response cut in the middle of its record.
    SendsHalf,
    /// A response to another query.
    SendsAForgery,
    Nothing,
}

use Behaviour::*;

/// The API.
const HERE: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST)];
/// An address without a route.
const ELSEWHERE: &[IpAddr] = &[IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// An address with closed ports, and then the API.
const HERE_AT_LAST: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(127, 1, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(127, 1, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(127, 1, 0, 3)),
    IpAddr::V4(Ipv4Addr::new(127, 1, 0, 4)),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
];

/// The replacement of a file.
#[derive(Clone, Copy, Debug)]
enum Content {
    Text(&'static str),
    Bytes(&'static [u8]),
    /// 300 aliases of one line, and then the name.
    Aliases,
    Missing,
    Fifo,
    Directory,
    Endless,
}

use Content::{Aliases, Bytes, Directory, Endless, Fifo, Missing, Text};

/// A resolv.conf with the nameserver, and a hosts without the name of the API.
const USUAL: Content = Text("nameserver 127.0.0.1\n");
const NO_HOSTS: Content = Text("127.0.0.1 localhost\n");

/// Whether the API is still reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Reached,
    Unreachable,
}

use Expected::{Reached, Unreachable};

/// The fault.
#[derive(Clone, Copy, Debug)]
struct LookupFault {
    name: &'static str,
    ipv4: Behaviour,
    ipv6: Behaviour,
    resolv_conf: Content,
    hosts: Content,
    expected: Expected,
}

/// No fault.
const NONE: LookupFault = LookupFault {
    name: "nothing",
    ipv4: Answers(HERE),
    ipv6: HasNoAddress,
    resolv_conf: USUAL,
    hosts: NO_HOSTS,
    expected: Reached,
};

const fn ipv6(name: &'static str, ipv6: Behaviour) -> LookupFault {
    LookupFault { name, ipv6, ..NONE }
}

const fn both(name: &'static str, behaviour: Behaviour) -> LookupFault {
    LookupFault { name, ipv4: behaviour, ipv6: behaviour, expected: Unreachable, ..NONE }
}

const fn conf(name: &'static str, resolv_conf: Content) -> LookupFault {
    LookupFault { name, resolv_conf, ..NONE }
}

/// Only hosts has the name, no nameserver.
const fn hosts(name: &'static str, hosts: Content, expected: Expected) -> LookupFault {
    let unknown = Refuses(RCODE::NameError);
    LookupFault { name, ipv4: unknown, ipv6: unknown, hosts, expected, ..NONE }
}

const FAULTS: &[LookupFault] = &[
    NONE,
    ipv6("AAAA: SERVFAIL", Refuses(RCODE::ServerFailure)),
    ipv6("AAAA: NOTIMP", Refuses(RCODE::NotImplemented)),
    ipv6("AAAA: REFUSED", Refuses(RCODE::Refused)),
    ipv6("AAAA: FORMERR", Refuses(RCODE::FormatError)),
    ipv6("AAAA: NXDOMAIN", Refuses(RCODE::NameError)),
    ipv6("AAAA: garbage", SendsGarbage),
    ipv6("AAAA: half a response", SendsHalf),
    ipv6("AAAA: a response to another query", SendsAForgery),
    ipv6("AAAA: nothing", Nothing),
    ipv6("AAAA: a dead address", Answers(ELSEWHERE)),
    LookupFault {
        ipv4: Answers(HERE_AT_LAST),
        ..ipv6("A: four dead addresses first", HasNoAddress)
    },
    both("SERVFAIL", Refuses(RCODE::ServerFailure)),
    both("REFUSED", Refuses(RCODE::Refused)),
    both("NXDOMAIN", Refuses(RCODE::NameError)),
    both("no address", HasNoAddress),
    both("garbage", SendsGarbage),
    both("half a response", SendsHalf),
    both("a response to another query", SendsAForgery),
    both("nothing", Nothing),
    both("dead addresses", Answers(ELSEWHERE)),
    LookupFault {
        expected: Unreachable,
        ..conf("a nameserver that is not there", Text("nameserver 127.0.0.77\n"))
    },
    conf(
        "a nameserver that is not there first",
        Text("nameserver 127.0.0.77\nnameserver 127.0.0.1\n"),
    ),
    conf("attempts:0", Text("nameserver 127.0.0.1\noptions attempts:0\n")),
    conf("attempts:00", Text("nameserver 127.0.0.1\noptions attempts:00\n")),
    conf("timeout:0", Text("nameserver 127.0.0.1\noptions timeout:0\n")),
    conf("timeout:1 attempts:0", Text("nameserver 127.0.0.1\noptions timeout:1 attempts:0\n")),
    conf(
        "timeout:-1 attempts:99999999999999999999",
        Text("nameserver 127.0.0.1\noptions timeout:-1 attempts:99999999999999999999\n"),
    ),
    conf(
        "ndots:5 and a search domain",
        Text("search bad.example\nnameserver 127.0.0.1\noptions ndots:5\n"),
    ),
    conf("nameserver 0.0.0.0", Text("nameserver 0.0.0.0\n")),
    conf("a nameserver that is no address", Text("nameserver example\n")),
    conf("an empty resolv.conf", Text("")),
    conf("a binary resolv.conf", Bytes(&[0, 0xff, 0xfe, b'\n', 0x80, 0])),
    conf("no resolv.conf", Missing),
    conf("a FIFO as resolv.conf", Fifo),
    conf("a directory as resolv.conf", Directory),
    conf("an endless resolv.conf", Endless),
    hosts(
        "the name in hosts in other letters",
        Text("127.0.0.1 DFW.Api.RackConnect.RackSpace.COM\n"),
        Reached,
    ),
    hosts("300 aliases in hosts", Aliases, Reached),
    hosts("a binary hosts", Bytes(&[0, 0xff, b' ', 0xfe, b'\n']), Unreachable),
    hosts("no hosts", Missing, Unreachable),
    hosts("a FIFO as hosts", Fifo, Unreachable),
    hosts("a directory as hosts", Directory, Unreachable),
    hosts("an endless hosts", Endless, Unreachable),
];

/// The commands, with their exit codes if the API is reached and if it is not. The namespace has no
/// route and no ServiceNet.
const COMMANDS: &[(&str, i32, i32)] = &[
    ("status --deadline {time}", 0, 7),
    ("details --deadline {time}", 0, 7),
    ("features --deadline {time}", 0, 7),
    ("gateway show --deadline {time}", 0, 7),
    ("gateway check --deadline {time}", 9, 7),
    ("gateway set --deadline {time}", 10, 7),
    ("gateway set --wait --timeout {time}", 10, 124),
    ("facts --deadline {time}", 0, 0),
    ("wait --timeout {time}", 0, 124),
    ("doctor --deadline {time}", 1, 1),
];

/// The number of commands that run side by side. They mostly wait, but other tests need CPU time,
/// too.
const COMMANDS_AT_ONCE: usize = 3;

impl Expected {
    /// The time limit of each command. It is long where the API is reached, for slow machines.
    fn time(self) -> &'static str {
        match self {
            Reached => "50s",
            Unreachable => "3s",
        }
    }
}

pub fn trials() -> impl Iterator<Item = Trial> {
    FAULTS
        .iter()
        .map(|fault| Trial::test(format!("campaign/lookup/{}", fault.name), move || run(*fault)))
}

fn run(fault: LookupFault) -> Result<(), Failed> {
    let namespace = Namespace::new();
    let config = Config { script: Script::of([deployed()]), limit: u32::MAX, ..support::config() };
    let api = namespace.run(move || {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("the port of DNS");
        thread::spawn(move || serve(&socket, fault));
        Simulator::start(config).expect("the simulated API starts")
    });
    let port = api.endpoint().rsplit_once(':').expect("a port").1.to_owned();
    let etc = etc(fault);
    namespace.mount_etc(etc.path());
    let folder = tempfile::tempdir().expect("a folder");
    let start = |arguments: &str| -> Child {
        let mut agent = bare_agent(arguments);
        let state_dir = tempfile::tempdir_in(folder.path()).expect("a folder").keep();
        agent
            .env("RACKCONNECT_ENDPOINT", format!("https://{NAME}:{port}"))
            .env("RACKCONNECT_CA_FILE", api.ca_file())
            .env("RACKCONNECT_STATE_DIR", state_dir);
        agent.stdout(Stdio::piped()).stderr(Stdio::piped());
        namespace.run(move || agent.spawn().expect("the agent starts"))
    };
    let mut row = Row::default();
    for commands in COMMANDS.chunks(COMMANDS_AT_ONCE) {
        let time = fault.expected.time();
        let running: Vec<Child> = commands
            .iter()
            .map(|(arguments, ..)| start(&arguments.replace("{time}", time)))
            .collect();
        for ((arguments, reached, unreachable), child) in commands.iter().zip(running) {
            let code = if fault.expected == Reached { *reached } else { *unreachable };
            row.case(arguments, child, |ended| has_code(ended, code));
        }
    }
    row.end()
}

/// Only the files of the lookup.
fn etc(fault: LookupFault) -> TempDir {
    let etc = tempfile::tempdir().expect("a folder");
    write_content(&etc.path().join("resolv.conf"), fault.resolv_conf);
    write_content(&etc.path().join("hosts"), fault.hosts);
    etc
}

fn write_content(path: &Path, content: Content) {
    match content {
        Text(text) => fs::write(path, text).expect("a file"),
        Bytes(bytes) => fs::write(path, bytes).expect("a file"),
        Aliases => {
            let aliases: String =
                (0..300).map(|number| format!(" alias{number}.example")).collect();
            fs::write(path, format!("127.0.0.1{aliases} {NAME}\n")).expect("a file");
        }
        Missing => {}
        Fifo => mkfifo(path, Mode::S_IRWXU).expect("a FIFO"),
        Directory => fs::create_dir(path).expect("a directory"),
        Endless => symlink("/dev/zero", path).expect("a link"),
    }
}

/// The nameserver, which runs until the test program ends.
fn serve(socket: &UdpSocket, fault: LookupFault) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let Ok(query) = Packet::parse(&buffer[..length]) else { continue };
        let QTYPE::TYPE(record_type) = query.questions[0].qtype else { continue };
        let behaviour = if record_type == TYPE::A { fault.ipv4 } else { fault.ipv6 };
        if let Some(response) = respond(behaviour, &query) {
            let _ = socket.send_to(&response, client);
        }
    }
}

fn respond(behaviour: Behaviour, query: &Packet<'_>) -> Option<Vec<u8>> {
    let question = &query.questions[0];
    let mut packet = Packet::new_reply(query.id());
    packet.questions.push(question.clone());
    let mut answer = |address: &IpAddr| {
        let data = match address {
            IpAddr::V4(address) => RData::A(A::from(*address)),
            IpAddr::V6(address) => RData::AAAA(AAAA::from(*address)),
        };
        packet.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data));
    };
    match behaviour {
        Answers(addresses) => addresses.iter().for_each(answer),
        SendsHalf => answer(&HERE[0]),
        SendsAForgery => {
            answer(&HERE[0]);
            packet.set_id(query.id().wrapping_add(1));
        }
        Refuses(code) => *packet.rcode_mut() = code,
        SendsGarbage => return Some(vec![0xff; 40]),
        Nothing => return None,
        HasNoAddress => {}
    }
    let mut bytes = packet.build_bytes_vec().expect("a response");
    if matches!(behaviour, SendsHalf) {
        bytes.truncate(bytes.len() - 3);
    }
    Some(bytes)
}
