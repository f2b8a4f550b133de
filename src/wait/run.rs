//! The edge of the wait: it sleeps, asks, and speaks; all it decides is how.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::report::Report;
use super::{End, Machine, Policy, Question, Source, Step};
use crate::clock::Moment;
use crate::term;

/// How often the live line is drawn anew.
const TICK: Duration = Duration::from_secs(1);

/// The deadline of a request where the wait itself has none: the client's own is always shorter.
const NEVER: Duration = Duration::from_secs(86_400);

/// Waits. Answers with how it ended, what was learnt, and that in a sentence.
pub fn run(source: &mut dyn Source, policy: Policy) -> (End, Machine, String) {
    let mut now = Moment::now();
    let mut machine = Machine::new(policy, now);
    let mut report = Report::new(now);
    loop {
        machine.hear_local(source.look().as_ref(), now);
        match machine.step(now) {
            Step::End(end) => {
                term::end_live();
                let sentence = report.end(&machine, end, now);
                return (end, machine, sentence);
            }
            Step::Rest(until) => pause(source, until, &machine, &mut report, policy.watched),
            // By the time it is due, what the server knows may be something else.
            Step::Ask { at, .. } if at > now => pause(source, at, &machine, &mut report, policy.watched),
            Step::Ask { question, deadline, .. } => {
                let asked = Moment::now();
                if policy.watched {
                    term::live(&report.live(&machine, asked));
                }
                let news = source.ask(question, deadline.unwrap_or(asked + NEVER));
                machine.hear(question, asked, Moment::now(), &news, chance());
                // The line about a change also says how far the tasks are, if they are asked for next.
                // The last line is the caller's.
                let more_to_come = match machine.step(Moment::now()) {
                    Step::Ask { question, .. } => question == Question::Tasks,
                    Step::Rest(_) => false,
                    Step::End(_) => true,
                };
                if !policy.watched
                    && !more_to_come
                    && let Some(line) = report.line(&machine, Moment::now())
                {
                    log::info!("{line}");
                }
            }
        }
        now = Moment::now();
    }
}

/// Rests until then, or until there may be something new; on a terminal the live line ticks meanwhile, in a log the heart
/// beats.
fn pause(source: &mut dyn Source, until: Moment, machine: &Machine, report: &mut Report, watched: bool) {
    loop {
        let now = Moment::now();
        let rest = until.since(now);
        if rest.is_zero() {
            return;
        }
        let rest = if watched {
            term::live(&report.live(machine, now));
            rest.min(TICK)
        } else {
            if let Some(line) = report.line(machine, now) {
                log::info!("{line}");
            }
            rest.min(report.heartbeat().since(now))
        };
        if source.rest(rest) {
            return;
        }
    }
}

/// From 0 to 1, by chance: std seeds its hashers from the kernel.
fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}
