//! A leader: it sends the requests of a topic and publishes the responses to its followers.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{getsockopt, sockopt};

use super::demand::{self, RequestTimes};
use super::protocol::Demand;
use super::response::Response;
use crate::api::request::Failure;
use crate::clock::BootInstant;
use crate::ratelimit::{LimitCause, MIN_INTERVAL};

/// The most followers of a leader; other users have at most half of that. Each is an open file, of
/// which a process usually has 1024.
const MAX_FOLLOWERS: usize = 600;

/// The most connections that are accepted in a row, and for how long at most: a user that connects
/// endlessly does not delay a request.
const MAX_ACCEPTS: usize = 4096;
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(50);

/// A leader's socket and its followers.
pub struct Leader {
    listener: UnixListener,
    uid: u32,
    generation: usize,
    followers: Vec<Connected>,
    /// Whether no more files can be opened.
    is_full: bool,
}

/// A follower as its leader sees it.
struct Connected {
    stream: UnixStream,
    is_own_user: bool,
    /// None: not read yet.
    demand: Option<Demand>,
    /// Whether it knows that nothing can be sent now.
    knows_limit: bool,
}

impl Connected {
    fn is_subscription(&self) -> bool {
        self.demand.is_some_and(|demand| demand.interval.is_some())
    }

    /// Sends a packet. A follower that does not read has to connect again.
    fn send(&mut self, packet: &[u8]) -> bool {
        matches!(self.stream.write(packet), Ok(length) if length == packet.len())
    }
}

impl Leader {
    /// A leader without followers.
    pub(super) fn new(listener: UnixListener, uid: u32, generation: usize) -> Leader {
        Leader { listener, uid, generation, followers: Vec::new(), is_full: false }
    }

    /// The generation.
    pub(super) fn generation(&self) -> usize {
        self.generation
    }

    /// Accepts the followers that have connected, until `deadline`, for a moment at most.
    pub fn accept(&mut self, deadline: BootInstant) {
        let end = deadline.min(BootInstant::now() + ACCEPT_TIMEOUT);
        for _ in 0..MAX_ACCEPTS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(err)
                    if matches!(
                        err.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                Err(err) => {
                    self.is_full = err.kind() != ErrorKind::WouldBlock;
                    return;
                }
            }
            if BootInstant::now() >= end {
                return;
            }
        }
    }

    /// Takes a follower of the same user, or any if this is root's leader, while there is room.
    fn admit(&mut self, stream: UnixStream) {
        let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else { return };
        let is_own_user = peer.uid() == self.uid;
        let others = self.followers.iter().filter(|follower| !follower.is_own_user).count();
        let may_follow = is_own_user || (self.uid == 0 && others < MAX_FOLLOWERS / 2);
        let has_room = self.followers.len() < MAX_FOLLOWERS;
        if may_follow && has_room && stream.set_nonblocking(true).is_ok() {
            let (demand, knows_limit) = (None, false);
            self.followers.push(Connected { stream, is_own_user, demand, knows_limit });
        }
    }

    fn demands(&self) -> impl Iterator<Item = Demand> + '_ {
        self.followers.iter().filter_map(|follower| follower.demand)
    }

    /// When the next request is due; none if no follower needs one.
    pub(super) fn due(&self, schedule: RequestTimes) -> Option<BootInstant> {
        demand::due(self.demands(), schedule)
    }

    /// How many permits the next request leaves to others; `own`: for the leader itself.
    pub fn reserved(&self, own: usize) -> usize {
        demand::reserved(self.demands(), own)
    }

    /// Waits for followers to connect, to speak or to disconnect, until then at most. True if
    /// `wake` can be read.
    pub fn poll_followers(&mut self, until: BootInstant, wake: Option<BorrowedFd<'_>>) -> bool {
        let events = self.poll_files(until, wake);
        let before = self.followers.len();
        let mut is_closed = events.is_closed.into_iter();
        self.followers.retain(|_| !is_closed.next().unwrap_or(false));
        self.is_full &= self.followers.len() == before;
        self.read();
        if !self.is_full {
            self.accept(BootInstant::now() + ACCEPT_TIMEOUT);
            self.read();
        }
        events.wakes
    }

    fn poll_files(&self, until: BootInstant, wake: Option<BorrowedFd<'_>>) -> PollEvents {
        let mut files = Vec::with_capacity(self.followers.len() + 2);
        let listening = if self.is_full { PollFlags::empty() } else { PollFlags::POLLIN };
        files.push(PollFd::new(self.listener.as_fd(), listening));
        for follower in &self.followers {
            // Each sends one packet; that it disconnects is always reported.
            let is_expected = follower.demand.is_none();
            let flags = if is_expected { PollFlags::POLLIN } else { PollFlags::empty() };
            files.push(PollFd::new(follower.stream.as_fd(), flags));
        }
        files.extend(wake.map(|wake| PollFd::new(wake, PollFlags::POLLIN)));
        let _ = poll(&mut files, until.poll_timeout());
        let wakes = wake.is_some() && files.pop().is_some_and(|wake| wake.any().unwrap_or(true));
        let closed = PollFlags::POLLHUP | PollFlags::POLLERR;
        let is_closed =
            |file: &PollFd| file.revents().is_some_and(|flags| flags.intersects(closed));
        PollEvents { is_closed: files[1..].iter().map(is_closed).collect(), wakes }
    }

    /// Reads the subscription of each follower that has not sent it yet.
    fn read(&mut self) {
        self.followers.retain_mut(|follower| {
            if follower.demand.is_some() {
                return true;
            }
            let mut bytes = [0; 64];
            match follower.stream.read(&mut bytes) {
                Ok(length) => {
                    follower.demand = Demand::decode(&bytes[..length], MIN_INTERVAL);
                    follower.demand.is_some()
                }
                Err(err) => matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
            }
        });
    }

    /// Publishes the response to a request that left `reserved` permits to others. One-shot
    /// followers then disconnect.
    pub fn publish(&mut self, response: &Response, reserved: usize) {
        let Err(Failure::RateLimited { cause, .. }) = response.reply else {
            self.publish_to(response, |_| true);
            for demand in self.followers.iter_mut().filter_map(|it| it.demand.as_mut()) {
                demand.is_new = false;
            }
            return;
        };
        // There is no permit for followers that have connected since either. But one that leaves
        // fewer permits to others may still get one, so it is not told.
        self.accept(BootInstant::now() + ACCEPT_TIMEOUT);
        self.publish_to(response, |demand| {
            cause != LimitCause::UsedUp || demand.reserved >= reserved
        });
        self.followers.iter_mut().for_each(|follower| follower.knows_limit = true);
    }

    /// Publishes to new subscriptions that nothing can be sent now.
    pub fn publish_limit(&mut self, response: &Response) {
        let is_concerned =
            |follower: &Connected| !follower.knows_limit && follower.is_subscription();
        if !self.followers.iter().any(is_concerned) {
            return;
        }
        let packet = response.encode();
        self.followers.retain_mut(|follower| {
            let is_concerned = is_concerned(follower);
            follower.knows_limit |= is_concerned;
            !is_concerned || follower.send(&packet)
        });
    }

    /// Publishes to subscriptions the response to another request of theirs.
    pub fn publish_to_subscriptions(&mut self, response: &Response) {
        self.publish_to(response, |demand| demand.interval.is_some());
    }

    fn publish_to(&mut self, response: &Response, concerns: impl Fn(Demand) -> bool) {
        self.read();
        if self.followers.is_empty() {
            return;
        }
        let packet = response.encode();
        self.followers.retain_mut(|follower| match follower.demand {
            Some(demand) if !concerns(demand) => true,
            _ => {
                follower.send(&packet) && (follower.demand.is_none() || follower.is_subscription())
            }
        });
    }
}

/// What poll() reports to a leader.
struct PollEvents {
    /// For each follower, whether it has disconnected.
    is_closed: Vec<bool>,
    wakes: bool,
}
