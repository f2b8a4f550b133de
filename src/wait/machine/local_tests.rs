//! The wait with xenstore beside the API.

use proptest::prelude::*;

use super::state::Machine;
use super::step::{Step, WATCHED_INTERVAL};
use super::tests::{at, policy, record, unreachable};
use crate::api::request::Failure;
use crate::clock::BootInstant;
use crate::model::{Goal, Status};
use crate::ratelimit::LimitCause;
use crate::wait::{Policy, PollResult, WaitOutcome, WaitQuery};
use crate::xenstore::Snapshot;
use crate::xenstore::{Server, Value};
use std::time::Duration;

const RACKCONNECT: &str = r#"["rack_connect", "rax_managed"]"#;

/// What xenstore says; "-" is nothing, "!" is unreadable.
fn seen(roles: &str, status: &str, managed: &str) -> Snapshot {
    let value = |text: &str| match text {
        "-" => Value::Absent,
        "!" => Value::Unreadable("EACCES".to_owned()),
        text => Value::Text(text.to_owned()),
    };
    Snapshot::new(&value("Rackspace"), &value(roles), &value(status), &value(managed), true)
}

fn status(word: &str) -> Snapshot {
    seen(RACKCONNECT, word, "-")
}

fn says(word: &str) -> PollResult {
    PollResult::Status(Status::from_text(word).unwrap())
}

/// When it asks next for the goal.
fn due(machine: &Machine, now: BootInstant) -> u64 {
    match machine.step(now) {
        Step::Ask { query: WaitQuery::Tasks, .. } => panic!("it asks for tasks"),
        Step::Ask { at, .. } => at.since(self::at(0)).as_secs(),
        other => panic!("{other:?}"),
    }
}

struct Wait(Machine);

impl Wait {
    fn new(goal: Goal) -> Wait {
        Wait(Machine::new(policy(goal), at(0)))
    }

    /// xenstore says this at that second.
    fn local(&mut self, second: u64, snapshot: &Snapshot) -> &mut Wait {
        self.0.observe(Some(snapshot), at(second));
        self
    }

    /// The API, asked at that second, says this.
    fn api(&mut self, second: u64, result: &PollResult) -> &mut Wait {
        record(&mut self.0, WaitQuery::Status, at(second), at(second), result, 0.0);
        self
    }

    fn end(&self, second: u64) -> Option<WaitOutcome> {
        match self.0.step(at(second)) {
            Step::End(end) => Some(end),
            _ => None,
        }
    }
}

#[test]
fn a_working_watch_slows_the_polling_down() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("DEPLOYING"));
    assert_eq!(due(&wait.0, at(0)), 0);
    wait.api(0, &says("DEPLOYING"));
    assert_eq!(due(&wait.0, at(0)), 30);
    // No watch any more, and no store any more.
    wait.local(1, &Snapshot { watched: false, ..status("DEPLOYING") });
    assert_eq!(due(&wait.0, at(1)), 5);
    wait.local(2, &status("DEPLOYING"));
    assert_eq!(due(&wait.0, at(2)), 30);
    wait.0.observe(None, at(20));
    assert_eq!(due(&wait.0, at(20)), 5, "it is overdue");
}

#[test]
fn a_failing_api_and_one_that_lags_behind_are_polled_at_the_interval() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("DEPLOYING")).api(0, &unreachable());
    assert_eq!(due(&wait.0, at(0)), 5);
    wait.api(5, &says("DEPLOYING"));
    assert_eq!(due(&wait.0, at(5)), 35);
    wait.local(7, &status("DEPLOYED"));
    assert_eq!(due(&wait.0, at(7)), 7, "a change asks at once");
    wait.api(7, &says("DEPLOYING"));
    assert_eq!(due(&wait.0, at(7)), 12, "the API still says DEPLOYING");
    wait.local(8, &status("DEPLOYED"));
    assert_eq!(due(&wait.0, at(8)), 12, "that is no change");
    wait.api(12, &says("DEPLOYED"));
    assert_eq!(wait.end(12), Some(WaitOutcome::Reached));
}

/// xenstore may get the status late, or never, although it reports changes.
#[test]
fn a_store_without_the_status_that_the_api_has_does_not_slow_the_polling_down() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("-")).api(0, &PollResult::NotFound);
    assert_eq!(due(&wait.0, at(0)), 30, "both know of none");
    wait.api(30, &says("DEPLOYING"));
    assert!(wait.0.interval() < WATCHED_INTERVAL);
    wait.local(31, &status("DEPLOYING"));
    wait.api(31, &says("DEPLOYING"));
    assert_eq!(wait.0.interval(), WATCHED_INTERVAL);
}

#[test]
fn the_gateway_is_polled_at_the_interval_even_with_a_watch() {
    let mut machine = Machine::new(policy(Goal::Gateway), at(0));
    machine.observe(Some(&status("DEPLOYING")), at(0));
    record(&mut machine, WaitQuery::Gateway, at(0), at(0), &PollResult::NotFound, 0.0);
    assert_eq!(due(&machine, at(0)), 5);
}

#[test]
fn a_status_from_before_the_wait_is_never_believed() {
    let mut wait = Wait::new(Goal::Deployed);
    for round in 0..20 {
        wait.local(round * 5, &status("DEPLOYED")).api(round * 5, &unreachable());
        // Unreadable in between, and gone, and back: the change was not seen.
        wait.local(round * 5 + 1, &status("!")).local(round * 5 + 2, &status("two words"));
        wait.0.observe(None, at(round * 5 + 3));
        assert_eq!(wait.end(round * 5 + 3), None);
    }
}

#[test]
fn a_change_is_believed_after_two_failures_that_follow_it() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("DEPLOYING")).api(0, &unreachable()).api(5, &unreachable());
    wait.local(7, &status("DEPLOYED")).api(7, &unreachable());
    assert_eq!(wait.end(7), None);
    wait.api(12, &unreachable());
    assert_eq!(wait.end(12), Some(WaitOutcome::Reached));
    assert!(wait.0.is_believed());
}

#[test]
fn a_response_after_the_change_restarts_the_count() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("DEPLOYING")).local(7, &status("DEPLOYED"));
    wait.api(7, &unreachable()).api(12, &says("DEPLOYING")).api(17, &unreachable());
    assert_eq!(wait.end(17), None);
    wait.api(22, &unreachable());
    assert_eq!(wait.end(22), Some(WaitOutcome::Reached));
}

/// Answers are shared among processes, and may be to a poll from before the change.
#[test]
fn a_poll_from_before_the_change_does_not_count() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("DEPLOYING")).api(0, &unreachable()).local(7, &status("DEPLOYED"));
    for _ in 0..3 {
        record(&mut wait.0, WaitQuery::Status, at(6), at(8), &unreachable(), 0.0);
    }
    assert_eq!(due(&wait.0, at(8)), 8, "the change is still to be asked about");
    wait.api(8, &unreachable());
    assert_eq!(wait.end(8), None);
    wait.api(13, &unreachable());
    assert_eq!(wait.end(13), Some(WaitOutcome::Reached));
}

#[test]
fn a_full_limit_is_no_failure() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("-")).local(1, &status("DEPLOYED"));
    for second in 1..10 {
        let full = Failure::RateLimited { until: at(second), cause: LimitCause::Forbidden(1) };
        wait.api(second, &PollResult::Failure(full));
    }
    assert_eq!(wait.end(10), None);
}

#[test]
fn a_stale_deployed_then_an_outage_then_deploying_then_deployed() {
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &status("DEPLOYED"));
    for round in 0..12 {
        wait.api(round * 5, &unreachable());
        assert_eq!(wait.end(round * 5), None);
    }
    wait.local(60, &status("DEPLOYING")).api(60, &unreachable()).api(65, &unreachable());
    assert_eq!(wait.end(65), None);
    assert_eq!(wait.0.status(), Some(&Status::Deploying), "that is believed, and ends nothing");
    wait.api(70, &says("DEPLOYING")).local(80, &status("DEPLOYED"));
    assert_eq!(wait.end(80), None);
    wait.api(80, &says("DEPLOYED"));
    assert_eq!(wait.end(80), Some(WaitOutcome::Reached));
    assert!(!wait.0.is_believed());
}

#[test]
fn not_a_rackconnect_server() {
    // (roles, provider's other name, xenstore's status, what the API says at 0, 30 and 60) => when
    // it ends.
    let other = Snapshot { server: Server::OtherProvider("Amazon".to_owned()), ..status("-") };
    let v3 = seen(r#"["rackconnect:v3-DFW"]"#, "-", "-");
    let none = seen("[]", "-", "-");
    let silent = [unreachable(), PollResult::NotFound, unreachable()];
    let ends = |snapshot: &Snapshot, result: &[PollResult]| {
        let mut wait = Wait::new(Goal::Deployed);
        for (second, result) in (0..).step_by(30).zip(result) {
            if wait.local(second, snapshot).end(second).is_some() {
                return Some(second);
            }
            wait.api(second, result);
        }
        let last = (result.len() as u64 - 1) * 30 + 1;
        let end = wait.local(last, snapshot).end(last);
        assert!(end.is_none() || end == Some(WaitOutcome::NotRackConnect));
        end.map(|_| last)
    };
    assert_eq!(ends(&other, &silent), Some(0));
    assert_eq!(ends(&v3, &silent), Some(0));
    assert_eq!(ends(&none, &silent), Some(61));
    assert_eq!(ends(&none, &silent[..2]), None, "not yet for 60 seconds");
    assert_eq!(ends(&seen("[]", "DEPLOYING", "-"), &silent), None, "there is a status in xenstore");
    assert_eq!(ends(&seen("[]", "!", "-"), &silent), None);
    assert_eq!(ends(&seen("!", "-", "-"), &silent), None);
    assert_eq!(ends(&seen("-", "-", "-"), &silent), None);
    assert_eq!(ends(&seen("{", "-", "-"), &silent), None);
    assert_eq!(ends(&status("-"), &silent), None, "it is one");
    assert_eq!(
        ends(&none, &[says("DEPLOYING"), PollResult::NotFound, unreachable(), unreachable()]),
        None
    );
    assert_eq!(ends(&none, &[unreachable(), unreachable(), says("PAUSED"), unreachable()]), None);
    let full = || {
        PollResult::Failure(Failure::RateLimited { until: at(0), cause: LimitCause::Forbidden(1) })
    };
    assert_eq!(ends(&none, &[full(), full(), full()]), None, "that was not asking");
    // A status from the API always wins, also over what comes to xenstore later.
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &seen("-", "-", "-")).api(0, &says("DEPLOYING")).local(5, &other);
    assert_eq!(wait.end(5), None);
    // It may come late, too.
    let mut wait = Wait::new(Goal::Deployed);
    wait.local(0, &seen("-", "-", "-")).api(0, &unreachable()).local(5, &v3);
    assert_eq!(wait.end(5), Some(WaitOutcome::NotRackConnect));
}

#[test]
fn managed_operations() {
    let managed = |word: &str| seen(RACKCONNECT, "DEPLOYED", word);
    let ends = |snapshots: &[Snapshot], result: &str| {
        let mut wait = Wait::new(Goal::Managed);
        for (second, snapshot) in snapshots.iter().enumerate() {
            wait.local(second as u64, snapshot);
            if second == 0 {
                wait.api(0, &says(result));
                if result != "DEPLOYED" {
                    wait.api(0, &says("DEPLOYED"));
                }
            }
        }
        wait.end(snapshots.len() as u64)
    };
    let failed = Some(WaitOutcome::ManagedFailed);
    assert_eq!(ends(&[managed("\"Complete\"")], "DEPLOYED"), Some(WaitOutcome::Reached));
    assert_eq!(ends(&[managed("Build Error")], "DEPLOYED"), failed);
    assert_eq!(ends(&[managed("\"authentication error\"")], "DEPLOYED"), failed);
    for still in ["-", "Pending", "In Progress", "!"] {
        assert_eq!(ends(&[managed(still)], "DEPLOYED"), None, "{still}");
        assert_eq!(
            ends(&[managed(still), managed("Complete")], "DEPLOYED"),
            Some(WaitOutcome::Reached),
            "{still}"
        );
    }
    // A state of Managed Operations from before RackConnect was done is left over.
    assert_eq!(ends(&[managed("Complete")], "DEPLOYING"), None);
    assert_eq!(ends(&[managed("Build Error")], "DEPLOYING"), None);
    assert_eq!(ends(&[managed("Complete"), managed("!"), managed("Complete")], "DEPLOYING"), None);
    assert_eq!(
        ends(&[managed("Complete"), managed("Pending"), managed("Complete")], "DEPLOYING"),
        Some(WaitOutcome::Reached)
    );
    // An account without Managed Operations.
    let unmanaged = |word: &str| seen(r#"["rack_connect"]"#, "DEPLOYED", word);
    assert_eq!(ends(&[unmanaged("-")], "DEPLOYED"), Some(WaitOutcome::NotManaged));
    assert_eq!(ends(&[unmanaged("!")], "DEPLOYED"), None);
    assert_eq!(ends(&[unmanaged("Pending")], "DEPLOYED"), None);
    assert_eq!(
        ends(&[seen("-", "DEPLOYED", "-")], "DEPLOYED"),
        None,
        "roles that are not known decide nothing"
    );
}

#[test]
fn managed_operations_are_waited_for_without_asking_the_api() {
    let mut wait = Wait::new(Goal::Managed);
    wait.local(0, &seen(RACKCONNECT, "DEPLOYED", "Pending")).api(0, &says("DEPLOYED"));
    assert_eq!(wait.0.step(at(1)), Step::Rest(at(31)));
    wait.0.observe(None, at(2));
    assert_eq!(wait.0.step(at(2)), Step::Rest(at(7)));
    assert_eq!(wait.0.step(at(3_598)), Step::Rest(at(3_600)));
    assert_eq!(wait.end(3_600), Some(WaitOutcome::DeadlinePassed));
}

proptest! {
    /// Whatever xenstore and the API say, and in whichever order: DEPLOYED is reached only if the
    /// API said it, or if xenstore changed to it during the wait and two requests failed after
    /// that; and NotRackConnect is never concluded once the API gave a status.
    #[test]
    fn nothing_is_concluded_from_what_is_left_over(events in prop::collection::vec((0u8..14, 0u64..40), 1..80)) {
        let mut wait = Wait::new(Goal::Deployed);
        let mut second = 0;
        let (mut api_said_deployed, mut changed_to_deployed, mut has_api_status) = (false, false, false);
        let (mut failures, mut last_word) = (0, None);
        for (event, gap) in events {
            second += gap;
            let word = match event { 0 => "-", 1 => "DEPLOYING", 2 => "DEPLOYED", 3 => "!", 4 => "FAILE D", _ => "" };
            match event {
                0..=4 => {
                    wait.local(second, &seen("[]", word, "-"));
                    if event < 3 {
                        if last_word.is_some_and(|last| last != word) {
                            changed_to_deployed = word == "DEPLOYED";
                            failures = 0;
                        }
                        last_word = Some(word);
                    }
                }
                5 => wait.0.observe(None, at(second)),
                6..=9 => { wait.api(second, &unreachable()); failures += 1; }
                10 => { wait.api(second, &PollResult::NotFound); failures = 0; }
                11 | 12 => { wait.api(second, &says("DEPLOYING")); has_api_status = true; failures = 0; }
                _ => { wait.api(second, &says("DEPLOYED")); api_said_deployed = true; }
            }
            match wait.end(second) {
                Some(WaitOutcome::Reached) => { prop_assert!(api_said_deployed || (changed_to_deployed && failures >= 2)); return Ok(()); }
                Some(WaitOutcome::NotRackConnect) => { prop_assert!(!has_api_status && last_word == Some("-")); return Ok(()); }
                Some(WaitOutcome::DeadlinePassed) => return Ok(()),
                None => prop_assert!(!api_said_deployed),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    /// Whatever xenstore does, a poll about the status is never further away than the interval
    /// of a watch allows, and without a watch than the interval does.
    #[test]
    fn no_store_keeps_the_wait_from_asking(events in prop::collection::vec((0u8..7, 0u64..20), 1..60), chance in 0.0..=1.0) {
        let mut machine = Machine::new(Policy { deadline: None, ..policy(Goal::Deployed) }, at(0));
        let (mut now, mut asked, mut watched) = (at(0), at(0), false);
        record(&mut machine, WaitQuery::Status, now, now, &says("DEPLOYING"), chance);
        for (what, gap) in events {
            now = now + Duration::from_secs(gap);
            match what {
                0 => { machine.observe(None, now); watched = false; }
                1 => { machine.observe(Some(&Snapshot { watched: false, ..status("DEPLOYING") }), now); watched = false; }
                2 => { machine.observe(Some(&status("DEPLOYING")), now); watched = true; }
                3 => { machine.observe(Some(&status("DEPLOYED")), now); watched = true; }
                4 => { machine.observe(Some(&status("!")), now); watched = false; }
                5 => { record(&mut machine, WaitQuery::Status, now, now, &unreachable(), chance); asked = now; }
                _ => { record(&mut machine, WaitQuery::Status, now, now, &says("DEPLOYING"), chance); asked = now; }
            }
            let Step::Ask { query, at, .. } = machine.step(now) else {
                // xenstore's DEPLOYED is believed by now.
                prop_assert!(machine.is_believed());
                return Ok(());
            };
            let interval = if watched { WATCHED_INTERVAL } else { Duration::from_secs(5) };
            let latest = asked + interval + Duration::from_millis(500);
            prop_assert!(query == WaitQuery::Tasks || at <= latest.max(now), "{:?} {:?}", at, latest);
        }
    }
}
