//! One response as soon as possible: to a request of this process, or to another process's request
//! that has not been sent yet.

use super::election::{Election, Role};
use super::follower::Follower;
use super::protocol::Demand;
use super::response::{Event, Response};
use super::send::{GRACE, RequestSender, send};
use crate::api::request::Request;
use crate::clock::BootInstant;
use crate::model::{Format, Operation};

/// A one-shot request.
pub struct OneShot<'a> {
    /// The operation.
    pub operation: Operation,
    /// Its format.
    pub format: Format,
    /// How many permits of the rate limit are left to others.
    pub reserved: usize,
    /// The deadline of a request that this process sends, by the time at which it begins.
    pub request_deadline: &'a dyn Fn(BootInstant) -> BootInstant,
    /// When to stop waiting for another process.
    pub end: BootInstant,
}

/// Gets one response as soon as possible.
pub fn one_shot(sender: &dyn RequestSender, ask: &OneShot) -> Response {
    let mut election = Election::new(sender.topic(ask.operation, ask.format));
    let demand = Demand { interval: None, reserved: ask.reserved, is_new: true };
    let leader_timeout = sender.request_timeout() + GRACE;
    loop {
        let give_up = ask.end.min(BootInstant::now() + leader_timeout);
        match election.join(demand, give_up) {
            Role::Leader(leader) => {
                let (response, leader) = send(sender, own_request(ask), Some(leader));
                if let Some(mut leader) = leader {
                    leader.publish(&response, ask.reserved);
                }
                sender.record(&response, ask.end);
                return response;
            }
            Role::Solo => {
                let (response, _) = send(sender, own_request(ask), None);
                sender.record(&response, ask.end);
                return response;
            }
            Role::Follower(mut follower) => {
                let give_up = ask.end.min(BootInstant::now() + leader_timeout);
                if let Some(response) = follow(&mut election, &mut follower, ask, give_up) {
                    return response;
                }
            }
        }
    }
}

fn own_request(ask: &OneShot) -> Request {
    Request {
        operation: ask.operation,
        format: ask.format,
        deadline: (ask.request_deadline)(BootInstant::now()),
        reserved: ask.reserved,
    }
}

/// The leader's response; `None` if another leader is needed.
fn follow(
    election: &mut Election,
    follower: &mut Follower,
    ask: &OneShot,
    give_up: BootInstant,
) -> Option<Response> {
    loop {
        match follower.wait(give_up, None) {
            Event::Response(response)
                if (response.operation, response.format) == (ask.operation, ask.format) =>
            {
                return Some(response);
            }
            Event::Response(_) => {}
            Event::Disconnected => {
                election.disconnected(follower);
                return None;
            }
            Event::Timeout | Event::Wake => {
                let now = BootInstant::now();
                if now >= ask.end {
                    return Some(Response::leader_silent(ask.operation, ask.format, now));
                }
                log::debug!("the leader, process {}, is silent: skipping it", follower.pid());
                election.skip(follower);
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::api::request::{BeforeSend, Failure, Reply};
    use crate::clock::random_unit;

    /// Replies to every request with the same body, and records it.
    struct Script {
        topic: u64,
        sent: RefCell<Vec<Operation>>,
        recorded: RefCell<Vec<Response>>,
    }

    impl Script {
        fn new() -> Script {
            let topic = (random_unit() * u64::MAX as f64) as u64;
            Script { topic, sent: RefCell::default(), recorded: RefCell::default() }
        }
    }

    impl RequestSender for Script {
        fn topic(&self, _: Operation, _: Format) -> u64 {
            self.topic
        }

        fn request_timeout(&self) -> Duration {
            Duration::from_millis(10)
        }

        fn request(&self, request: Request, before_send: Option<BeforeSend>) -> Reply {
            if let Some(mut before_send) = before_send {
                before_send(request.deadline);
            }
            self.sent.borrow_mut().push(request.operation);
            Ok((200, b"DEPLOYED".to_vec()))
        }

        fn record(&self, response: &Response, _: BootInstant) {
            self.recorded.borrow_mut().push(response.clone());
        }
    }

    fn ask(end: BootInstant) -> OneShot<'static> {
        OneShot {
            operation: Operation::Status,
            format: Format::Text,
            reserved: 0,
            request_deadline: &|now| now + Duration::from_secs(30),
            end,
        }
    }

    #[test]
    fn a_solo_process_sends_its_request_and_records_the_response() {
        let script = Script::new();
        let response = one_shot(&script, &ask(BootInstant::now() + Duration::from_secs(30)));
        assert_eq!(response.reply, Ok((200, b"DEPLOYED".to_vec())));
        assert_eq!(*script.sent.borrow(), [Operation::Status]);
        assert_eq!(*script.recorded.borrow(), [response]);
    }

    #[test]
    fn behind_a_silent_leader_it_sends_the_request_itself() {
        let script = Script::new();
        let demand = Demand { interval: None, reserved: 0, is_new: true };
        let end = BootInstant::now() + Duration::from_secs(60);
        let Role::Leader(_silent) = Election::new(script.topic).join(demand, end) else {
            panic!("not a leader")
        };
        let response = one_shot(&script, &ask(end));
        assert_eq!(response.reply, Ok((200, b"DEPLOYED".to_vec())));
        assert_eq!(*script.sent.borrow(), [Operation::Status]);
    }

    #[test]
    fn behind_a_silent_leader_no_request_is_sent_at_the_deadline() {
        let script = Script::new();
        let demand = Demand { interval: None, reserved: 0, is_new: true };
        let far = BootInstant::now() + Duration::from_secs(60);
        let Role::Leader(_silent) = Election::new(script.topic).join(demand, far) else {
            panic!("not a leader")
        };
        let response = one_shot(&script, &ask(BootInstant::now() + Duration::from_millis(20)));
        assert_eq!(response.reply, Err(Failure::LeaderSilent));
        assert!(script.sent.borrow().is_empty());
    }
}
