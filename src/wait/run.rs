//! The loop of a wait: it carries out the steps of the machine and reports what happens.

use std::time::Duration;

use super::report::Report;
use super::{Machine, Policy, Poll, Source, Step, WaitOutcome, WaitQuery, Wakeup};
use crate::clock::{BootInstant, random_unit};
use crate::error::Result;
use crate::{systemd, ui};

/// How often the live line is redrawn.
const REDRAW_INTERVAL: Duration = Duration::from_secs(1);

/// How a wait ended.
#[derive(Debug)]
pub struct WaitEnd {
    /// The outcome.
    pub outcome: WaitOutcome,
    /// The last word that is known: the status, the gateway, or nothing.
    pub word: String,
    /// The message about the outcome.
    pub sentence: String,
}

/// Waits. `started`: when the process started, for the elapsed time in messages.
///
/// # Errors
/// A setting is wrong, so that waiting would never succeed.
pub fn run(source: &mut dyn Source, policy: Policy, started: BootInstant) -> Result<WaitEnd> {
    let mut now = BootInstant::now();
    let mut wait =
        Wait { source, machine: Machine::new(policy, now), report: Report::new(started) };
    loop {
        wait.observe(now);
        let wakeup = match wait.machine.step(now) {
            Step::End(outcome) => return Ok(wait.end(outcome, now)),
            Step::Rest(until) => wait.rest(until),
            // xenstore may have changed by the time it is due.
            Step::Ask { at, .. } if at > now => wait.rest(at),
            Step::Ask { query, deadline, .. } => wait.ask(query, deadline, now)?,
        };
        if let Wakeup::Poll(poll) = wakeup {
            wait.record(&poll);
        }
        now = BootInstant::now();
    }
}

struct Wait<'a> {
    source: &'a mut dyn Source,
    machine: Machine,
    report: Report,
}

impl Wait<'_> {
    fn is_watched(&self) -> bool {
        self.machine.policy().is_watched
    }

    /// Passes xenstore's current values to the machine.
    fn observe(&mut self, now: BootInstant) {
        let snapshot = self.source.snapshot();
        self.machine.observe(snapshot.as_ref(), now);
        self.source.set_interval(self.machine.interval());
    }

    fn ask(
        &mut self,
        query: WaitQuery,
        deadline: Option<BootInstant>,
        now: BootInstant,
    ) -> Result<Wakeup> {
        if self.is_watched() {
            ui::live(&self.report.live(&self.machine, now));
        }
        // The client's own deadline is always earlier.
        let deadline = deadline.unwrap_or(BootInstant::NEVER);
        self.source.ask(query, deadline).map(Wakeup::Poll)
    }

    /// Sleeps until something happens, until `until` at most. Meanwhile the live line or the log
    /// shows that the wait goes on.
    fn rest(&mut self, until: BootInstant) -> Wakeup {
        loop {
            let now = BootInstant::now();
            if until <= now {
                return Wakeup::Timeout;
            }
            let next_line = if self.is_watched() {
                ui::live(&self.report.live(&self.machine, now));
                now + REDRAW_INTERVAL
            } else {
                self.log(now);
                self.report.heartbeat()
            };
            match self.source.rest(until.min(next_line)) {
                Wakeup::Timeout => {}
                wakeup => return wakeup,
            }
        }
    }

    fn record(&mut self, poll: &Poll) {
        let now = BootInstant::now();
        self.machine.record(poll, now, random_unit());
        if let Some(line) = self.report.status(&self.machine) {
            systemd::status(&line);
        }
        // If the tasks are requested next, the line about a change includes their progress. The
        // last line is the caller's.
        let comes_later = match self.machine.step(now) {
            Step::Ask { query, .. } => query == WaitQuery::Tasks,
            Step::Rest(_) => false,
            Step::End(_) => true,
        };
        if !self.is_watched() && !comes_later {
            self.log(now);
        }
    }

    fn log(&mut self, now: BootInstant) {
        if let Some(line) = self.report.line(&self.machine, now) {
            log::info!("{line}");
        }
    }

    fn end(&mut self, outcome: WaitOutcome, now: BootInstant) -> WaitEnd {
        ui::end_live();
        let machine = &self.machine;
        let word = match machine.gateway() {
            Some(address) => address.to_string(),
            None => machine.status().map(|status| status.word().to_owned()).unwrap_or_default(),
        };
        WaitEnd { outcome, word, sentence: self.report.end(machine, outcome, now) }
    }
}
