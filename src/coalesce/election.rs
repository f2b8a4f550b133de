//! The election of the process that sends a topic's requests: it is the one that binds a name.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::follower::Follower;
use super::leader::Leader;
use super::protocol::Demand;
use super::socket::{self, UnboundSocket};
use crate::clock::BootInstant;
use crate::state::user::effective_uid;

/// The most leaders of a user for one topic. All but the newest are stopped, or hang.
const GENERATIONS: usize = 4;

/// How often to try, while leaders come and go.
const MAX_ATTEMPTS: u32 = 20;

/// How long to wait for full queues. Any user can bind a name and accept no connection.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(250);

/// For how long a leader is skipped. It may only have been busy.
const SKIP_TIME: Duration = Duration::from_secs(60);

/// How often a process may close the connection without a response before it is skipped.
const MAX_DISCONNECTS: u32 = 3;

/// The role of a process in a topic.
pub enum Role {
    /// It sends the requests.
    Leader(Leader),
    /// It receives the leader's responses.
    Follower(Follower),
    /// Nothing can be shared: it sends its own requests.
    Solo,
}

/// The elections of one topic, as one process sees them.
pub struct Election {
    topic: u64,
    uid: u32,
    /// Leaders of this user that are not followed.
    own_skips: Skips,
    /// Root's leaders that are not followed.
    root_skips: Skips,
    /// The process that last closed a connection without a response, and how often it did so.
    disconnects: (i32, u32),
}

/// Which generations of one user's leaders are skipped.
#[derive(Clone, Copy, Debug, Default)]
struct Skips {
    /// All generations below this one, until that time: a leader was silent.
    below: (usize, BootInstant),
    /// Each generation until its time here: its queue was full.
    full_until: [BootInstant; GENERATIONS],
}

impl Skips {
    /// The oldest generation that is not skipped because of a silent leader.
    fn first(&self, now: BootInstant) -> usize {
        let (generation, until) = self.below;
        if now < until { generation } else { 0 }
    }

    fn skips(&self, generation: usize, now: BootInstant) -> bool {
        generation < self.first(now) || now < self.full_until[generation]
    }

    fn skip_through(&mut self, generation: usize, now: BootInstant) {
        self.below = (self.first(now).max(generation + 1), now + SKIP_TIME);
    }
}

/// One search for a leader.
struct Search {
    /// What this process needs of a leader.
    demand: Demand,
    /// How long to wait for a leader's full queue.
    give_up: BootInstant,
    /// The socket of all attempts to connect or bind.
    socket: UnboundSocket,
}

/// The result of an attempt to follow.
enum FollowAttempt {
    Following(Follower),
    /// The name is taken by a process that is not followed.
    Taken,
    Free,
}

impl Election {
    /// The elections of a topic.
    pub fn new(topic: u64) -> Election {
        Election {
            topic,
            uid: effective_uid().as_raw(),
            own_skips: Skips::default(),
            root_skips: Skips::default(),
            disconnects: (0, 0),
        }
    }

    /// Follows a leader or, where there is none to follow, becomes the leader.
    pub fn join(&mut self, demand: Demand, give_up: BootInstant) -> Role {
        let give_up = give_up.min(BootInstant::now() + QUEUE_TIMEOUT);
        for attempt in 0..MAX_ATTEMPTS {
            let search = Search { demand, give_up, socket: UnboundSocket::default() };
            match self.attempt(search) {
                Ok(role) => return role,
                Err(Errno::EADDRINUSE) => {}
                Err(err) => {
                    log::debug!("nothing can be shared with other processes: {err}");
                    break;
                }
            }
            // Another process has just bound the name, and is about to listen.
            thread::sleep(Duration::from_millis(attempt.into()));
        }
        Role::Solo
    }

    /// Tries to bind the first name before it looks for a leader of this user, because most often
    /// there is none, and looking takes an attempt to connect for each generation. So it overlooks
    /// a leader of a newer generation if the older one, which was skipped, has ended since. That
    /// costs one request: a subscription finds the newer leader before its next request
    /// ([`Election::newer_leader`]).
    ///
    /// # Errors
    /// No name can be bound; `EADDRINUSE` if another process was faster.
    fn attempt(&mut self, mut search: Search) -> Result<Role, Errno> {
        if let Some(follower) = self.follow_root(&mut search) {
            return Ok(Role::Follower(follower));
        }
        let first = self.own_skips.first(BootInstant::now());
        if first == GENERATIONS {
            return Ok(Role::Solo);
        }
        match self.lead(first, &mut search.socket) {
            Err(Errno::EADDRINUSE) => {}
            led => return led.map(Role::Leader),
        }
        let mut taken = [false; GENERATIONS];
        if let Some(follower) = self.follow_own(&mut search, first, &mut taken) {
            return Ok(Role::Follower(follower));
        }
        match (first..GENERATIONS).find(|&generation| !taken[generation]) {
            Some(free) => self.lead(free, &mut search.socket).map(Role::Leader),
            None => Ok(Role::Solo),
        }
    }

    /// Follows a leader of a newer generation than `leader`, if there is one. A full leader keeps
    /// its role: the newer one leads the processes that were refused here, and has no room for all
    /// followers of this one too. Those would send requests of their own.
    pub fn newer_leader(
        &mut self,
        leader: &Leader,
        demand: Demand,
        deadline: BootInstant,
    ) -> Option<Follower> {
        if !leader.has_room() {
            return None;
        }
        let give_up = deadline.min(BootInstant::now() + QUEUE_TIMEOUT / 2);
        let mut search = Search { demand, give_up, socket: UnboundSocket::default() };
        self.follow_root(&mut search).or_else(|| {
            self.follow_own(&mut search, leader.generation() + 1, &mut [false; GENERATIONS])
        })
    }

    /// Skips a leader that is silent.
    pub fn skip(&mut self, follower: &Follower) {
        let skips =
            if follower.uid() == self.uid { &mut self.own_skips } else { &mut self.root_skips };
        skips.skip_through(follower.generation(), BootInstant::now());
    }

    /// Records that a leader closed the connection without a response. One that does so repeatedly
    /// is skipped.
    pub fn disconnected(&mut self, follower: &Follower) {
        let (pid, count) = self.disconnects;
        let count = if pid == follower.pid() { count + 1 } else { 1 };
        self.disconnects = (follower.pid(), count);
        if count >= MAX_DISCONNECTS {
            self.skip(follower);
        }
    }

    /// Follows root's leader, the newest one; root's own processes do not look for it here.
    fn follow_root(&mut self, search: &mut Search) -> Option<Follower> {
        if self.uid == 0 {
            return None;
        }
        (0..GENERATIONS).rev().find_map(|generation| match self.try_follow(0, generation, search) {
            FollowAttempt::Following(follower) => Some(follower),
            FollowAttempt::Taken | FollowAttempt::Free => None,
        })
    }

    /// Follows a leader of this user from generation `first` on; the newest first.
    fn follow_own(
        &mut self,
        search: &mut Search,
        first: usize,
        taken: &mut [bool; GENERATIONS],
    ) -> Option<Follower> {
        for generation in (first..GENERATIONS).rev() {
            match self.try_follow(self.uid, generation, search) {
                FollowAttempt::Following(follower) => return Some(follower),
                FollowAttempt::Taken => taken[generation] = true,
                FollowAttempt::Free => {}
            }
        }
        None
    }

    fn try_follow(&mut self, uid: u32, generation: usize, search: &mut Search) -> FollowAttempt {
        let skips = if uid == self.uid { &mut self.own_skips } else { &mut self.root_skips };
        let now = BootInstant::now();
        if skips.skips(generation, now) {
            return FollowAttempt::Taken;
        }
        let connected = socket::address(uid, generation, self.topic)
            .and_then(|address| search.socket.connect(&address, search.give_up));
        match connected {
            Ok(stream) => introduce(stream, uid, generation, search.demand),
            Err(Errno::ECONNREFUSED) => FollowAttempt::Free,
            Err(Errno::EAGAIN) => {
                skips.full_until[generation] = now + SKIP_TIME;
                FollowAttempt::Taken
            }
            Err(_) => FollowAttempt::Taken,
        }
    }

    fn lead(&self, generation: usize, socket: &mut UnboundSocket) -> Result<Leader, Errno> {
        let listener = socket.listen(&socket::address(self.uid, generation, self.topic)?)?;
        Ok(Leader::new(listener, self.uid, generation))
    }
}

/// Sends the demand to a leader, if that is trusted and not stopped.
fn introduce(mut stream: UnixStream, uid: u32, generation: usize, demand: Demand) -> FollowAttempt {
    let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else {
        return FollowAttempt::Taken;
    };
    if peer.uid() != uid || is_stopped(peer.pid()) {
        return FollowAttempt::Taken;
    }
    match stream.write_all(&demand.encode()) {
        Ok(()) => FollowAttempt::Following(Follower::new(stream, uid, generation, peer.pid())),
        // The leader has just ended.
        Err(_) => FollowAttempt::Free,
    }
}

/// Whether a process is stopped, as far as this one can tell. Source: proc_pid_stat(5).
fn is_stopped(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

#[cfg(test)]
mod tests {
    use super::super::leader::MAX_FOLLOWERS;
    use super::super::response::{Event, Response};
    use super::*;
    use crate::clock::random_unit;
    use crate::model::{Format, Operation};

    const ONE_RESPONSE: Demand = Demand { interval: None, reserved: 0, is_new: true };

    fn topic() -> u64 {
        (random_unit() * u64::MAX as f64) as u64
    }

    fn soon() -> BootInstant {
        BootInstant::now() + Duration::from_secs(30)
    }

    fn leader_of(role: Role) -> Leader {
        match role {
            Role::Leader(leader) => leader,
            _ => panic!("not a leader"),
        }
    }

    fn follower_of(role: Role) -> Follower {
        match role {
            Role::Follower(follower) => follower,
            _ => panic!("not a follower"),
        }
    }

    fn response() -> Response {
        Response {
            operation: Operation::Status,
            format: Format::Text,
            asked: BootInstant::now(),
            reply: Ok((200, b"DEPLOYED".to_vec())),
        }
    }

    #[test]
    fn the_first_leads_and_the_others_receive_its_response() {
        let topic = topic();
        let mut leader = leader_of(Election::new(topic).join(ONE_RESPONSE, soon()));
        let mut follower = follower_of(Election::new(topic).join(ONE_RESPONSE, soon()));
        leader.accept(soon());
        let sent = response();
        leader.publish(&sent, 0);
        let Event::Response(received) = follower.wait(soon(), None) else { panic!("no response") };
        assert_eq!(received, sent);
        assert!(matches!(follower.wait(soon(), None), Event::Disconnected));
    }

    #[test]
    fn when_the_leader_ends_a_follower_takes_its_name() {
        let topic = topic();
        let leader = leader_of(Election::new(topic).join(ONE_RESPONSE, soon()));
        let mut election = Election::new(topic);
        let mut follower = follower_of(election.join(ONE_RESPONSE, soon()));
        drop(leader);
        assert!(matches!(follower.wait(soon(), None), Event::Disconnected));
        election.disconnected(&follower);
        assert_eq!(leader_of(election.join(ONE_RESPONSE, soon())).generation(), 0);
    }

    #[test]
    fn a_silent_leader_is_skipped_and_follows_the_newer_one() {
        let topic = topic();
        let mut silent = Election::new(topic);
        let leader = leader_of(silent.join(ONE_RESPONSE, soon()));
        let mut election = Election::new(topic);
        let follower = follower_of(election.join(ONE_RESPONSE, soon()));
        election.skip(&follower);
        let newer = leader_of(election.join(ONE_RESPONSE, soon()));
        assert_eq!(newer.generation(), 1);
        // New processes follow the newest leader, and so does the silent one when it is back.
        assert_eq!(follower_of(Election::new(topic).join(ONE_RESPONSE, soon())).generation(), 1);
        let followed = silent.newer_leader(&leader, ONE_RESPONSE, soon());
        assert_eq!(followed.map(|follower| follower.generation()), Some(1));
    }

    #[test]
    fn a_new_leader_finds_a_newer_one_that_has_survived_the_first() {
        let topic = topic();
        let first = leader_of(Election::new(topic).join(ONE_RESPONSE, soon()));
        let mut other = Election::new(topic);
        let follower = follower_of(other.join(ONE_RESPONSE, soon()));
        other.skip(&follower);
        let _newer = leader_of(other.join(ONE_RESPONSE, soon()));
        drop(first);
        let mut election = Election::new(topic);
        let leader = leader_of(election.join(ONE_RESPONSE, soon()));
        assert_eq!(leader.generation(), 0);
        let followed = election.newer_leader(&leader, ONE_RESPONSE, soon());
        assert_eq!(followed.map(|follower| follower.generation()), Some(1));
    }

    /// The leaders of 1,000 waits gave way to newer ones, until the last generation was full and
    /// all others sent requests of their own.
    #[test]
    fn a_full_leader_does_not_follow_a_newer_one() {
        let topic = topic();
        let mut election = Election::new(topic);
        let mut leader = leader_of(election.join(ONE_RESPONSE, soon()));
        let mut followers: Vec<_> = (0..MAX_FOLLOWERS)
            .map(|_| follower_of(Election::new(topic).join(ONE_RESPONSE, soon())))
            .collect();
        let mut refused = Election::new(topic);
        refused.skip(&followers[0]);
        let _newer = leader_of(refused.join(ONE_RESPONSE, soon()));
        while leader.has_room() {
            leader.poll_followers(soon(), None);
        }
        assert!(election.newer_leader(&leader, ONE_RESPONSE, soon()).is_none());
        followers.pop();
        while !leader.has_room() {
            leader.poll_followers(soon(), None);
        }
        assert!(election.newer_leader(&leader, ONE_RESPONSE, soon()).is_some());
    }

    #[test]
    fn a_leader_that_disconnects_three_times_is_skipped() {
        let topic = topic();
        let _leader = leader_of(Election::new(topic).join(ONE_RESPONSE, soon()));
        let mut election = Election::new(topic);
        for _ in 0..MAX_DISCONNECTS {
            let follower = follower_of(election.join(ONE_RESPONSE, soon()));
            assert_eq!(follower.generation(), 0);
            election.disconnected(&follower);
        }
        assert_eq!(leader_of(election.join(ONE_RESPONSE, soon())).generation(), 1);
    }

    /// A squatter that accepts no connection cost a second for every request.
    #[test]
    fn a_full_queue_is_waited_for_once() {
        let topic = topic();
        let uid = effective_uid().as_raw();
        let taken: Vec<_> = (0..GENERATIONS)
            .map(|generation| {
                let address = socket::address(uid, generation, topic).unwrap();
                let listener = UnboundSocket::default().listen(&address).unwrap();
                nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap())
                    .unwrap();
                let waiting: Vec<_> = (0..2)
                    .map(|_| UnboundSocket::default().connect(&address, BootInstant::now()))
                    .collect();
                (listener, waiting)
            })
            .collect();
        let mut election = Election::new(topic);
        assert!(matches!(election.join(ONE_RESPONSE, soon()), Role::Solo));
        let now = BootInstant::now();
        assert!((0..GENERATIONS).all(|generation| election.own_skips.skips(generation, now)));
        drop(taken);
    }
}
