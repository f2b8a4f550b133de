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

/// The most followers of a leader, at most half of them of other users. Each is an open file; a
/// process may usually open 1024.
pub(super) const MAX_FOLLOWERS: usize = if cfg!(test) { 20 } else { 600 };

/// The most connections that are accepted in a row, and the longest time for it, so that a user who
/// keeps connecting does not delay a request.
const MAX_ACCEPTS: usize = 4096;
const ACCEPT_TIMEOUT: Duration = Duration::from_millis(50);

/// A leader's socket and its followers.
pub struct Leader {
    listener: UnixListener,
    uid: u32,
    generation: usize,
    followers: Vec<ConnectedFollower>,
    /// Whether this process cannot open more files.
    is_full: bool,
}

/// A follower that has connected.
struct ConnectedFollower {
    stream: UnixStream,
    is_own_user: bool,
    /// `None` until it is received.
    demand: Option<Demand>,
    /// Whether it was told of the rate limit.
    knows_limit: bool,
}

impl ConnectedFollower {
    fn is_subscription(&self) -> bool {
        self.demand.is_some_and(|demand| demand.interval.is_some())
    }

    /// Sends a packet. Returns whether that succeeded: a follower that does not read is dropped,
    /// and has to connect again.
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

    /// Accepts the followers that have connected, until `deadline` and for [`ACCEPT_TIMEOUT`] at
    /// most.
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

    /// Admits a follower of the same user, or of any user if this is root's leader, if there is
    /// room.
    fn admit(&mut self, stream: UnixStream) {
        let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else { return };
        let is_own_user = peer.uid() == self.uid;
        let others = self.followers.iter().filter(|follower| !follower.is_own_user).count();
        let may_follow = is_own_user || (self.uid == 0 && others < MAX_FOLLOWERS / 2);
        if may_follow && self.has_room() && stream.set_nonblocking(true).is_ok() {
            let (demand, knows_limit) = (None, false);
            self.followers.push(ConnectedFollower { stream, is_own_user, demand, knows_limit });
        }
    }

    /// Whether there is room for another follower.
    pub fn has_room(&self) -> bool {
        self.followers.len() < MAX_FOLLOWERS
    }

    fn demands(&self) -> impl Iterator<Item = Demand> + '_ {
        self.followers.iter().filter_map(|follower| follower.demand)
    }

    /// When the next request is due; `None` if no follower needs one.
    pub(super) fn due(&self, schedule: RequestTimes) -> Option<BootInstant> {
        demand::due(self.demands(), schedule)
    }

    /// How many permits the next request leaves to others; `own`: without one-shot followers.
    pub fn reserved(&self, own: usize) -> usize {
        demand::reserved(self.demands(), own)
    }

    /// Waits until `until` for followers to connect, to send their demand or to disconnect. Returns
    /// whether `wake` is readable.
    pub fn poll_followers(&mut self, until: BootInstant, wake: Option<BorrowedFd<'_>>) -> bool {
        let events = self.poll_files(until, wake);
        let before = self.followers.len();
        let mut is_closed = events.is_closed.into_iter();
        self.followers.retain(|_| !is_closed.next().unwrap_or(false));
        self.is_full &= self.followers.len() == before;
        self.read_demands();
        if !self.is_full {
            self.accept(BootInstant::now() + ACCEPT_TIMEOUT);
            self.read_demands();
        }
        events.wakes
    }

    fn poll_files(&self, until: BootInstant, wake: Option<BorrowedFd<'_>>) -> PollEvents {
        let mut files = Vec::with_capacity(self.followers.len() + 2);
        let listening = if self.is_full { PollFlags::empty() } else { PollFlags::POLLIN };
        files.push(PollFd::new(self.listener.as_fd(), listening));
        for follower in &self.followers {
            // A follower sends one packet. poll(2) always reports that it has disconnected.
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

    /// Reads the demand of each follower that had not sent it yet.
    fn read_demands(&mut self) {
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
        // This also concerns followers that have connected since, but not those that leave fewer
        // permits to others: they may still get one.
        self.accept(BootInstant::now() + ACCEPT_TIMEOUT);
        self.publish_to(response, |demand| {
            cause != LimitCause::UsedUp || demand.reserved >= reserved
        });
        self.followers.iter_mut().for_each(|follower| follower.knows_limit = true);
    }

    /// Tells new subscriptions of the rate limit.
    pub fn publish_limit(&mut self, response: &Response) {
        let is_concerned =
            |follower: &ConnectedFollower| !follower.knows_limit && follower.is_subscription();
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

    /// Publishes the response to a request outside the topic, to the subscriptions.
    pub fn publish_to_subscriptions(&mut self, response: &Response) {
        self.publish_to(response, |demand| demand.interval.is_some());
    }

    fn publish_to(&mut self, response: &Response, concerns: impl Fn(Demand) -> bool) {
        self.read_demands();
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

/// The result of a leader's poll(2).
struct PollEvents {
    /// For each follower, whether it has disconnected.
    is_closed: Vec<bool>,
    wakes: bool,
}
