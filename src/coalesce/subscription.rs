//! A subscription: a wait needs a response every so often until it ends.

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use super::demand::DueTimes;
use super::election::{Election, Role};
use super::leader::Leader;
use super::one_shot::{OneShot, one_shot};
use super::protocol::Subscribe;
use super::response::{Event, Response};
use super::send::{GRACE, RequestSender, send};
use super::socket::poll_timeout;
use crate::api::request::{Failure, Request};
use crate::clock::{BootInstant, random_unit};
use crate::model::{Format, Operation};
use crate::ratelimit::{MAX_REQUEST_TIME, MIN_INTERVAL, RESERVED_PERMITS};

/// How long a follower waits for the details, which its leader asks for when the status changes.
const DETAILS_TIMEOUT: Duration = Duration::from_secs(2);

/// By which part of the interval a leader is late at most, so that servers that boot together do
/// not ask together.
const MAX_JITTER: f64 = 0.1;

/// How soon after a failure a request is sent for followers that need a response at once.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What a subscription asks for.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionConfig {
    /// The operation.
    pub operation: Operation,
    /// Its format.
    pub format: Format,
    /// How often a response is needed at least.
    pub interval: Duration,
    /// When the subscription ends, if ever.
    pub end: Option<BootInstant>,
    /// Whether a person watches, for whom a follower asks for details itself.
    pub is_watched: bool,
}

/// A request that is due now.
#[derive(Clone, Copy)]
struct Due {
    operation: Operation,
    format: Format,
    deadline: BootInstant,
}

/// A subscription to a topic.
pub struct Subscription<R> {
    sender: R,
    config: SubscriptionConfig,
    subscribe: Subscribe,
    election: Election,
    role: Option<Role>,
    /// When the last request was sent, by any process.
    last_asked: Option<BootInstant>,
    /// When the rate limit allows the next request that leaves the reserve, and the response that
    /// said so.
    not_before: BootInstant,
    limit: Option<Response>,
    /// When to send a request for followers that need a response at once.
    at_once: BootInstant,
    /// How much longer than the interval this leader waits, as a part of it.
    jitter: f64,
}

impl<R: RequestSender> Subscription<R> {
    /// A subscription that has no role yet.
    pub fn new(sender: R, config: SubscriptionConfig) -> Subscription<R> {
        let election = Election::new(sender.topic(config.operation, config.format));
        Subscription {
            sender,
            config,
            subscribe: Subscribe {
                interval: Some(config.interval),
                reserved: RESERVED_PERMITS,
                is_new: true,
            },
            election,
            role: None,
            last_asked: None,
            not_before: BootInstant::default(),
            limit: None,
            at_once: BootInstant::default(),
            jitter: 0.0,
        }
    }

    /// What sends the requests.
    pub fn sender(&self) -> &R {
        &self.sender
    }

    /// Changes how often a response is needed. A follower says so by connecting again.
    pub fn set_interval(&mut self, interval: Duration) {
        if self.subscribe.interval != Some(interval) {
            self.subscribe.interval = Some(interval);
            self.role.take_if(|role| matches!(role, Role::Follower(_)));
        }
    }

    /// Sleeps until then, until there is a response, or until `wake` can be read.
    pub fn rest(&mut self, until: BootInstant, wake: Option<BorrowedFd<'_>>) -> Event {
        loop {
            let event = match self.role(until) {
                Role::Solo => Some(sleep(until, wake)),
                Role::Follower(follower) => match follower.wait(until, wake) {
                    Event::Disconnected => {
                        self.rejoin();
                        None
                    }
                    event => Some(event),
                },
                Role::Leader(_) => self.rest_as_leader(until, wake),
            };
            match event {
                Some(Event::Response(response)) => return Event::Response(self.note(response)),
                Some(event) => return event,
                None => {}
            }
        }
    }

    /// Sends the request when it is due, and serves followers in between. None: nothing happened
    /// yet.
    fn rest_as_leader(
        &mut self,
        until: BootInstant,
        wake: Option<BorrowedFd<'_>>,
    ) -> Option<Event> {
        let now = BootInstant::now();
        let due = self.due();
        let longest = now + MAX_REQUEST_TIME;
        let end = self.config.end.map_or(longest, |end| end.min(longest));
        if now < end && due.is_some_and(|due| due <= now) {
            return Some(Event::Response(self.send(end)));
        }
        if until <= now {
            return Some(Event::Timeout);
        }
        let Some(Role::Leader(leader)) = &mut self.role else { return None };
        let wakes = leader.poll_followers(due.map_or(until, |due| due.min(until)), wake);
        if let Some(limit) = self.limit.as_ref().filter(|_| BootInstant::now() < self.not_before) {
            leader.publish_limit(limit);
        }
        wakes.then_some(Event::Wake)
    }

    /// Asks, or waits for the response to the leader's request. The response need not be to what
    /// was asked for.
    pub fn ask(&mut self, operation: Operation, format: Format, deadline: BootInstant) -> Response {
        let due = Due { operation, format, deadline };
        let is_topic = operation == self.config.operation;
        loop {
            let now = BootInstant::now();
            let give_up = deadline.min(self.leader_timeout(operation, now));
            let response = match self.role(give_up) {
                Role::Follower(_) => self.ask_leader(due, now, give_up),
                Role::Leader(_) | Role::Solo if !is_topic => Some(self.ask_besides(due)),
                Role::Leader(_) | Role::Solo => match self.follows_newer_leader(deadline) {
                    true => None,
                    false => Some(self.send(deadline)),
                },
            };
            if let Some(response) = response {
                return self.note(response);
            }
        }
    }

    /// Waits for the leader's response; none if another leader is needed.
    fn ask_leader(
        &mut self,
        due: Due,
        asked: BootInstant,
        give_up: BootInstant,
    ) -> Option<Response> {
        let is_first = self.subscribe.is_new && due.operation == self.config.operation;
        // By the time the leader asks again, the wait may be over.
        if is_first && due.deadline <= asked + 2 * MIN_INTERVAL {
            return Some(self.one_shot(due));
        }
        let Some(Role::Follower(follower)) = &mut self.role else { return None };
        match follower.wait(give_up, None) {
            Event::Response(response) => Some(response),
            Event::Disconnected => {
                self.rejoin();
                None
            }
            Event::Timeout | Event::Wake => self.leader_is_silent(due, asked),
        }
    }

    /// What to do about a leader that did not respond in time: nothing if the details are not
    /// needed or the time is over, ask without it if a person watches, else elect another one.
    fn leader_is_silent(&mut self, due: Due, asked: BootInstant) -> Option<Response> {
        let is_late = BootInstant::now() >= due.deadline;
        let is_details = due.operation == Operation::Details;
        if is_details && self.config.is_watched && !is_late {
            return Some(self.one_shot(due));
        }
        if is_details || is_late {
            return Some(Response::leader_silent(due.operation, due.format, asked));
        }
        if let Some(Role::Follower(follower)) = self.role.take() {
            log::debug!("the leader, process {}, is silent: skipping it", follower.pid());
            self.election.skip(&follower);
        }
        None
    }

    /// Asks for something else than the topic, and publishes it to the subscriptions.
    fn ask_besides(&mut self, due: Due) -> Response {
        let response = self.one_shot(due);
        if let Some(Role::Leader(leader)) = &mut self.role {
            leader.publish_to_subscriptions(&response);
        }
        response
    }

    fn one_shot(&self, due: Due) -> Response {
        let ask = OneShot {
            operation: due.operation,
            format: due.format,
            reserved: RESERVED_PERMITS,
            request_deadline: &|_| due.deadline,
            end: due.deadline,
        };
        one_shot(&self.sender, &ask)
    }

    /// Becomes a follower if there is a leader of a newer generation.
    fn follows_newer_leader(&mut self, deadline: BootInstant) -> bool {
        let Some(Role::Leader(leader)) = &self.role else { return false };
        match self.election.newer_leader(leader, self.subscribe, deadline) {
            Some(follower) => {
                self.role = Some(Role::Follower(follower));
                true
            }
            None => false,
        }
    }

    /// The role, after an election if there is none yet.
    fn role(&mut self, give_up: BootInstant) -> &mut Role {
        let (election, subscribe) = (&mut self.election, self.subscribe);
        self.role.get_or_insert_with(|| election.join(subscribe, give_up))
    }

    fn rejoin(&mut self) {
        if let Some(Role::Follower(follower)) = self.role.take() {
            self.election.disconnected(&follower);
        }
    }

    fn due(&self) -> Option<BootInstant> {
        let Some(Role::Leader(leader)) = &self.role else { return None };
        leader.due(DueTimes {
            last: self.last_asked,
            at_once: self.at_once,
            not_before: self.not_before,
            stretch: 1.0 + self.jitter,
        })
    }

    /// Sends the topic's request: as the leader for all, or solo, and then tries to join again.
    fn send(&mut self, deadline: BootInstant) -> Response {
        let leader: Option<Leader> = match self.role.take() {
            Some(Role::Leader(leader)) => Some(leader),
            _ => None,
        };
        let reserved =
            leader.as_ref().map_or(RESERVED_PERMITS, |leader| leader.reserved(RESERVED_PERMITS));
        let SubscriptionConfig { operation, format, .. } = self.config;
        let request = Request { operation, format, deadline, reserved };
        let (response, leader) = send(&self.sender, request, leader);
        if let Some(mut leader) = leader {
            leader.publish(&response, reserved);
            self.role = Some(Role::Leader(leader));
        }
        self.sender.note(&response);
        // After a failure, not at once: followers that connect again and again would keep every
        // process busy. After a response there is no reason to wait.
        self.at_once = match response.reply {
            Ok(_) => BootInstant::default(),
            Err(_) => response.asked + RETRY_DELAY,
        };
        response
    }

    /// Takes note of a response to the topic's request.
    fn note(&mut self, response: Response) -> Response {
        let topic = (self.config.operation, self.config.format);
        if (response.operation, response.format) != topic {
            return response;
        }
        match response.reply {
            // Nothing was sent, or it is to be sent again.
            Err(Failure::RateLimited { until, .. }) => {
                self.not_before = until;
                self.limit = Some(response.clone());
            }
            _ => {
                self.last_asked = Some(response.asked);
                self.subscribe.is_new = false;
                self.jitter = MAX_JITTER * random_unit();
            }
        }
        response
    }

    /// Until when a leader may be silent if a response is needed from `now` on.
    fn leader_timeout(&self, operation: Operation, now: BootInstant) -> BootInstant {
        if operation == Operation::Details {
            return now + DETAILS_TIMEOUT;
        }
        let interval = self.subscribe.interval.unwrap_or_default();
        let first = match self.subscribe.is_new {
            true => MIN_INTERVAL.mul_f64(1.0 + MAX_JITTER),
            false => Duration::ZERO,
        };
        let lateness = GRACE.max(interval.mul_f64(2.0 * MAX_JITTER));
        now.max(self.not_before) + self.sender.request_timeout() + first + lateness
    }
}

/// Sleeps without a leader or followers.
fn sleep(until: BootInstant, wake: Option<BorrowedFd<'_>>) -> Event {
    let Some(wake) = wake else {
        thread::sleep(until.since(BootInstant::now()));
        return Event::Timeout;
    };
    let mut files = [PollFd::new(wake, PollFlags::POLLIN)];
    match poll(&mut files, poll_timeout(until)) {
        Ok(1..) => Event::Wake,
        _ => Event::Timeout,
    }
}
