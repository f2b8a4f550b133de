//! Collects the evidence: the edge of `doctor`. Collectors run side by side, each in a thread, and
//! whatever has not come by the deadline is "no answer", never a hang. Nothing is changed.

mod accounts;
mod agent;
mod command;
mod files;
mod kernel;
mod processes;
mod server;
mod sshd;
mod subject;
mod system;

use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::unistd::geteuid;

pub(crate) use subject::Subject;

use super::evidence::{Evidence, RawEvidence};
use crate::clock::BootInstant;
use files::Files;
use subject::Addition;

/// Collects everything.
pub(crate) fn collect(subject: &Subject) -> Evidence {
    let mut evidence = Evidence::awaited(subject.deadline.since(subject.started));
    evidence.is_root = geteuid().is_root();
    evidence.region.clone_from(&subject.region);
    evidence.is_told = subject.is_told;
    let (sender, receiver) = channel();
    start(&sender, subject, server::collect);
    start(&sender, subject, kernel::collect);
    start(&sender, subject, sshd::collect);
    start(&sender, subject, accounts::collect);
    start(&sender, subject, system::collect);
    start(&sender, subject, processes::collect);
    start(&sender, subject, agent::collect);
    drop(sender);
    // Ends when every collector has, or at the deadline.
    while let Ok(addition) = receiver.recv_timeout(subject.deadline.since(BootInstant::now())) {
        addition(&mut evidence);
    }
    evidence.raw.sort_by(|one, other| one.title.cmp(&other.title));
    evidence
}

/// Starts a collector, which is abandoned if it does not end in time.
fn start(
    sender: &Sender<Addition>,
    subject: &Subject,
    collector: fn(&Subject, &mut Files) -> Addition,
) {
    let (sender, subject) = (sender.clone(), subject.clone());
    thread::spawn(move || {
        let mut files = Files::below(subject.root.clone());
        let addition = collector(&subject, &mut files);
        let raw: Vec<RawEvidence> = files.into_raw();
        // Nobody listens after the deadline.
        let _ = sender.send(Box::new(move |evidence: &mut Evidence| {
            evidence.raw.extend(raw);
            addition(evidence);
        }));
    });
}
