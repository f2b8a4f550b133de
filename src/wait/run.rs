//! The edge of the wait: it sleeps, asks, and speaks; all it decides is how.

use std::time::Duration;

use super::report::Report;
use super::{End, Heard, Machine, Policy, Question, Rested, Source, Step};
use crate::clock::{BootInstant, random_unit};
use crate::systemd;
use crate::ui;

/// How often the live line is drawn anew.
const TICK: Duration = Duration::from_secs(1);

/// The deadline of a request where the wait itself has none: the client's own is always shorter.
const NEVER: Duration = Duration::from_secs(86_400);

/// Waits. Answers with how it ended, what was learnt, and that in a sentence.
pub fn run(source: &mut dyn Source, policy: Policy) -> (End, Machine, String) {
    let mut now = BootInstant::now();
    let mut machine = Machine::new(policy, now);
    let mut report = Report::new(now);
    loop {
        machine.hear_local(source.look().as_ref(), now);
        source.want(machine.interval());
        let rested = match machine.step(now) {
            Step::End(end) => {
                ui::end_live();
                let sentence = report.end(&machine, end, now);
                return (end, machine, sentence);
            }
            Step::Rest(until) => pause(source, until, &machine, &mut report, policy.watched),
            // By the time it is due, what the server knows may be something else.
            Step::Ask { at, .. } if at > now => {
                pause(source, at, &machine, &mut report, policy.watched)
            }
            Step::Ask { question, deadline, .. } => {
                if policy.watched {
                    ui::live(&report.live(&machine, now));
                }
                Rested::Heard(source.ask(question, deadline.unwrap_or(now + NEVER)))
            }
        };
        if let Rested::Heard(heard) = rested {
            hear(&mut machine, &heard, &mut report, policy.watched);
        }
        now = BootInstant::now();
    }
}

fn hear(machine: &mut Machine, heard: &Heard, report: &mut Report, watched: bool) {
    let now = BootInstant::now();
    machine.hear(heard.question, heard.asked, now, &heard.news, random_unit());
    if let Some(line) = report.status(machine) {
        systemd::status(&line);
    }
    // The line about a change also says how far the tasks are, if they are asked for next. The last line is the caller's.
    let more_to_come = match machine.step(now) {
        Step::Ask { question, .. } => question == Question::Tasks,
        Step::Rest(_) => false,
        Step::End(_) => true,
    };
    if !watched
        && !more_to_come
        && let Some(line) = report.line(machine, now)
    {
        log::info!("{line}");
    }
}

/// Sleeps until then, or until that brings something; on a terminal the live line ticks meanwhile, in a log the heart beats.
fn pause(
    source: &mut dyn Source,
    until: BootInstant,
    machine: &Machine,
    report: &mut Report,
    watched: bool,
) -> Rested {
    loop {
        let now = BootInstant::now();
        if until <= now {
            return Rested::Nothing;
        }
        let slice = if watched {
            ui::live(&report.live(machine, now));
            until.min(now + TICK)
        } else {
            if let Some(line) = report.line(machine, now) {
                log::info!("{line}");
            }
            until.min(report.heartbeat())
        };
        match source.rest(slice) {
            Rested::Nothing => {}
            rested => return rested,
        }
    }
}
