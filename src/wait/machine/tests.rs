use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, Kind};
use crate::ratelimit::LimitCause as Why;

const INTERVAL: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(10);

pub fn at(seconds: u64) -> BootInstant {
    BootInstant(Duration::from_secs(1_000 + seconds))
}

pub fn policy(goal: Goal) -> Policy {
    Policy {
        goal,
        interval: INTERVAL,
        deadline: Some(at(3_600)),
        ok_if: OkIf::default(),
        through_failed: false,
        watched: false,
    }
}

pub fn unreachable() -> News {
    News::Failure(Failure::Error(Error::new(Kind::Unreachable, "no route")))
}

fn ask(question: Question, at: BootInstant, deadline: Option<BootInstant>) -> Step {
    Step::Ask { question, at, deadline }
}

fn deadline() -> Option<BootInstant> {
    Some(at(3_600))
}

#[test]
fn asks_at_once_and_then_every_interval() {
    let mut machine = Machine::new(policy(Goal::Deployed), at(0));
    assert_eq!(machine.step(at(0)), ask(Question::Status, at(0), deadline()));
    machine.hear(Question::Status, at(0), at(1), &unreachable(), 0.0);
    assert_eq!(machine.step(at(1)), ask(Question::Status, at(5), deadline()));
    // A request that took longer than the interval is followed by the next one at once.
    machine.hear(Question::Status, at(5), at(15), &unreachable(), 1.0);
    assert_eq!(
        machine.step(at(15)),
        ask(Question::Status, BootInstant(at(10).0 + INTERVAL / 10), deadline())
    );
}

#[test]
fn a_change_asks_for_the_tasks_until_the_next_question_is_due() {
    let mut machine = Machine::new(policy(Goal::Deployed), at(0));
    let deploying = News::Status(Status::Deploying);
    machine.hear(Question::Status, at(0), at(1), &deploying, 0.0);
    assert_eq!(machine.step(at(1)), ask(Question::Tasks, at(1), Some(at(5))));
    machine.hear(Question::Tasks, at(1), at(2), &News::Tasks(vec![]), 0.0);
    assert_eq!(machine.step(at(2)), ask(Question::Status, at(5), deadline()));
    machine.hear(Question::Status, at(5), at(6), &deploying, 0.0);
    assert_eq!(
        machine.step(at(6)),
        ask(Question::Status, at(10), deadline()),
        "no change, and nobody watches"
    );
    machine.hear(
        Question::Status,
        at(10),
        at(11),
        &News::Status(Status::Unknown("PAUSED".into())),
        0.0,
    );
    assert_eq!(
        machine.step(at(15)),
        ask(Question::Status, at(15), deadline()),
        "the question about the goal goes first"
    );
}

#[test]
fn a_person_who_watches_sees_the_tasks_every_15_seconds() {
    let mut machine = Machine::new(Policy { watched: true, ..policy(Goal::Deployed) }, at(0));
    let mut asked = vec![];
    let mut now = at(0);
    while now < at(60) {
        let Step::Ask { question, at, .. } = machine.step(now) else { panic!("it cannot end") };
        now = now.max(at);
        let news = match question {
            Question::Tasks => News::Tasks(vec![]),
            _ => News::Status(Status::Deploying),
        };
        if question == Question::Tasks {
            asked.push(now.since(self::at(0)).as_secs());
        }
        machine.hear(question, now, now, &news, 0.0);
    }
    assert_eq!(asked, [0, 15, 30, 45]);
}

#[test]
fn ends() {
    let heard = |policy, status: Status| {
        let mut machine = Machine::new(policy, at(0));
        machine.hear(Question::Status, at(0), at(1), &News::Status(status), 0.0);
        if machine.step(at(1)) == ask(Question::Tasks, at(1), deadline()) {
            machine.hear(Question::Tasks, at(1), at(2), &unreachable(), 0.0);
        }
        match machine.step(at(2)) {
            Step::End(end) => Some(end),
            _ => None,
        }
    };
    let plain = policy(Goal::Deployed);
    let ok_if =
        Policy { ok_if: OkIf { failed: true, unprocessable: true, ..OkIf::default() }, ..plain };
    let through = Policy { through_failed: true, ..plain };
    let gateway = policy(Goal::Gateway);
    let unknown = || Status::Unknown("REBUILDING".into());
    assert_eq!(heard(plain, Status::Deployed), Some(End::Reached));
    assert_eq!(heard(plain, Status::Failed), Some(End::Failed(false)));
    assert_eq!(heard(plain, Status::Unprocessable), Some(End::Unprocessable(false)));
    assert_eq!(heard(plain, Status::Deploying), None);
    assert_eq!(heard(plain, unknown()), None);
    assert_eq!(heard(ok_if, Status::Failed), Some(End::Failed(true)));
    assert_eq!(heard(ok_if, Status::Unprocessable), Some(End::Unprocessable(true)));
    assert_eq!(heard(through, Status::Failed), None);
    assert_eq!(heard(through, Status::Unprocessable), Some(End::Unprocessable(false)));
    assert_eq!(heard(gateway, Status::Deployed), None);
    assert_eq!(heard(gateway, Status::Failed), Some(End::Failed(false)));
    assert_eq!(heard(gateway, Status::Unprocessable), Some(End::Unprocessable(false)));
}

#[test]
fn one_question_in_five_is_for_the_status_while_the_gateway_is_waited_for() {
    let mut machine = Machine::new(policy(Goal::Gateway), at(0));
    let mut questions = vec![];
    for round in 0..10 {
        let Step::Ask { question, .. } = machine.step(at(round * 5)) else {
            panic!("it cannot end")
        };
        questions.push(question);
        machine.hear(question, at(round * 5), at(round * 5), &News::NotKnownYet, 0.0);
    }
    assert_eq!(questions.iter().filter(|question| **question == Question::Status).count(), 2);
    assert_eq!(questions[0], Question::Gateway);
    machine.hear(Question::Gateway, at(50), at(50), &News::Gateway([10, 1, 2, 3].into()), 0.0);
    assert_eq!(machine.step(at(50)), Step::End(End::Reached));
}

#[test]
fn the_deadline_ends_it_and_nothing_is_asked_at_it() {
    let mut machine =
        Machine::new(Policy { deadline: Some(at(8)), ..policy(Goal::Deployed) }, at(0));
    machine.hear(Question::Status, at(0), at(1), &News::NotKnownYet, 0.0);
    assert_eq!(machine.step(at(1)), ask(Question::Status, at(5), Some(at(8))));
    machine.hear(Question::Status, at(5), at(6), &News::NotKnownYet, 0.0);
    assert_eq!(machine.step(at(6)), Step::Rest(at(8)));
    assert_eq!(machine.step(at(8)), Step::End(End::DeadlinePassed));
    assert!(machine.only_unknown());
    // An answer that is read at the deadline still counts.
    machine.hear(Question::Status, at(7), at(8), &News::Status(Status::Deployed), 0.0);
    assert_eq!(machine.step(at(8)), Step::End(End::Reached));
}

#[test]
fn a_403_is_waited_out() {
    let mut machine = Machine::new(policy(Goal::Deployed), at(0));
    let failure = Failure::LimitUsedUp { until: at(61), why: Why::Forbidden(1) };
    machine.hear(Question::Status, at(0), at(1), &News::Failure(failure), 0.0);
    assert_eq!(machine.step(at(1)), ask(Question::Status, at(61), deadline()));
}

/// What a server may do, besides telling the truth, and how long it takes to.
fn server() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0u8..8, 0u64..=REQUEST.as_secs()), 0..60)
}

proptest! {
    /// Against any row of faults, with tasks asked for or not: once the API says DEPLOYED the wait ends so, after at most
    /// 1.1 intervals and one request's deadline (and, after a 403, its hold-off), and never on anything else.
    #[test]
    fn it_ends_in_deployed_in_time(faults in server(), watched: bool, chance in 0.0..=1.0) {
        let mut faults = VecDeque::from(faults);
        let mut machine = Machine::new(Policy { watched, deadline: None, ..policy(Goal::Deployed) }, at(0));
        let mut now = at(0);
        let mut true_since = None;
        let mut held = at(0);
        loop {
            let (question, due, deadline) = match machine.step(now) {
                Step::Ask { question, at, deadline } => (question, at, deadline),
                Step::End(end) => {
                    prop_assert_eq!(end, End::Reached);
                    prop_assert!(faults.is_empty());
                    let since: BootInstant = true_since.expect("it ends on the truth alone");
                    let latest = since.max(held) + INTERVAL.mul_f64(1.1) + REQUEST + Duration::from_millis(1);
                    prop_assert!(now <= latest, "{:?} {:?}", now, latest);
                    break;
                }
                Step::Rest(_) => panic!("there is no deadline"),
            };
            now = now.max(due);
            let asked = now;
            let fault = faults.pop_front();
            let (what, took) = fault.unwrap_or((7, 1));
            let allowed = deadline.map_or(REQUEST, |deadline| deadline.since(now)).min(REQUEST);
            now = now + Duration::from_secs(took).min(allowed);
            let news = match (what, question) {
                (0, _) => unreachable(),
                (1, _) => News::Failure(Failure::Error(Error::new(Kind::NotUnderstood, "HTML"))),
                (2, _) => {
                    held = now + Duration::from_secs(60);
                    News::Failure(Failure::LimitUsedUp { until: held, why: Why::Forbidden(1) })
                }
                (3, _) => News::NotKnownYet,
                (4, Question::Status) => News::Status(Status::Unknown("DEPLOYED_ALMOST".into())),
                (_, Question::Tasks) => News::Tasks(vec![]),
                (7, _) if faults.is_empty() => News::Status(Status::Deployed),
                _ => News::Status(Status::Deploying),
            };
            if faults.is_empty() && true_since.is_none() {
                // From the end of the last fault on the API says DEPLOYED.
                true_since = Some(now);
            }
            machine.hear(question, asked, now, &news, chance);
        }
    }

    /// However long the answers take within what they are allowed: it never ends later than its deadline.
    #[test]
    fn it_never_outlasts_its_deadline(took in prop::collection::vec(0u64..=10, 1..200), timeout in 1u64..300) {
        let end = at(timeout);
        let mut machine = Machine::new(Policy { deadline: Some(end), watched: true, ..policy(Goal::Deployed) }, at(0));
        let mut now = at(0);
        for seconds in took.into_iter().cycle().take(500) {
            let step = machine.step(now);
            let (question, due, deadline) = match step {
                Step::Ask { question, at, deadline } => (question, at, deadline.expect("there is one")),
                Step::Rest(until) => { now = until; continue }
                Step::End(found) => {
                    prop_assert_eq!(found, End::DeadlinePassed);
                    prop_assert_eq!(now, end);
                    return Ok(());
                }
            };
            prop_assert!(due < end && deadline <= end);
            let asked = now.max(due);
            now = asked + Duration::from_secs(seconds).min(deadline.since(asked));
            let news = if question == Question::Tasks { News::Tasks(vec![]) } else { News::Status(Status::Deploying) };
            machine.hear(question, asked, now, &news, 0.5);
        }
        prop_assert!(false, "it did not end");
    }
}
