//! Who leads and who follows: the sockets.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use nix::unistd::geteuid;

use super::protocol::{self, Heard, Wish};
use crate::api::client::Failure;
use crate::clock::BootInstant;
use crate::ratelimit::LimitCause as Why;
use crate::ratelimit::MIN_INTERVAL;

/// How many leaders of one question there can be, all but the last one stopped.
const GENERATIONS: usize = 4;

/// How often to try, while leaders come and go.
const ATTEMPTS: u32 = 20;

/// The most followers of a leader; others get at most half of the seats. Every one is an open file, and 1024 is the
/// usual limit of those.
const MOST: usize = 600;

/// How long to wait in full queues. Anybody can have a name, and let nobody in.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many to accept in a row, and for how long at most: whoever connects without end, be it any user of the server,
/// keeps nobody from asking in time.
const CROWD: (usize, Duration) = (4096, Duration::from_millis(50));

/// For how long a leader is passed over: it may have been busy, and be well again.
const PASSED_OVER: Duration = Duration::from_secs(60);

/// How often one process may close a connection without an answer before it is passed over.
const MOST_GONE: u32 = 3;

/// A question, and who is not to be followed in it.
pub struct Question {
    key: u64,
    uid: u32,
    /// The first generation that counts, of one's own user and of root, and until when it does.
    floor: [(usize, BootInstant); 2],
    /// The process that last closed a connection without an answer, and how often it did so.
    gone: (i32, u32),
}

/// A place among those who ask the same.
pub enum Seat {
    /// The one who asks.
    Leader(Leader),
    /// One who hears.
    Follower(Follower),
    /// None is to be had: one asks for oneself.
    Alone,
}

/// What a follower hears.
pub enum Said {
    /// What came of a request.
    Heard(Heard),
    /// Nothing in time.
    Nothing,
    /// The leader is gone.
    Gone,
    /// Nothing, but the bell rings.
    Bell,
}

enum Door {
    Open(Follower),
    /// Somebody has the name who is not to be followed.
    Taken,
    Free,
}

impl Question {
    /// The question of that key.
    pub fn new(key: u64) -> Question {
        Question {
            key,
            uid: geteuid().as_raw(),
            floor: [(0, BootInstant::default()); 2],
            gone: (0, 0),
        }
    }

    /// Follows, or leads where there is nobody to follow.
    pub fn join(&mut self, wish: Wish, give_up: BootInstant) -> Seat {
        let give_up = give_up.min(BootInstant::now() + PATIENCE);
        for attempt in 0..ATTEMPTS {
            let mut taken = [false; GENERATIONS];
            if let Some(follower) = self.follow(wish, give_up, self.floor(0), &mut taken) {
                return Seat::Follower(follower);
            }
            match (self.floor(0)..GENERATIONS).find(|generation| !taken[*generation]) {
                None => break,
                Some(generation) => match self.lead(generation) {
                    Ok(leader) => return Seat::Leader(leader),
                    Err(Errno::EADDRINUSE) => {}
                    Err(why) => {
                        log::debug!("nothing can be shared with other processes: {why}");
                        break;
                    }
                },
            }
            // Another one was faster; it is there in a moment.
            thread::sleep(Duration::from_millis(attempt.into()));
        }
        Seat::Alone
    }

    /// Somebody who is rather to be followed than `leader`, if there is somebody.
    pub fn better(&self, leader: &Leader, wish: Wish) -> Option<Follower> {
        self.follow(
            wish,
            BootInstant::now() + PATIENCE / 10,
            leader.generation + 1,
            &mut [false; GENERATIONS],
        )
    }

    /// Passes over a leader for a while.
    pub fn pass_over(&mut self, follower: &Follower) {
        let whose = usize::from(follower.uid != self.uid);
        self.floor[whose] =
            (self.floor(whose).max(follower.generation + 1), BootInstant::now() + PASSED_OVER);
    }

    fn floor(&self, whose: usize) -> usize {
        let (generation, until) = self.floor[whose];
        if BootInstant::now() < until { generation } else { 0 }
    }

    /// A leader went without an answer. One that does so again and again is passed over.
    pub fn gone(&mut self, follower: &Follower) {
        let again = if self.gone.0 == follower.pid { self.gone.1 + 1 } else { 1 };
        self.gone = (follower.pid, again);
        if again >= MOST_GONE {
            self.pass_over(follower);
        }
    }

    fn follow(
        &self,
        wish: Wish,
        give_up: BootInstant,
        floor: usize,
        taken: &mut [bool; GENERATIONS],
    ) -> Option<Follower> {
        if self.uid != 0 {
            for generation in (self.floor(1)..GENERATIONS).rev() {
                if let Door::Open(follower) = self.knock(0, generation, wish, give_up) {
                    return Some(follower);
                }
            }
        }
        for generation in (floor..GENERATIONS).rev() {
            match self.knock(self.uid, generation, wish, give_up) {
                Door::Open(follower) => return Some(follower),
                Door::Taken => taken[generation] = true,
                Door::Free => {}
            }
        }
        None
    }

    fn knock(&self, uid: u32, generation: usize, wish: Wish, give_up: BootInstant) -> Door {
        let connected = || -> Result<UnixStream, Errno> {
            let stream = UnixStream::from(new_socket(SockFlag::empty())?);
            // A full queue makes connect() wait, but not longer than a send may.
            let patience = give_up.since(BootInstant::now()).max(Duration::from_millis(1));
            let _ = stream.set_write_timeout(Some(patience));
            connect(stream.as_raw_fd(), &self.name(uid, generation)?)?;
            Ok(stream)
        };
        let mut stream = match connected() {
            Ok(stream) => stream,
            Err(Errno::ECONNREFUSED) => return Door::Free,
            Err(_) => return Door::Taken,
        };
        let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else { return Door::Taken };
        if peer.uid() != uid || is_stopped(peer.pid()) {
            return Door::Taken;
        }
        match stream.set_nonblocking(true).and_then(|()| stream.write_all(&wish.encode())) {
            Ok(()) => Door::Open(Follower {
                stream,
                uid,
                generation,
                pid: peer.pid(),
                buffer: Vec::new(),
            }),
            // It went in this moment.
            Err(_) => Door::Free,
        }
    }

    fn lead(&self, generation: usize) -> Result<Leader, Errno> {
        let socket = new_socket(SockFlag::SOCK_NONBLOCK)?;
        bind(socket.as_raw_fd(), &self.name(self.uid, generation)?)?;
        listen(&socket, Backlog::MAXCONN)?;
        Ok(Leader {
            listener: UnixListener::from(socket),
            uid: self.uid,
            generation,
            members: Vec::new(),
            full: false,
        })
    }

    fn name(&self, uid: u32, generation: usize) -> Result<UnixAddr, Errno> {
        UnixAddr::new_abstract(
            format!("rackconnect-agent/1/{uid}/{generation}/{:016x}", self.key).as_bytes(),
        )
    }
}

/// Packets keep their bounds on it.
fn new_socket(flags: SockFlag) -> Result<std::os::fd::OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)
}

/// Whether a process is stopped (proc_pid_stat(5)), as far as one may know.
fn is_stopped(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

/// How long poll() may take: not a moment less, so that nobody wakes up too early over and over.
pub fn timeout(until: BootInstant) -> PollTimeout {
    let left = until.since(BootInstant::now()).as_nanos().div_ceil(1_000_000);
    i32::try_from(left)
        .ok()
        .and_then(|left| PollTimeout::try_from(left).ok())
        .unwrap_or(PollTimeout::MAX)
}

/// A connection to a leader.
pub struct Follower {
    stream: UnixStream,
    uid: u32,
    generation: usize,
    pid: i32,
    buffer: Vec<u8>,
}

impl Follower {
    /// The leader's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Listens until then, or until the bell (something else that the listener waits for) can be read.
    pub fn listen(&mut self, until: BootInstant, bell: Option<BorrowedFd<'_>>) -> Said {
        if self.buffer.is_empty() {
            self.buffer = vec![0; protocol::LARGEST + 1];
        }
        loop {
            let stream = PollFd::new(self.stream.as_fd(), PollFlags::POLLIN);
            let mut files =
                [stream, PollFd::new(bell.unwrap_or(self.stream.as_fd()), PollFlags::POLLIN)];
            let ready = poll(&mut files, timeout(until));
            let is_spoken_to = files[0].any().unwrap_or(true);
            match ready {
                Ok(1..) if !is_spoken_to => return Said::Bell,
                Ok(0) if BootInstant::now() >= until => return Said::Nothing,
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return Said::Gone,
            }
            match self.stream.read(&mut self.buffer) {
                Ok(length) => match Heard::decode(&self.buffer[..length], BootInstant::now()) {
                    Some(heard) => return Said::Heard(heard),
                    None => return Said::Gone,
                },
                Err(why)
                    if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return Said::Gone,
            }
        }
    }
}

/// The one who asks, and those who hear.
pub struct Leader {
    listener: UnixListener,
    uid: u32,
    generation: usize,
    members: Vec<Member>,
    /// Whether no more files can be opened.
    full: bool,
}

struct Member {
    stream: UnixStream,
    is_own: bool,
    /// None: not read yet.
    wish: Option<Wish>,
    /// Whether it knows that nothing can be asked now.
    is_held: bool,
}

impl Leader {
    /// Accepts those who have come, until `deadline` and no longer than a crowd takes (`CROWD`).
    pub fn accept(&mut self, deadline: BootInstant) {
        let end = deadline.min(BootInstant::now() + CROWD.1);
        for _ in 0..CROWD.0 {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(why)
                    if matches!(
                        why.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(why) => {
                    self.full = why.kind() != ErrorKind::WouldBlock;
                    return;
                }
            }
            if BootInstant::now() >= end {
                return;
            }
        }
    }

    fn admit(&mut self, stream: UnixStream) {
        let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else { return };
        let is_own = peer.uid() == self.uid;
        let others = self.members.iter().filter(|member| !member.is_own).count();
        let welcome = is_own || (self.uid == 0 && others < MOST / 2);
        if welcome && self.members.len() < MOST && stream.set_nonblocking(true).is_ok() {
            self.members.push(Member { stream, is_own, wish: None, is_held: false });
        }
    }

    /// When the next answer is due, `last` being when the question was last asked. Those who want one at once want it
    /// as soon as `at_once`; the others `stretch` times as late as they said (who is new, the shortest interval after
    /// `last`), but not before `not_before`.
    pub fn due(
        &self,
        last: Option<BootInstant>,
        at_once: BootInstant,
        not_before: BootInstant,
        stretch: f64,
    ) -> Option<BootInstant> {
        let wishes = self.members.iter().filter_map(|member| member.wish);
        let every = wishes.map(|wish| match wish.every {
            Some(_) if wish.is_new => MIN_INTERVAL,
            every => every.unwrap_or_default(),
        });
        let every = every.min()?;
        Some(match last {
            _ if every.is_zero() => at_once,
            Some(last) => (last + every.mul_f64(stretch)).max(not_before),
            None => not_before,
        })
    }

    /// How many places of the limit the next request leaves free; `own`: as far as the leader is concerned.
    pub fn reserve(&self, own: usize) -> usize {
        let wishes = self.members.iter().filter_map(|member| member.wish);
        wishes.filter(|wish| wish.every.is_none()).map(|wish| wish.reserve).fold(own, usize::min)
    }

    /// Waits until then for followers to come, to speak or to go, or for the bell. Whether that rings.
    pub fn attend(&mut self, until: BootInstant, bell: Option<BorrowedFd<'_>>) -> bool {
        let mut files = Vec::with_capacity(self.members.len() + 2);
        let listening = if self.full { PollFlags::empty() } else { PollFlags::POLLIN };
        files.push(PollFd::new(self.listener.as_fd(), listening));
        for member in &self.members {
            // Each says one thing; that it goes is always heard.
            let speaking =
                if member.wish.is_none() { PollFlags::POLLIN } else { PollFlags::empty() };
            files.push(PollFd::new(member.stream.as_fd(), speaking));
        }
        files.extend(bell.map(|bell| PollFd::new(bell, PollFlags::POLLIN)));
        let _ = poll(&mut files, timeout(until));
        let rings = bell.is_some() && files.pop().is_some_and(|bell| bell.any().unwrap_or(true));
        let gone: Vec<bool> = files[1..]
            .iter()
            .map(|file| {
                file.revents().is_some_and(|events| {
                    events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
                })
            })
            .collect();
        let mut gone = gone.into_iter();
        let before = self.members.len();
        self.members.retain(|_| !gone.next().unwrap_or(false));
        self.full &= self.members.len() == before;
        self.read();
        if !self.full {
            self.accept(BootInstant::now() + CROWD.1);
            self.read();
        }
        rings
    }

    /// Reads what those want who have not said it yet.
    fn read(&mut self) {
        self.members.retain_mut(|member| {
            if member.wish.is_some() {
                return true;
            }
            let mut bytes = [0; 64];
            match member.stream.read(&mut bytes) {
                Ok(length) => {
                    member.wish = Wish::decode(&bytes[..length], MIN_INTERVAL);
                    member.wish.is_some()
                }
                Err(why) => matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            }
        });
    }

    /// Tells what came of the request, which left `reserve` places of the limit. Those who wanted one answer then go.
    pub fn tell(&mut self, heard: &Heard, reserve: usize) {
        let Err(Failure::LimitUsedUp { why, .. }) = heard.reply else {
            self.tell_those(heard, |_| true);
            self.members
                .iter_mut()
                .filter_map(|member| member.wish.as_mut())
                .for_each(|wish| wish.is_new = false);
            return;
        };
        // That there is no place is true for those, too, who have come in the meantime, but not for those who leave fewer
        // to others: for them it is looked again.
        self.accept(BootInstant::now() + CROWD.1);
        self.tell_those(heard, |wish| why != Why::UsedUp || wish.reserve >= reserve);
        self.members.iter_mut().for_each(|member| member.is_held = true);
    }

    /// Tells those who have come since that nothing can be asked now.
    pub fn tell_newcomers(&mut self, heard: &Heard) {
        let is_there = |member: &Member| {
            !member.is_held && member.wish.is_some_and(|wish| wish.every.is_some())
        };
        if self.members.iter().any(is_there) {
            let bytes = heard.encode();
            self.members.retain_mut(|member| {
                let concerns = is_there(member);
                member.is_held |= concerns;
                !concerns || member.stream.write(&bytes).is_ok_and(|length| length == bytes.len())
            });
        }
    }

    /// Tells those who stay what came of another question that is part of their wait.
    pub fn tell_waits(&mut self, heard: &Heard) {
        self.tell_those(heard, |wish| wish.every.is_some());
    }

    fn tell_those(&mut self, heard: &Heard, concerns: impl Fn(Wish) -> bool) {
        self.read();
        if self.members.is_empty() {
            return;
        }
        let bytes = heard.encode();
        self.members.retain_mut(|member| {
            if member.wish.is_some_and(|wish| !concerns(wish)) {
                return true;
            }
            // One who does not read what he is told has to come again.
            let told = matches!(member.stream.write(&bytes), Ok(length) if length == bytes.len());
            told && member.wish.is_none_or(|wish| wish.every.is_some())
        });
    }
}
