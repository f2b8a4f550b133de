//! A subscription: a response at least once per interval, until a wait ends.

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use super::demand::RequestTimes;
use super::election::{Election, Role};
use super::leader::Leader;
use super::one_shot::{OneShot, one_shot};
use super::protocol::Demand;
use super::response::{Event, Response};
use super::send::{GRACE, RequestSender, send};
use crate::api::request::{Failure, Request};
use crate::clock::{BootInstant, random_unit};
use crate::model::{Format, Operation};
use crate::ratelimit::{MAX_REQUEST_TIME, MIN_INTERVAL, RESERVED_PERMITS};

/// How long a follower waits for the details, which its leader requests when the status changes.
const DETAILS_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest delay of a leader's request, as a part of the interval. Servers that boot at the
/// same time then do not send their requests at the same time.
const MAX_JITTER: f64 = 0.1;

/// How soon after a failure the next request is sent for one-shot followers.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The request of a subscription, and how often to send it.
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
    /// Whether a person watches. If so, a follower requests details itself if its leader does not.
    pub is_watched: bool,
}

/// A request that is due now.
#[derive(Clone, Copy)]
struct DueRequest {
    operation: Operation,
    format: Format,
    deadline: BootInstant,
}

/// A subscription to a topic.
pub struct Subscription<R> {
    sender: R,
    config: SubscriptionConfig,
    demand: Demand,
    election: Election,
    role: Option<Role>,
    /// When the last request was sent, by any process.
    last_asked: Option<BootInstant>,
    /// When the rate limit allows the next request that leaves the reserved permits, and the
    /// response with that limit.
    not_before: BootInstant,
    limit: Option<Response>,
    /// When to send a request for one-shot followers.
    at_once: BootInstant,
    /// The delay of this leader's next request, as a part of the interval.
    jitter: f64,
}

impl<R: RequestSender> Subscription<R> {
    /// A subscription that has no role yet.
    pub fn new(sender: R, config: SubscriptionConfig) -> Subscription<R> {
        let election = Election::new(sender.topic(config.operation, config.format));
        Subscription {
            sender,
            config,
            demand: Demand {
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

    /// The sender of its requests.
    pub fn sender(&self) -> &R {
        &self.sender
    }

    /// Changes how often a response is needed. A follower tells its leader by connecting again.
    pub fn set_interval(&mut self, interval: Duration) {
        if self.demand.interval != Some(interval) {
            self.demand.interval = Some(interval);
            self.role.take_if(|role| matches!(role, Role::Follower(_)));
        }
    }

    /// Sleeps until there is a response or `wake` is readable, until `until` at most.
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
                Some(Event::Response(response)) => return Event::Response(self.observe(response)),
                Some(event) => return event,
                None => {}
            }
        }
    }

    /// Sends the request when it is due, and serves followers in between. `None` if nothing has
    /// happened yet.
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

    /// Sends a request, or waits for the response to the leader's request. The response may be to
    /// another request of the subscription.
    pub fn ask(&mut self, operation: Operation, format: Format, deadline: BootInstant) -> Response {
        let due = DueRequest { operation, format, deadline };
        let is_topic = operation == self.config.operation;
        loop {
            let now = BootInstant::now();
            let give_up = deadline.min(self.leader_timeout(operation, now));
            let response = match self.role(give_up) {
                Role::Follower(_) => self.ask_leader(due, now, give_up),
                Role::Leader(_) | Role::Solo if !is_topic => Some(self.ask_beside_topic(due)),
                Role::Leader(_) | Role::Solo => {
                    if self.follows_newer_leader(deadline) {
                        None
                    } else {
                        Some(self.send(deadline))
                    }
                }
            };
            if let Some(response) = response {
                return self.observe(response);
            }
        }
    }

    /// Waits for the leader's response; `None` if another leader is needed.
    fn ask_leader(
        &mut self,
        due: DueRequest,
        asked: BootInstant,
        give_up: BootInstant,
    ) -> Option<Response> {
        let is_first = self.demand.is_new && due.operation == self.config.operation;
        // By the time of the leader's next request, the wait may be over.
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

    /// Handles a leader that did not respond in time. Details for a person who watches are
    /// requested without it. Other details are not needed. Otherwise another leader is elected,
    /// unless the deadline has passed.
    fn leader_is_silent(&mut self, due: DueRequest, asked: BootInstant) -> Option<Response> {
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

    /// Sends a request outside the topic, and publishes the response to the subscriptions.
    fn ask_beside_topic(&mut self, due: DueRequest) -> Response {
        let response = self.one_shot(due);
        if let Some(Role::Leader(leader)) = &mut self.role {
            leader.publish_to_subscriptions(&response);
        }
        response
    }

    fn one_shot(&self, due: DueRequest) -> Response {
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
        match self.election.newer_leader(leader, self.demand, deadline) {
            Some(follower) => {
                self.role = Some(Role::Follower(follower));
                true
            }
            None => false,
        }
    }

    /// The role, after an election if there is none yet.
    fn role(&mut self, give_up: BootInstant) -> &mut Role {
        let (election, demand) = (&mut self.election, self.demand);
        self.role.get_or_insert_with(|| election.join(demand, give_up))
    }

    fn rejoin(&mut self) {
        if let Some(Role::Follower(follower)) = self.role.take() {
            self.election.disconnected(&follower);
        }
    }

    fn due(&self) -> Option<BootInstant> {
        let Some(Role::Leader(leader)) = &self.role else { return None };
        leader.due(RequestTimes {
            last: self.last_asked,
            at_once: self.at_once,
            not_before: self.not_before,
            stretch: 1.0 + self.jitter,
        })
    }

    /// Sends the topic's request: as the leader for all or, without a leader, solo. A solo process
    /// then tries to join again.
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
        self.sender.record(&response, deadline);
        // After a failure with a delay: followers that connect again and again would keep every
        // process busy. After a response there is no reason to wait.
        self.at_once = match response.reply {
            Ok(_) => BootInstant::default(),
            Err(_) => response.asked + RETRY_DELAY,
        };
        response
    }

    /// Learns from a response to the topic's request when the next one may be sent.
    fn observe(&mut self, response: Response) -> Response {
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
                self.demand.is_new = false;
                self.jitter = MAX_JITTER * random_unit();
            }
        }
        response
    }

    /// When a leader counts as silent if a response is needed from `now` on.
    fn leader_timeout(&self, operation: Operation, now: BootInstant) -> BootInstant {
        if operation == Operation::Details {
            return now + DETAILS_TIMEOUT;
        }
        let interval = self.demand.interval.unwrap_or_default();
        let first = if self.demand.is_new {
            MIN_INTERVAL.mul_f64(1.0 + MAX_JITTER)
        } else {
            Duration::ZERO
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
    match poll(&mut files, until.poll_timeout()) {
        Ok(1..) => Event::Wake,
        _ => Event::Timeout,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::api::request::{BeforeSend, Reply};
    use crate::ratelimit::LimitCause;

    /// Sends nothing: returns its replies in turn, and repeats the last one.
    #[derive(Clone)]
    struct Script {
        topic: u64,
        replies: Rc<RefCell<Vec<Reply>>>,
        sent: Rc<RefCell<Vec<Operation>>>,
    }

    impl Script {
        fn new(topic: u64, replies: Vec<Reply>) -> Script {
            let replies = Rc::new(RefCell::new(replies));
            Script { topic, replies, sent: Rc::default() }
        }

        fn sent(&self) -> Vec<Operation> {
            self.sent.borrow().clone()
        }
    }

    impl RequestSender for Script {
        fn topic(&self, operation: Operation, _: Format) -> u64 {
            self.topic ^ operation as u64
        }

        fn request_timeout(&self) -> Duration {
            Duration::from_millis(50)
        }

        fn request(&self, request: Request, before_send: Option<BeforeSend>) -> Reply {
            if let Some(mut before_send) = before_send {
                before_send(request.deadline);
            }
            self.sent.borrow_mut().push(request.operation);
            let mut replies = self.replies.borrow_mut();
            if replies.len() > 1 { replies.remove(0) } else { replies[0].clone() }
        }

        fn record(&self, _: &Response, _: BootInstant) {}
    }

    fn status(word: &str) -> Reply {
        Ok((200, word.as_bytes().to_vec()))
    }

    fn topic() -> u64 {
        (random_unit() * u64::MAX as f64) as u64 & !7
    }

    fn soon() -> BootInstant {
        BootInstant::now() + Duration::from_secs(60)
    }

    fn subscription(script: &Script) -> Subscription<Script> {
        let config = SubscriptionConfig {
            operation: Operation::Status,
            format: Format::Text,
            interval: Duration::from_secs(5),
            end: None,
            is_watched: false,
        };
        Subscription::new(script.clone(), config)
    }

    fn ask(subscription: &mut Subscription<Script>, operation: Operation) -> Response {
        subscription.ask(operation, Format::Text, soon())
    }

    #[test]
    fn the_leader_sends_the_request_and_the_follower_receives_the_response() {
        let topic = topic();
        let leader_script = Script::new(topic, vec![status("DEPLOYING")]);
        let follower_script = Script::new(topic, vec![status("not asked")]);
        let mut leader = subscription(&leader_script);
        assert_eq!(ask(&mut leader, Operation::Status).reply, status("DEPLOYING"));
        let mut follower = subscription(&follower_script);
        // Connects, and finds no response yet.
        let now = BootInstant::now();
        assert!(matches!(follower.rest(now, None), Event::Timeout));
        // A new subscriber has its response as soon as the shortest interval allows.
        let Event::Response(response) = leader.rest(soon(), None) else { panic!("no response") };
        assert_eq!(response.reply, status("DEPLOYING"));
        assert_eq!(ask(&mut follower, Operation::Status).reply, status("DEPLOYING"));
        assert_eq!(leader_script.sent().len(), 2);
        assert!(follower_script.sent().is_empty());
    }

    #[test]
    fn a_leader_publishes_what_it_asks_besides_its_topic() {
        let topic = topic();
        let leader_script = Script::new(topic, vec![status("DEPLOYING"), status("tasks")]);
        let mut leader = subscription(&leader_script);
        let mut follower = subscription(&Script::new(topic, vec![status("not asked")]));
        ask(&mut leader, Operation::Status);
        assert!(matches!(follower.rest(BootInstant::now(), None), Event::Timeout));
        let Some(Role::Leader(role)) = &mut leader.role else { panic!("not a leader") };
        role.poll_followers(soon(), None);
        ask(&mut leader, Operation::Details);
        let response = ask(&mut follower, Operation::Details);
        assert_eq!((response.operation, response.reply), (Operation::Details, status("tasks")));
        assert_eq!(leader_script.sent(), [Operation::Status, Operation::Details]);
    }

    #[test]
    fn a_rate_limit_holds_the_subscription_until_it_allows_a_request() {
        let until = BootInstant::now() + Duration::from_secs(600);
        let limited = Err(Failure::RateLimited { until, cause: LimitCause::UsedUp });
        let script = Script::new(topic(), vec![limited.clone()]);
        let mut subscription = subscription(&script);
        assert_eq!(ask(&mut subscription, Operation::Status).reply, limited);
        assert_eq!(subscription.not_before, until);
        assert!(subscription.demand.is_new, "it has had no response yet");
    }

    #[test]
    fn behind_a_silent_leader_a_subscription_leads_the_next_generation() {
        let topic = topic();
        let mut silent = subscription(&Script::new(topic, vec![status("DEPLOYING")]));
        ask(&mut silent, Operation::Status);
        let script = Script::new(topic, vec![status("DEPLOYED")]);
        let mut subscription = subscription(&script);
        subscription.demand.is_new = false;
        assert_eq!(ask(&mut subscription, Operation::Status).reply, status("DEPLOYED"));
        assert!(matches!(&subscription.role, Some(Role::Leader(_))));
        assert_eq!(script.sent(), [Operation::Status]);
    }
}
