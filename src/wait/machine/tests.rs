use std::collections::VecDeque;

use proptest::prelude::*;

use super::state::Machine;
use super::step::Step;
use crate::api::request::Failure;
use crate::clock::BootInstant;
use crate::error::{Error, Kind};
use crate::exit::Exit;
use crate::model::OkIf;
use crate::model::{Goal, Status};
use crate::ratelimit::LimitCause;
use crate::wait::{Policy, Poll, PollResult, WaitOutcome, WaitQuery};
use std::time::Duration;

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
        is_watched: false,
    }
}

pub fn record(
    machine: &mut Machine,
    query: WaitQuery,
    asked: BootInstant,
    now: BootInstant,
    result: &PollResult,
    jitter: f64,
) {
    machine.record(&Poll { query, asked, result: result.clone() }, now, jitter);
}

pub fn unreachable() -> PollResult {
    PollResult::Failure(Failure::Error(Error::new(Kind::Unreachable, "no route")))
}

fn ask(query: WaitQuery, at: BootInstant, deadline: Option<BootInstant>) -> Step {
    Step::Ask { query, at, deadline }
}

fn deadline() -> Option<BootInstant> {
    Some(at(3_600))
}

#[test]
fn asks_at_once_and_then_every_interval() {
    let mut machine = Machine::new(policy(Goal::Deployed), at(0));
    assert_eq!(machine.step(at(0)), ask(WaitQuery::Status, at(0), deadline()));
    record(&mut machine, WaitQuery::Status, at(0), at(1), &unreachable(), 0.0);
    assert_eq!(machine.step(at(1)), ask(WaitQuery::Status, at(5), deadline()));
    // A request that took longer than the interval is immediately followed by the next one.
    record(&mut machine, WaitQuery::Status, at(5), at(15), &unreachable(), 1.0);
    assert_eq!(
        machine.step(at(15)),
        ask(WaitQuery::Status, BootInstant(at(10).0 + INTERVAL / 10), deadline())
    );
}

#[test]
fn a_change_asks_for_the_tasks_until_the_next_query_is_due() {
    let mut machine = Machine::new(policy(Goal::Deployed), at(0));
    let deploying = PollResult::Status(Status::Deploying);
    record(&mut machine, WaitQuery::Status, at(0), at(1), &deploying, 0.0);
    assert_eq!(machine.step(at(1)), ask(WaitQuery::Tasks, at(1), Some(at(5))));
    record(&mut machine, WaitQuery::Tasks, at(1), at(2), &PollResult::Tasks(vec![]), 0.0);
    assert_eq!(machine.step(at(2)), ask(WaitQuery::Status, at(5), deadline()));
    record(&mut machine, WaitQuery::Status, at(5), at(6), &deploying, 0.0);
    assert_eq!(
        machine.step(at(6)),
        ask(WaitQuery::Status, at(10), deadline()),
        "no change, and no person watches"
    );
    record(
        &mut machine,
        WaitQuery::Status,
        at(10),
        at(11),
        &PollResult::Status(Status::Unknown("PAUSED".into())),
        0.0,
    );
    assert_eq!(
        machine.step(at(15)),
        ask(WaitQuery::Status, at(15), deadline()),
        "the query about the goal goes first"
    );
}

#[test]
fn a_person_who_watches_sees_the_tasks_every_15_seconds() {
    let mut machine = Machine::new(Policy { is_watched: true, ..policy(Goal::Deployed) }, at(0));
    let mut asked = vec![];
    let mut now = at(0);
    while now < at(60) {
        let Step::Ask { query, at, .. } = machine.step(now) else { panic!("it cannot end") };
        now = now.max(at);
        let result = match query {
            WaitQuery::Tasks => PollResult::Tasks(vec![]),
            _ => PollResult::Status(Status::Deploying),
        };
        if query == WaitQuery::Tasks {
            asked.push(now.since(self::at(0)).as_secs());
        }
        record(&mut machine, query, now, now, &result, 0.0);
    }
    assert_eq!(asked, [0, 15, 30, 45]);
}

#[test]
fn ends() {
    let outcome = |policy, status: Status| {
        let mut machine = Machine::new(policy, at(0));
        record(&mut machine, WaitQuery::Status, at(0), at(1), &PollResult::Status(status), 0.0);
        if machine.step(at(1)) == ask(WaitQuery::Tasks, at(1), deadline()) {
            record(&mut machine, WaitQuery::Tasks, at(1), at(2), &unreachable(), 0.0);
        }
        match machine.step(at(2)) {
            Step::End(outcome) => Some(outcome),
            _ => None,
        }
    };
    let plain = policy(Goal::Deployed);
    let ok_if =
        Policy { ok_if: OkIf { failed: true, unprocessable: true, ..OkIf::default() }, ..plain };
    let through = Policy { through_failed: true, ..plain };
    let gateway = policy(Goal::Gateway);
    let unknown = || Status::Unknown("REBUILDING".into());
    assert_eq!(outcome(plain, Status::Deployed), Some(WaitOutcome::Reached));
    assert_eq!(outcome(plain, Status::Failed), Some(WaitOutcome::Failed));
    assert_eq!(outcome(plain, Status::Unprocessable), Some(WaitOutcome::Unprocessable));
    assert_eq!(outcome(plain, Status::Deploying), None);
    assert_eq!(outcome(plain, unknown()), None);
    for (outcome, exit) in
        [(WaitOutcome::Failed, Exit::Failed), (WaitOutcome::Unprocessable, Exit::NothingToWaitFor)]
    {
        assert_eq!((plain.exit(outcome), ok_if.exit(outcome)), (exit, Exit::Ok));
    }
    assert_eq!(outcome(through, Status::Failed), None);
    assert_eq!(outcome(through, Status::Unprocessable), Some(WaitOutcome::Unprocessable));
    assert_eq!(outcome(gateway, Status::Deployed), None);
    assert_eq!(outcome(gateway, Status::Failed), Some(WaitOutcome::Failed));
    assert_eq!(outcome(gateway, Status::Unprocessable), Some(WaitOutcome::Unprocessable));
}

#[test]
fn one_query_in_five_is_for_the_status_while_the_gateway_is_waited_for() {
    let mut machine = Machine::new(policy(Goal::Gateway), at(0));
    let mut queries = vec![];
    for round in 0..10 {
        let Step::Ask { query, .. } = machine.step(at(round * 5)) else { panic!("it cannot end") };
        queries.push(query);
        record(&mut machine, query, at(round * 5), at(round * 5), &PollResult::NotFound, 0.0);
    }
    assert_eq!(queries.iter().filter(|query| **query == WaitQuery::Status).count(), 2);
    assert_eq!(queries[0], WaitQuery::Gateway);
    record(
        &mut machine,
        WaitQuery::Gateway,
        at(50),
        at(50),
        &PollResult::Gateway([10, 1, 2, 3].into()),
        0.0,
    );
    assert_eq!(machine.step(at(50)), Step::End(WaitOutcome::Reached));
}

#[test]
fn the_deadline_ends_it_without_another_request() {
    let mut machine =
        Machine::new(Policy { deadline: Some(at(8)), ..policy(Goal::Deployed) }, at(0));
    record(&mut machine, WaitQuery::Status, at(0), at(1), &PollResult::NotFound, 0.0);
    assert_eq!(machine.step(at(1)), ask(WaitQuery::Status, at(5), Some(at(8))));
    record(&mut machine, WaitQuery::Status, at(5), at(6), &PollResult::NotFound, 0.0);
    assert_eq!(machine.step(at(6)), Step::Rest(at(8)));
    assert_eq!(machine.step(at(8)), Step::End(WaitOutcome::DeadlinePassed));
    assert!(machine.is_unknown_server());
    // An answer that is read at the deadline still counts.
    record(
        &mut machine,
        WaitQuery::Status,
        at(7),
        at(8),
        &PollResult::Status(Status::Deployed),
        0.0,
    );
    assert_eq!(machine.step(at(8)), Step::End(WaitOutcome::Reached));
}

#[test]
fn a_403_is_waited_out() {
    let mut machine = Machine::new(policy(Goal::Deployed), at(0));
    let failure = Failure::RateLimited { until: at(61), cause: LimitCause::Forbidden(1) };
    record(&mut machine, WaitQuery::Status, at(0), at(1), &PollResult::Failure(failure), 0.0);
    assert_eq!(machine.step(at(1)), ask(WaitQuery::Status, at(61), deadline()));
}

/// The faults of a server, and how long each response takes.
fn server() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0u8..8, 0u64..=REQUEST.as_secs()), 0..60)
}

proptest! {
    /// Against any sequence of faults, with tasks asked for or not: once the API says DEPLOYED the
    /// wait ends so, after at most 1.1 intervals and one request's deadline (and, after a 403, its
    /// hold-off), and never on anything else.
    #[test]
    fn it_ends_in_deployed_in_time(faults in server(), watched: bool, chance in 0.0..=1.0) {
        let mut faults = VecDeque::from(faults);
        let mut machine = Machine::new(Policy { is_watched: watched, deadline: None, ..policy(Goal::Deployed) }, at(0));
        let mut now = at(0);
        let mut true_since = None;
        let mut held = at(0);
        loop {
            let (query, due, deadline) = match machine.step(now) {
                Step::Ask { query, at, deadline } => (query, at, deadline),
                Step::End(end) => {
                    prop_assert_eq!(end, WaitOutcome::Reached);
                    prop_assert!(faults.is_empty());
                    let since: BootInstant = true_since.expect("it ended before the API said DEPLOYED");
                    let latest = since.max(held) + INTERVAL.mul_f64(1.1) + REQUEST + Duration::from_millis(1);
                    prop_assert!(now <= latest, "{:?} {:?}", now, latest);
                    break;
                }
                Step::Rest(_) => panic!("there is no deadline"),
            };
            now = now.max(due);
            let asked = now;
            let fault = faults.pop_front();
            let (kind, took) = fault.unwrap_or((7, 1));
            let allowed = deadline.map_or(REQUEST, |deadline| deadline.since(now)).min(REQUEST);
            now = now + Duration::from_secs(took).min(allowed);
            let result = match (kind, query) {
                (0, _) => unreachable(),
                (1, _) => PollResult::Failure(Failure::Error(Error::new(Kind::NotUnderstood, "HTML"))),
                (2, _) => {
                    held = now + Duration::from_secs(60);
                    PollResult::Failure(Failure::RateLimited { until: held, cause: LimitCause::Forbidden(1) })
                }
                (3, _) => PollResult::NotFound,
                (4, WaitQuery::Status) => PollResult::Status(Status::Unknown("DEPLOYED_ALMOST".into())),
                (_, WaitQuery::Tasks) => PollResult::Tasks(vec![]),
                (7, _) if faults.is_empty() => PollResult::Status(Status::Deployed),
                _ => PollResult::Status(Status::Deploying),
            };
            if faults.is_empty() && true_since.is_none() {
                // From the end of the last fault on the API says DEPLOYED.
                true_since = Some(now);
            }
            record(&mut machine, query, asked, now, &result, chance);
        }
    }

    /// However long the responses take within their deadlines, the wait ends by its deadline.
    #[test]
    fn it_never_outlasts_its_deadline(took in prop::collection::vec(0u64..=10, 1..200), timeout in 1u64..300) {
        let end = at(timeout);
        let mut machine = Machine::new(Policy { deadline: Some(end), is_watched: true, ..policy(Goal::Deployed) }, at(0));
        let mut now = at(0);
        for seconds in took.into_iter().cycle().take(500) {
            let step = machine.step(now);
            let (query, due, deadline) = match step {
                Step::Ask { query, at, deadline } => (query, at, deadline.expect("there is one")),
                Step::Rest(until) => { now = until; continue }
                Step::End(found) => {
                    prop_assert_eq!(found, WaitOutcome::DeadlinePassed);
                    prop_assert_eq!(now, end);
                    return Ok(());
                }
            };
            prop_assert!(due < end && deadline <= end);
            let asked = now.max(due);
            now = asked + Duration::from_secs(seconds).min(deadline.since(asked));
            let result = if query == WaitQuery::Tasks { PollResult::Tasks(vec![]) } else { PollResult::Status(Status::Deploying) };
            record(&mut machine, query, asked, now, &result, 0.5);
        }
        prop_assert!(false, "it did not end");
    }
}
