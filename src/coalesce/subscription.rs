//! A question that stands: a wait's, which wants an answer every so often until it ends.

use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use super::election::{Question, Said, Seat, timeout};
use super::protocol::{Heard, Wish};
use super::{GRACE, ask_now};
use crate::api::client::{Client, Failure};
use crate::clock::{BootInstant, random_unit};
use crate::model::{Format, Operation};
use crate::ratelimit::MIN_INTERVAL;
use crate::ratelimit::{MAX_REQUEST_TIME as LONGEST, RESERVED_PERMITS as RESERVE};

/// How long a follower waits for what the leader asks besides the question.
const BESIDES: Duration = Duration::from_secs(2);

/// By which part of the interval a leader is late at most.
const JITTER: f64 = 0.1;

/// How long after a failure it is asked again for those who want an answer at once.
const PAUSE: Duration = Duration::from_millis(500);

/// A standing question.
pub struct Standing {
    client: Client,
    operation: Operation,
    format: Format,
    wish: Wish,
    question: Question,
    seat: Option<Seat>,
    /// When it was last asked, by whomever.
    asked: Option<BootInstant>,
    /// When the limit allows the next request that leaves the reserve.
    not_before: BootInstant,
    /// What said so.
    hold: Option<Heard>,
    /// When to ask for those who want an answer at once.
    at_once: BootInstant,
    /// When whoever asks it is not there any more, if ever.
    end: Option<BootInstant>,
    /// How much longer than wanted the leader waits, so that servers that boot together do not ask together.
    jitter: f64,
}

impl Standing {
    /// The question, to be answered at least every `every`, until `end` if there is one.
    pub fn new(
        client: Client,
        operation: Operation,
        format: Format,
        every: Duration,
        end: Option<BootInstant>,
    ) -> Standing {
        let question = client.question(operation, format);
        let wish = Wish { every: Some(every), reserve: RESERVE, is_new: true };
        Standing {
            client,
            operation,
            format,
            wish,
            question,
            seat: None,
            asked: None,
            not_before: BootInstant::default(),
            hold: None,
            at_once: BootInstant::default(),
            end,
            jitter: 0.0,
        }
    }

    /// From now on it is to be answered at least that often. A follower says so by coming anew.
    pub fn want(&mut self, every: Duration) {
        if self.wish.every != Some(every) {
            self.wish.every = Some(every);
            self.seat.take_if(|seat| matches!(seat, Seat::Follower(_)));
        }
    }

    /// Sleeps until then, or until something is heard, or until the bell can be read; nothing is heard then.
    pub fn rest(&mut self, until: BootInstant, bell: Option<BorrowedFd<'_>>) -> Option<Heard> {
        loop {
            let now = BootInstant::now();
            match self.seat(until) {
                Seat::Alone => {
                    match bell {
                        Some(bell) => {
                            let _ =
                                poll(&mut [PollFd::new(bell, PollFlags::POLLIN)], timeout(until));
                        }
                        None => thread::sleep(until.since(now)),
                    }
                    return None;
                }
                Seat::Follower(follower) => match follower.listen(until, bell) {
                    Said::Heard(heard) => return Some(self.note(heard)),
                    Said::Nothing | Said::Bell => return None,
                    Said::Gone => self.rejoin(),
                },
                Seat::Leader(_) => {
                    let due = self.due();
                    let end = self.end.map_or(now + LONGEST, |end| end.min(now + LONGEST));
                    if now < end && due.is_some_and(|due| due <= now) {
                        return Some(self.lead(end));
                    }
                    if until <= now {
                        return None;
                    }
                    let wake = due.map_or(until, |due| due.min(until));
                    if let Some(Seat::Leader(leader)) = &mut self.seat {
                        let rings = leader.attend(wake, bell);
                        if let Some(hold) =
                            self.hold.as_ref().filter(|_| BootInstant::now() < self.not_before)
                        {
                            leader.tell_newcomers(hold);
                        }
                        if rings {
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Asks, or hears what the leader asks. What is heard need not be what was to be asked. Details, which the leader
    /// asks for when something changes, are asked for here only if a person watches.
    pub fn ask(
        &mut self,
        operation: Operation,
        format: Format,
        deadline: BootInstant,
        watched: bool,
    ) -> Heard {
        let besides = operation != self.operation;
        loop {
            let now = BootInstant::now();
            let silent_from = now.max(self.not_before) + self.patience();
            let give_up = deadline.min(if operation == Operation::Details {
                now + BESIDES
            } else {
                silent_from
            });
            let (is_new, in_a_hurry) =
                (self.wish.is_new && !besides, deadline <= now + 2 * MIN_INTERVAL);
            match self.seat(give_up) {
                // By the time the leader asks again, the wait may be over.
                Seat::Follower(_) if is_new && in_a_hurry => {
                    let heard =
                        ask_now(&self.client, operation, format, RESERVE, &|_| deadline, deadline);
                    return self.note(heard);
                }
                Seat::Follower(follower) => match follower.listen(give_up, None) {
                    Said::Heard(heard) => return self.note(heard),
                    Said::Gone => self.rejoin(),
                    Said::Nothing
                        if operation == Operation::Details
                            && watched
                            && BootInstant::now() < deadline =>
                    {
                        return ask_now(
                            &self.client,
                            operation,
                            format,
                            RESERVE,
                            &|_| deadline,
                            deadline,
                        );
                    }
                    Said::Nothing
                        if operation == Operation::Details || BootInstant::now() >= deadline =>
                    {
                        return Heard {
                            operation,
                            format,
                            asked: now,
                            reply: Err(Failure::Unheard),
                        };
                    }
                    Said::Nothing | Said::Bell => {
                        log::debug!(
                            "process {} asks for all and is silent: asking here",
                            follower.pid()
                        );
                        if let Some(Seat::Follower(follower)) = self.seat.take() {
                            self.question.pass_over(&follower);
                        }
                    }
                },
                _ if besides => {
                    let heard =
                        ask_now(&self.client, operation, format, RESERVE, &|_| deadline, deadline);
                    if let Some(Seat::Leader(leader)) = &mut self.seat {
                        leader.tell_waits(&heard);
                    }
                    return heard;
                }
                _ => {
                    if let Some(Seat::Leader(leader)) = &self.seat
                        && let Some(follower) = self.question.better(leader, self.wish)
                    {
                        self.seat = Some(Seat::Follower(follower));
                        continue;
                    }
                    return self.lead(deadline);
                }
            }
        }
    }

    /// One's seat, taken first if there is none.
    fn seat(&mut self, give_up: BootInstant) -> &mut Seat {
        let (question, wish) = (&mut self.question, self.wish);
        self.seat.get_or_insert_with(|| question.join(wish, give_up))
    }

    fn rejoin(&mut self) {
        if let Some(Seat::Follower(follower)) = self.seat.take() {
            self.question.gone(&follower);
        }
    }

    fn due(&self) -> Option<BootInstant> {
        match &self.seat {
            Some(Seat::Leader(leader)) => {
                leader.due(self.asked, self.at_once, self.not_before, 1.0 + self.jitter)
            }
            _ => None,
        }
    }

    /// Asks for all (or, with no seat to be had, for oneself, and looks for one again).
    fn lead(&mut self, deadline: BootInstant) -> Heard {
        let mut leader = match self.seat.take() {
            Some(Seat::Leader(leader)) => Some(leader),
            _ => None,
        };
        let reserve = leader.as_ref().map_or(RESERVE, |leader| leader.reserve(RESERVE));
        let asked = BootInstant::now();
        let reply =
            self.client.request(self.operation, self.format, deadline, reserve, &mut leader);
        let heard = Heard { operation: self.operation, format: self.format, asked, reply };
        if let Some(mut leader) = leader {
            leader.tell(&heard, reserve);
            self.seat = Some(Seat::Leader(leader));
        }
        self.client.learn(&heard);
        // Whoever comes again and again to hear of a failure keeps nobody busy. (Not later, as those who leave fewer places
        // of the limit may still have one, and the others are to hear that they have none.)
        self.at_once = if heard.reply.is_ok() { BootInstant::default() } else { asked + PAUSE };
        self.note(heard)
    }

    fn note(&mut self, heard: Heard) -> Heard {
        if (heard.operation, heard.format) == (self.operation, self.format) {
            match heard.reply {
                // Nothing was asked, or it is to be asked again.
                Err(Failure::LimitUsedUp { until, .. }) => {
                    self.not_before = until;
                    self.hold = Some(heard.clone());
                }
                _ => {
                    self.asked = Some(heard.asked);
                    self.wish.is_new = false;
                    self.jitter = JITTER * random_unit();
                }
            }
        }
        heard
    }

    /// How long a leader may be silent from the moment at which the next question is due here.
    fn patience(&self) -> Duration {
        let every = self.wish.every.unwrap_or_default();
        let first =
            if self.wish.is_new { MIN_INTERVAL.mul_f64(1.0 + JITTER) } else { Duration::ZERO };
        self.client.request_timeout() + first + GRACE.max(every.mul_f64(2.0 * JITTER))
    }

    /// The client that asks.
    pub fn client(&self) -> &Client {
        &self.client
    }
}
